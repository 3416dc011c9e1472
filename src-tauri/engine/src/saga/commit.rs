//! The only way to write: a draft becomes one statement, behind the fence, or nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::instance::Effect;
use super::store::{STORED_ERROR, SagaError};
use super::world::{Claims, World};
use crate::domain::ids::{BookingId, CorrelationId, WorkerId};
use crate::runtime::ids;
use crate::store::append::{Append, AppendError, Context, Expected, plain, refusal};
use crate::store::read;

/// How a run leaves the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Go on under the same lease.
    Keep,
    /// Give the lease back: finished, parked or waiting.
    Release,
}

/// Writes the draft: one transaction, behind the fence. On success the world is what the database has.
pub async fn commit(
    pool: &PgPool,
    worker: WorkerId,
    world: &mut World,
    leave: Leave,
) -> Result<(), SagaError> {
    for _ in 0..5 {
        match try_commit(pool, worker, world, leave).await {
            Err(SagaError::Append(AppendError::Conflict { .. })) => {
                // Somebody wrote to the booking's stream (a message was delivered): decide again on top of it.
                let mut conn = pool.acquire().await?;
                let (base, version) =
                    read::booking(&mut conn, BookingId(world.instance.booking_id)).await?;
                world.rebase(base, version)?;
            }
            other => return other,
        }
    }
    Err(SagaError::LeaseLost)
}

