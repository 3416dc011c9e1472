//! An answer of 600 MB costs the sender next to nothing. Measured in a process of its own, since the tests of this one run at the
//! same time.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bizing_engine::delivery::http::{AllowList, Client, Guard, Names, Post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MOST_KB: u64 = 5 * 1024;

/// Says as much as it is let.
async fn talkative() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    url
}

async fn talk(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = vec![0; 16 * 1024];
    let n = stream.read(&mut head).await?;
    if head[..n].starts_with(b"POST /small") {
        return stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 629145600\r\n\r\n")
        .await?;
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..9_600 {
        stream.write_all(&piece).await?;
    }
    Ok(())
}

fn kb(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn post(client: &Client, guard: &Guard, url: &str) -> (u16, usize, bool) {
    let target = guard.url(url).unwrap();
    let post = Post {
        target: &target,
        guard,
        headers: Default::default(),
        body: "{}".into(),
        timeout: Duration::from_secs(15),
    };
    let answer = client.post(post).await.result.unwrap();
    (answer.status, answer.body.len(), answer.cut)
}

#[tokio::test]
#[ignore = "a process of the measurement, not a test"]
async fn a_sender_process() {
    let Ok(url) = std::env::var("HOOKS_TALKATIVE") else {
        return;
    };
    let client = Client::new(Arc::new(Names));
    let guard = Guard::new(AllowList::parse(["127.0.0.1"]).unwrap(), vec![]);
    // What a connection needs is there before it is measured.
    post(&client, &guard, &format!("{url}small")).await;
    let before = kb("VmRSS");
    // From here on the highest is asked for, and not what is left at the end.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    assert_eq!(post(&client, &guard, &url).await, (200, 16 * 1024, true));
    let one = kb("VmHWM").saturating_sub(before);
    let many = (0..20).map(|_| post(&client, &guard, &url));
    futures_util::future::join_all(many).await;
    println!(
        "grown_kb one {one} twenty {}",
        kb("VmHWM").saturating_sub(before)
    );
}

#[tokio::test]
async fn an_answer_of_600_mb_costs_the_sender_less_than_five() {
    let url = talkative().await;
    let child = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "hooks::memory::a_sender_process",
            ])
            .env("HOOKS_TALKATIVE", url)
            .output()
            .expect("a sender process")
    });
    let out = child.await.unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}");
    let line = text
        .lines()
        .find(|l| l.contains("grown_kb"))
        .expect("what it measured");
    println!("{line}");
    let figures: Vec<u64> = line
        .split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect();
    let [one, twenty] = figures[..] else {
        panic!("{line}");
    };
    assert!(one <= MOST_KB, "{one} kB for one");
    assert!(twenty <= 3 * MOST_KB, "{twenty} kB for twenty at once");
}
