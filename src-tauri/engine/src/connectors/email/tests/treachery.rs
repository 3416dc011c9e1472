//! Against servers that no honest library would be: each test scripts the lines of one.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::{Mailer, SendFailure, SmtpConfig};
use super::mail;
use super::peers::Sink;

const ID: &str = "<bz1.confirmed.0@stillwater.example>";
const EHLO: &str = "250-cheat.example\r\n250-STARTTLS\r\n250 8BITMIME\r\n";

/// Greets, then answers the n-th line of the client with the n-th answer; the message counts as one
/// line. Then closes. Gives back all that the client said.
async fn server(answers: &'static [&'static str]) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[allow(clippy::disallowed_methods, reason = "a test's own server")]
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream
            .write_all(b"220 cheat.example ESMTP\r\n")
            .await
            .unwrap();
        let mut heard = String::new();
        for answer in answers {
            if hear(&mut stream, &mut heard).await {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        heard
    });
    (port, task)
}

async fn hear(stream: &mut BufReader<TcpStream>, heard: &mut String) -> bool {
    let body = heard.ends_with("DATA\r\n");
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
            return false;
        }
        heard.push_str(&String::from_utf8_lossy(&line));
        if !body || line == b".\r\n" {
            return true;
        }
    }
}

async fn send(port: u16, options: &str) -> Result<String, SendFailure> {
    let url = format!("smtp://127.0.0.1:{port}{options}");
    let config = SmtpConfig::parse(&url, "desk@stillwater.example", "").unwrap();
    let config = config.with_timeouts(Duration::from_secs(2), Duration::from_secs(2));
    Mailer::new(&config)
        .unwrap()
        .send(&mail("anna@example.com"), ID)
        .await
        .map(|accepted| accepted.response)
}

/// Somebody on the line between us and an honest server: lets everything pass, and adds to the
/// unencrypted permission to start TLS all the answers that a whole conversation needs.
async fn somebody_on_the_line(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[allow(clippy::disallowed_methods, reason = "a test's own server")]
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let forth = tokio::io::copy(&mut from_client, &mut to_server);
        let back = async {
            let mut bytes = [0; 8192];
            while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                let mut heard = bytes[..length].to_vec();
                if heard.starts_with(b"220 Ready to start TLS") {
                    heard.extend(
                        b"250-x\r\n250 8BITMIME\r\n250 a\r\n250 b\r\n354 c\r\n250 forged\r\n",
                    );
                }
                if to_client.write_all(&heard).await.is_err() {
                    break;
                }
            }
        };
        let _ = tokio::join!(forth, back);
    });
    port
}

#[tokio::test]
async fn answers_slipped_in_before_tls_are_not_believed() {
    let sink = Sink::start(&["--tls", "starttls"]);
    let port = somebody_on_the_line(sink.port).await;
    let url = format!("smtp://localhost:{port}");
    let config = SmtpConfig::parse(&url, "desk@stillwater.example", "").unwrap();
    let mailer = Mailer::new(&config.with_extra_ca(sink.ca.clone().unwrap())).unwrap();
    let failure = mailer
        .send(&mail("anna@example.com"), ID)
        .await
        .unwrap_err();
    assert!(
        matches!(&failure, SendFailure::NotSent { cause } if cause.contains("encryption")),
        "{failure:?}"
    );
    assert!(sink.rest().is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_the_dot_is_unknown() {
    for answer in [
        "25",
        "250",
        "250-still going\r\n",
        "hello\r\n",
        "354 go on\r\n",
        "",
    ] {
        let script: &'static [&'static str] = Vec::leak(vec![
            EHLO,
            "250 ok\r\n",
            "250 ok\r\n",
            "354 go\r\n",
            answer.to_owned().leak(),
        ]);
        let (port, task) = server(script).await;
        let failure = send(port, "?tls=none").await.unwrap_err();
        assert!(failure.may_have_been_sent(), "{answer:?}: {failure:?}");
        assert!(task.await.unwrap().ends_with("\r\n.\r\n"));
    }
}

#[tokio::test]
async fn the_message_is_held_back_unless_it_was_asked_for() {
    for answer in ["250 fine\r\n", "hello\r\n", "354"] {
        let script: &'static [&'static str] = Vec::leak(vec![
            EHLO,
            "250 ok\r\n",
            "250 ok\r\n",
            answer.to_owned().leak(),
        ]);
        let (port, task) = server(script).await;
        let failure = send(port, "?tls=none").await.unwrap_err();
        assert!(
            matches!(failure, SendFailure::NotSent { .. }),
            "{answer:?}: {failure:?}"
        );
        assert!(task.await.unwrap().ends_with("DATA\r\n"));
    }
}

#[tokio::test]
async fn a_greeting_that_says_no_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = send(port, "?tls=none");
    let host = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"421 4.7.0 too many connections\r\n")
            .await
            .unwrap();
    };
    let (outcome, ()) = tokio::join!(client, host);
    assert!(matches!(
        outcome.unwrap_err(),
        SendFailure::Later { code: 421, .. }
    ));
}

#[tokio::test]
async fn a_server_that_never_speaks_is_left_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let failure = send(port, "?tls=none").await.unwrap_err();
    assert!(
        matches!(&failure, SendFailure::NotSent { cause } if cause.contains("did not answer")),
        "{failure:?}"
    );
}
