//! The events that projections pass by, and those that their rows still lack since the skip was withdrawn.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::app::wire::{AppError, SkippedEvent};

#[derive(Default)]
pub(super) struct Skips {
    pub skipped: Vec<SkippedEvent>,
    pub lacks: Vec<i64>,
}

/// Of every projection that has any, by its name.
pub(super) async fn all(conn: &mut PgConnection) -> Result<HashMap<String, Skips>, AppError> {
    let mut all: HashMap<String, Skips> = HashMap::new();
    for (name, position, event_name, reason, by, at) in skipped(conn).await? {
        let event = SkippedEvent {
            position,
            event_name,
            reason,
            by,
            at,
        };
        all.entry(name).or_default().skipped.push(event);
    }
    for (name, position) in lacking(conn).await? {
        all.entry(name).or_default().lacks.push(position);
    }
    Ok(all)
}

type Skip = (String, i64, Option<String>, String, String, DateTime<Utc>);

async fn skipped(conn: &mut PgConnection) -> sqlx::Result<Vec<Skip>> {
    sqlx::query_as(
        "select s.name, s.position, e.name, s.reason, s.skipped_by, s.skipped_at
           from read.generations g
           cross join lateral (select * from read.projection_skips x where x.name = g.name order by x.position desc limit 100) s
           left join read.events_v1 e on e.position = s.position
          where g.role = 'live' order by s.name, s.position desc",
    )
    .fetch_all(conn)
    .await
}

/// Withdrawn, and no rebuild that began since and read the event has been swapped in, or it was taken back.
async fn lacking(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "select w.name, w.position
           from (select name, (before->'skip'->>'position')::bigint as position, max(at) as at from read.projection_log
                  where action = 'withdraw_skip' group by 1, 2) w
          where not exists (select 1 from read.projection_skips s where s.name = w.name and s.position = w.position)
            and not exists (select 1 from read.rebuilds r
                             where r.name = w.name and r.mode = 'rebuild' and r.state = 'done' and r.started_at > w.at and r.from_position < w.position
                               and (r.stream is null or r.stream = (select e.stream_id from read.events_v1 e where e.position = w.position)))
          order by w.name, w.position desc limit 100",
    )
    .fetch_all(conn)
    .await
}
