//! What the window asks and does about endpoints and deliveries, through the functions that it calls.

mod decisions;
mod deliveries;
mod endpoints;
mod secrets;
mod trials;

use std::collections::BTreeMap;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::endpoints as app_endpoints;
use bizing_engine::app::wire::*;
use bizing_engine::delivery::webhook::sign::SigningSecret;
use uuid::Uuid;

fn put(url: &str) -> PutEndpoint {
    PutEndpoint {
        destination_id: Uuid::now_v7(),
        version: None,
        name: "Accounting".to_owned(),
        url: url.to_owned(),
        note: None,
        shape: None,
        events: vec!["CalendarSynced".to_owned()],
        filter: None,
        sending: sending().into(),
    }
}

fn sending() -> EndpointSending {
    EndpointSending {
        schedule_s: vec![0, 0],
        timeout_ms: 3_000,
        max_in_flight: 4,
        rate_per_s: None,
        in_order: false,
        headers: BTreeMap::from([("X-Shop".to_owned(), "secret 42".to_owned())]),
    }
}

async fn made(desk: &Desk, url: &str) -> (Endpoint, SigningSecret) {
    let saved = app_endpoints::put(desk, put(url)).await.unwrap();
    let secret = SigningSecret::parse(&saved.secret.unwrap()).unwrap();
    (saved.endpoint, secret)
}

fn field(error: &AppError) -> &str {
    error.field.as_deref().unwrap_or_default()
}
