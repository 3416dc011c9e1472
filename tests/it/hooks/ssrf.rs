//! Nothing is sent into one's own network: many forms of asking for it, and a listener that must hear nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bizing_engine::delivery::http::{AllowList, Client, FailureClass, Guard, Post, Resolve};
use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, wait_until};

/// A name that resolves to what a test says, one answer after the other.
struct Told(Vec<Vec<IpAddr>>, AtomicUsize);

impl Resolve for Told {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let n = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
        let answer = self.0[n]
            .iter()
            .map(|ip| SocketAddr::new(*ip, port))
            .collect();
        Box::pin(async move { Ok(answer) })
    }
}

fn told(answers: Vec<Vec<&str>>) -> Arc<Told> {
    let parsed = answers
        .into_iter()
        .map(|a| a.into_iter().map(|ip| ip.parse().unwrap()).collect())
        .collect();
    Arc::new(Told(parsed, AtomicUsize::new(0)))
}

/// Hosts that are this computer or some other inner place, in every spelling that programs understand.
fn hosts() -> Vec<String> {
    let mut hosts: Vec<String> = [
        // This computer: plain, decimal, octal, hexadecimal, short, mixed.
        "127.0.0.1",
        "127.0.0.2",
        "127.255.255.254",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "0x7F.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "0177.1",
        "127.0x0.0.1",
        "127.0.00.01",
        "0",
        "0.0.0.0",
        "0x0",
        "00",
        "0.1",
        // In IPv6 clothes.
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2002:7f00:0001::1]",
        "[2001:0:7f00:1::]",
        "[2001::1]",
        "[2001:2::1]",
        "[2001:10::1]",
        "[2001:20::1]",
        "[2001:db8::1]",
        "[100::1]",
        "[5f00::1]",
        "[3fff::1]",
        "[fc00::1]",
        "[fd00::1]",
        "[fd00:ec2::254]",
        "[fdff:ffff::1]",
        "[fe80::1]",
        "[febf::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[ff0e::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a00:1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:192.168.0.1]",
        // Other people's inner networks, and nobody's.
        "10.0.0.1",
        "10.255.255.255",
        "167772161",
        "0xa000001",
        "012.0.0.1",
        "10.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.1",
        "3232235521",
        "0xc0a80001",
        "0300.0250.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "0.0.0.1",
        // Written with other signs that mean the same to a parser.
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "127.0.0.%31",
        // Names.
        "localhost",
        "LOCALHOST",
        "localhost.",
        "foo.localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "broadcasthost",
        "printer",
        "printer.local",
        "db.internal",
        "metadata.google.internal",
        "metadata",
        "router.lan",
        "nas.home",
        "x.home.arpa",
        "intranet",
        "hr.corp",
        "vault.private",
        "ｌｏｃａｌｈｏｓｔ",
    ]
    .map(str::to_owned)
    .into();
    // One address of each inner network more, at its ends.
    for (net, size) in [
        ([10, 0, 0, 0], 24),
        ([172, 16, 0, 0], 20),
        ([192, 168, 0, 0], 16),
        ([127, 0, 0, 0], 24),
    ] {
        let first = u32::from(Ipv4Addr::from(net));
        hosts.push(Ipv4Addr::from(first + (1 << size) - 1).to_string());
        hosts.push(format!("{}", first + 1));
    }
    hosts
}

/// Addresses that are wrong in another way than by their host.
const FORMS: &[&str] = &[
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "ws://example.com/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "//example.com/",
    "example.com",
    "https://",
    "https:///",
    "https://user@example.com/",
    "https://user:pw@example.com/",
    "https://@example.com/",
    "https://:@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1@example.com/",
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:5432/",
    "https://example.com:6379/",
    "https://example.com:11211/",
    "https://example.com:3306/",
    "https://example.com:2375/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:-1/",
    "https://example.com/#x",
    "https://example.com\\@127.0.0.1/",
    "https:\\\\127.0.0.1/",
    "https://exa mple.com/",
    "https://example.com/\r\nx: y",
    "https://example.com\t/",
    " https://example.com/",
    "https://exam\u{0}ple.com/",
    "https://[::1/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1]x/",
    "https://example..com/",
    "https://.example.com/",
    "https://exam_ple",
    "",
];

#[test]
fn a_hundred_and_twenty_forms_of_asking_for_an_inner_address_are_refused() {
    let guard = Guard::default();
    let hosts = hosts();
    let mut let_through = vec![];
    for host in &hosts {
        for url in [
            format!("https://{host}/"),
            format!("https://{host}:8443/x?y"),
        ] {
            if let Ok(target) = guard.url(&url) {
                let_through.push((url, target));
            }
        }
    }
    for url in FORMS {
        if let Ok(target) = guard.url(url) {
            let_through.push(((*url).to_owned(), target));
        }
    }
    let long = format!("https://example.com/{}", "x".repeat(65_536));
    assert!(guard.url(&long).is_err());
    assert!(let_through.is_empty(), "{let_through:?}");
    assert!(hosts.len() >= 120, "{}", hosts.len());
    assert!(guard.url("https://hooks.example.com/in").is_ok());
}

