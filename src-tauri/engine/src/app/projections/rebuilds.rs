//! Rebuilds as an admin sees them, and what can be asked of one.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::{action, cursor, may_change, needs_reason, refused, told};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::{self, moment, word};
use crate::app::wire::*;

const SELECT: &str = "select r.*, p.done as parts_done, p.total as parts_total, k.skipped from read.rebuilds r
    left join lateral (select coalesce(jsonb_agg(jsonb_build_object('position', s.position, 'event_name', e.name, 'reason', s.reason,
                                                                    'by', s.skipped_by, 'at', s.skipped_at) order by s.position), '[]') as skipped
                         from (select distinct on (x.position) x.*
                                 from (select * from read.projection_skips
                                       union all
                                       select k.* from read.projection_log l, jsonb_populate_record(null::read.projection_skips, l.before->'skip') k
                                        where l.name = r.name and l.action = 'withdraw_skip' and l.at > r.started_at) x
                                where x.name = r.name and x.position > r.from_position and x.position <= r.target
                                order by x.position, x.skipped_at limit 100) s
                         left join read.events_v1 e on e.position = s.position) k on true
    left join lateral (select count(*) filter (where done_at is not null) as done, count(*) as total from read.rebuild_parts x
                        where x.rebuild_id = r.rebuild_id) p on true ";

pub async fn list_rebuilds(desk: &Desk, request: ListRebuilds) -> Result<RebuildList, AppError> {
    if !(1..=200).contains(&request.limit) {
        return Err(AppError::invalid("limit", "A page has 1 to 200 rebuilds."));
    }
    let after = request.after.as_deref().map(cursor::read).transpose()?;
    let mut conn = desk.people.acquire().await?;
    let (zone, now) = around(&mut conn).await?;
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" where true");
    if let Some(name) = &request.projection {
        query.push(" and r.name = ").push_bind(name);
    }
    if let Some((at, id)) = after {
        query
            .push(" and (r.started_at, r.rebuild_id) < (")
            .push_bind(at)
            .push(", ")
            .push_bind(id)
            .push(")");
    }
    query
        .push(" order by r.started_at desc, r.rebuild_id desc limit ")
        .push_bind(i64::from(request.limit) + 1);
    let found = query.build().fetch_all(&mut *conn).await?;
    let mut rows = found
        .iter()
        .map(|row| rebuild(desk, row, &zone, now))
        .collect::<Result<Vec<_>, _>>()?;
    let more = rows.len() > request.limit as usize;
    rows.truncate(request.limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|r| cursor::write(&r.started, r.rebuild_id));
    Ok(RebuildList { rows, next })
}

pub async fn get_rebuild(desk: &Desk, request: GetRebuild) -> Result<Rebuild, AppError> {
    let mut conn = desk.people.acquire().await?;
    one(desk, &mut conn, request.rebuild_id).await
}

pub(super) async fn one(
    desk: &Desk,
    conn: &mut PgConnection,
    id: Uuid,
) -> Result<Rebuild, AppError> {
    let (zone, now) = around(conn).await?;
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" where r.rebuild_id = ").push_bind(id);
    let row = query.build().fetch_optional(conn).await?;
    let row = row.ok_or_else(|| {
        AppError::new(Code::NotFound, "There is no such rebuild.").field("rebuild_id")
    })?;
    rebuild(desk, &row, &zone, now)
}

/// Every one that is not over.
pub(super) async fn open(
    desk: &Desk,
    conn: &mut PgConnection,
    zone: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Rebuild>, AppError> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" where r.state in ('running', 'paused', 'waits_for_swap') order by r.started_at");
    let rows = query.build().fetch_all(conn).await?;
    rows.iter()
        .map(|row| rebuild(desk, row, zone, now))
        .collect()
}

async fn around(conn: &mut PgConnection) -> Result<(String, DateTime<Utc>), AppError> {
    let zone = place::find(conn)
        .await?
        .map_or_else(|| "UTC".to_owned(), |p| p.zone);
    let now = sqlx::query_scalar("select now()").fetch_one(conn).await?;
    Ok((zone, now))
}

/// How fast reading went at the last three rebuilds.
pub(super) async fn measured(conn: &mut PgConnection) -> sqlx::Result<Option<f64>> {
    sqlx::query_scalar(
        "select avg(events_done / greatest(seconds, 0.2))::double precision from (
           select r.events_done, extract(epoch from (p->>'ended_at')::timestamptz - (p->>'started_at')::timestamptz)::double precision as seconds
             from read.rebuilds r, jsonb_array_elements(r.phases) p
            where p->>'phase' = 'read' and p->>'ended_at' is not null and r.events_done > 0 order by r.started_at desc limit 3) x",
    )
    .fetch_one(conn)
    .await
}

