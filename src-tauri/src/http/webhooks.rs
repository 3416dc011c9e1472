//! `/webhooks/stripe`: the bytes as they came, since the signature stands over them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bizing_engine::app::host::{Host, WebhookAnswer};

use super::Door;

/// Several times what Stripe sends at most.
pub const LARGEST_EVENT: usize = 1024 * 1024;

pub async fn stripe(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    take(&door.host, &headers, &body).await
}

/// The same, where nothing but the host is behind the address.
pub async fn to_host(
    State(host): State<Host>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    take(&host, &headers, &body).await
}

async fn take(host: &Host, headers: &HeaderMap, body: &[u8]) -> (StatusCode, &'static str) {
    let signature = headers
        .get("stripe-signature")
        .and_then(|value| value.to_str().ok());
    match host.webhook(body, signature).await {
        WebhookAnswer::Accepted => (StatusCode::OK, "accepted"),
        WebhookAnswer::Refused => (StatusCode::BAD_REQUEST, "the signature does not fit"),
        WebhookAnswer::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    }
}
