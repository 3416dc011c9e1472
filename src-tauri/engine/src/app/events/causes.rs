//! One conversation as a graph: the facts of it, read in one go, and bounded.

use std::collections::HashSet;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::READ_ONLY;
use super::graph::{Asked, Came, Fact, Facts, Owed, Try, graph};
use super::rows::{Subjects, zone};
use crate::app::desk::Desk;
use crate::app::wire::*;
use crate::store::browse::{self, Filter, Way};
use crate::store::read::{self, Recorded};

/// Events of one graph; what follows from them is bounded by the same.
const MOST: i64 = 200;

pub async fn causes(desk: &Desk, request: EventCauses) -> Result<CauseGraph, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let zone = zone(&mut tx).await?;
    let safe = read::safe_position(&mut tx).await?;
    let filter = Filter {
        correlation: Some(request.correlation_id),
        ..Filter::default()
    };
    let mut events = browse::page(&mut tx, &filter, Way::OLDEST, safe, MOST).await?;
    let all = browse::count(&mut tx, &filter, safe).await?.unwrap_or(0);
    if events.is_empty() {
        return Err(AppError::new(
            Code::NotFound,
            format!("There is no conversation {}.", request.correlation_id),
        )
        .hint("It is the correlation id that each of its events carries."));
    }
    events.truncate(MOST as usize);
    let subjects = Subjects::of(&mut tx, events.iter().map(|e| &e.stream)).await?;
    let facts = Facts {
        tries: tries(&mut tx, &events, request.correlation_id).await?,
        asked: asked(&mut tx, &events, request.correlation_id).await?,
        came: came(&mut tx, &events).await?,
        owed: owed(&mut tx, &events).await?,
        events: events.iter().map(|e| fact(e, &subjects)).collect(),
    };
    tx.commit().await?;
    let mut drawn = graph(&facts, &zone)?;
    let rest = [facts.tries.len(), facts.came.len(), facts.owed.len()];
    let cut = rest.iter().filter(|n| **n as i64 == MOST).count();
    let left_out = all - events.len() as i64 + cut as i64;
    drawn.left_out = u32::try_from(left_out).unwrap_or(0);
    Ok(drawn)
}

fn fact(e: &Recorded, subjects: &Subjects) -> Fact {
    Fact {
        id: e.event_id,
        name: e.name.clone(),
        schema_version: e.schema_version.into(),
        position: e.position,
        at: e.occurred_at,
        recorded_at: e.recorded_at,
        actor: e.on_behalf_of().unwrap_or_else(|| e.actor.clone()),
        subject: subjects.get(&e.stream),
        cause: e.causation_id,
        texts: texts(e),
    }
}

/// What stands in its data at the top: ids of providers and deliveries are there.
fn texts(e: &Recorded) -> HashSet<String> {
    match e.data.value() {
        Value::Object(fields) => fields
            .into_iter()
            .filter_map(|(_, v)| match v {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        _ => HashSet::new(),
    }
}

fn bookings(events: &[Recorded]) -> Vec<Uuid> {
    let ids: HashSet<Uuid> = events
        .iter()
        .filter_map(|e| e.stream.booking().map(|b| b.0))
        .collect();
    ids.into_iter().collect()
}

async fn tries(
    conn: &mut PgConnection,
    events: &[Recorded],
    correlation: Uuid,
) -> Result<Vec<Try>, AppError> {
    Ok(sqlx::query_as(
        "select a.saga_id, a.no, a.step, a.direction::text = 'C' as undoing, a.started_at, a.result, a.effect_id is not null as called,
                f.provider_object
           from read.sagas_v1 i join read.saga_attempts_v1 a using (saga_id) left join read.effects_v1 f on f.effect_id = a.effect_id
          where i.booking_id = any($1) and i.correlation_id = $2 order by a.saga_id, a.no limit $3",
    )
    .bind(bookings(events))
    .bind(correlation)
    .bind(MOST)
    .fetch_all(conn)
    .await?)
}

async fn asked(
    conn: &mut PgConnection,
    events: &[Recorded],
    correlation: Uuid,
) -> Result<Vec<Asked>, AppError> {
    Ok(sqlx::query_as(
        "select c.command_id, c.action, c.requested_by, c.requested_at, c.status
           from read.sagas_v1 i join read.saga_commands_v1 c using (saga_id)
          where i.booking_id = any($1) and i.correlation_id = $2 order by c.requested_at limit $3",
    )
    .bind(bookings(events))
    .bind(correlation)
    .bind(MOST)
    .fetch_all(conn)
    .await?)
}

async fn came(conn: &mut PgConnection, events: &[Recorded]) -> Result<Vec<Came>, AppError> {
    let named: HashSet<String> = events.iter().flat_map(texts).collect();
    Ok(sqlx::query_as(
        "select external_id, kind, object_id, received_at, result from read.inbox_v1
          where object_id = any($1) order by received_at, inbox_id limit $2",
    )
    .bind(named.into_iter().collect::<Vec<_>>())
    .bind(MOST)
    .fetch_all(conn)
    .await?)
}

async fn owed(conn: &mut PgConnection, events: &[Recorded]) -> Result<Vec<Owed>, AppError> {
    Ok(sqlx::query_as(
        "select delivery_id, event_id, kind, template, state, attempt, created_at from read.deliveries_v1
          where event_id = any($1) order by created_at, delivery_id limit $2",
    )
    .bind(events.iter().map(|e| e.event_id).collect::<Vec<_>>())
    .bind(MOST)
    .fetch_all(conn)
    .await?)
}
