use std::net::SocketAddr;

use bizing_sandbox::Options;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::*;

struct Talk(TcpStream);

impl Talk {
    async fn to(address: SocketAddr) -> Talk {
        let mut talk = Talk(TcpStream::connect(address).await.unwrap());
        assert!(talk.hear().await.starts_with("220 "));
        talk
    }

    /// Says it and gives the reply.
    async fn say(&mut self, text: &str) -> String {
        self.0
            .write_all(format!("{text}\r\n").as_bytes())
            .await
            .unwrap();
        self.hear().await
    }

    /// One whole reply: a line whose fourth character is a space ends it.
    async fn hear(&mut self) -> String {
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n")
            || reply.split(|b| *b == b'\n').rev().nth(1).unwrap()[3] != b' '
        {
            let byte = self.0.read_u8().await.unwrap();
            reply.push(byte);
        }
        String::from_utf8(reply).unwrap()
    }
}

async fn mailbox() -> (Api, SocketAddr) {
    let api = start(Options {
        smtp: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    })
    .await;
    let address = api.sandbox.smtp_addr().unwrap();
    (api, address)
}

async fn messages(api: &Api) -> Vec<Value> {
    api.request("/_sandbox/messages")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

const MULTIPART: &str = "From: Salon <desk@salon.example>\r\n\
To: ada@example.com\r\n\
Subject: =?utf-8?q?Best=C3=A4tigt?=\r\n\
List-Unsubscribe: <https://salon.example/u/1>\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\
\r\n\
--b\r\n\
Content-Type: multipart/alternative; boundary=a\r\n\
\r\n\
--a\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\
\r\n\
Bis Freitag um 9 Uhr=21\r\n\
..gepunktet\r\n\
--a\r\n\
Content-Type: text/html; charset=utf-8\r\n\
\r\n\
<p>Bis Freitag</p>\r\n\
--a--\r\n\
--b\r\n\
Content-Type: text/calendar; method=REQUEST\r\n\
Content-Transfer-Encoding: base64\r\n\
\r\n\
QkVHSU46VkNBTEVOREFSDQpFTkQ6VkNBTEVOREFSDQo=\r\n\
--b--\r\n";

#[tokio::test]
async fn a_message_arrives_taken_apart() {
    let (api, address) = mailbox().await;
    let mut talk = Talk::to(address).await;
    let hello = talk.say("EHLO desk").await;
    assert!(
        hello.contains("250 SIZE ") && hello.contains("250-8BITMIME"),
        "{hello}"
    );
    assert!(
        talk.say("MAIL FROM:<desk@salon.example> SIZE=1000 BODY=8BITMIME")
            .await
            .starts_with("250 ")
    );
    assert!(
        talk.say("RCPT TO:<ada@example.com>")
            .await
            .starts_with("250 ")
    );
    assert!(
        talk.say("RCPT TO:<bob@example.com>")
            .await
            .starts_with("250 ")
    );
    assert!(talk.say("DATA").await.starts_with("354 "));
    assert!(talk.say(&format!("{MULTIPART}.")).await.starts_with("250 "));
    assert!(talk.say("QUIT").await.starts_with("221 "));

    let all = messages(&api).await;
    assert_eq!(all.len(), 1);
    let message = &all[0];
    assert_eq!(message["subject"], "Bestätigt");
    assert_eq!(message["from"], "desk@salon.example");
    assert_eq!(
        message["to"],
        serde_json::json!(["ada@example.com", "bob@example.com"])
    );
    assert_eq!(
        message["text"].as_str().unwrap().trim_end(),
        "Bis Freitag um 9 Uhr!\n.gepunktet".replace('\n', "\r\n")
    );
    assert_eq!(
        message["html"].as_str().unwrap().trim_end(),
        "<p>Bis Freitag</p>"
    );
    assert!(
        message["ics"]
            .as_str()
            .unwrap()
            .starts_with("BEGIN:VCALENDAR")
    );
    let id = message["id"].as_str().unwrap();
    let one: Value = api
        .request(&format!("/_sandbox/messages/{id}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(&one, message);
}

#[tokio::test]
async fn some_recipients_bounce_and_some_want_it_later() {
    let (api, address) = mailbox().await;
    let mut talk = Talk::to(address).await;
    talk.say("EHLO desk").await;
    assert!(
        talk.say("RCPT TO:<ada@example.com>")
            .await
            .starts_with("503 "),
        "the sender comes first"
    );
    talk.say("MAIL FROM:<>").await;
    assert!(
        talk.say("RCPT TO:<bounce-1@example.com>")
            .await
            .starts_with("550 5.1.1 ")
    );
    assert!(
        talk.say("RCPT TO:<later@example.com>")
            .await
            .starts_with("451 4.7.1 ")
    );
    assert!(talk.say("DATA").await.starts_with("554 "), "nobody is left");
    assert!(
        talk.say("RCPT TO:<ada@example.com>")
            .await
            .starts_with("250 ")
    );
    assert!(talk.say("RSET").await.starts_with("250 "));
    assert!(
        talk.say("DATA").await.starts_with("503 "),
        "it was forgotten"
    );
    talk.say("MAIL FROM:<a@b.example>").await;
    let asked = std::time::Instant::now();
    assert!(
        talk.say("RCPT TO:<slow@example.com>")
            .await
            .starts_with("250 ")
    );
    assert!(asked.elapsed() > std::time::Duration::from_secs(1));
    assert!(messages(&api).await.is_empty());
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_the_talk_goes_on() {
    let (api, address) = mailbox().await;
    let mut talk = Talk::to(address).await;
    talk.say("EHLO desk").await;
    assert!(
        talk.say("MAIL FROM:<a@b.example> SIZE=99999999")
            .await
            .starts_with("552 ")
    );
    assert!(
        talk.say("MAIL FROM:<a@b.example>")
            .await
            .starts_with("250 ")
    );
    assert!(
        talk.say("RCPT TO:<ada@example.com>")
            .await
            .starts_with("250 ")
    );
    assert!(talk.say("DATA").await.starts_with("354 "));
    let line = format!("{}\r\n", "x".repeat(998));
    let huge = format!("Subject: big\r\n\r\n{}.", line.repeat(2_200));
    assert!(talk.say(&huge).await.starts_with("552 "));
    assert!(talk.say("FROB").await.starts_with("500 "));
    assert!(talk.say("STARTTLS").await.starts_with("502 "));

    // Several commands in one packet, and a message that pretends to contain a second one.
    let smuggled = "Subject: one\r\n\r\nhello\n.\nMAIL FROM:<evil@b.example>\r\n..\r\n.\r\n";
    let pipelined =
        format!("MAIL FROM:<a@b.example>\r\nRCPT TO:<ada@example.com>\r\nDATA\r\n{smuggled}QUIT");
    assert!(talk.say(&pipelined).await.starts_with("250 "));
    for expected in ["250 ", "354 ", "250 ", "221 "] {
        assert!(talk.hear().await.starts_with(expected));
    }
    let all = messages(&api).await;
    assert_eq!(all.len(), 1);
    assert!(
        all[0]["text"]
            .as_str()
            .unwrap()
            .contains("MAIL FROM:<evil@b.example>")
    );
}

#[tokio::test]
async fn an_endless_line_ends_the_talk_and_not_the_server() {
    let (_api, address) = mailbox().await;
    let mut talk = Talk::to(address).await;
    let endless = "x".repeat(200_000);
    let _ = talk.0.write_all(endless.as_bytes()).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        talk.0.read_to_end(&mut rest),
    )
    .await
    .unwrap();
    assert!(
        String::from_utf8_lossy(&rest).starts_with("500 "),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    assert!(
        Talk::to(address)
            .await
            .say("NOOP")
            .await
            .starts_with("250 ")
    );
}

#[tokio::test]
async fn mail_is_in_the_journal_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        journal: Some(folder.path().join("journal")),
        smtp: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    };
    let api = start(options.clone()).await;
    let mut talk = Talk::to(api.sandbox.smtp_addr().unwrap()).await;
    talk.say("HELO desk").await;
    talk.say("MAIL FROM:<a@b.example>").await;
    talk.say("RCPT TO:<ada@example.com>").await;
    talk.say("DATA").await;
    talk.say("Subject: kept\r\n\r\nhello\r\n.").await;
    let before = messages(&api).await;
    drop(talk);
    api.sandbox.stop().await;
    let again = start(options).await;
    assert_eq!(messages(&again).await, before);
    assert_eq!(before[0]["subject"], "kept");
}

#[tokio::test]
async fn what_went_to_an_address_is_forgotten_in_the_journal_too_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.jsonl");
    let options = Options {
        journal: Some(path.clone()),
        smtp: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    };
    let api = start(options.clone()).await;
    api.authorise(8000).await;
    let before = api.sandbox.ledger();
    let mut talk = Talk::to(api.sandbox.smtp_addr().unwrap()).await;
    talk.say("EHLO desk").await;
    for name in ["ada", "bo"] {
        talk.say("MAIL FROM:<desk@salon.example>").await;
        talk.say(&format!("RCPT TO:<{name}@example.com>")).await;
        talk.say("DATA").await;
        talk.say(&format!("Subject: For {name}\r\n\r\nDear {name}\r\n."))
            .await;
    }
    assert_eq!(messages(&api).await.len(), 2);
    let forget = |to: &str| format!("/_sandbox/messages?to={to}");
    assert_eq!(api.delete(&forget("Ada@Example.com")).await["forgotten"], 1);
    assert_eq!(api.delete(&forget("ada@example.com")).await["forgotten"], 0);
    let left = messages(&api).await;
    assert!(
        left.len() == 1 && left[0]["subject"] == "For bo",
        "{left:?}"
    );
    // What comes later goes into the same journal, and the file tells nobody of the one who is forgotten.
    api.authorise(9000).await;
    let after = api.sandbox.ledger();
    assert_ne!(before, after);
    api.sandbox.stop().await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("bo@example.com"));
    assert!(!text.contains("ada@") && !text.contains("Dear ada"));
    let again = start(options).await;
    assert_eq!(again.sandbox.ledger(), after);
    assert_eq!(messages(&again).await.len(), 1);
}