async fn try_commit(
    pool: &PgPool,
    worker: WorkerId,
    world: &mut World,
    leave: Leave,
) -> Result<(), SagaError> {
    let token = ids::v7();
    let row = match write(pool, worker, world, leave, token).await {
        Ok(row) => row,
        Err(SagaError::Database(sqlx::Error::Database(refused))) => {
            return Err(refused_as(world, refused));
        }
        // The answer may be lost although it happened: the token tells.
        Err(SagaError::Database(error)) => {
            let landed: Option<(Option<Uuid>, i32)> =
                sqlx::query_as("select last_token, version from saga.instance where saga_id = $1")
                    .bind(world.instance.saga_id)
                    .fetch_optional(pool)
                    .await?;
            let Some((Some(found), version)) = landed else {
                return Err(error.into());
            };
            if found != token {
                return Err(error.into());
            }
            let stream = world.base_version + world.draft.events.len() as i64;
            world.instance.version = version;
            world.committed(stream);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    if row.try_get::<&str, _>("status")? != "done" {
        return Err(SagaError::LeaseLost);
    }
    world.instance.version = row.try_get("version")?;
    let stream: i64 = row.try_get("stream_version")?;
    world.committed(stream);
    Ok(())
}

fn refused_as(world: &World, refused: Box<dyn sqlx::error::DatabaseError>) -> SagaError {
    match refused.code().as_deref() {
        Some("SG001") => SagaError::HoldLost,
        Some("SG002") => SagaError::Append(AppendError::Conflict {
            stream: format!("booking-{}", world.instance.booking_id),
            expected: Expected::Version(world.base_version),
            actual: 0,
        }),
        _ => SagaError::Append(refusal(sqlx::Error::Database(refused))),
    }
}

async fn write(
    pool: &PgPool,
    worker: WorkerId,
    world: &World,
    leave: Leave,
    token: Uuid,
) -> Result<sqlx::postgres::PgRow, SagaError> {
    let (i, draft) = (&world.instance, &world.draft);
    let context = Context {
        correlation: CorrelationId(i.correlation_id),
        causation: Some(i.saga_id),
        on_behalf_of: Some(i.started_by.clone()),
    };
    let append = Append::new(
        BookingId(i.booking_id),
        Expected::Version(world.base_version),
        draft.events.clone(),
        world.now(),
    );
    let events = plain(&append, &context).map_err(SagaError::Append)?;
    let (pin, let_go) = match draft.claims {
        Some(Claims::Pin) => (Some(world.booking.claims.len() as i32), None),
        Some(Claims::Release(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    sqlx::query(
        "select status, version, stream_version from saga.write($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33,$34,$35)",
    )
    .bind(i.saga_id)
    .bind(worker.0)
    .bind(i.fence)
    .bind(i.version)
    .bind(leave == Leave::Release)
    .bind(token)
    .bind(&i.state)
    .bind(&i.direction)
    .bind(i.cursor)
    .bind(i.wake_at)
    .bind(i.attempt)
    .bind(&i.await_key)
    .bind(i.auth_expires_at)
    .bind(&i.park_code)
    .bind(&i.park_reason)
    .bind(&i.error_class)
    .bind(&i.error_message)
    .bind(&i.outcome)
    .bind(&i.context)
    .bind(world.past_pivot())
    .bind(draft.consume_signals)
    .bind(pin)
    .bind(let_go)
    .bind(effects(world))
    .bind(resolved(world))
    .bind(attempts(world))
    .bind(format!("booking-{}", i.booking_id))
    .bind(world.base_version)
    .bind(events.ids)
    .bind(events.names)
    .bind(events.schemas)
    .bind(world.now())
    .bind(i.correlation_id)
    .bind(events.metadata)
    .bind(events.data)
    .fetch_one(pool)
    .await
    .map_err(SagaError::Database)
}

/// Rows as one document; `None`: nothing to write.
fn rows<T>(all: &[T], row: impl Fn(usize, &T) -> Value) -> Option<Json<Vec<Value>>> {
    (!all.is_empty()).then(|| {
        Json(
            all.iter()
                .enumerate()
                .map(|(n, one)| row(n + 1, one))
                .collect(),
        )
    })
}

fn effects(world: &World) -> Option<Json<Vec<Value>>> {
    rows(&world.draft.effects, |_, e| {
        json!({
            "effect_id": e.effect_id, "step": e.step.name(), "direction": e.direction.letter(), "generation": e.generation,
            "operation": e.operation.name(), "idempotency_key": e.idempotency_key, "request": request_json(e), "sha256": hex(&e.request.sha256()),
        })
    })
}

fn resolved(world: &World) -> Option<Json<Vec<Value>>> {
    rows(&world.draft.resolved, |_, r| {
        let status = match r.stored_error {
            true => Some(STORED_ERROR),
            false => r.provider_status.as_deref(),
        };
        json!({
            "effect_id": r.effect_id, "outcome": r.outcome.word(), "open": r.outcome.open(), "provider_object": r.provider_object,
            "provider_status": status, "request_id": r.request_id, "via": r.via,
        })
    })
}

fn attempts(world: &World) -> Option<Json<Vec<Value>>> {
    rows(&world.draft.attempts, |n, a| {
        json!({
            "n": n, "step": a.step.name(), "direction": a.direction.letter(), "kind": a.kind, "effect_id": a.effect_id,
            "started_at": a.started_at, "ended_at": a.ended_at, "result": a.result, "error_class": a.error_class, "error": a.error,
            "output": a.output, "next_retry_at": a.next_retry_at,
        })
    })
}

pub fn request_json(effect: &Effect) -> Value {
    json!({ "operation": effect.operation, "encoded": effect.request })
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Before every sending but the first: only under a live lease that outlasts the call. The world knows it as well, since how
/// long an absence must last is counted from the last sending.
pub async fn mark_sent(
    pool: &PgPool,
    worker: WorkerId,
    world: &mut World,
    effect: Uuid,
    call_timeout: Duration,
) -> Result<(), SagaError> {
    let marked: Option<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "update saga.effect set first_sent_at = coalesce(first_sent_at, now()), last_sent_at = now(), sends = sends + 1
          where effect_id = $1 and exists (select 1 from saga.instance where saga_id = $2 and fence = $3 and lease_owner = $4
                                              and lease_expires_at > now() + $5)
         returning first_sent_at, last_sent_at",
    )
    .bind(effect)
    .bind(world.instance.saga_id)
    .bind(world.instance.fence)
    .bind(worker.0)
    .bind(call_timeout)
    .fetch_optional(pool)
    .await?;
    let (first, last) = marked.ok_or(SagaError::LeaseLost)?;
    world.sent(effect, first, last);
    Ok(())
}