fn rebuild(desk: &Desk, row: &PgRow, zone: &str, now: DateTime<Utc>) -> Result<Rebuild, AppError> {
    let (done, total): (i64, i64) = (row.try_get("events_done")?, row.try_get("events_total")?);
    let state: RebuildState = word(row.try_get("state")?)?;
    let phase: RebuildPhase = word(row.try_get("phase")?)?;
    let rate: Option<f64> = row.try_get("rate_per_s")?;
    let left = rate
        .filter(|r| *r > 0.0 && state == RebuildState::Running && phase <= RebuildPhase::Read)
        .map(|r| (total - done).max(0) as f64 / r);
    let ends = left
        .and_then(|s| TimeDelta::try_milliseconds((s * 1000.0) as i64))
        .map(|d| moment(now + d, zone))
        .transpose()?;
    let dry_run = row.try_get::<&str, _>("mode")? == "dry_run";
    let ended: Option<DateTime<Utc>> = row.try_get("ended_at")?;
    let compare: Option<Value> = row.try_get("compare")?;
    let number = |key: &str| {
        row.try_get::<Option<i64>, _>(key)
            .map(|n| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0))
    };
    Ok(Rebuild {
        rebuild_id: row.try_get("rebuild_id")?,
        projection: row.try_get("name")?,
        mode: word(row.try_get("mode")?)?,
        from: ReplayFrom::deserialize(row.try_get::<Value, _>("source")?).map_err(internal)?,
        live_generation: row.try_get("live_generation")?,
        live_shape_version: row.try_get("live_version")?,
        generation: row.try_get::<Option<i32>, _>("generation")?.unwrap_or(0),
        shape_version: row.try_get("version")?,
        state,
        phase,
        phases: Vec::deserialize(row.try_get::<Value, _>("phases")?).map_err(internal)?,
        events_done: done.min(total.max(done)),
        events_total: total.max(done),
        rate_per_s: rate,
        left_seconds: left,
        ends,
        ranges_done: number("parts_done")?,
        ranges_total: number("parts_total")?,
        speed: word(row.try_get("speed")?)?,
        started: moment(row.try_get("started_at")?, zone)?,
        ended: ended.map(|at| moment(at, zone)).transpose()?,
        by: row.try_get("asked_by")?,
        reason: row.try_get("reason")?,
        ended_by: row.try_get("ended_by")?,
        error: row.try_get("error")?,
        compare: compare
            .map(Compare::deserialize)
            .transpose()
            .map_err(internal)?,
        skipped: Vec::deserialize(row.try_get::<Value, _>("skipped")?).map_err(internal)?,
        actions: actions(desk, state, dry_run),
    })
}

fn actions(desk: &Desk, state: RebuildState, dry_run: bool) -> Vec<Action> {
    use RebuildState::*;
    let open = matches!(state, Running | Paused | WaitsForSwap);
    let over = || (!open).then(|| "It is over.".to_owned());
    let each = [
        (
            "pause_rebuild",
            over().or_else(|| (state != Running).then(|| "It does not run.".to_owned())),
        ),
        (
            "resume_rebuild",
            over().or_else(|| (state != Paused).then(|| "It is not paused.".to_owned())),
        ),
        ("cancel_rebuild", over()),
        ("set_rebuild_speed", over()),
        (
            "swap_rebuild",
            over()
                .or_else(|| dry_run.then(|| "A dry run swaps nothing.".to_owned()))
                .or_else(|| {
                    (state != WaitsForSwap).then(|| "It is not built and compared yet.".to_owned())
                }),
        ),
    ];
    each.into_iter()
        .map(|(name, why)| action(name, refused(desk).or(why)))
        .collect()
}

pub async fn pause_rebuild(desk: &Desk, request: ChangeRebuild) -> Result<Rebuild, AppError> {
    change(desk, request, "pause").await
}

pub async fn resume_rebuild(desk: &Desk, request: ChangeRebuild) -> Result<Rebuild, AppError> {
    change(desk, request, "resume").await
}

pub async fn cancel_rebuild(desk: &Desk, request: ChangeRebuild) -> Result<Rebuild, AppError> {
    needs_reason(request.reason.as_deref())?;
    change(desk, request, "cancel").await
}

pub async fn swap(desk: &Desk, request: ChangeRebuild) -> Result<Rebuild, AppError> {
    needs_reason(request.reason.as_deref())?;
    change(desk, request, "swap").await
}

pub async fn set_speed(desk: &Desk, request: SetRebuildSpeed) -> Result<Rebuild, AppError> {
    let action = match request.speed {
        ReplaySpeed::Gentle => "gentle",
        ReplaySpeed::Normal => "normal",
        ReplaySpeed::AllCores => "all_cores",
    };
    let request = ChangeRebuild {
        command_id: request.command_id,
        rebuild_id: request.rebuild_id,
        reason: None,
    };
    change(desk, request, action).await
}

async fn change(
    desk: &Desk,
    request: ChangeRebuild,
    action: &'static str,
) -> Result<Rebuild, AppError> {
    may_change(desk)?;
    let mut conn = desk.people.acquire().await?;
    let status: String = sqlx::query_scalar("select api.change_rebuild($1, $2, $3, $4)")
        .bind(request.command_id)
        .bind(request.rebuild_id)
        .bind(action)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    if status == "unknown" {
        return Err(AppError::new(Code::NotFound, "There is no such rebuild.").field("rebuild_id"));
    }
    told(&status, "it")?;
    desk.bell.ring();
    desk.hints.changed("projections");
    one(desk, &mut conn, request.rebuild_id).await
}
