//! The board: a row for each projection.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::rebuilds::{self, open};
use super::skips::{self, Skips};
use super::{action, refused};
use crate::app::desk::Desk;
use crate::app::place::{self, moment};
use crate::app::wire::*;
use crate::projection::{Folded, beyond, known};

/// Ten minutes, one value for ten seconds.
const RATES: usize = 60;
const STEP_SECONDS: i64 = 10;
/// Fewer events than this, younger than a moment, is no lag that anybody sees.
const MOMENT_SECONDS: f64 = 2.0;

pub async fn list(desk: &Desk, _: Empty) -> Result<Projections, AppError> {
    let mut conn = desk.people.acquire().await?;
    all(desk, &mut conn).await
}

pub(super) async fn all(desk: &Desk, conn: &mut PgConnection) -> Result<Projections, AppError> {
    let zone = place::find(conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);
    let facts = sqlx::query(
        "select now() as now, api.safe_position() as safe, api.issued_position() as issued,
                (select count(*) from read.workers_v1 where heartbeat_at > now() - interval '60 seconds') as workers",
    )
    .fetch_one(&mut *conn)
    .await?;
    let (now, safe, issued, workers): (DateTime<Utc>, i64, i64, i64) = (
        facts.try_get("now")?,
        facts.try_get("safe")?,
        facts.try_get("issued")?,
        facts.try_get("workers")?,
    );
    let rebuilds = open(desk, conn, &zone, now).await?;
    let rates = rates(conn, now).await?;
    let mut skips = skips::all(conn).await?;
    let rows = sqlx::query(
        "select g.*, p.generation as before_generation, p.version as before_version, p.position as before_position,
                p.retired_at as before_retired_at, p.parked is not null as before_parked,
                case when g.trouble->'position' = to_jsonb(g.position) then g.trouble->>'error' end as standing_error,
                (select e.recorded_at from read.events_v1 e where e.position > g.position order by e.position limit 1) as waiting_since,
                (select b.reference from read.bookings_v1 b
                  where b.booking_id = case when g.parked->>'stream_id' like 'booking-%' then substr(g.parked->>'stream_id', 9)::uuid end) as parked_at_booking,
                n.rows, n.estimated
           from read.generations g cross join lateral api.generation_rows(g.name, g.generation) n
           left join lateral (select * from read.generations x where x.name = g.name and x.role = 'previous' order by retired_at desc limit 1) p on true
          where g.role = 'live' order by g.name",
    )
    .fetch_all(&mut *conn)
    .await?;
    let rows = rows
        .iter()
        .map(|row| {
            let name: &str = row.try_get("name")?;
            let rebuild = rebuilds.iter().find(|r| r.projection == name);
            let (rates, holder) = rates
                .get(name)
                .cloned()
                .unwrap_or((vec![None; RATES], None));
            projection(
                desk,
                row,
                Around {
                    now,
                    issued,
                    workers,
                    rebuild,
                    rates,
                    holder,
                    skips: skips.remove(name).unwrap_or_default(),
                },
            )
        })
        .collect::<Result<_, AppError>>()?;
    Ok(Projections {
        rows,
        safe_position: safe,
        lag_reason: lag_reason(conn).await?,
        workers: u32::try_from(workers).unwrap_or(u32::MAX),
        rebuilds,
        now: moment(now, &zone)?,
    })
}

struct Around<'a> {
    now: DateTime<Utc>,
    /// Not the safe one: that stands still with the readers while an append stays open, and then nothing would lag.
    issued: i64,
    workers: i64,
    rebuild: Option<&'a Rebuild>,
    rates: Vec<Option<f64>>,
    holder: Option<String>,
    skips: Skips,
}

