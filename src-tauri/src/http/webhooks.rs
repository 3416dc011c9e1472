//! `/webhooks/stripe`: the bytes as they came, since the signature stands over them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bizing_engine::app::host::WebhookAnswer;

use super::Door;

/// Several times what Stripe sends at most.
pub const LARGEST_EVENT: usize = 1024 * 1024;

pub async fn stripe(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let signature = headers
        .get("stripe-signature")
        .and_then(|value| value.to_str().ok());
    match door.host.webhook(&body, signature).await {
        WebhookAnswer::Accepted => (StatusCode::OK, "accepted"),
        WebhookAnswer::Refused => (StatusCode::BAD_REQUEST, "the signature does not fit"),
        WebhookAnswer::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    }
}
