//! A payment that only a webhook tells of, through the real `serve`: Stripe is asked for nothing without one.

use std::time::Duration;

use bizing_sandbox::{Options, Sandbox, WebhookTarget};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{SECRET, event, signature};
use crate::host;
use crate::served::{Served, data_folder};
use crate::support::wait_until;

/// The sandbox tries a refused webhook again after up to 20 s.
const RETRIED: Duration = Duration::from_secs(240);

#[tokio::test]
async fn a_signed_webhook_alone_confirms_a_booking_and_a_forged_one_confirms_nothing() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let data = data_folder();
    let served = Served::with(
        data.path(),
        &[
            ("BIZING_STRIPE_KEY", "sk_test_sandbox"),
            ("BIZING_STRIPE_URL", &sandbox.url()),
            ("BIZING_STRIPE_WEBHOOK_SECRET", SECRET),
            ("BIZING_STRIPE_POLL", "off"),
        ],
    );
    served.enter().await;
    let own = host::own("Aurora", "Europe/Lisbon");
    served.ok("choose_start", own).await;
    served.ready().await;
    let cluster = host::cluster(data.path().join("postgres")).await;
    let mut conn = host::superuser(&cluster, "bizing_own").await;
    sqlx::query("update booking.service set price_minor = 8000")
        .execute(&mut conn)
        .await
        .unwrap();
    let signed_with = |secret: &str| {
        sandbox.set_webhook(Some(WebhookTarget {
            url: format!("{}/webhooks/stripe", served.url),
            secret: secret.to_owned(),
        }));
    };

    let booking = book_by_link(&served).await;
    let page = payment_page(&served, &booking).await;
    signed_with("whsec_of_somebody_else");
    pay(&page).await;
    wait_until("the forged events are refused", RETRIED, async || {
        served.log().contains("a webhook is refused")
    })
    .await;
    // An event of ours that comes after them and is worked off: had they done anything, it would be done.
    post_event(&served, "evt_after_the_forged_ones").await;
    wait_until("a later event is worked off", RETRIED, async || {
        inbox(&mut conn).await == ["evt_after_the_forged_ones: not_ours"]
    })
    .await;
    assert_eq!(state(&served, &booking).await, "awaiting_payment");

    // The same events again, and this time with the right signature.
    signed_with(SECRET);
    wait_until("the booking is confirmed", RETRIED, async || {
        state(&served, &booking).await == "confirmed"
    })
    .await;
    let told: i64 = sqlx::query_scalar(
        "select count(*) from delivery.inbox where via = 'webhook' and state = 'done'",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert!(told > 0);
    let asked: i64 = sqlx::query_scalar(
        "select (select count(*) from delivery.inbox where via <> 'webhook') + (select count(*) from delivery.poll_cursor where checked_at is not null and source = 'stripe')",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(asked, 0, "Stripe's list of events was never read");
    assert_eq!(sandbox.ledger().totals.captured, 8000);
    drop(conn);
    assert!(served.stop().await.success());
}

pub async fn book_by_link(served: &Served) -> Value {
    let catalogue = served.ok("catalogue", json!({})).await;
    let service = &catalogue["services"][0]["service_id"];
    let mut date = (chrono::Utc::now() + chrono::Days::new(7))
        .date_naive()
        .to_string();
    let time = loop {
        let asked = json!({ "service_id": service, "date": date, "staff_id": null });
        let free = served.ok("free_times", asked).await;
        match free["times"].get(0) {
            Some(time) => break time.clone(),
            None => date = free["next_date"].as_str().unwrap().to_owned(),
        }
    };
    let request = json!({
        "command_id": Uuid::now_v7(),
        "customer": { "is": "new", "name": "Marta Webhook", "email": "marta@example.com", "phone": null },
        "service_id": service,
        "staff_id": time["staff"]["id"],
        "room_id": null,
        "starts": &time["starts"]["wall"].as_str().unwrap()[..16],
        "fold": null,
        "payment_mode": "link",
        "payment_method": null,
    });
    served.ok("create_booking", request).await["booking_id"].clone()
}

async fn payment_page(served: &Served, booking: &Value) -> String {
    let mut url = Value::Null;
    // The list follows the log: at first there may be no such booking.
    wait_until("the payment page is there", RETRIED, async || {
        let (_, page) = served
            .rpc("get_booking", json!({ "booking": booking }))
            .await;
        url = page["pay_url"].clone();
        url.is_string()
    })
    .await;
    url.as_str().unwrap().to_owned()
}

async fn pay(page: &str) {
    let browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let paid = browser.post(page).form(&[("action", "pay")]).send().await;
    assert!(paid.unwrap().status().is_redirection());
}

async fn state(served: &Served, booking: &Value) -> String {
    let page = served
        .ok("get_booking", json!({ "booking": booking }))
        .await;
    page["row"]["state"].as_str().unwrap().to_owned()
}

/// Signed with our secret, about an object that no booking knows.
async fn post_event(served: &Served, id: &str) {
    let object = json!({ "id": "pi_of_another_shop", "object": "payment_intent" });
    let body = event(id, "payment_intent.succeeded", object).to_string();
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/webhooks/stripe", served.url))
        .header(
            "stripe-signature",
            signature(&body, SECRET, chrono::Utc::now().timestamp()),
        )
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

async fn inbox(conn: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("select external_id || ': ' || state from delivery.inbox order by inbox_id")
        .fetch_all(conn)
        .await
        .unwrap()
}
