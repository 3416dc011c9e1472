//! What comes in: kept before it is acted on, once however often and in whatever way it comes, and refused if it is not genuine.

pub mod alone;
mod many;
mod poll;
mod process;
mod secrets;
mod seen;
mod storm;

use bizing_stripe::EventRecord;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

pub const SECRET: &str = "whsec_of_this_test";

/// An event as Stripe writes it.
pub fn event(id: &str, kind: &str, object: Value) -> Value {
    json!({
        "id": id, "object": "event", "type": kind, "created": chrono::Utc::now().timestamp(), "livemode": false,
        "api_version": "2025-09-30.clover", "data": { "object": object },
    })
}

pub fn record(event: &Value) -> EventRecord {
    bizing_stripe::webhook::parse_event(event.to_string().as_bytes()).unwrap()
}

/// The header that Stripe would send with this body.
pub fn signature(body: &str, secret: &str, at: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={at},v1={digest}")
}
