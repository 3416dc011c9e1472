//! Disputes, as a person sees them: what is contested, why, and until when it can be answered.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::app::place::money;
use crate::app::wire::*;

const SELECT: &str = "select d.dispute_id, d.saga_id, d.booking_id, d.status, d.reason, d.amount_minor, d.currency, d.evidence_due_at, d.submissions,
        d.told_at, d.closed_at, d.problem, b.reference
   from read.disputes_v1 d left join read.bookings_v1 b on b.booking_id = d.booking_id";

/// Those that are open, the most pressing first.
pub async fn open(conn: &mut PgConnection) -> Result<Vec<Dispute>, AppError> {
    // The text is made of our own column list.
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{SELECT} where d.closed_at is null order by d.evidence_due_at nulls first, d.dispute_id limit 50"
    )))
    .fetch_all(conn)
    .await?;
    rows.iter().map(dispute).collect()
}

pub async fn of_booking(conn: &mut PgConnection, booking: Uuid) -> Result<Vec<Dispute>, AppError> {
    // The text is made of our own column list.
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{SELECT} where d.booking_id = $1 order by d.told_at, d.dispute_id"
    )))
    .bind(booking)
    .fetch_all(conn)
    .await?;
    rows.iter().map(dispute).collect()
}

fn dispute(row: &PgRow) -> Result<Dispute, AppError> {
    let amount: Option<i64> = row.try_get("amount_minor")?;
    let currency: Option<String> = row.try_get("currency")?;
    let submissions: Option<i32> = row.try_get("submissions")?;
    Ok(Dispute {
        dispute_id: row.try_get("dispute_id")?,
        saga_id: row.try_get("saga_id")?,
        booking_id: row.try_get("booking_id")?,
        reference: row.try_get("reference")?,
        status: row.try_get("status")?,
        reason: row.try_get("reason")?,
        amount: amount
            .zip(currency)
            .map(|(minor, code)| money(minor, &code)),
        evidence_due_at: row.try_get("evidence_due_at")?,
        answered: submissions.is_some_and(|n| n > 0),
        told_at: row.try_get("told_at")?,
        closed_at: row.try_get("closed_at")?,
        problem: row.try_get("problem")?,
    })
}
