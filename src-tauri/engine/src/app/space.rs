//! The room that the database takes, and how long the disk will last.

use std::path::Path;

use sqlx::Row;

use super::desk::Desk;
use super::wire::*;
use crate::store::read;

/// Growth is told from this many days, and from no fewer than a week.
const DAYS: f64 = 30.0;
const DAYS_LEAST: f64 = 7.0;

pub async fn space(desk: &Desk, _: Empty) -> Result<Space, AppError> {
    let mut conn = desk.people.acquire().await?;
    let row = sqlx::query(
        "with t as (
           select n.nspname as place, pg_total_relation_size(c.oid) as bytes
             from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm')
         ), s as (
           select coalesce(sum(bytes) filter (where place = 'core'), 0)::bigint as events,
                  coalesce(sum(bytes) filter (where place = 'read' or place ~ '^p_.+_g[0-9]+$'), 0)::bigint as lists,
                  coalesce(sum(bytes) filter (where place = 'delivery'), 0)::bigint as deliveries,
                  coalesce(sum(bytes) filter (where place in ('saga', 'queue')), 0)::bigint as sagas from t
         )
         select s.*, greatest(pg_database_size(current_database()) - events - lists - deliveries - sagas, 0) as rest,
                pg_database_size(current_database()) as whole,
                extract(epoch from now() - (select recorded_at from read.log_v1 order by position limit 1))::double precision / 86400 as days,
                api.position_at(now() - make_interval(days => $1)) as before
           from s",
    )
    .bind(DAYS as i32)
    .fetch_one(&mut *conn)
    .await?;
    let mut parts = Vec::new();
    for (of, column) in [
        (SpaceOf::Events, "events"),
        (SpaceOf::Lists, "lists"),
        (SpaceOf::Deliveries, "deliveries"),
        (SpaceOf::Sagas, "sagas"),
        (SpaceOf::Rest, "rest"),
    ] {
        let bytes = row.try_get(column)?;
        parts.push(SpacePart { of, bytes });
    }
    parts.sort_by_key(|part| -part.bytes);
    let safe = read::safe_position(&mut conn).await?;
    let events = super::events::total(&mut conn, safe).await?;
    let days: Option<f64> = row.try_get("days")?;
    let growth = Growth {
        bytes: row.try_get("whole")?,
        upto: safe,
        before: row.try_get("before")?,
        days: days.unwrap_or(0.0),
    };
    Ok(Space {
        parts,
        events,
        disk: disk(desk),
        bytes_per_day: growth.per_day(),
    })
}

/// Everything here grows with the log: what a position took so far, it will take.
struct Growth {
    bytes: i64,
    upto: i64,
    /// Where the log was `DAYS` days ago.
    before: i64,
    days: f64,
}

impl Growth {
    fn per_day(&self) -> Option<i64> {
        if self.days < DAYS_LEAST || self.upto <= 0 {
            return None;
        }
        let share = (self.upto - self.before) as f64 / self.upto as f64;
        Some((self.bytes as f64 * share / self.days.min(DAYS)) as i64)
    }
}

/// Only where the database lies on this computer.
fn disk(desk: &Desk) -> Option<Disk> {
    if desk.profile == ProfileKind::Server {
        return None;
    }
    let mut folder: &Path = desk.backups.as_ref()?.shelf().folder();
    while !folder.exists() {
        folder = folder.parent()?;
    }
    Some(Disk {
        free_bytes: i64::try_from(bizing_postgres::free_bytes(folder)?).ok()?,
        size_bytes: i64::try_from(bizing_postgres::disk_bytes(folder)?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_a_week_on_and_by_the_last_thirty_days() {
        let growth = |days, before| Growth {
            bytes: 3_000_000,
            upto: 1_000,
            before,
            days,
        };
        assert_eq!(growth(6.9, 0).per_day(), None);
        assert_eq!(growth(10.0, 0).per_day(), Some(300_000));
        assert_eq!(growth(300.0, 900).per_day(), Some(10_000));
        assert_eq!(growth(300.0, 1_000).per_day(), Some(0));
    }
}
