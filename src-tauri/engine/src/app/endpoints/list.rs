//! Destinations with their health, worst first, and one of them with everything about it.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::took::Took;
use super::{admins_only, managers_only, unknown};
use crate::app::desk::Desk;
use crate::app::events::zone;
use crate::app::wire::*;

const CHANGES: i64 = 50;

/// Counts stop at 100,000: that many and more are one picture.
const ROWS: &str = "
select d.*, greatest((select count(*) from (select from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'scheduled' limit 100000) y)
                     - l.sending, 0) as owed,
       l.sending + (select count(*) from (select from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'sending' limit 10000) y) as sending,
       (select count(*) from (select from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'held' limit 100000) y) as held,
       (select count(*) from (select from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'gave_up' limit 100000) y) as gave_up,
       (select count(*) from (select from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'unclear' limit 100000) y) as unclear,
       (select x.created_at from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'scheduled' order by x.next_at, x.delivery_id limit 1) as oldest_owed_at,
       (select x.next_at from read.deliveries_v2 x where x.destination_id = d.destination_id and x.state = 'scheduled' order by x.next_at, x.delivery_id limit 1) as next_due_at,
       coalesce((select jsonb_agg(jsonb_build_object('hour', h.hour, 'ok', h.ok, 'failed', h.failed, 'took', h.took))
                   from read.destination_hours_v1 h where h.destination_id = d.destination_id and h.hour > now() - interval '24 hours'), '[]') as hours,
       (select sum(h.ok) from read.destination_hours_v1 h where h.destination_id = d.destination_id
           and h.hour >= date_trunc('day', now() at time zone $2) at time zone $2) as delivered_today,
       (select max(h.last_ok_at) from read.destination_hours_v1 h where h.destination_id = d.destination_id) as last_ok_at,
       array(select b.event_name from read.subscriptions_v1 b where b.destination_id = d.destination_id order by 1) as takes,
       p.problem as mail_problem, p.checked_at as mail_checked_at, now() as now
  from read.destinations_v1 d
  cross join lateral (select count(*) as sending from read.delivery_leases_v1 x where x.destination_id = d.destination_id) l
  left join read.poll_cursors_v1 p on p.source = d.kind and d.kind <> 'webhook'
 where $1::uuid is null or d.destination_id = $1";

pub async fn list(desk: &Desk, _: Empty) -> Result<Endpoints, AppError> {
    let mut conn = desk.people.acquire().await?;
    let zone = zone(&mut conn).await?;
    let rows = sqlx::query(ROWS)
        .bind(None::<Uuid>)
        .bind(&zone)
        .fetch_all(&mut *conn)
        .await?;
    let mut rows = rows.iter().map(row).collect::<Result<Vec<_>, AppError>>()?;
    rows.sort_by_key(|r| (goodness(r), std::cmp::Reverse(r.owed), r.name.clone()));
    Ok(Endpoints {
        delivered_today: rows.iter().map(|r| r.delivered_today).sum(),
        refused: admins_only(desk),
        run_refused: managers_only(desk),
        rows,
    })
}

/// What needs a person most comes first.
fn goodness(row: &EndpointRow) -> u8 {
    match row.state {
        _ if row.held > 0 => 0,
        EndpointState::Failing => 1,
        EndpointState::Disabled if row.why.as_deref() != Some("by_person") => 2,
        EndpointState::Waiting => 3,
        EndpointState::Paused => 4,
        EndpointState::Works => 5,
        EndpointState::Disabled => 6,
    }
}

pub async fn get(desk: &Desk, request: GetEndpoint) -> Result<Endpoint, AppError> {
    let mut conn = desk.people.acquire().await?;
    one(&mut conn, request.destination_id).await
}

