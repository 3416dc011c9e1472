//! The event store against real Postgres: what the functions and the constraints hold, not what Rust promises.

mod append;
mod browse;
mod claims;
mod commands;
mod committer;
mod each;
#[cfg(unix)]
mod full_disk;
mod limits;
mod migrate;
mod model;
mod order;
mod ordering;
mod partitions;
mod registry;
mod rights;
mod runs;
mod schemas;
mod seal;
mod subscribe;
mod transaction;

use bizing_engine::domain::event::{BookingConfirmed, Event, NotificationSent};
use bizing_engine::domain::ids::{BookingId, CorrelationId, DeliveryId};
use bizing_engine::store::append::{Append, AppendError, Appended, Context, Expected, append_in};
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

fn new_booking() -> BookingId {
    BookingId(Uuid::now_v7())
}

/// An event that only a worker may write, told apart by its text.
fn note(text: &str) -> Event {
    Event::NotificationSent(NotificationSent {
        delivery_id: DeliveryId(Uuid::from_u128(7)),
        template: "booking_confirmed".to_owned(),
        channel: "email".to_owned(),
        provider_message_id: text.to_owned(),
        attempt: 1,
    })
}

fn confirmed() -> Event {
    Event::BookingConfirmed(BookingConfirmed {
        confirmed_at: DateTime::UNIX_EPOCH,
        sequence: 0,
    })
}

fn context() -> Context {
    Context {
        correlation: CorrelationId(Uuid::now_v7()),
        causation: None,
        on_behalf_of: None,
    }
}

fn notes(booking: BookingId, expected: Expected, texts: &[&str]) -> Append {
    Append::new(
        booking,
        expected,
        texts.iter().map(|t| note(t)).collect(),
        Utc::now(),
    )
}

/// One use case's transaction: everything, or a rollback.
async fn append(pool: &PgPool, appends: Vec<Append>) -> Result<Vec<Appended>, AppendError> {
    append_as(pool, &context(), appends).await
}

async fn append_as(
    pool: &PgPool,
    context: &Context,
    appends: Vec<Append>,
) -> Result<Vec<Appended>, AppendError> {
    let mut tx = pool.begin().await?;
    let done = append_in(&mut tx, context, appends).await?;
    tx.commit().await?;
    Ok(done)
}

async fn one(pool: &PgPool, append_one: Append) -> Result<Appended, AppendError> {
    append(pool, vec![append_one])
        .await
        .map(|mut all| all.remove(0))
}

/// Texts of a stream's notes in the order of their versions, and of their positions: both must tell one story.
async fn texts(pool: &PgPool, booking: BookingId) -> Vec<String> {
    let by = |order: &str| {
        format!(
            "select coalesce(data->>'provider_message_id', name) from api.read_stream($1, 0) order by {order}"
        )
    };
    let stream = format!("booking-{booking}");
    let by_version: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(by("version")))
        .bind(&stream)
        .fetch_all(pool)
        .await
        .unwrap();
    let by_position: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(by("position")))
        .bind(&stream)
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(
        by_version, by_position,
        "the log shows a stream in the order of its versions"
    );
    by_version
}

async fn count(pool: &PgPool, what: &str) -> i64 {
    // The text is one of the tests' own.
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {what}")))
        .fetch_one(pool)
        .await
        .unwrap()
}

/// The SQLSTATE with which a statement was refused.
fn state<T: std::fmt::Debug>(result: sqlx::Result<T>) -> String {
    result
        .unwrap_err()
        .as_database_error()
        .and_then(|d| d.code())
        .map(|c| c.into_owned())
        .unwrap_or_default()
}

/// The function as plain SQL calls it: one event on a new stream, with metadata of the caller's choice.
async fn raw_append(
    pool: &PgPool,
    name: &str,
    schema: i16,
    metadata: serde_json::Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "select * from api.append(array[$1], array[null]::bigint[], array[null]::uuid[], array[null]::bytea[], array[1], array[gen_random_uuid()], array[$2],
                                  array[$3], array[now()], array[gen_random_uuid()], array[null]::uuid[], array[$4], array['{}']::jsonb[])",
    )
    .bind(format!("booking-{}", new_booking()))
    .bind(name)
    .bind(schema)
    .bind(metadata)
    .execute(pool)
    .await
    .map(|_| ())
}
