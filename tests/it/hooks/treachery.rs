//! Receivers that answer without end, in drops, or with nonsense: bounded time, no more kept than is told, and a truthful record. What
//! it costs in memory is measured in a process of its own (`memory`).

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::Hooks;

#[derive(Clone, Copy)]
enum Trick {
    Endless,
    Drip,
    DripHead,
    GzipBomb,
    Loop,
    EndlessHead,
    Nonsense,
    HangUp,
    Breaks,
    Continues,
}

/// Takes a request's head and plays its trick on every connection.
async fn treacherous(trick: Trick) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let own = url.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let own = own.clone();
            tokio::spawn(async move { play(stream, trick, &own).await });
        }
    });
    url
}

async fn play(mut stream: TcpStream, trick: Trick, own: &str) -> std::io::Result<()> {
    let mut head = vec![0; 16 * 1024];
    let _ = stream.read(&mut head).await?;
    let ok = "HTTP/1.1 200 OK\r\n";
    match trick {
        Trick::Endless => {
            stream
                .write_all(format!("{ok}content-length: 104857600\r\n\r\n").as_bytes())
                .await?;
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..1_600 {
                stream.write_all(&piece).await?;
            }
        }
        Trick::Drip => {
            stream
                .write_all(format!("{ok}content-length: 1000000000\r\n\r\n").as_bytes())
                .await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Trick::DripHead => loop {
            for byte in ok.bytes().chain(*b"x-a: b\r\n") {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        },
        Trick::GzipBomb => {
            // A gzip stream that unpacks to ten million zeros.
            let bomb = include_bytes!("zeros.gz");
            stream
                .write_all(
                    format!(
                        "{ok}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                        bomb.len()
                    )
                    .as_bytes(),
                )
                .await?;
            stream.write_all(bomb).await?;
        }
        Trick::Loop => {
            stream
                .write_all(
                    format!("HTTP/1.1 302 Found\r\nlocation: {own}\r\ncontent-length: 0\r\n\r\n")
                        .as_bytes(),
                )
                .await?;
        }
        Trick::EndlessHead => {
            stream.write_all(ok.as_bytes()).await?;
            loop {
                stream
                    .write_all(b"x-filler: 0123456789012345678901234567890123456789\r\n")
                    .await?;
            }
        }
        Trick::Nonsense => {
            stream
                .write_all(b"220 mail.example.com ESMTP\r\n\r\n")
                .await?
        }
        Trick::HangUp => {}
        Trick::Breaks => {
            stream
                .write_all(format!("{ok}content-length: 1000\r\n\r\nhalf").as_bytes())
                .await?;
        }
        Trick::Continues => loop {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        },
    }
    stream.flush().await
}

#[tokio::test]
async fn a_treacherous_receiver_costs_bounded_time_and_is_recorded_as_it_was() {
    let hooks = Hooks::new().await;
    let worker = hooks.desk.work().await;
    let cases = [
        // trick, state, class, status, bytes kept, cut
        (
            Trick::Endless,
            "delivered",
            None,
            Some(200),
            Some(16 * 1024),
            true,
        ),
        (
            Trick::Drip,
            "gave_up",
            Some("timeout"),
            Some(200),
            None,
            true,
        ),
        (
            Trick::DripHead,
            "gave_up",
            Some("timeout"),
            None,
            None,
            false,
        ),
        (
            Trick::GzipBomb,
            "delivered",
            None,
            Some(200),
            Some(include_bytes!("zeros.gz").len() as i32),
            false,
        ),
        (
            Trick::Loop,
            "gave_up",
            Some("redirect"),
            Some(302),
            None,
            false,
        ),
        (
            Trick::EndlessHead,
            "gave_up",
            Some("protocol"),
            None,
            None,
            false,
        ),
        (
            Trick::Nonsense,
            "gave_up",
            Some("protocol"),
            None,
            None,
            false,
        ),
        (Trick::HangUp, "gave_up", Some("closed"), None, None, false),
        (
            Trick::Breaks,
            "gave_up",
            Some("closed"),
            Some(200),
            None,
            true,
        ),
        (
            Trick::Continues,
            "gave_up",
            Some("timeout"),
            None,
            None,
            false,
        ),
    ];
    let mut made = vec![];
    for (trick, _, class, ..) in cases {
        let url = treacherous(trick).await;
        // The others have all the time that an endpoint may be given: on a slow machine, too, they end by themselves.
        let timeout_ms = if class == Some("timeout") {
            1_500
        } else {
            30_000
        };
        made.push(
            hooks
                .endpoint(&url, json!({ "schedule_s": [0], "timeout_ms": timeout_ms }))
                .await,
        );
    }
    hooks.append(Uuid::now_v7(), 1).await;
    // Those that are cut off by the time would never end: that they are recorded at all shows that they were.
    for (made, (_, state, class, status, kept, cut)) in made.iter().zip(cases) {
        hooks.wait_for_states(made.id, &[(state, 1)]).await;
        let one = hooks.tries(made.id).await.remove(0);
        let seen = (
            one.error_class.as_deref(),
            one.status,
            one.kept,
            one.body_cut,
        );
        assert_eq!(seen, (class, status, kept, cut), "{state}: {one:?}");
        assert!(
            class != Some("timeout") || one.total_ms.unwrap() >= 1_500.0,
            "{one:?}"
        );
    }
    worker.close().await;
}
