use std::sync::{Arc, Mutex};

use bizing_sandbox::{Fault, Rule, WebhookTarget};
use bizing_stripe::{
    Secret,
    webhook::{Rejected, Seal, TOLERANCE_S, parse_event, verify},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

const PAYLOAD: &[u8] = br#"{"id":"evt_1","type":"charge.captured","created":1700000000,"data":{"object":{"id":"ch_1"}}}"#;
const AT: i64 = 1_700_000_000;
/// Made with `openssl dgst -sha256 -hmac` over the time, a dot and the payload.
const WITH_OLD: &str = "2df77f256bddb3d9b2aea3ed0214878304c3027d704c9fe474476f93cdd71e4d";
const WITH_NEW: &str = "e45ea608fd9d0e609a6a0d6f6733ada63fbe6a4a70f76f793e043ad5c65cea27";

fn check(header: &str, secrets: &[&str], now: i64) -> Result<String, Rejected> {
    let secrets: Vec<Secret> = secrets.iter().copied().map(Secret::from).collect();
    verify(PAYLOAD, header, &secrets, TOLERANCE_S, now).map(|genuine| genuine.event.id)
}

fn seal(secret_no: usize) -> Seal {
    Seal {
        secret_no,
        signed_at: AT,
    }
}

#[test]
fn a_secret_can_be_rolled_without_losing_an_event() {
    let both = format!("t={AT},v1={WITH_OLD},v1={WITH_NEW},v0=beef");
    for secrets in [
        &["whsec_old"][..],
        &["whsec_new"],
        &["whsec_new", "whsec_old"],
        &["whsec_x", "whsec_old"],
    ] {
        assert_eq!(
            check(&both, secrets, AT),
            Ok("evt_1".to_owned()),
            "{secrets:?}"
        );
    }
    let one = format!("t={AT},v1={WITH_NEW}");
    assert_eq!(
        check(&one, &["whsec_old", "whsec_new"], AT),
        Ok("evt_1".to_owned())
    );
    assert_eq!(check(&one, &["whsec_old"], AT), Err(Rejected::Forged));
    let twice = format!("t={AT},v1={WITH_NEW},v1={WITH_NEW}");
    assert_eq!(check(&twice, &["whsec_new"], AT), Ok("evt_1".to_owned()));
}

#[test]
fn a_wrong_clock_is_named_and_a_forgery_is_not_mistaken_for_one() {
    let header = format!("t={AT},v1={WITH_NEW}");
    assert_eq!(
        check(&header, &["whsec_new"], AT + 300),
        Ok("evt_1".to_owned())
    );
    assert_eq!(
        check(&header, &["whsec_new"], AT + 301),
        Err(Rejected::Skewed {
            seconds: -301,
            seal: seal(1)
        })
    );
    assert_eq!(
        check(&header, &["whsec_new"], AT - 301),
        Err(Rejected::Skewed {
            seconds: 301,
            seal: seal(1)
        })
    );
    assert_eq!(
        check(&header, &["whsec_old"], AT + 4000),
        Err(Rejected::Forged)
    );
    let moved = format!("t={},v1={WITH_NEW}", AT + 1);
    assert_eq!(check(&moved, &["whsec_new"], AT), Err(Rejected::Forged));
}

#[test]
fn nonsense_is_malformed_or_forged() {
    let good = format!("t={AT},v1={WITH_NEW}");
    for header in [
        "",
        "t=1",
        "v1=ab",
        "t=x,v1=ab",
        &format!("t={AT},t={AT},v1={WITH_NEW}"),
        &format!("t={AT},v1={}", &WITH_NEW[1..]),
    ] {
        assert_eq!(
            check(header, &["whsec_new"], AT),
            Err(Rejected::Malformed),
            "{header}"
        );
    }
    assert_eq!(check(&good, &[], AT), Err(Rejected::Forged));
    assert_eq!(check(&good, &[""], AT), Err(Rejected::Forged));
    let zeros = format!("t={AT},v1={}", "0".repeat(64));
    assert_eq!(check(&zeros, &["whsec_new"], AT), Err(Rejected::Forged));
    let secrets = [Secret::new("whsec_new")];
    let spaced = [PAYLOAD, b" "].concat();
    assert_eq!(
        verify(&spaced, &good, &secrets, TOLERANCE_S, AT),
        Err(Rejected::Forged)
    );
}

#[test]
fn no_header_and_no_body_stop_the_door() {
    let secrets = [Secret::new("whsec_new")];
    let pieces: [&[u8]; 14] = [
        b"t=",
        b"v1=",
        b"v0=",
        b",",
        b"=",
        b"1700000000",
        b"-1",
        b"99999999999999999999",
        b"\xff\xfe",
        WITH_NEW.as_bytes(),
        b" ",
        b"{\"id\":",
        b"[[[[",
        b"\0",
    ];
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut dice = move |n: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % n as u64) as usize
    };
    let rounds = std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    for _ in 0..rounds.unwrap_or(50_000) {
        let mut any = |most: usize| -> Vec<u8> {
            (0..dice(most))
                .flat_map(|_| pieces[dice(pieces.len())].to_vec())
                .collect()
        };
        let (header, body) = (any(24), any(8));
        let header = String::from_utf8_lossy(&header);
        let taken = verify(&body, &header, &secrets, TOLERANCE_S, AT);
        assert!(taken.is_err(), "{header:?} {body:?}");
        let _ = parse_event(&body);
    }
    // Deeper than any parser should follow.
    assert!(parse_event(&vec![b'['; 250_000]).is_err());
}