fn projection(desk: &Desk, row: &PgRow, around: Around<'_>) -> Result<Projection, AppError> {
    let (name, version, position): (String, i32, i64) = (
        row.try_get("name")?,
        row.try_get("version")?,
        row.try_get("position")?,
    );
    let behind = (around.issued - position).max(0);
    let since: Option<DateTime<Utc>> = row.try_get("waiting_since")?;
    let lag_seconds = since
        .filter(|_| behind > 0)
        .map_or(TimeDelta::zero(), |at| around.now - at)
        .as_seconds_f64()
        .max(0.0);
    let parked = parked(
        row.try_get("parked")?,
        row.try_get("parked_at")?,
        row.try_get("parked_at_booking")?,
        around.now,
    );
    let paused_at: Option<DateTime<Utc>> = row.try_get("paused_at")?;
    let paused = match paused_at {
        Some(at) => Some(Paused {
            by: row
                .try_get::<Option<String>, _>("paused_by")?
                .unwrap_or_default(),
            at,
            reason: row.try_get("paused_why")?,
        }),
        None => None,
    };
    let previous = match row.try_get::<Option<i32>, _>("before_generation")? {
        Some(generation) => {
            let swapped_at: DateTime<Utc> = row.try_get("before_retired_at")?;
            Some(PreviousGeneration {
                generation,
                shape_version: row.try_get("before_version")?,
                current: !row.try_get::<bool, _>("before_parked")?
                    && row.try_get::<i64, _>("before_position")? >= position - 10_000,
                swapped_at,
                kept_until: Some(swapped_at + TimeDelta::days(7)),
            })
        }
        None => None,
    };
    let state = match (&parked, &paused, around.rebuild) {
        (Some(_), _, _) => ProjectionState::Parked,
        (None, Some(_), _) => ProjectionState::Paused,
        (None, None, Some(_)) => ProjectionState::Rebuilding,
        _ if behind > 0 && around.workers == 0 => ProjectionState::Unknown,
        _ if lag_seconds > MOMENT_SECONDS => ProjectionState::Behind,
        _ => ProjectionState::UpToDate,
    };
    let code = crate::projection::ALL
        .iter()
        .filter(|p| p.name == name)
        .map(|p| p.version)
        .max();
    let types = known(&name, version).and_then(|p| p.event_types);
    let actions = actions(
        desk,
        parked.is_some(),
        paused.is_some(),
        previous.as_ref(),
        &around.skips,
        around.rebuild,
    );
    Ok(Projection {
        shape_version: version,
        code_shape_version: code.unwrap_or(version),
        generation: row.try_get("generation")?,
        state,
        position,
        lag_events: behind,
        lag_seconds,
        rate_per_s: around.rates.last().copied().flatten(),
        rates: around.rates,
        rows: match row.try_get("rows")? {
            Some(count) => Some(Count {
                count,
                estimated: row.try_get("estimated")?,
            }),
            None => None,
        },
        event_types: types
            .unwrap_or_default()
            .iter()
            .map(|t| (*t).to_owned())
            .collect(),
        holder: around.holder,
        last_error: match &parked {
            Some(parked) => Some(parked.error.clone()),
            None => row.try_get("standing_error")?,
        },
        parked,
        paused,
        skipped: around.skips.skipped,
        lacks: around.skips.lacks,
        newer_types: newer_types(row, &name, version)?,
        folded_without: folded_without(row)?,
        rebuild_id: around.rebuild.map(|r| r.rebuild_id),
        previous,
        actions,
        name,
    })
}

fn newer_types(row: &PgRow, name: &str, version: i32) -> sqlx::Result<Vec<String>> {
    let rows: Option<Json<Folded>> = row.try_get("folded_with")?;
    let ours = known(name, version).map(|p| p.folds());
    Ok(ours.map_or_else(Vec::new, |ours| {
        beyond(&ours, rows.as_ref().map(|rows| &rows.0))
    }))
}

fn folded_without(row: &PgRow) -> sqlx::Result<Vec<FoldedWithout>> {
    let Json(types): Json<BTreeMap<String, i64>> = row.try_get("folded_without")?;
    let types = types.into_iter();
    Ok(types
        .map(|(event_name, upto)| FoldedWithout { event_name, upto })
        .collect())
}

