//! The money line of a booking: what its events say, and whether an answer is missing.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::app::place::money;
use crate::app::wire::{AppError, MoneyLine};

/// A saga's call to a provider, as far as the page needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Effect {
    pub outcome: String,
    pub resolved_at: Option<DateTime<Utc>>,
}

pub fn money_line(row: &PgRow, effects: &[Effect]) -> Result<MoneyLine, AppError> {
    let currency: &str = row.try_get("currency")?;
    let captured: i64 = row.try_get("captured_minor")?;
    let refunded: i64 = row.try_get("refunded_minor")?;
    Ok(MoneyLine {
        price: money(row.try_get("price_minor")?, currency),
        authorised: money(row.try_get("authorised_minor")?, currency),
        captured: money(captured, currency),
        refunded: money(refunded, currency),
        kept: money(captured - refunded, currency),
        payment_intent: row.try_get("payment_intent")?,
        as_of: effects.iter().filter_map(|e| e.resolved_at).max(),
        unknown: effects.iter().any(|e| e.outcome == "unknown"),
    })
}