async fn post(client: &Client, guard: &Guard, url: &str) -> Result<u16, FailureClass> {
    let target = match guard.url(url) {
        Ok(target) => target,
        Err(_) => return Err(FailureClass::Blocked),
    };
    let sent = client
        .post(Post {
            target: &target,
            guard,
            headers: Default::default(),
            body: "{}".into(),
            timeout: Duration::from_secs(5),
        })
        .await;
    sent.result.map(|a| a.status).map_err(|f| f.class)
}

#[tokio::test]
async fn whatever_a_name_resolves_to_no_inner_address_is_connected_to() {
    let canary = Sink::start().await;
    let port = canary.addr.port();
    let url = format!("https://hooks.example.com:{port}/");
    let guard = Guard::default();
    for answer in [
        vec!["127.0.0.1"],
        vec!["::1"],
        vec!["::ffff:127.0.0.1"],
        vec!["10.0.0.5"],
        vec!["169.254.169.254"],
        vec!["fd00:ec2::254"],
        vec!["0.0.0.0"],
        vec!["64:ff9b::7f00:1"],
        // One good address among them does not help.
        vec!["93.184.216.34", "127.0.0.1"],
        vec!["127.0.0.1", "93.184.216.34"],
        vec!["2606:2800:220:1:248:1893:25c8:1946", "::1"],
    ] {
        let client = Client::new(told(vec![answer.clone()]));
        assert_eq!(
            post(&client, &guard, &url).await,
            Err(FailureClass::Blocked),
            "{answer:?}"
        );
    }
    // Rebinding: the answer that was checked is the one that is connected to, and the next send checks anew.
    let guard = Guard::new(AllowList::parse(["127.0.0.2"]).unwrap(), vec![]);
    let names = told(vec![vec!["127.0.0.2"], vec!["127.0.0.1"]]);
    let client = Client::new(names.clone());
    assert_eq!(
        post(&client, &guard, &url).await,
        Err(FailureClass::Connect)
    );
    assert_eq!(names.1.load(Ordering::SeqCst), 1, "one send asks once");
    assert_eq!(
        post(&client, &guard, &url).await,
        Err(FailureClass::Blocked)
    );
    assert_eq!(canary.count(), 0, "nothing reached it");
}

#[tokio::test]
async fn a_kept_connection_is_used_only_while_its_address_is_allowed() {
    let sink = Sink::start().await;
    let client = Client::new(told(vec![vec!["127.0.0.1"]]));
    let allowed = Guard::new(AllowList::parse(["127.0.0.1"]).unwrap(), vec![]);
    assert_eq!(post(&client, &allowed, &sink.url()).await, Ok(200));
    let target = allowed.url(&sink.url()).unwrap();
    let strict = Guard::default();
    let sent = client
        .post(Post {
            target: &target,
            guard: &strict,
            headers: Default::default(),
            body: "{}".into(),
            timeout: Duration::from_secs(5),
        })
        .await;
    assert_eq!(sent.result.unwrap_err().class, FailureClass::Blocked);
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn a_redirect_into_the_own_network_is_not_followed_and_an_endpoint_that_became_private_says_so()
 {
    let hooks = Hooks::new().await;
    let canary = Sink::start().await;
    let to = canary.url();
    let sink =
        Sink::saying(move |_, _| Say::With(307, vec![("location", to.clone())], String::new()))
            .await;
    let made = hooks
        .endpoint(&sink.url(), json!({ "schedule_s": [0] }))
        .await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 1).await;
    hooks.wait_for_states(made.id, &[("gave_up", 1)]).await;
    let tries = hooks.tries(made.id).await;
    assert_eq!(
        (tries[0].error_class.as_deref(), tries[0].status),
        (Some("redirect"), Some(307))
    );
    assert_eq!(canary.count(), 0);

    // An admin takes the network off the list: the same endpoint is refused at its next send.
    hooks.allow(&[]).await;
    hooks.append(Uuid::now_v7(), 1).await;
    wait_until("the second is refused", SOON, async || {
        hooks.tries(made.id).await.len() == 2
    })
    .await;
    let tries = hooks.tries(made.id).await;
    assert_eq!(
        (tries[1].error_class.as_deref(), tries[1].result.as_deref()),
        (Some("blocked_address"), Some("not_sent"))
    );
    assert_eq!(sink.count(), 1);
    worker.close().await;
}