pub async fn one(conn: &mut PgConnection, id: Uuid) -> Result<Endpoint, AppError> {
    let zone = zone(conn).await?;
    let found = sqlx::query(ROWS)
        .bind(id)
        .bind(&zone)
        .fetch_optional(&mut *conn)
        .await?
        .ok_or_else(unknown)?;
    let secrets = sqlx::query("select secret_id, hint, created_at, nullif(expires_at, 'infinity') as expires_at from read.endpoint_secrets_v1 where destination_id = $1 order by created_at desc")
        .bind(id)
        .fetch_all(&mut *conn)
        .await?;
    let changes = sqlx::query("select at, by, what, reason from read.delivery_changes_v1 where destination_id = $1 and what not in ('tried_again', 'replayed', 'cancelled') order by change_id desc limit $2")
        .bind(id)
        .bind(CHANGES)
        .fetch_all(&mut *conn)
        .await?;
    let matches: Vec<String> = sqlx::query_scalar(
        "select event_name from read.subscriptions_v1 where destination_id = $1 order by 1",
    )
    .bind(id)
    .fetch_all(&mut *conn)
    .await?;
    let row = row(&found)?;
    let webhook = row.kind == "webhook";
    Ok(Endpoint {
        url: found.try_get("url")?,
        note: found.try_get("note")?,
        shape: shape(found.try_get("shape")?),
        events: found.try_get("events")?,
        matches,
        filter: found.try_get("filter")?,
        secrets: secrets
            .iter()
            .map(|s| {
                Ok(EndpointSecret {
                    secret_id: s.try_get("secret_id")?,
                    hint: s.try_get("hint")?,
                    created_at: s.try_get("created_at")?,
                    expires_at: s.try_get("expires_at")?,
                })
            })
            .collect::<sqlx::Result<_>>()?,
        sending: webhook.then(|| sending(&found)).transpose()?,
        last_delivered_at: found.try_get("last_ok_at")?,
        consecutive_failures: count(found.try_get::<Option<i32>, _>("failures")?.unwrap_or(0)),
        changes: changes
            .iter()
            .map(|c| {
                Ok(EndpointChange {
                    at: c.try_get("at")?,
                    by: c.try_get("by")?,
                    what: c.try_get("what")?,
                    reason: c.try_get("reason")?,
                })
            })
            .collect::<sqlx::Result<_>>()?,
        row,
    })
}

pub(in crate::app) fn shape(word: &str) -> EndpointShape {
    match word {
        "slack" => EndpointShape::Slack,
        "discord" => EndpointShape::Discord,
        "teams" => EndpointShape::Teams,
        _ => EndpointShape::Event,
    }
}

fn sending(row: &PgRow) -> sqlx::Result<EndpointSending> {
    let schedule: Vec<i32> = row.try_get("schedule_s")?;
    let names: Vec<String> = row.try_get("header_names")?;
    Ok(EndpointSending {
        schedule_s: schedule.into_iter().map(count).collect(),
        timeout_ms: count(row.try_get("timeout_ms")?),
        max_in_flight: count(row.try_get("max_in_flight")?),
        rate_per_s: row.try_get::<Option<i32>, _>("rate_per_s")?.map(count),
        in_order: row.try_get::<&str, _>("ordered_by")? != "none",
        headers: names
            .into_iter()
            .map(|name| (name, "***".to_owned()))
            .collect(),
    })
}

