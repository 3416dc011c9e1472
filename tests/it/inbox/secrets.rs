//! Secrets that an admin added: what is signed with one is taken by a computer whose environment names none.

use std::time::Duration;

use bizing_sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{event, signature};
use crate::host;
use crate::served::{Served, data_folder};
use crate::support::wait_until;

/// A computer reads them again after ten seconds.
const READ_AGAIN: Duration = Duration::from_secs(120);
const FIRST: &str = "whsec_the_first_of_this_test";
const SECOND: &str = "whsec_the_second_of_this_test";
const THIRD: &str = "whsec_the_third_of_this_test";

/// What `serve` answers to an event that is signed with it.
async fn post(served: &Served, secret: &str) -> u16 {
    let object = json!({ "id": "pi_of_another_shop", "object": "payment_intent" });
    let id = format!("evt_{}", Uuid::now_v7().simple());
    let body = event(&id, "payment_intent.succeeded", object).to_string();
    let at = chrono::Utc::now().timestamp();
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/webhooks/stripe", served.url))
        .header("stripe-signature", signature(&body, secret, at))
        .body(body)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn add(served: &Served, secret: &str, others_for_h: Option<u32>) -> Value {
    let request = json!({
        "secret_id": Uuid::now_v7(), "secret": secret, "others_for_h": others_for_h, "reason": "Stripe's endpoint was rolled",
    });
    served.ok("add_incoming_secret", request).await
}

#[tokio::test]
async fn what_is_signed_with_a_secret_that_an_admin_added_is_taken_until_it_ends() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let data = data_folder();
    let served = Served::with(
        data.path(),
        &[
            ("BIZING_STRIPE_KEY", "sk_test_sandbox"),
            ("BIZING_STRIPE_URL", &sandbox.url()),
            ("BIZING_STRIPE_POLL", "off"),
        ],
    );
    served.enter().await;
    let own = host::own("Aurora", "Europe/Lisbon");
    served.ok("choose_start", own).await;
    served.ready().await;
    assert_eq!(
        post(&served, FIRST).await,
        503,
        "nothing can be checked yet"
    );

    add(&served, FIRST, None).await;
    wait_until("it is known", READ_AGAIN, async || {
        post(&served, FIRST).await == 200
    })
    .await;
    // Rolled: both count at once, and the old one ends tomorrow.
    let rolled = add(&served, SECOND, Some(24)).await;
    wait_until("the new one is known", READ_AGAIN, async || {
        post(&served, SECOND).await == 200
    })
    .await;
    assert_eq!(post(&served, FIRST).await, 200);
    assert_eq!(post(&served, THIRD).await, 400, "of nobody here");
    assert_eq!(rolled["secrets"][0]["expires_at"], Value::Null);
    assert!(rolled["secrets"][1]["expires_at"].is_string());

    // It became known: the others end when the new one begins.
    let alone = add(&served, THIRD, Some(0)).await;
    assert_eq!(alone["secrets"].as_array().unwrap().len(), 1);
    wait_until("the others are refused", READ_AGAIN, async || {
        post(&served, FIRST).await == 400 && post(&served, SECOND).await == 400
    })
    .await;
    assert_eq!(post(&served, THIRD).await, 200);

    let end = json!({ "secret_id": alone["secrets"][0]["secret_id"], "reason": "the endpoint is gone at Stripe" });
    let none = served.ok("end_incoming_secret", end).await;
    wait_until("nothing is taken", READ_AGAIN, async || {
        post(&served, THIRD).await == 503
    })
    .await;
    assert_eq!(none["secrets"], json!([]));
    let changes = none["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 4, "each stays in the log: {none}");
    assert_eq!(
        (&changes[0]["added"], &changes[0]["hint"]),
        (&json!(false), &json!("whsec_…test"))
    );
    let shown = none.to_string() + &served.log();
    assert!(
        [FIRST, SECOND, THIRD].iter().all(|s| !shown.contains(s)),
        "none is shown or logged"
    );
}
