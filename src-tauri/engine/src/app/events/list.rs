//! A page of the log, and what can be in it.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use super::READ_ONLY;
use super::rows::{Subjects, event_row, stream_named, zone};
use crate::app::desk::Desk;
use crate::app::doctor;
use crate::app::place;
use crate::app::wire::*;
use crate::domain::slot::{self, Fold};
use crate::store::browse::{self, Effort, Filter, Way};
use crate::store::read;

/// Above this many the total is the server's own estimate: counting would cost more than it tells.
const COUNTED_EXACTLY: i64 = 200_000;
const LONGEST_PATH: usize = 1_000;
/// Events that are looked at for the categories that the filters offer, and for whoever has no login any more.
const LATELY: i64 = 5_000;

pub async fn list(desk: &Desk, request: ListEvents) -> Result<EventPage, AppError> {
    if !(1..=1000).contains(&request.limit) {
        return Err(AppError::invalid("limit", "A page has 1 to 1,000 events."));
    }
    let way = match (request.before, request.after) {
        (Some(_), Some(_)) => {
            return Err(AppError::invalid(
                "after",
                "A page goes on before a position or after one, not both.",
            ));
        }
        (Some(position), None) => Way::Before(position),
        (None, Some(position)) => Way::After(position),
        (None, None) => Way::NEWEST,
    };
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let zone = zone(&mut tx).await?;
    let filter = filter(&mut tx, &request.filter, &zone).await?;
    let safe = read::safe_position(&mut tx).await?;
    let limit = i64::from(request.limit);
    let effort = Effort::WHILE_WAITING;
    let looked = browse::look(&mut tx, &filter, way, safe, limit, effort).await?;
    let searched = match looked.stopped {
        Some(position) => {
            let at = browse::time_at(&mut tx, position).await?;
            let at = at.map(|at| place::moment(at, &zone)).transpose()?;
            Some(Searched { position, at })
        }
        None => None,
    };
    let mut events = looked.events;
    let matched = browse::count(&mut tx, &filter, safe).await?;
    let total = total(&mut tx, safe).await?;
    let chain = doctor::last_chain(&mut tx, &zone).await?;

    let more = searched.is_some() || events.len() > request.limit as usize;
    events.truncate(request.limit as usize);
    if let Way::After(_) = way {
        events.reverse();
    }
    let subjects = Subjects::of(&mut tx, events.iter().map(|e| &e.stream)).await?;
    tx.commit().await?;
    Ok(EventPage {
        rows: events
            .iter()
            .map(|e| event_row(e, &subjects, &zone))
            .collect::<Result<_, _>>()?,
        more,
        searched,
        matched: match matched {
            Some(count) => Some(Count {
                count,
                estimated: false,
            }),
            None => (filter == Filter::default()).then_some(total),
        },
        total,
        safe_position: safe,
        chain,
    })
}

pub(super) async fn filter(
    conn: &mut PgConnection,
    f: &EventFilter,
    zone: &str,
) -> Result<Filter, AppError> {
    let path = f
        .json_path
        .as_deref()
        .map(str::trim)
        .filter(|p| !p.is_empty());
    if let Some(path) = path {
        if path.chars().count() > LONGEST_PATH {
            return Err(AppError::invalid(
                "filter.json_path",
                "A path has at most 1,000 signs.",
            ));
        }
        browse::check_path(conn, path).await?;
    }
    let stream = match f.stream.as_deref().filter(|s| !s.trim().is_empty()) {
        Some(text) => Some(stream_named(conn, text, "filter.stream").await?),
        None => None,
    };
    let from = time("filter.from", f.from.as_deref(), zone, Fold::First)?;
    let to = time("filter.to", f.to.as_deref(), zone, Fold::Second)?;
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(AppError::invalid(
            "filter.to",
            "The end lies before the beginning.",
        ));
    }
    Ok(Filter {
        types: f.types.clone(),
        stream,
        category: f.category.clone(),
        correlation: f.correlation_id,
        causation: f.causation_id,
        actor: f.actor.clone(),
        from,
        to,
        json_path: path.map(str::to_owned),
    })
}

/// A wall time of the place. Where the clock shows it twice, the reading that leaves out less.
pub(super) fn time(
    field: &str,
    wall: Option<&str>,
    zone: &str,
    fold: Fold,
) -> Result<Option<DateTime<Utc>>, AppError> {
    let Some(wall) = wall.map(str::trim).filter(|w| !w.is_empty()) else {
        return Ok(None);
    };
    // A day alone begins at its midnight.
    let whole = if wall.len() == 10 {
        format!("{wall}T00:00")
    } else {
        wall.to_owned()
    };
    slot::resolve(&whole, zone, Some(fold))
        .map(|(_, at)| Some(at))
        .map_err(|error| {
            AppError::invalid(field, format!("`{wall}` is no time of {zone}: {error}."))
                .hint("Write it as 2026-11-24T11:00.")
        })
}

pub(in crate::app) async fn total(conn: &mut PgConnection, safe: i64) -> Result<Count, AppError> {
    if safe <= COUNTED_EXACTLY {
        let count = sqlx::query_scalar("select count(*) from read.log_v1 where position <= $1")
            .bind(safe)
            .fetch_one(conn)
            .await?;
        return Ok(Count {
            count,
            estimated: false,
        });
    }
    let counted: i64 = sqlx::query_scalar(
        "select coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint from pg_catalog.pg_inherits i
           join pg_catalog.pg_class c on c.oid = i.inhrelid
           join pg_catalog.pg_class p on p.oid = i.inhparent
           join pg_catalog.pg_namespace n on n.oid = p.relnamespace
          where n.nspname = 'core' and p.relname = 'events'",
    )
    .fetch_one(conn)
    .await?;
    // What was written since the server last looked is not in its figures; few positions hold no event.
    let count = if counted < safe / 2 {
        safe
    } else {
        counted.min(safe)
    };
    Ok(Count {
        count,
        estimated: true,
    })
}

pub async fn catalogue(desk: &Desk, _: Empty) -> Result<EventCatalogue, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let rows = sqlx::query(
        "select name, array_agg(schema_version::int order by schema_version) from read.event_types_v1 group by name order by name",
    )
    .fetch_all(&mut *tx)
    .await?;
    let types = rows
        .iter()
        .map(|row| {
            Ok(EventType {
                name: row.try_get(0)?,
                versions: row.try_get(1)?,
            })
        })
        .collect::<sqlx::Result<_>>()?;
    // Who wrote long ago is found as well: everybody with a login here is offered.
    let row = sqlx::query(
        "with lately as (
           select coalesce(metadata->>'on_behalf_of', actor::text) as actor, stream_no from read.log_v1 order by position desc limit $1)
         select array(select distinct s.category from lately join read.streams_v1 s using (stream_no) order by 1),
                array(select actor from lately union select login from read.names_v1 order by 1)",
    )
    .bind(LATELY)
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(EventCatalogue {
        types,
        categories: row.try_get(0)?,
        actors: row.try_get(1)?,
    })
}
