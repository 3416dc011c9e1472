//! The row of a rebuild: who holds it, where it stands, what was asked of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub struct Job {
    pub id: Uuid,
    pub name: String,
    pub version: i32,
    pub generation: Option<i32>,
    pub from_position: i64,
    pub stream: Option<String>,
    pub dry_run: bool,
    pub speed: Speed,
    pub state: State,
    pub phase: Phase,
    /// The position up to which the past is read.
    pub target: Option<i64>,
    pub events_done: i64,
    pub fence: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Paused,
    WaitsForSwap,
    Over,
}

impl State {
    pub fn over(self) -> bool {
        self == State::Over
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Prepare,
    Read,
    CatchUp,
    Compare,
    Swap,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Read => "read",
            Phase::CatchUp => "catch_up",
            Phase::Compare => "compare",
            Phase::Swap => "swap",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Speed {
    /// One at a time, resting between two parts.
    Gentle,
    /// One at a time.
    Normal,
    /// As many as there are cores.
    AllCores,
}

impl Speed {
    pub fn of(number: i64) -> Speed {
        match number {
            0 => Speed::Gentle,
            2 => Speed::AllCores,
            _ => Speed::Normal,
        }
    }

    fn parse(word: &str) -> Speed {
        match word {
            "gentle" => Speed::Gentle,
            "all_cores" => Speed::AllCores,
            _ => Speed::Normal,
        }
    }
}

/// One that is to be carried on and that nobody holds. What ended with tables of its own left is one, too.
pub async fn claim(pool: &PgPool, owner: Uuid, lease: Duration) -> sqlx::Result<Option<Job>> {
    let row = sqlx::query(
        "update read.rebuilds set owner = $1, lease_until = now() + $2, fence = fence + 1
          where rebuild_id = (
            select rebuild_id from read.rebuilds r
             where (lease_until is null or lease_until < now())
               and (state in ('running', 'waits_for_swap')
                    or state in ('cancelled', 'failed', 'done')
                       and exists (select 1 from read.generations g where g.name = r.name and g.generation = r.generation and g.role = 'building'))
             order by started_at limit 1 for update skip locked)
         returning *",
    )
    .bind(owner)
    .bind(lease)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(job).transpose()
}

/// What was asked of it in the meantime.
pub async fn refresh(pool: &PgPool, held: &mut Job) -> sqlx::Result<()> {
    let row = sqlx::query("select * from read.rebuilds where rebuild_id = $1 and fence = $2")
        .bind(held.id)
        .bind(held.fence)
        .fetch_one(pool)
        .await?;
    *held = job(&row)?;
    Ok(())
}

fn job(row: &PgRow) -> sqlx::Result<Job> {
    Ok(Job {
        id: row.try_get("rebuild_id")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        generation: row.try_get("generation")?,
        from_position: row.try_get("from_position")?,
        stream: row.try_get("stream")?,
        dry_run: row.try_get::<&str, _>("mode")? == "dry_run",
        speed: Speed::parse(row.try_get("speed")?),
        state: match row.try_get("state")? {
            "running" => State::Running,
            "paused" => State::Paused,
            "waits_for_swap" => State::WaitsForSwap,
            _ => State::Over,
        },
        phase: match row.try_get("phase")? {
            "prepare" => Phase::Prepare,
            "read" => Phase::Read,
            "catch_up" => Phase::CatchUp,
            "compare" => Phase::Compare,
            _ => Phase::Swap,
        },
        target: row.try_get("target")?,
        events_done: row.try_get("events_done")?,
        fence: row.try_get("fence")?,
    })
}

/// Notes the phase and when it began. The phase before ends with it.
pub async fn begin(pool: &PgPool, job: &mut Job, phase: Phase) -> sqlx::Result<()> {
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(pool).await?;
    let phases: Value =
        sqlx::query_scalar("select phases from read.rebuilds where rebuild_id = $1")
            .bind(job.id)
            .fetch_one(pool)
            .await?;
    let mut phases = phases.as_array().cloned().unwrap_or_default();
    end_last(&mut phases, now);
    phases.retain(|p| p["phase"] != phase.word());
    phases.push(serde_json::json!({ "phase": phase.word(), "started_at": now, "ended_at": null }));
    held(
        sqlx::query("update read.rebuilds set phase = $3, phases = $4, updated_at = now() where rebuild_id = $1 and fence = $2")
            .bind(job.id)
            .bind(job.fence)
            .bind(phase.word())
            .bind(Value::Array(phases))
            .execute(pool)
            .await?
            .rows_affected(),
    )?;
    job.phase = phase;
    Ok(())
}

fn end_last(phases: &mut [Value], now: DateTime<Utc>) {
    if let Some(last) = phases.last_mut().filter(|p| p["ended_at"].is_null()) {
        last["ended_at"] = serde_json::json!(now);
    }
}

/// `None`: it is paused, over, or in other hands.
pub async fn beat(
    pool: &PgPool,
    id: Uuid,
    fence: i64,
    lease: Duration,
    done: i64,
    rate: Option<f64>,
) -> sqlx::Result<Option<Speed>> {
    let row: Option<(String, String)> = sqlx::query_as(
        "update read.rebuilds set lease_until = now() + $3, events_done = $4, rate_per_s = $5, updated_at = now()
          where rebuild_id = $1 and fence = $2 returning state, speed",
    )
    .bind(id)
    .bind(fence)
    .bind(lease)
    .bind(done)
    .bind(rate)
    .fetch_optional(pool)
    .await?;
    Ok(row
        .filter(|(state, _)| matches!(state.as_str(), "running" | "waits_for_swap"))
        .map(|(_, speed)| Speed::parse(&speed)))
}

/// A person is asked to look at it.
pub async fn pause(pool: &PgPool, job: &Job, error: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update read.rebuilds set state = 'paused', error = $3, rate_per_s = null, updated_at = now()
          where rebuild_id = $1 and fence = $2 and state in ('running', 'waits_for_swap')",
    )
    .bind(job.id)
    .bind(job.fence)
    .bind(error)
    .execute(pool)
    .await
    .map(|_| ())
}

pub async fn wait_for_swap(pool: &PgPool, job: &mut Job) -> sqlx::Result<()> {
    held(
        sqlx::query(
            "update read.rebuilds set state = 'waits_for_swap', rate_per_s = null, updated_at = now()
              where rebuild_id = $1 and fence = $2 and state = 'running' and phase = 'compare'",
        )
        .bind(job.id)
        .bind(job.fence)
        .execute(pool)
        .await?
        .rows_affected(),
    )?;
    job.state = State::WaitsForSwap;
    Ok(())
}

/// A dry run that is through.
pub async fn finish(pool: &PgPool, job: &Job) -> sqlx::Result<()> {
    held(
        sqlx::query(
            "update read.rebuilds set state = 'done', ended_at = now(), rate_per_s = null, updated_at = now()
              where rebuild_id = $1 and fence = $2 and state = 'running'",
        )
        .bind(job.id)
        .bind(job.fence)
        .execute(pool)
        .await?
        .rows_affected(),
    )
}

/// Lets go, so that anybody may take it after the pause.
pub async fn release(pool: &PgPool, job: &Job, pause: Duration) -> sqlx::Result<()> {
    sqlx::query(
        "update read.rebuilds set owner = null, lease_until = now() + $3 where rebuild_id = $1 and fence = $2",
    )
    .bind(job.id)
    .bind(job.fence)
    .bind(pause)
    .execute(pool)
    .await
    .map(|_| ())
}

fn held(rows: u64) -> sqlx::Result<()> {
    if rows == 1 {
        Ok(())
    } else {
        // Paused, cancelled or taken over between two beats: the next look says which.
        Err(sqlx::Error::RowNotFound)
    }
}