fn count(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

fn row(row: &PgRow) -> Result<EndpointRow, AppError> {
    let now: DateTime<Utc> = row.try_get("now")?;
    let (kind, state): (String, String) = (row.try_get("kind")?, row.try_get("state")?);
    let active: bool = row.try_get("active")?;
    let breaker: Option<String> = row.try_get("breaker")?;
    let paused_until: Option<DateTime<Utc>> = row.try_get("paused_until")?;
    let open_until: Option<DateTime<Utc>> = row.try_get("open_until")?;
    let mail_problem: Option<String> = row.try_get("mail_problem")?;
    let state_reason: Option<String> = row.try_get("state_reason")?;
    let failing_since: Option<DateTime<Utc>> = row.try_get("failing_since")?;
    let state_at: DateTime<Utc> = row.try_get("state_at")?;
    let failing = breaker.as_deref().is_some_and(|b| b != "closed");
    let (state, why, since) = match state.as_str() {
        "disabled" => (EndpointState::Disabled, state_reason, Some(state_at)),
        _ if !active => (EndpointState::Disabled, state_reason, Some(state_at)),
        "paused" => (EndpointState::Paused, state_reason, Some(state_at)),
        _ if failing => (
            EndpointState::Failing,
            Some(why_failing(row.try_get("last_status")?).to_owned()),
            failing_since.or(row.try_get("opened_at")?),
        ),
        _ if paused_until.is_some_and(|at| at > now) => (
            EndpointState::Waiting,
            Some("retry_after".to_owned()),
            row.try_get("last_failed_at")?,
        ),
        _ if mail_problem.is_some() => (
            EndpointState::Failing,
            Some("failing".to_owned()),
            row.try_get("mail_checked_at")?,
        ),
        _ => (EndpointState::Works, None, None),
    };
    let hours: Value = row.try_get("hours")?;
    let url: Option<String> = row.try_get("url")?;
    let next_due: Option<DateTime<Utc>> = row.try_get("next_due_at")?;
    Ok(EndpointRow {
        destination_id: row.try_get("destination_id")?,
        name: row.try_get("name")?,
        host: url
            .and_then(|u| url::Url::parse(&u).ok())
            .and_then(|u| u.host_str().map(str::to_owned)),
        why,
        last_error: match mail_problem {
            Some(problem) => Some(problem),
            None => row.try_get("last_error")?,
        },
        last_code: row
            .try_get::<Option<i16>, _>("last_status")?
            .and_then(|c| u16::try_from(c).ok()),
        since,
        failing_since,
        disabled_at: row.try_get("off_at")?,
        delivered_today: row
            .try_get::<Option<i64>, _>("delivered_today")?
            .unwrap_or(0),
        owed: row.try_get("owed")?,
        sending: row.try_get("sending")?,
        held: row.try_get("held")?,
        gave_up: row.try_get("gave_up")?,
        unclear: row.try_get("unclear")?,
        oldest_owed_at: row.try_get("oldest_owed_at")?,
        p95_ms: p95(&hours),
        takes: row.try_get("takes")?,
        hours: day(&hours, now),
        next_at: match state {
            EndpointState::Failing if kind == "webhook" => next_due.max(open_until),
            EndpointState::Waiting => next_due.max(paused_until),
            EndpointState::Paused | EndpointState::Disabled => None,
            _ => next_due,
        },
        version: row.try_get("version")?,
        state,
        kind,
    })
}

/// Only a person mends a key; everything else may pass by itself.
fn why_failing(last_status: Option<i16>) -> &'static str {
    match last_status {
        Some(401 | 403) => "refuses_key",
        _ => "failing",
    }
}

/// The last 24 hours, those in which nothing was sent too.
fn day(hours: &Value, now: DateTime<Utc>) -> Vec<EndpointHour> {
    let this = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
    (0..24)
        .rev()
        .map(|ago| {
            let at = this - TimeDelta::hours(ago);
            let found = hours.as_array().into_iter().flatten().find(|h| {
                h["hour"]
                    .as_str()
                    .and_then(|t| t.parse::<DateTime<Utc>>().ok())
                    == Some(at)
            });
            let number = |name: &str| {
                found
                    .and_then(|h| h[name].as_u64())
                    .and_then(|n| u32::try_from(n).ok())
                    .unwrap_or(0)
            };
            EndpointHour {
                at,
                delivered: number("ok"),
                failed: number("failed"),
            }
        })
        .collect()
}

/// Of all these hours together.
fn p95(hours: &Value) -> Option<u32> {
    let mut took = Took::default();
    for hour in hours.as_array().into_iter().flatten() {
        let counts = hour["took"].as_array().into_iter().flatten();
        took.add(counts.map(|n| n.as_u64().unwrap_or(0)));
    }
    took.percentile(95)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_day_has_24_hours_whatever_was_sent() {
        let now: DateTime<Utc> = "2026-11-26T04:59:59Z".parse().unwrap();
        let hours =
            json!([{ "hour": "2026-11-26T03:00:00+00:00", "ok": 3, "failed": 1, "took": [] }]);
        let day = day(&hours, now);
        assert_eq!(day.len(), 24);
        assert_eq!(
            (day[22].delivered, day[22].failed, day[23].delivered),
            (3, 1, 0)
        );
    }
}
