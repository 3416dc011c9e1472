//! The money line of a booking: what its events say, and whether an answer is missing.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::app::place::money;
use crate::app::wire::{AppError, Money, MoneyLine};

/// A saga's call to a provider, as far as the page needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Effect {
    pub outcome: String,
    pub resolved_at: Option<DateTime<Utc>>,
}

/// What moved beside payments and refunds.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Beside {
    /// What disputes have taken and not given back, in minor units.
    disputed_minor: i64,
    /// What stays by the newest decision about a refund.
    kept_minor: i64,
    fee: Option<Json<Money>>,
}

pub async fn beside(conn: &mut PgConnection, booking: Uuid) -> sqlx::Result<Beside> {
    sqlx::query_as(
        "select coalesce(sum((data->'amount'->>'amount_minor')::bigint * case event_name when 'DisputeFundsWithdrawn' then 1 when 'DisputeFundsReinstated' then -1 end), 0)::bigint as disputed_minor,
                coalesce((array_agg((data->'amount'->>'amount_minor')::bigint order by position desc) filter (where event_name = 'RemainderKept'))[1], 0) as kept_minor,
                (array_agg(data->'fee') filter (where event_name = 'ProviderFeeCharged'))[1] as fee
           from read.timeline_v1 where booking_id = $1 and event_name in ('DisputeFundsWithdrawn', 'DisputeFundsReinstated', 'RemainderKept', 'ProviderFeeCharged')",
    )
    .bind(booking)
    .fetch_one(conn)
    .await
}

pub fn money_line(row: &PgRow, effects: &[Effect], beside: Beside) -> Result<MoneyLine, AppError> {
    let disputed = beside.disputed_minor;
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
        kept_by_decision: money(beside.kept_minor.min(captured - refunded).max(0), currency),
        fee: beside.fee.map(|fee| fee.0),
        payment_intent: row.try_get("payment_intent")?,
        as_of: effects.iter().filter_map(|e| e.resolved_at).max(),
        unknown: effects.iter().any(|e| e.outcome == "unknown"),
    })
}
