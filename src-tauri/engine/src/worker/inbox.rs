//! The inbox: what came in is handed to the sagas concerned, and forgotten when nobody looks at it any more.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::WorkerParts;
use crate::runtime::bell::Bell;
use crate::webhook::inbox;

const INBOX_AT_ONCE: i32 = 100;
/// Little against the time that a saga then takes to ask the provider.
const GATHER: Duration = Duration::from_millis(20);
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Little enough to hold up nobody.
const FORGOTTEN_AT_ONCE: i32 = 1000;

pub fn start(parts: &WorkerParts) {
    let (pool, bell, idle, stop) = (
        parts.pool.clone(),
        parts.bell.clone(),
        parts.pace.idle,
        parts.tasks.stopping(),
    );
    parts.tasks.forever("inbox", move || {
        process_inbox(pool.clone(), bell.clone(), idle, stop.clone())
    });
    let (pool, stop) = (parts.pool.clone(), parts.tasks.stopping());
    parts.tasks.forever("inbox retention", move || {
        forget_arrivals(pool.clone(), stop.clone())
    });
}

async fn process_inbox(pool: PgPool, bell: Bell, idle: Duration, stop: CancellationToken) {
    let mut rings = bell.listen();
    loop {
        rings.borrow_and_update();
        match inbox::process(&pool, INBOX_AT_ONCE).await {
            Ok(0) => {}
            Ok(n) => {
                bell.ring();
                // A storm is handed over many at a time: each turn costs a commit, and wakes everybody.
                if n < INBOX_AT_ONCE {
                    tokio::time::sleep(GATHER).await;
                }
                continue;
            }
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the inbox could not be read; trying again"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rings.changed() => {}
            () = bell.arrival() => {}
            () = tokio::time::sleep(idle) => {}
        }
    }
}

async fn forget_arrivals(pool: PgPool, stop: CancellationToken) {
    loop {
        let pause = match inbox::forget(&pool, FORGOTTEN_AT_ONCE).await {
            Ok(n) if n >= FORGOTTEN_AT_ONCE => Duration::from_millis(200),
            Ok(_) => FORGET_EVERY,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "old arrivals are still there; trying again"
                );
                Duration::from_secs(60)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