fn parked(
    parked: Option<Value>,
    at: Option<DateTime<Utc>>,
    subject: Option<String>,
    now: DateTime<Utc>,
) -> Option<Parked> {
    let parked = parked?;
    let text = |key: &str| parked[key].as_str().unwrap_or_default().to_owned();
    Some(Parked {
        position: parked["position"].as_i64().unwrap_or(0),
        event_name: text("event_name"),
        schema_version: parked["schema_version"]
            .as_i64()
            .and_then(|v| i32::try_from(v).ok())
            .unwrap_or(1),
        stream_id: text("stream_id"),
        subject,
        error: text("error"),
        excerpt: parked["excerpt"].as_str().map(str::to_owned),
        since: at.unwrap_or(now),
        attempts: parked["attempts"]
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
    })
}

fn actions(
    desk: &Desk,
    parked: bool,
    paused: bool,
    previous: Option<&PreviousGeneration>,
    skips: &Skips,
    rebuild: Option<&Rebuild>,
) -> Vec<Action> {
    let no = |why: &str| Some(why.to_owned());
    let each = [
        (
            "pause_projection",
            paused.then(|| "It is paused already.".to_owned()),
        ),
        (
            "resume_projection",
            (!paused).then(|| "It is not paused.".to_owned()),
        ),
        (
            "start_replay",
            rebuild.and_then(|_| no("A replay of it is under way.")),
        ),
        (
            "roll_back_projection",
            match previous {
                None => no("There are no rows of before a swap."),
                Some(previous) if !previous.current => no("The rows of before are behind."),
                Some(_) => None,
            },
        ),
        (
            "retry_parked",
            (!parked).then(|| "It is not parked.".to_owned()),
        ),
        (
            "skip_parked",
            (!parked).then(|| "It is not parked.".to_owned()),
        ),
        (
            "withdraw_skip",
            match rebuild {
                _ if skips.skipped.is_empty() => no("It skips no event."),
                Some(_) => no("A replay of it is under way."),
                None => None,
            },
        ),
    ];
    each.into_iter()
        .map(|(name, why)| action(name, refused(desk).or(why)))
        .collect()
}

type Rates = HashMap<String, (Vec<Option<f64>>, Option<String>)>;

/// Oldest first. Where nothing was written, nothing moved, or nobody measured: both are no number.
async fn rates(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Rates, AppError> {
    let rows = sqlx::query(
        "select name, floor(extract(epoch from ($1 - at)) / $2)::int as ago, events, holder from read.projection_rates
          where at > $1 - interval '10 minutes' order by at",
    )
    .bind(now)
    .bind(STEP_SECONDS)
    .fetch_all(conn)
    .await?;
    let mut rates: Rates = HashMap::new();
    for row in &rows {
        let (values, holder) = rates
            .entry(row.try_get("name")?)
            .or_insert_with(|| (vec![None; RATES], None));
        let ago = usize::try_from(row.try_get::<i32, _>("ago")?).unwrap_or(0);
        if let Some(value) = RATES.checked_sub(ago + 1).and_then(|i| values.get_mut(i)) {
            *value = Some(row.try_get::<i64, _>("events")? as f64 / STEP_SECONDS as f64);
        }
        *holder = row.try_get("holder")?;
    }
    Ok(rates)
}

async fn lag_reason(conn: &mut PgConnection) -> Result<Option<LagReason>, AppError> {
    let row = sqlx::query("select pid, age_seconds, query, login::text as login from api.oldest_append() where age_seconds > 2")
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        Ok(LagReason {
            pid: row.try_get("pid")?,
            login: row.try_get("login")?,
            query: row.try_get("query")?,
            age_seconds: row.try_get("age_seconds")?,
        })
    })
    .transpose()
}

/// How fast reading went at the last rebuilds here, in events a second.
pub(super) async fn speed(conn: &mut PgConnection) -> Result<Option<f64>, AppError> {
    Ok(rebuilds::measured(conn).await?)
}
