use bizing_sandbox::{Fault, Options, Sandbox, WebhookTarget};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn it_listens_on_this_computer_only() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let options = Options {
            listen: address.parse().unwrap(),
            ..Options::default()
        };
        let error = Sandbox::start(options).await.err().unwrap();
        assert!(error.to_string().contains("this computer only"), "{error}");
        let options = Options {
            smtp: Some(address.parse().unwrap()),
            ..Options::default()
        };
        assert!(Sandbox::start(options).await.is_err());
    }
    let api = start(Options::default()).await;
    let answer = api
        .request("/_sandbox/ledger")
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 421, "another site's name is not answered");
}

#[tokio::test]
async fn a_stranger_and_a_typo_are_refused() {
    let api = start(Options::default()).await;
    let answer = api
        .request("/v1/events")
        .bearer_auth("sk_live_x")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    assert!(
        answer.headers()["request-id"]
            .to_str()
            .unwrap()
            .starts_with("req_")
    );
    let (status, body) = api.get("/v1/payment_intent").await;
    assert_eq!(
        (status, &body["error"]["type"]),
        (404, &json!("invalid_request_error"))
    );
    let form = [("amount", "500"), ("currency", "eur"), ("amonut", "1")];
    let (status, body) = api.post("/v1/payment_intents", &form).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("parameter_unknown"))
    );
    assert_eq!(
        api.get("/v1/events").await.1["data"],
        json!([]),
        "nothing refused leaves an event"
    );
}

#[tokio::test]
async fn the_version_is_echoed() {
    let api = start(Options::default()).await;
    let asked = api
        .request("/v1/events")
        .bearer_auth("sk_test_sandbox")
        .header("stripe-version", "2025-03-31.basil");
    assert_eq!(
        asked.send().await.unwrap().headers()["stripe-version"],
        "2025-03-31.basil"
    );
}

#[tokio::test]
async fn faults_and_the_clock_can_be_set_over_http() {
    let api = start(Options::default()).await;
    let rule =
        json!({"operation": "capture", "nth": 1, "fault": {"kind": "stored500", "effect": true}});
    assert_eq!(api.tell("/_sandbox/faults", rule).await, 204);
    let intent = api.authorise(8000).await;
    let path = format!("/v1/payment_intents/{intent}/capture");
    assert_eq!(api.post_as("k", &path, &[]).await.0, 500);
    assert_eq!(
        api.post_as("k", &path, &[]).await.0,
        500,
        "it is stored under its key"
    );
    assert_eq!(api.sandbox.ledger().totals.captured, 8000);
    let fired = api.sandbox.faults().fired();
    assert_eq!(
        (fired.len(), fired[0].fault),
        (1, Fault::Stored500 { effect: true })
    );

    let held = api.authorise(5000).await;
    assert_eq!(
        api.tell("/_sandbox/clock", json!({"advance_s": 8 * 86_400}))
            .await,
        200
    );
    let (_, ledger) = read_json(&api, "/_sandbox/ledger").await;
    let payment = ledger["payments"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["payment_intent"] == json!(held))
        .unwrap();
    assert_eq!(
        (&payment["cancelled"], &payment["held"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(
        api.tell("/_sandbox/faults", json!({"operation": "capture"}))
            .await,
        422
    );
}

async fn read_json(api: &Api, path: &str) -> (u16, serde_json::Value) {
    let answer = api.request(path).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_stop_the_work() {
    let api = start(Options::default()).await;
    let rule = json!({"operation": "capture", "nth": 1, "fault": {"kind": "late", "ms": 300}});
    api.tell("/_sandbox/faults", rule).await;
    let intent = api.authorise(8000).await;
    let path = format!("/v1/payment_intents/{intent}/capture");
    let gave_up = tokio::time::timeout(
        std::time::Duration::from_millis(50),
        api.post_as("k", &path, &[]),
    )
    .await;
    assert!(gave_up.is_err());
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while api.sandbox.ledger().totals.captured == 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the capture never happened"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_overview_shows_what_there_is_and_escapes_it() {
    let api = start(Options::default()).await;
    let form = [
        ("amount", "500"),
        ("currency", "eur"),
        ("metadata[booking_id]", "<script>x</script>"),
    ];
    api.post("/v1/payment_intents", &form).await;
    let answer = api.request("/").send().await.unwrap();
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("€5.00") && page.contains("requires payment method"),
        "{page}"
    );
    assert!(!page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn stopping_does_not_wait_for_an_endpoint_that_is_away() {
    let api = start(Options::default()).await;
    let target = WebhookTarget {
        url: "http://127.0.0.1:9/".to_owned(),
        secret: "whsec_x".to_owned(),
    };
    api.sandbox.set_webhook(Some(target));
    api.authorise(8000).await;
    let stopped =
        tokio::time::timeout(std::time::Duration::from_secs(10), api.sandbox.stop()).await;
    assert!(stopped.is_ok());
}
