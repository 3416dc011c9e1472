use std::{collections::BTreeMap, time::Duration};

use bizing_sandbox::{Options, Sandbox};
use bizing_stripe::{
    Answer, Checkout, Config, Encoded, EventRecord, Failure, Intent, Object, Operation, Refund,
    Secret, Stripe,
};

pub const KEY: &str = "sk_test_sandbox";

/// A sandbox and a client for it. The time-out is short, since nothing here is far away.
pub struct World {
    pub sandbox: Sandbox,
    pub stripe: Stripe,
}

pub async fn world() -> World {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let stripe = stripe(&sandbox.url(), KEY);
    World { sandbox, stripe }
}

pub fn stripe(base_url: &str, key: &str) -> Stripe {
    let config = Config {
        base_url: base_url.to_owned(),
        secret_key: Secret::new(key),
        timeout: Duration::from_secs(2),
    };
    Stripe::new(http(), config)
}

pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

pub fn metadata(effect: &str) -> BTreeMap<String, String> {
    [
        ("saga_id", "saga-1"),
        ("booking_id", "booking-1"),
        ("effect_id", effect),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

pub fn create(payment_method: &str) -> Encoded {
    create_for(8000, payment_method, "effect-1")
}

pub fn create_for(amount_minor: i64, payment_method: &str, effect: &str) -> Encoded {
    Operation::CreateIntent {
        amount_minor,
        currency: "EUR".to_owned(),
        payment_method: payment_method.to_owned(),
        customer: None,
        description: Some("Booking 7K2M, cut & colour".to_owned()),
        metadata: metadata(effect),
    }
    .encode()
}

pub fn create_checkout(expires_at: i64, effect: &str) -> Encoded {
    Operation::CreateCheckout {
        amount_minor: 8000,
        currency: "eur".to_owned(),
        product_name: "Cut & <colour>".to_owned(),
        success_url: "https://salon.example/thanks?session={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: "https://salon.example/".to_owned(),
        customer_email: Some("ada@example.com".to_owned()),
        expires_at,
        client_reference_id: "booking-1".to_owned(),
        metadata: metadata(effect),
    }
    .encode()
}

pub fn capture(intent: &str) -> Encoded {
    Operation::Capture {
        payment_intent: intent.to_owned(),
        amount_minor: None,
    }
    .encode()
}

pub fn refund(intent: &str, amount_minor: i64) -> Encoded {
    Operation::Refund {
        payment_intent: intent.to_owned(),
        amount_minor,
        metadata: metadata("effect-refund"),
    }
    .encode()
}

pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

impl World {
    pub async fn authorised(&self, key: &str) -> Intent {
        intent(self.stripe.send(&create("pm_card_visa"), key).await)
    }

    pub async fn captured(&self, key: &str) -> Intent {
        let held = self.authorised(key).await;
        intent(
            self.stripe
                .send(&capture(&held.id), &format!("{key}:capture"))
                .await,
        )
    }
}

pub fn intent(answer: Result<Answer, Failure>) -> Intent {
    match answer.unwrap().object {
        Object::Intent(intent) => intent,
        other => panic!("not an intent: {other:?}"),
    }
}

pub fn checkout(answer: Result<Answer, Failure>) -> Checkout {
    match answer.unwrap().object {
        Object::Checkout(checkout) => checkout,
        other => panic!("not a checkout: {other:?}"),
    }
}

pub fn refunded(answer: Result<Answer, Failure>) -> Refund {
    match answer.unwrap().object {
        Object::Refund(refund) => refund,
        other => panic!("not a refund: {other:?}"),
    }
}

/// The code of a refusal.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    match result.unwrap_err() {
        Failure::Refused { code, .. } => code,
        other => panic!("not refused: {other:?}"),
    }
}

/// Everything of the last minute, oldest first, a page at a time.
pub async fn all_events(stripe: &Stripe) -> Vec<EventRecord> {
    let mut all: Vec<EventRecord> = Vec::new();
    loop {
        let after = all.last().map(|event| event.id.clone());
        let page = stripe
            .events_since(now() - 60, &[], after.as_deref())
            .await
            .unwrap();
        all.extend(page.events);
        if !page.has_more {
            all.reverse();
            return all;
        }
    }
}
