//! Against aiosmtpd.

use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::Value;

use super::super::{
    Calendar, CalendarMethod, Mail, Mailer, SendFailure, SmtpConfig, Template, calendar, render,
};
use super::peers::Sink;
use super::{facts, mail};

const ID: &str = "<bz1.confirmed.0@stillwater.example>";

fn config(sink: &Sink, scheme: &str, login: &str, options: &str) -> SmtpConfig {
    let url = format!("{scheme}://{login}localhost:{}{options}", sink.port);
    let config = SmtpConfig::parse(&url, "desk@stillwater.example", "Stillwater Spa").unwrap();
    let config = config.with_timeouts(Duration::from_secs(10), Duration::from_secs(10));
    match &sink.ca {
        Some(ca) => config.with_extra_ca(ca.as_str()),
        None => config,
    }
}

fn plain() -> (Sink, Mailer) {
    let sink = Sink::start(&[]);
    let mailer = Mailer::new(&config(&sink, "smtp", "", "?tls=none")).unwrap();
    (sink, mailer)
}

fn content(message: &Value) -> String {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(message["data"].as_str().unwrap())
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn each_answer_is_told_apart() {
    let (mut sink, mailer) = plain();
    let mut outcomes = Vec::new();
    for who in [
        "anna", "later", "bounce", "full", "policy", "cut", "late", "reject", "drop", "reset",
    ] {
        let outcome = match mailer.send(&mail(&format!("{who}@example.com")), ID).await {
            Ok(accepted) => format!("accepted: {}", accepted.response),
            Err(failure) => format!("{failure:?}"),
        };
        outcomes.push(format!("{who}: {outcome}"));
    }
    let expected = [
        "anna: accepted: 2.0.0 queued as 4711",
        r#"later: Later { code: 451, message: "4.3.0 try again later" }"#,
        r#"bounce: Refused { code: 550, message: "5.1.1 no such user here", permanent_recipient: true }"#,
        r#"full: Refused { code: 552, message: "5.2.2 mailbox full", permanent_recipient: false }"#,
        r#"policy: Refused { code: 550, message: "5.7.1 message looks like spam", permanent_recipient: false }"#,
        "cut: NotSent",
        r#"late: Later { code: 451, message: "4.3.0 queue is full" }"#,
        r#"reject: Refused { code: 554, message: "5.6.0 not in this form", permanent_recipient: false }"#,
        "drop: Unknown",
        "reset: Unknown",
    ];
    // The words about a lost connection are the operating system's.
    for (outcome, expected) in outcomes.iter().zip(expected) {
        assert!(
            outcome.starts_with(expected),
            "{outcome}\nbut wanted {expected}"
        );
    }
    let received = sink.next();
    assert_eq!(received["to"], serde_json::json!(["anna@example.com"]));
    let complete: Vec<String> = sink
        .rest()
        .iter()
        .map(|message| message["to"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        complete,
        [
            "late@example.com",
            "reject@example.com",
            "drop@example.com",
            "reset@example.com"
        ]
    );
}

/// Big enough that it cannot all wait in the buffers between us: the final dot has not left when
/// the connection goes.
#[tokio::test]
async fn a_connection_lost_inside_the_body_is_not_sent() {
    let (sink, mailer) = plain();
    let mut big = mail("halfway@example.com");
    big.text = "0123456789 ".repeat(2_000_000);
    let failure = mailer.send(&big, ID).await.unwrap_err();
    assert!(
        matches!(&failure, SendFailure::NotSent { cause } if cause.contains("handing over")),
        "{failure:?}"
    );
    assert!(sink.rest().is_empty());
}

#[tokio::test]
async fn the_message_arrives_as_it_was_meant() {
    let (mut sink, mailer) = plain();
    let mut sent = mail("anna@example.com");
    sent.text = ".\n..\n.hidden\nlast line".to_owned();
    sent.to_name = "Zoë “Zed”, née Ünal".to_owned();
    sent.subject = "Bestätigt ✓".to_owned();
    mailer.send(&sent, ID).await.unwrap();
    let received = content(&sink.next());
    assert!(
        received.contains("\r\n\r\n.\r\n..\r\n.hidden\r\nlast line\r\n"),
        "{received}"
    );
    assert!(received.contains("Subject: =?utf-8?"), "{received}");
    assert!(received.contains("Message-ID: <bz1.confirmed.0@stillwater.example>\r\n"));
}

#[tokio::test]
async fn an_invitation_reaches_the_reader_unharmed() {
    let (mut sink, mailer) = plain();
    let ics = calendar(&facts(), CalendarMethod::Request, facts().starts, "en").unwrap();
    let draft = render(Template::BookingConfirmed, &facts(), "en").unwrap();
    let mail = Mail {
        calendar: Some(Calendar {
            ics: ics.clone(),
            method: CalendarMethod::Request,
        }),
        ..draft.to("anna@example.com", "Anna Müller")
    };
    mailer.send(&mail, ID).await.unwrap();
    let received = content(&sink.next());
    let part = received
        .split("method=REQUEST\r\n")
        .nth(1)
        .unwrap()
        .split("\r\n\r\n")
        .nth(1)
        .unwrap();
    let body: String = part
        .split("\r\n--")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    assert_eq!(String::from_utf8(decoded).unwrap(), ics);
}

#[tokio::test]
async fn starttls_and_login() {
    let mut sink = Sink::start(&["--tls", "starttls", "--login", "desk:p@ss"]);
    let mailer = Mailer::new(&config(&sink, "smtp", "desk:p%40ss@", "")).unwrap();
    mailer.check().await.unwrap();
    mailer.send(&mail("anna@example.com"), ID).await.unwrap();
    let received = sink.next();
    assert_eq!(
        (received["tls"].as_bool(), received["login"].as_str()),
        (Some(true), Some("desk"))
    );

    let wrong = Mailer::new(&config(&sink, "smtp", "desk:wrong@", "")).unwrap();
    for failure in [
        wrong.check().await.unwrap_err(),
        wrong.send(&mail("anna@example.com"), ID).await.unwrap_err(),
    ] {
        assert!(
            matches!(
                &failure,
                SendFailure::Unauthorized {
                    code: Some(535),
                    ..
                }
            ),
            "{failure:?}"
        );
    }
    let nobody = Mailer::new(&config(&sink, "smtp", "", "")).unwrap();
    let failure = nobody
        .send(&mail("anna@example.com"), ID)
        .await
        .unwrap_err();
    assert!(
        matches!(
            &failure,
            SendFailure::Unauthorized {
                code: Some(530),
                ..
            }
        ),
        "{failure:?}"
    );
    assert!(sink.rest().is_empty());
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let mut sink = Sink::start(&["--tls", "implicit", "--login", "desk:secret"]);
    let mailer = Mailer::new(&config(&sink, "smtps", "desk:secret@", "")).unwrap();
    mailer.send(&mail("anna@example.com"), ID).await.unwrap();
    assert_eq!(sink.next()["tls"], true);
}

#[tokio::test]
async fn a_certificate_from_a_stranger_ends_it_before_anything_is_said() {
    for (tls, scheme) in [("starttls", "smtp"), ("implicit", "smtps")] {
        let mut sink = Sink::start(&["--tls", tls]);
        sink.ca = None;
        let mailer = Mailer::new(&config(&sink, scheme, "desk:secret@", "")).unwrap();
        let failure = mailer
            .send(&mail("anna@example.com"), ID)
            .await
            .unwrap_err();
        assert!(
            matches!(&failure, SendFailure::NotSent { cause } if cause.contains("certificate")),
            "{failure:?}"
        );
        assert!(sink.rest().is_empty());
    }
}

#[tokio::test]
async fn required_encryption_is_required() {
    let sink = Sink::start(&[]);
    let mailer = Mailer::new(&config(&sink, "smtp", "", "")).unwrap();
    let failure = mailer
        .send(&mail("anna@example.com"), ID)
        .await
        .unwrap_err();
    assert!(
        matches!(&failure, SendFailure::NotSent { cause } if cause.contains("STARTTLS")),
        "{failure:?}"
    );
    let opportunistic = Mailer::new(&config(&sink, "smtp", "", "?tls=opportunistic")).unwrap();
    opportunistic
        .send(&mail("anna@example.com"), ID)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_and_then_unknown() {
    let mut sink = Sink::start(&["--slow", "1"]);
    let quick = Duration::from_millis(300);
    let patient =
        config(&sink, "smtp", "", "?tls=none").with_timeouts(quick, Duration::from_secs(10));
    Mailer::new(&patient)
        .unwrap()
        .send(&mail("slow@example.com"), ID)
        .await
        .unwrap();
    sink.next();

    let hasty = config(&sink, "smtp", "", "?tls=none").with_timeouts(quick, quick);
    let failure = Mailer::new(&hasty)
        .unwrap()
        .send(&mail("slow@example.com"), ID)
        .await
        .unwrap_err();
    assert!(failure.may_have_been_sent(), "{failure:?}");
    assert_eq!(sink.next()["to"][0], "slow@example.com");
}

#[tokio::test]
async fn a_run_of_mails_shares_one_connection() {
    let (mut sink, mailer) = plain();
    let mut connections = Vec::new();
    for _ in 0..3 {
        mailer.send(&mail("anna@example.com"), ID).await.unwrap();
        connections.push(sink.next()["connection"].clone());
    }
    assert!(
        connections.iter().all(|one| *one == connections[0]),
        "{connections:?}"
    );
    mailer.close().await;
    mailer.send(&mail("anna@example.com"), ID).await.unwrap();
}

#[tokio::test]
async fn letters_before_the_at_need_a_server_that_takes_them() {
    let mut modern = Sink::start(&[]);
    let mailer = Mailer::new(&config(&modern, "smtp", "", "?tls=none")).unwrap();
    mailer.send(&mail("jörg@bücher.example"), ID).await.unwrap();
    let received = modern.next();
    assert_eq!(received["to"][0], "jörg@xn--bcher-kva.example");
    assert!(
        received["options"]
            .as_array()
            .unwrap()
            .contains(&"SMTPUTF8".into()),
        "{received}"
    );
    assert!(content(&received).contains("<jörg@xn--bcher-kva.example>"));

    let old = Sink::start(&["--ascii"]);
    let mailer = Mailer::new(&config(&old, "smtp", "", "?tls=none")).unwrap();
    mailer.send(&mail("anna@bücher.example"), ID).await.unwrap();
    let failure = mailer
        .send(&mail("jörg@example.com"), ID)
        .await
        .unwrap_err();
    assert!(
        matches!(
            &failure,
            SendFailure::Unsendable {
                recipient: true,
                ..
            }
        ),
        "{failure:?}"
    );
}

#[tokio::test]
async fn no_server_is_not_sent_and_says_so_at_once() {
    let sink = Sink::start(&[]);
    let mailer = Mailer::new(&config(&sink, "smtp", "", "?tls=none")).unwrap();
    sink.rest();
    let start = Instant::now();
    let failure = mailer
        .send(&mail("anna@example.com"), ID)
        .await
        .unwrap_err();
    assert!(
        matches!(&failure, SendFailure::NotSent { cause } if cause.contains("localhost")),
        "{failure:?}"
    );
    assert!(mailer.check().await.is_err());
    assert!(start.elapsed() < Duration::from_secs(5));
}
