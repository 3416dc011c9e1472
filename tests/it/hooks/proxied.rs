//! A proxy that the environment names is not asked to send a webhook: it would look up the name itself, and the addresses that were
//! checked here would not be the ones that are connected to. In a process of its own, since an environment is a process's.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bizing_engine::delivery::http::{AllowList, Client, FailureClass, Guard, Names, Post};
use tokio::net::TcpListener;

use super::sink::Sink;

const NAMED: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Somebody who counts who comes, and hangs up.
async fn canary() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::new(AtomicUsize::new(0));
    let count = came.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, came)
}

async fn post(url: &str) -> Result<u16, FailureClass> {
    let guard = Guard::new(AllowList::parse(["127.0.0.1"]).unwrap(), vec![]);
    let target = guard.url(url).map_err(|_| FailureClass::Blocked)?;
    let post = Post {
        target: &target,
        guard: &guard,
        headers: Default::default(),
        body: "{}".into(),
        timeout: Duration::from_secs(15),
    };
    let sent = Client::new(Arc::new(Names)).post(post).await;
    sent.result.map(|a| a.status).map_err(|f| f.class)
}

/// Asks as a client that heeds the environment does: whether that names a proxy at all.
async fn ask_by_the_environment(url: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let heeding = reqwest::Client::new();
    assert!(
        heeding.get(url).send().await.is_err(),
        "the canary hangs up"
    );
}

#[tokio::test]
#[ignore = "a process of the test below, not a test"]
async fn a_process_with_proxies() {
    let Ok(sink) = std::env::var("HOOKS_BEHIND_PROXY") else {
        return;
    };
    if std::env::var_os("HOOKS_HEED").is_some() {
        return ask_by_the_environment(&sink).await;
    }
    assert_eq!(post(&sink).await, Ok(200), "straight to where it belongs");
    let secure = sink.replacen("http:", "https:", 1);
    // The sink speaks no TLS, and finds that out itself: nobody was asked for a tunnel.
    assert_eq!(post(&secure).await, Err(FailureClass::Tls));
    let inner = "https://10.0.0.5/hook";
    assert_eq!(post(inner).await, Err(FailureClass::Blocked));
}

async fn with_proxies(proxy: &str, sink: &str, heeding: bool) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "hooks::proxied::a_process_with_proxies",
        ])
        .envs(NAMED.map(|name| (name, proxy)))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("HOOKS_BEHIND_PROXY", sink);
    if heeding {
        command.env("HOOKS_HEED", "1");
    }
    let child = tokio::task::spawn_blocking(move || command.output().expect("a process"));
    let out = child.await.unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked_to_send_a_webhook() {
    let sink = Sink::start().await;
    let (proxy, came) = canary().await;
    with_proxies(&proxy, &sink.url(), true).await;
    let heeded = came.swap(0, Ordering::SeqCst);
    assert!(heeded > 0, "who heeds the environment asks the proxy");
    assert_eq!(sink.count(), 0);

    with_proxies(&proxy, &sink.url(), false).await;
    assert_eq!(came.load(Ordering::SeqCst), 0, "the proxy was asked");
    assert_eq!(sink.count(), 1, "it was sent, once");
}
