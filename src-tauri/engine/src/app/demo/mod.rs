//! The demo business: two weeks back, two weeks ahead, in every state in which a booking can end.
//!
//! It is written through the same doors as everything else: catalogue, holds and appends through `api` by the person,
//! what follows from them by the worker. What is still open is not seeded: its payments would be unknown to the sandbox.
//! The same clock deals the same demo, and a seeding that was cut short goes on where it stopped.

mod business;
mod dice;
mod history;
mod plan;
mod telling;
mod write;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use self::history::History;
use super::error::internal;
use super::wire::AppError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeedReport {
    pub customers: usize,
    pub bookings: usize,
    pub sagas: usize,
    /// False: the demo was there already.
    pub seeded: bool,
}

const SETTING: &str = "demo.seed";
/// One process seeds; a second one waits and finds it done.
const LOCK: i64 = 0x6465_6d6f;

/// `people_admin` logs in as an admin, `worker` as the worker. Two transactions, each whole or not at all.
pub async fn seed(
    people_admin: &PgPool,
    worker: &PgPool,
    now: DateTime<Utc>,
) -> Result<SeedReport, AppError> {
    let mut tx = crate::store::begin(people_admin).await?;
    lock(&mut tx).await?;
    let begun: Option<serde_json::Value> =
        sqlx::query_scalar("select value from read.settings_v1 where name = $1")
            .bind(SETTING)
            .fetch_optional(&mut *tx)
            .await?;
    // A seeding that was cut short is finished with its own clock, so that both halves tell one story.
    let now = match &begun {
        Some(value) => serde_json::from_value(value["now"].clone()).map_err(internal)?,
        None => now,
    };
    let histories: Vec<History> = plan::plan(now).iter().map(history::tell).collect();
    let mut seeded = false;
    if begun.is_none() {
        write::open(&mut tx, &histories, now).await?;
        sqlx::query("select api.put_setting($1, $2), api.put_setting('default_location', $3)")
            .bind(SETTING)
            .bind(json!({ "now": now }))
            .bind(json!(business::location_id()))
            .execute(&mut *tx)
            .await?;
        seeded = true;
    }
    tx.commit().await?;

    let mut tx = crate::store::begin(worker).await?;
    lock(&mut tx).await?;
    let first = histories.first().map(|h| h.saga.0);
    let done: bool =
        sqlx::query_scalar("select exists (select 1 from saga.instance where saga_id = $1)")
            .bind(first)
            .fetch_one(&mut *tx)
            .await?;
    if !done {
        write::rest(&mut tx, &histories, now).await?;
        seeded = true;
    }
    tx.commit().await?;
    Ok(SeedReport {
        customers: business::CUSTOMERS.len(),
        bookings: histories.len(),
        sagas: histories.len(),
        seeded,
    })
}

async fn lock(conn: &mut PgConnection) -> Result<(), AppError> {
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(conn)
        .await?;
    Ok(())
}
