//! The saga store: claim, load, commit, renew, give back. `commit` is the only way to write, and the fence decides
//! whether it may.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::definition::{self, Step};
use super::gate;
use super::guards::Guards;
use super::instance::{COLUMNS, Direction, Effect, Instance, Outcome};
use super::world::{Claims, Facts, Message, World};
use crate::domain::booking::Refusal;
use crate::domain::ids::{BookingId, CorrelationId, WorkerId};
use crate::store::append::{Append, AppendError, Context, Expected, append_in};
use crate::store::read;

#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    #[error("the lease was lost: another worker goes on with this saga")]
    LeaseLost,
    #[error("the hold ended before the payment was captured")]
    HoldLost,
    #[error("a rule refuses what the plan wants")]
    Refused(#[from] Refusal),
    #[error("the events could not be read")]
    Read(#[from] read::ReadError),
    #[error("the events could not be appended")]
    Append(#[source] AppendError),
    #[error("the stored effect cannot be read")]
    Effect(#[source] serde_json::Error),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// Claims due sagas of the definitions that this program knows. Each claim raises the fence.
pub async fn claim(
    pool: &PgPool,
    worker: WorkerId,
    limit: i32,
    lease: Duration,
) -> sqlx::Result<Vec<Uuid>> {
    let text = format!(
        "with due as (
           select i.saga_id from saga.instance i
            where i.state in ('running', 'waiting', 'compensating') and i.paused_at is null and i.wake_at <= now()
              and (i.lease_expires_at is null or i.lease_expires_at < now())
              and i.definition = $3 and i.def_version = $4 and {}
            order by i.wake_at limit $2 for update skip locked)
         update saga.instance i set lease_owner = $1, lease_expires_at = now() + $5, fence = fence + 1,
                                    take_overs = case when lease_owner is null then take_overs else least(take_overs + 1, 1000) end
           from due where i.saga_id = due.saga_id returning i.saga_id",
        gate::PASSES
    );
    // The text is made of our own conditions.
    sqlx::query_scalar(sqlx::AssertSqlSafe(text))
        .bind(worker.0)
        .bind(limit)
        .bind(definition::NAME)
        .bind(definition::VERSION)
        .bind(lease)
        .fetch_all(pool)
        .await
}

/// When the next saga is due that nobody holds, for the sleep of an idle worker.
pub async fn next_due(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    // While a provider is shut, its sagas are due when the next one may be sent ahead.
    let text = format!(
        "select least(min(greatest(i.wake_at, coalesce(i.lease_expires_at, i.wake_at))),
                      (select min(g.open_until) from saga.provider_gate g where g.state <> 'closed' and g.open_until > now()))
           from saga.instance i where i.state in ('running', 'waiting', 'compensating') and i.paused_at is null and {}",
        gate::PASSES
    );
    // The text is made of our own conditions.
    sqlx::query_scalar(sqlx::AssertSqlSafe(text))
        .fetch_one(pool)
        .await
}

/// Renews the leases of what is being worked on. Returns those that are still ours.
pub async fn renew(
    pool: &PgPool,
    worker: WorkerId,
    sagas: &[Uuid],
    lease: Duration,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("update saga.instance set lease_expires_at = now() + $3 where saga_id = any($2) and lease_owner = $1 returning saga_id")
        .bind(worker.0)
        .bind(sagas)
        .bind(lease)
        .fetch_all(pool)
        .await
}

/// Gives back everything this worker holds, so that others go on at once. Raises the fence: a straggler's write is refused.
pub async fn release_all(pool: &PgPool, worker: WorkerId) -> sqlx::Result<u64> {
    let done = sqlx::query("update saga.instance set lease_owner = null, lease_expires_at = null, fence = fence + 1 where lease_owner = $1 and finished_at is null")
        .bind(worker.0)
        .execute(pool)
        .await?;
    Ok(done.rows_affected())
}

/// Everything one run decides by, if the saga is still leased to us.
pub async fn load(
    pool: &PgPool,
    worker: WorkerId,
    saga: Uuid,
    installation: &str,
    has_stripe: bool,
) -> Result<World, SagaError> {
    let mut conn = pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let text = format!(
        "select {COLUMNS}, now() as read_at from saga.instance where saga_id = $1 and lease_owner = $2"
    );
    // The text is made of our own column list.
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(saga)
        .bind(worker.0)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(SagaError::LeaseLost)?;
    let instance = <Instance as sqlx::FromRow<_>>::from_row(&row)?;
    let now: DateTime<Utc> = row.try_get("read_at")?;
    let (booking, version) = read::booking(&mut tx, BookingId(instance.booking_id)).await?;
    let effects = effects(&mut tx, saga).await?;
    let message = match instance.step() {
        Some(Step::Notify) => message(&mut tx, BookingId(instance.booking_id)).await?,
        _ => None,
    };
    let gate = gate::looks(&mut tx, saga).await?;
    let guards = match &message {
        Some(m) if m.state == "gave_up" => Some(guards(&mut tx, &instance, m).await?),
        _ => None,
    };
    tx.commit().await?;
    Ok(World::new(
        Facts {
            instance,
            booking,
            version,
            effects,
            message,
            guards,
            gate,
            now,
        },
        installation,
        has_stripe,
    ))
}

async fn effects(conn: &mut PgConnection, saga: Uuid) -> Result<Vec<Effect>, SagaError> {
    let rows = sqlx::query(
        "select effect_id, step, direction::text as direction, generation, request, idempotency_key, first_sent_at, last_sent_at, outcome,
                provider_object, provider_status, case when resolved_via = 'operator' then response->>'evidence' end as evidence from saga.effect where saga_id = $1 order by intended_at, generation",
    )
    .bind(saga)
    .fetch_all(conn)
    .await?;
    rows.iter().map(effect).collect()
}

fn effect(row: &sqlx::postgres::PgRow) -> Result<Effect, SagaError> {
    let step: String = row.try_get("step")?;
    let direction: String = row.try_get("direction")?;
    let outcome: String = row.try_get("outcome")?;
    let mut request: serde_json::Value = row.try_get("request")?;
    let unknown = || sqlx::Error::Decode("an effect of an unknown step or outcome".into());
    Ok(Effect {
        effect_id: row.try_get("effect_id")?,
        step: Step::ALL
            .into_iter()
            .find(|s| s.name() == step)
            .ok_or_else(unknown)?,
        direction: if direction == "F" {
            Direction::Forward
        } else {
            Direction::Undo
        },
        generation: row.try_get("generation")?,
        operation: serde_json::from_value(request["operation"].take())
            .map_err(SagaError::Effect)?,
        request: serde_json::from_value(request["encoded"].take()).map_err(SagaError::Effect)?,
        idempotency_key: row.try_get("idempotency_key")?,
        first_sent_at: row.try_get("first_sent_at")?,
        last_sent_at: row.try_get("last_sent_at")?,
        outcome: Outcome::from_word(&outcome).ok_or_else(unknown)?,
        stored_error: row
            .try_get::<Option<String>, _>("provider_status")?
            .as_deref()
            == Some(STORED_ERROR),
        provider_object: row.try_get("provider_object")?,
        evidence: row.try_get("evidence")?,
    })
}

const STORED_ERROR: &str = "stored_error";

/// The message that confirms the booking: it decides step five.
async fn message(conn: &mut PgConnection, booking: BookingId) -> sqlx::Result<Option<Message>> {
    let row = sqlx::query(
        "select state, outcome->>'problem' as problem, outcome->>'result' as result from delivery.deliveries
          where stream_id = $1 and template = 'booking_confirmed' order by position desc limit 1",
    )
    .bind(format!("booking-{booking}"))
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        Ok(Message {
            state: r.try_get(0)?,
            problem: r.try_get(1)?,
            result: r.try_get(2)?,
        })
    })
    .transpose()
}

