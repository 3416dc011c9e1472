//! What the last look at the hash chain found, kept for whoever reads the log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use super::Report;
use crate::app::wire::AppError;

const SETTING: &str = "chain_check";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    pub at: DateTime<Utc>,
    pub intact: bool,
    pub events: i64,
    /// Position of the first event that is not as it was written.
    pub broken_at: Option<i64>,
}

/// Keeps what a deep report says of the chain. Only an admin's login may; for others it is no fault.
pub async fn remember(people: &PgPool, report: &Report) -> Result<(), AppError> {
    let Some(finding) = report.audits.iter().find(|a| a.name == "stream.hash_chain") else {
        return Ok(());
    };
    let mut conn = people.acquire().await?;
    let (at, events): (DateTime<Utc>, i64) =
        sqlx::query_as("select now(), count(*) from read.log_v1")
            .fetch_one(&mut *conn)
            .await?;
    let chain = Chain {
        at,
        intact: finding.ok,
        events,
        broken_at: finding
            .sample
            .iter()
            .filter_map(|line| position(line))
            .min(),
    };
    let kept = sqlx::query("select api.put_setting($1, $2)")
        .bind(SETTING)
        .bind(sqlx::types::Json(chain))
        .execute(&mut *conn)
        .await;
    match kept {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// `None`: nobody ever looked.
pub async fn last(conn: &mut PgConnection) -> Result<Option<Chain>, AppError> {
    let value: Option<serde_json::Value> =
        sqlx::query_scalar("select value from read.settings_v1 where name = $1")
            .bind(SETTING)
            .fetch_optional(conn)
            .await?;
    // What another version kept in another shape is as if nobody had looked.
    Ok(value.and_then(|v| serde_json::from_value(v).ok()))
}

/// The finding names it in words.
fn position(line: &str) -> Option<i64> {
    let digits = line.split("position ").nth(1)?;
    digits
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
