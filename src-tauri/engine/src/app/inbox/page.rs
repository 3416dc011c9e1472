//! One arrival: how it came, why it is or is not believed, and what followed.

use bizing_stripe::webhook::TOLERANCE_S;
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::list::{COLUMNS, row};
use super::managers_only;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;

/// So much of an event is shown.
const LONGEST_RAW: usize = 256 * 1024;

pub async fn get(desk: &Desk, request: GetArrival) -> Result<Arrival, AppError> {
    let mut tx = crate::store::begin(&desk.people).await?;
    let found = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {COLUMNS}, a.api_version, a.created_at, a.bytes, a.secret_no, a.secrets, a.signed_at, a.skew_s, a.receiver, a.saga_id
           from read.arrivals_v1 a where a.arrival_id = $1"
    )))
    .bind(request.arrival_id)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| AppError::new(Code::NotFound, "That arrival is not here any more. They are kept for 90 days, refused ones for 30."))?;
    let shown = row(&found)?;
    let inbox: Option<i64> = found.try_get("inbox_id")?;
    let saga_id: Option<Uuid> = found.try_get("saga_id")?;
    let raw = match inbox {
        Some(id) if desk.group >= Group::Staff => payload(&mut tx, id).await?,
        _ => None,
    };
    let mut steps = arrivals(&mut tx, &shown).await?;
    if let Some(external) = &shown.external_id {
        steps.extend(consequences(&mut tx, external).await?);
    }
    steps.sort_by_key(|step| step.at);
    let reprocess_refused = refused(desk, inbox);
    let whole = |name: &str| -> Result<Option<u32>, AppError> {
        let n: Option<i16> = found.try_get(name)?;
        Ok(n.map(|n| n.unsigned_abs().into()))
    };
    Ok(Arrival {
        api_version: found.try_get("api_version")?,
        created_at: found.try_get("created_at")?,
        bytes: found
            .try_get::<Option<i32>, _>("bytes")?
            .map(i32::unsigned_abs),
        secret_no: whole("secret_no")?,
        secrets: whole("secrets")?,
        signed_at: found.try_get("signed_at")?,
        tolerance_s: TOLERANCE_S.unsigned_abs() as u32,
        skew_s: found.try_get("skew_s")?,
        receiver: found.try_get("receiver")?,
        saga_id,
        steps,
        raw,
        reprocess_refused,
        row: shown,
    })
}

fn refused(desk: &Desk, inbox: Option<i64>) -> Option<String> {
    if inbox.is_none() {
        return Some("It was not taken in, so there is nothing to process again.".to_owned());
    }
    managers_only(desk)
}

async fn payload(conn: &mut PgConnection, inbox: i64) -> Result<Option<String>, AppError> {
    let value: Option<serde_json::Value> = sqlx::query_scalar("select api.inbox_payload($1)")
        .bind(inbox)
        .fetch_one(conn)
        .await?;
    let Some(value) = value else { return Ok(None) };
    let mut text = serde_json::to_string_pretty(&value).map_err(internal)?;
    if text.len() > LONGEST_RAW {
        let end = (0..=LONGEST_RAW)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
    }
    Ok(Some(text))
}

#[derive(FromRow)]
struct Coming {
    received_at: DateTime<Utc>,
    via: String,
    arrival_result: String,
    receiver: Option<String>,
}

/// Every coming of the same event, in whatever way.
async fn arrivals(conn: &mut PgConnection, shown: &InboxRow) -> Result<Vec<InboxStep>, AppError> {
    let all: Vec<Coming> = sqlx::query_as(
        "select received_at, via, arrival_result, receiver from read.arrivals_v1
          where arrival_id = $1 or (source = $2 and external_id = $3) order by received_at limit 50",
    )
    .bind(shown.arrival_id)
    .bind(&shown.source)
    .bind(&shown.external_id)
    .fetch_all(conn)
    .await?;
    Ok(all
        .into_iter()
        .map(|a| {
            let what = match (a.arrival_result.as_str(), a.via.as_str()) {
                ("not_taken", _) => "refused",
                ("duplicate", _) => "came_again",
                (_, "poll") => "came_by_poll",
                _ => "kept",
            };
            InboxStep {
                text: a.receiver,
                ..step(what, a.received_at)
            }
        })
        .collect())
}

fn step(what: &str, at: DateTime<Utc>) -> InboxStep {
    InboxStep {
        what: what.to_owned(),
        at,
        name: None,
        position: None,
        event_id: None,
        by: None,
        text: None,
    }
}

#[derive(FromRow)]
struct Processed {
    result: String,
    processed_at: Option<DateTime<Utc>>,
    again_at: Option<DateTime<Utc>>,
    again_by: Option<String>,
    again_why: Option<String>,
    led_to: Option<Vec<i64>>,
}

/// What the desk made of it: the saga was told, looked at the provider itself, and wrote what it found in one transaction.
async fn consequences(conn: &mut PgConnection, external: &str) -> Result<Vec<InboxStep>, AppError> {
    let all: Vec<Processed> = sqlx::query_as(
        "select i.result, i.processed_at, c.at as again_at, c.by::text as again_by, c.reason as again_why, s.led_to
           from read.inbox_v1 i
           left join read.inbox_commands_v1 c using (inbox_id)
           left join read.saga_signals_v1 s on s.signal_id = i.external_id
          where i.external_id = $1 order by c.at limit 50",
    )
    .bind(external)
    .fetch_all(&mut *conn)
    .await?;
    let mut steps: Vec<InboxStep> = Vec::new();
    for p in &all {
        if let Some(at) = p.again_at {
            steps.push(InboxStep {
                by: p.again_by.clone(),
                text: p.again_why.clone(),
                ..step("reprocessed", at)
            });
        }
    }
    let Some(last) = all.last() else {
        return Ok(steps);
    };
    if let Some(at) = last.processed_at {
        let what = if last.result == "done" {
            "signalled"
        } else {
            last.result.as_str()
        };
        steps.push(step(what, at));
    }
    if let Some(led_to) = &last.led_to {
        let events: Vec<(DateTime<Utc>, String, i64, Uuid)> = sqlx::query_as(
            "select e.recorded_at, e.name, e.position, e.event_id from read.events_v1 e where e.position = any($1) order by e.position",
        )
        .bind(led_to)
        .fetch_all(conn)
        .await?;
        steps.extend(
            events
                .into_iter()
                .map(|(at, name, position, id)| InboxStep {
                    name: Some(name),
                    position: Some(position),
                    event_id: Some(id),
                    ..step("event", at)
                }),
        );
    }
    Ok(steps)
}