/// What stands between a message that reached nobody and the undoing of a paid booking.
async fn guards(
    conn: &mut PgConnection,
    instance: &Instance,
    message: &Message,
) -> sqlx::Result<Guards> {
    let row = sqlx::query(
        "with p as (select value from saga.policy order by version desc limit 1)
         select value->>'notify_on_exhausted' as on_exhausted, (value->>'late_hours')::int as late_hours, (value->>'blast_sagas')::bigint as blast_sagas,
                coalesce((value#>>array['approval_minor', $1])::bigint, (value#>>'{approval_minor,*}')::bigint) as approval_minor,
                (select count(*) from delivery.deliveries d
                  where d.template = 'booking_confirmed' and d.state = 'gave_up' and d.finished_at > now() - make_interval(mins => (value->>'blast_minutes')::int)
                    and d.outcome->>'result' is not distinct from $2) as same_cause
           from p",
    )
    .bind(&instance.currency)
    .bind(&message.result)
    .fetch_one(conn)
    .await?;
    Ok(Guards {
        on_exhausted: row.try_get("on_exhausted")?,
        late_hours: row.try_get("late_hours")?,
        approval_minor: row.try_get("approval_minor")?,
        blast_sagas: row.try_get("blast_sagas")?,
        same_cause: row.try_get("same_cause")?,
    })
}

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
    let token = crate::runtime::ids::v7();
    let mut conn = pool.acquire().await?;
    let mut tx = conn.begin().await?;
    let version = transition(&mut tx, worker, world, leave, token).await?;
    if let Some(claims) = world.draft.claims {
        move_claims(&mut tx, world, claims).await?;
    }
    let stream_version = append(&mut tx, world).await?;
    write_effects(&mut tx, world).await?;
    write_attempts(&mut tx, worker, world).await?;
    if world.draft.consume_signals {
        sqlx::query("update saga.signal set consumed_at = now(), consumed_version = $2 where saga_id = $1 and consumed_at is null")
            .bind(world.instance.saga_id)
            .bind(version)
            .execute(&mut *tx)
            .await?;
    }
    if let Err(error) = tx.commit().await {
        // The answer to COMMIT may be lost although it happened: the token tells.
        let landed: Option<Uuid> =
            sqlx::query_scalar("select last_token from saga.instance where saga_id = $1")
                .bind(world.instance.saga_id)
                .fetch_one(pool)
                .await?;
        if landed != Some(token) {
            return Err(error.into());
        }
    }
    world.instance.version = version;
    world.committed(stream_version);
    Ok(())
}

/// The fenced update. No row: the lease is lost, and nothing of this draft may be written.
async fn transition(
    conn: &mut PgConnection,
    worker: WorkerId,
    world: &World,
    leave: Leave,
    token: Uuid,
) -> Result<i32, SagaError> {
    let i = &world.instance;
    let mut version = i.version;
    // running -> compensated is two transitions, and the database insists on both.
    if i.state == "compensated" {
        let turned = sqlx::query(
            "update saga.instance set state = 'compensating', direction = 'C', version = version + 1, by_fence = $2
              where saga_id = $1 and fence = $2 and version = $3 and lease_owner = $4 and state = 'running'",
        )
        .bind(i.saga_id)
        .bind(i.fence)
        .bind(version)
        .bind(worker.0)
        .execute(&mut *conn)
        .await?;
        version += turned.rows_affected() as i32;
    }
    let release = leave == Leave::Release;
    let row = sqlx::query(
        r#"update saga.instance
              set state = $5, direction = ($6::text)::"char", "cursor" = $7, version = version + 1, by_fence = $2, last_token = $8, wake_at = $9,
                  attempt = $10, await_key = $11, auth_expires_at = $12, park_reason = $13, park_code = $20, take_overs = 0,
                  parked_at = case when $5 = 'parked' then coalesce(parked_at, now()) end,
                  error_class = $14, error_message = $15, outcome = $16, context = $17, updated_at = now(),
                  pivot_passed_at = coalesce(pivot_passed_at, case when $18 then now() end),
                  hold_expires_at = case when $18 then null else hold_expires_at end,
                  finished_at = case when $5 in ('completed', 'compensated', 'resolved') then coalesce(finished_at, now()) end,
                  lease_owner = case when $19 then null else lease_owner end,
                  lease_expires_at = case when $19 then null else lease_expires_at end
            where saga_id = $1 and fence = $2 and version = $3 and lease_owner = $4 returning version"#,
    )
    .bind(i.saga_id)
    .bind(i.fence)
    .bind(version)
    .bind(worker.0)
    .bind(&i.state)
    .bind(&i.direction)
    .bind(i.cursor)
    .bind(token)
    .bind(i.wake_at)
    .bind(i.attempt)
    .bind(&i.await_key)
    .bind(i.auth_expires_at)
    .bind(&i.park_reason)
    .bind(&i.error_class)
    .bind(&i.error_message)
    .bind(&i.outcome)
    .bind(&i.context)
    .bind(world.booking.payment.captured_minor > 0)
    .bind(release)
    .bind(&i.park_code)
    .fetch_optional(conn)
    .await?;
    row.ok_or(SagaError::LeaseLost)?
        .try_get(0)
        .map_err(Into::into)
}

async fn move_claims(
    conn: &mut PgConnection,
    world: &World,
    claims: Claims,
) -> Result<(), SagaError> {
    match claims {
        Claims::Pin => {
            let pinned = sqlx::query("update booking.inventory_claim set kind = 'booking', expires_at = null where booking_id = $1 and released_at is null and (expires_at is null or expires_at > now())")
                .bind(world.instance.booking_id)
                .execute(conn)
                .await?
                .rows_affected();
            if pinned < world.booking.claims.len() as u64 {
                Err(SagaError::HoldLost)
            } else {
                Ok(())
            }
        }
        Claims::Release(reason) => {
            sqlx::query("update booking.inventory_claim set released_at = now(), release_reason = $2 where booking_id = $1 and released_at is null")
                .bind(world.instance.booking_id)
                .bind(reason)
                .execute(conn)
                .await?;
            Ok(())
        }
    }
}

async fn append(conn: &mut PgConnection, world: &World) -> Result<i64, SagaError> {
    if world.draft.events.is_empty() {
        return Ok(world.base_version);
    }
    let context = Context {
        correlation: CorrelationId(world.instance.correlation_id),
        causation: Some(world.instance.saga_id),
        on_behalf_of: Some(world.instance.started_by.clone()),
    };
    let append = Append::new(
        BookingId(world.instance.booking_id),
        Expected::Version(world.base_version),
        world.draft.events.clone(),
        world.now(),
    );
    let done = append_in(conn, &context, vec![append])
        .await
        .map_err(SagaError::Append)?;
    Ok(done.first().map_or(world.base_version, |a| a.version))
}

async fn write_effects(conn: &mut PgConnection, world: &World) -> sqlx::Result<()> {
    for e in &world.draft.effects {
        // The first sending rides in this commit.
        sqlx::query(
            r#"insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request,
                                        request_sha256, first_sent_at, last_sent_at, sends)
               values ($1, $2, $3, ($4::text)::"char", $5, 'stripe', $6, $7, $8, $9, now(), now(), 1)"#,
        )
        .bind(e.effect_id)
        .bind(world.instance.saga_id)
        .bind(e.step.name())
        .bind(e.direction.letter())
        .bind(e.generation)
        .bind(e.operation.name())
        .bind(&e.idempotency_key)
        .bind(request_json(e))
        .bind(e.request.sha256().to_vec())
        .execute(&mut *conn)
        .await?;
    }
    for r in &world.draft.resolved {
        let open = r.outcome.open();
        sqlx::query(
            "update saga.effect set outcome = $2, provider_object = coalesce($3, provider_object), provider_status = coalesce($4, provider_status),
                    provider_request_id = coalesce($5, provider_request_id), resolved_at = case when $6 then null else now() end,
                    resolved_via = case when $6 then null else $7 end
              where effect_id = $1",
        )
        .bind(r.effect_id)
        .bind(r.outcome.word())
        .bind(&r.provider_object)
        .bind(if r.stored_error { Some(STORED_ERROR.to_owned()) } else { r.provider_status.clone() })
        .bind(&r.request_id)
        .bind(open)
        .bind(r.via)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

pub fn request_json(effect: &Effect) -> serde_json::Value {
    json!({ "operation": effect.operation, "encoded": effect.request })
}

async fn write_attempts(
    conn: &mut PgConnection,
    worker: WorkerId,
    world: &World,
) -> sqlx::Result<()> {
    for a in &world.draft.attempts {
        sqlx::query(
            r#"insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, worker_id, fence, started_at, ended_at, result, error_class,
                                         error, output, next_retry_at)
               select $1, coalesce(max(no), 0) + 1, $2, ($3::text)::"char", $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
                 from saga.attempt where saga_id = $1"#,
        )
        .bind(world.instance.saga_id)
        .bind(a.step.name())
        .bind(a.direction.letter())
        .bind(a.kind)
        .bind(a.effect_id)
        .bind(worker.0)
        .bind(world.instance.fence)
        .bind(a.started_at)
        .bind(a.ended_at)
        .bind(a.result)
        .bind(a.error_class)
        .bind(&a.error)
        .bind(&a.output)
        .bind(a.next_retry_at)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Before every sending but the first: only under a live lease that outlasts the call.
pub async fn mark_sent(
    pool: &PgPool,
    worker: WorkerId,
    world: &World,
    effect: Uuid,
    call_timeout: Duration,
) -> Result<(), SagaError> {
    let marked = sqlx::query(
        "update saga.effect set first_sent_at = coalesce(first_sent_at, now()), last_sent_at = now(), sends = sends + 1
          where effect_id = $1 and exists (select 1 from saga.instance where saga_id = $2 and fence = $3 and lease_owner = $4
                                              and lease_expires_at > now() + $5)",
    )
    .bind(effect)
    .bind(world.instance.saga_id)
    .bind(world.instance.fence)
    .bind(worker.0)
    .bind(call_timeout)
    .execute(pool)
    .await?;
    if marked.rows_affected() == 1 {
        Ok(())
    } else {
        Err(SagaError::LeaseLost)
    }
}
