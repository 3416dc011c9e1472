//! The money line of a booking: what its events say, and whether an answer is missing.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::app::place::money;
use crate::app::wire::{AppError, MoneyLine};

/// A saga's call to a provider, as far as the page needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Effect {
    pub outcome: String,
    pub resolved_at: Option<DateTime<Utc>>,
}

/// What disputes have taken from a booking and not given back, in minor units.
pub async fn with_the_bank(conn: &mut PgConnection, booking: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select coalesce(sum((data->'amount'->>'amount_minor')::bigint * case event_name when 'DisputeFundsWithdrawn' then 1 else -1 end), 0)::bigint
           from read.timeline_v1 where booking_id = $1 and event_name in ('DisputeFundsWithdrawn', 'DisputeFundsReinstated')",
    )
    .bind(booking)
    .fetch_one(conn)
    .await
}

/// `disputed`: see [`with_the_bank`].
pub fn money_line(row: &PgRow, effects: &[Effect], disputed: i64) -> Result<MoneyLine, AppError> {
    let currency: &str = row.try_get("currency")?;
    let captured: i64 = row.try_get("captured_minor")?;
    let refunded: i64 = row.try_get("refunded_minor")?;
    Ok(MoneyLine {
        price: money(row.try_get("price_minor")?, currency),
        authorised: money(row.try_get("authorised_minor")?, currency),
        captured: money(captured, currency),
        refunded: money(refunded, currency),
        disputed: money(disputed, currency),
        kept: money(captured - refunded - disputed, currency),
        payment_intent: row.try_get("payment_intent")?,
        as_of: effects.iter().filter_map(|e| e.resolved_at).max(),
        unknown: effects.iter().any(|e| e.outcome == "unknown"),
    })
}