#[test]
fn an_event_of_an_unknown_type_and_shape_is_kept() {
    let event = parse_event(
        br#"{"id":"evt_2","type":"moon.phase_changed","created":1,"data":{"object":[]}}"#,
    )
    .unwrap();
    assert_eq!(
        (event.kind.as_str(), event.object_id),
        ("moon.phase_changed", None)
    );
    assert!(parse_event(b"[]").is_err() && parse_event(b"\xff").is_err());
}

/// (signature, body) of what came.
type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Takes webhooks, answering 500 to the first ones.
async fn receiver(failures: usize) -> (String, Taken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/stripe", listener.local_addr().unwrap());
    let taken: Taken = Arc::default();
    let kept = taken.clone();
    tokio::spawn(async move {
        let mut left = failures;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0; 4096];
                let n = stream.read(&mut chunk).await.unwrap();
                text.extend_from_slice(&chunk[..n]);
                let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n") else {
                    continue;
                };
                let head = String::from_utf8(text[..end].to_vec())
                    .unwrap()
                    .to_lowercase();
                let length = head
                    .lines()
                    .find_map(|l| l.strip_prefix("content-length: "))
                    .unwrap()
                    .parse::<usize>();
                if text.len() >= end + 4 + length.clone().unwrap() {
                    break (head, text[end + 4..].to_vec());
                }
            };
            let refuse = left > 0;
            left = left.saturating_sub(1);
            if !refuse {
                let signature = head
                    .lines()
                    .find_map(|l| l.strip_prefix("stripe-signature: "))
                    .unwrap()
                    .to_owned();
                kept.lock().unwrap().push((signature, body));
            }
            let status = if refuse { "500 No" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, taken)
}

#[tokio::test]
async fn the_sandbox_signs_retries_repeats_and_reorders() {
    let world = world().await;
    let (url, taken) = receiver(1).await;
    world.sandbox.set_webhook(Some(WebhookTarget {
        url,
        secret: "whsec_new".to_owned(),
    }));
    world
        .sandbox
        .faults()
        .add(Rule::nth("capture", 1, Fault::DuplicateWebhook));
    world
        .sandbox
        .faults()
        .add(Rule::nth("refund", 1, Fault::ReorderedWebhooks));
    let paid = world.captured("k").await;
    refunded(world.stripe.send(&refund(&paid.id, 8000), "r").await);

    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while taken.lock().unwrap().len() < 9 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} of 9 webhooks came",
            taken.lock().unwrap().len()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let secrets = [Secret::new("whsec_old"), Secret::new("whsec_new")];
    let kinds: Vec<String> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|(header, body)| {
            verify(body, header, &secrets, TOLERANCE_S, now())
                .unwrap()
                .event
                .kind
        })
        .collect();
    let count = |kind: &str| kinds.iter().filter(|k| *k == kind).count();
    assert_eq!(
        (count("payment_intent.succeeded"), count("charge.captured")),
        (2, 2),
        "{kinds:?}"
    );
    assert_eq!(
        count("payment_intent.created"),
        1,
        "the refused one came again: {kinds:?}"
    );
    let place = |kind: &str| kinds.iter().position(|k| k == kind).unwrap();
    assert!(
        place("refund.created") < place("charge.refunded"),
        "{kinds:?}"
    );
}
