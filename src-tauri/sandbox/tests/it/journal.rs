use std::path::{Path, PathBuf};

use bizing_sandbox::{Ledger, Options, Sandbox};
use serde_json::json;

use crate::support::*;

fn kept(path: &Path) -> Options {
    Options {
        journal: Some(path.to_owned()),
        smtp: Some("127.0.0.1:0".parse().unwrap()),
        ..Options::default()
    }
}

/// What a kill at this moment would leave behind.
fn as_killed(journal: &Path, cut: usize) -> PathBuf {
    let bytes = std::fs::read(journal).unwrap();
    let copy = journal.with_extension(format!("cut{cut}"));
    std::fs::write(&copy, &bytes[..bytes.len() - cut]).unwrap();
    copy
}

async fn ledger_of(journal: &Path) -> Ledger {
    let sandbox = Sandbox::start(kept(journal)).await.unwrap();
    let ledger = sandbox.ledger();
    sandbox.stop().await;
    ledger
}

#[tokio::test]
async fn a_killed_sandbox_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.jsonl");
    let api = start(kept(&path)).await;
    let intent = api.authorise(8000).await;
    let capture = format!("/v1/payment_intents/{intent}/capture");
    let (_, first) = api.post_as("key-1", &capture, &[]).await;
    api.post(
        "/v1/refunds",
        &[("payment_intent", &intent), ("amount", "3000")],
    )
    .await;
    api.sandbox.advance_clock(3_600);
    let expected = api.sandbox.ledger();
    let (_, events) = api.get("/v1/events?limit=100").await;

    let copy = as_killed(&path, 0);
    let again = start(kept(&copy)).await;
    assert_eq!(again.sandbox.ledger(), expected);
    assert_eq!(again.get("/v1/events?limit=100").await.1, events);
    let (status, second) = again.post_as("key-1", &capture, &[]).await;
    assert_eq!(
        (status, second),
        (200, first),
        "the key still knows its answer"
    );
    let (status, _) = again
        .post_as("key-1", &capture, &[("amount_to_capture", "1")])
        .await;
    assert_eq!(status, 400);
    // Its clock is where it was: a new object is an hour ahead of this computer.
    let made = again
        .post(
            "/v1/payment_intents",
            &[("amount", "500"), ("currency", "eur")],
        )
        .await
        .1;
    let ahead = made["created"].as_i64().unwrap() - made_now();
    assert!((3_590..=3_610).contains(&ahead), "{ahead}");
}

fn made_now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

#[tokio::test]
async fn a_torn_last_line_is_one_request_less_and_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.jsonl");
    let api = start(kept(&path)).await;
    let intent = api.authorise(8000).await;
    let before = api.sandbox.ledger();
    let length_before = std::fs::metadata(&path).unwrap().len();
    api.post_as(
        "key-1",
        &format!("/v1/payment_intents/{intent}/capture"),
        &[],
    )
    .await;
    let after = api.sandbox.ledger();
    let line = (std::fs::metadata(&path).unwrap().len() - length_before) as usize;

    assert_eq!(ledger_of(&as_killed(&path, 0)).await, after);
    for cut in [1, 2, line / 2, line - 1, line] {
        let copy = as_killed(&path, cut);
        assert_eq!(
            ledger_of(&copy).await,
            before,
            "{cut} of {line} bytes are missing"
        );
        // The same request goes through now, and the file that was cut takes new lines.
        let api = start(kept(&copy)).await;
        let (status, body) = api
            .post_as(
                "key-1",
                &format!("/v1/payment_intents/{intent}/capture"),
                &[],
            )
            .await;
        assert_eq!(status, 200, "{body}");
        api.sandbox.stop().await;
        assert_eq!(ledger_of(&copy).await.totals, after.totals);
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_journal_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "dear diary\nmore\n").unwrap();
    let error = Sandbox::start(kept(&path)).await.err().unwrap();
    assert!(format!("{error:#}").contains("line 1"), "{error:#}");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "dear diary\nmore\n"
    );
}

#[tokio::test]
async fn a_journal_has_one_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.jsonl");
    let first = start(kept(&path)).await;
    let error = Sandbox::start(kept(&path)).await.err().unwrap();
    assert!(error.to_string().contains("another sandbox"), "{error}");
    first.sandbox.stop().await;
    ledger_of(&path).await;
}

#[tokio::test]
async fn deadlines_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.jsonl");
    let api = start(kept(&path)).await;
    let intent = api.authorise(8000).await;
    api.sandbox.stop().await;
    let api = start(kept(&path)).await;
    api.sandbox.advance_clock(8 * 86_400);
    let (_, body) = api.get(&format!("/v1/payment_intents/{intent}")).await;
    assert_eq!(
        (&body["status"], &body["cancellation_reason"]),
        (&json!("canceled"), &json!("expired"))
    );
}
