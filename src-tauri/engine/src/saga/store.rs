//! The saga store: claim, load, renew, give back. Writing is [`super::commit`]'s, and the fence decides whether it may.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::definition::{Definition, KNOWN, Step};
use super::gate;
use super::guards::Guards;
use super::instance::{COLUMNS, Direction, Effect, Instance, Outcome};
use super::rules;
use super::world::{Facts, Message, World};
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
    #[error("{0} is not a saga that this program knows")]
    Unknown(String),
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
              and (i.definition, i.def_version) in (select * from unnest($3::text[], $4::int[])) and {}
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
        .bind(KNOWN.map(|d| d.name).to_vec())
        .bind(KNOWN.map(|d| d.version).to_vec())
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

/// Renews the leases of what is being worked on. Returns those that are still ours. One that has ended is not renewed,
/// although nobody else may have taken it yet: what its owner knows is as old as that.
pub async fn renew(
    pool: &PgPool,
    worker: WorkerId,
    sagas: &[Uuid],
    lease: Duration,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("update saga.instance set lease_expires_at = now() + $3 where saga_id = any($2) and lease_owner = $1 and lease_expires_at > now() returning saga_id")
        .bind(worker.0)
        .bind(sagas)
        .bind(lease)
        .fetch_all(pool)
        .await
}

/// What was told while a saga was at work woke nobody, and its rest has just taken note of it: then it looks again at once.
pub async fn wake_if_told(pool: &PgPool, saga: Uuid, since: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "update saga.instance set wake_at = now()
          where saga_id = $1 and state = 'waiting' and lease_owner is null and wake_at > now()
            and exists (select from saga.signal g where g.saga_id = $1 and g.received_at > $2)",
    )
    .bind(saga)
    .bind(since)
    .execute(pool)
    .await
    .map(|_| ())
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
    // No snapshot holds these together: what changes in between raises the fence, and the commit finds out.
    let mut conn = pool.acquire().await?;
    look_in(&mut conn, saga, Some(worker), installation, has_stripe).await
}

/// The same for whoever only looks: nothing can be committed from it.
pub async fn peek(pool: &PgPool, saga: Uuid, installation: &str) -> Result<World, SagaError> {
    let mut conn = pool.acquire().await?;
    look_in(&mut conn, saga, None, installation, true).await
}

/// `owner`: only while the saga is leased to it.
pub async fn look_in(
    conn: &mut PgConnection,
    saga: Uuid,
    owner: Option<WorkerId>,
    installation: &str,
    has_stripe: bool,
) -> Result<World, SagaError> {
    let text = format!(
        "select {COLUMNS}, now() as read_at, {} as rules from saga.instance where saga_id = $1 and ($2::uuid is null or lease_owner = $2)",
        rules::NEWEST
    );
    // The text is made of our own column list.
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(saga)
        .bind(owner.map(|w| w.0))
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(SagaError::LeaseLost)?;
    let instance = <Instance as sqlx::FromRow<_>>::from_row(&row)?;
    let now: DateTime<Utc> = row.try_get("read_at")?;
    let rules = rules::read(row.try_get("rules")?);
    let definition = instance.definition().ok_or_else(|| {
        SagaError::Unknown(format!("{}@{}", instance.definition, instance.def_version))
    })?;
    let (booking, version) = read::booking(&mut *conn, BookingId(instance.booking_id)).await?;
    let effects = effects(&mut *conn, saga).await?;
    let message = match definition.at(instance.cursor) {
        Some(Step::Notify) => {
            message(&mut *conn, BookingId(instance.booking_id), definition).await?
        }
        _ => None,
    };
    let gate = gate::looks(&mut *conn, saga).await?;
    let guards = match &message {
        Some(m) if m.reached_nobody() => Some(guards(&mut *conn, &instance, definition, m).await?),
        _ => None,
    };
    Ok(World::new(
        Facts {
            instance,
            definition,
            booking,
            version,
            effects,
            message,
            guards,
            gate,
            rules: Some(rules),
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
        step: Step::named(&step).ok_or_else(unknown)?,
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

pub(super) const STORED_ERROR: &str = "stored_error";

/// The message that decides the last step.
async fn message(
    conn: &mut PgConnection,
    booking: BookingId,
    definition: &Definition,
) -> sqlx::Result<Option<Message>> {
    let row = sqlx::query(
        "select state, coalesce(outcome->>'problem', case when state = 'skipped' then outcome->>'response' end) as problem, outcome->>'result' as result from delivery.deliveries
          where stream_id = $1 and template = $2 order by position desc limit 1",
    )
    .bind(format!("booking-{booking}"))
    .bind(definition.message)
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
    definition: &Definition,
    message: &Message,
) -> sqlx::Result<Guards> {
    let row = sqlx::query(
        "with p as (select value from saga.policy order by version desc limit 1)
         select value->>'notify_on_exhausted' as on_exhausted, coalesce(value->>'end_exhausted', value->>'notify_on_exhausted') = 'continue' as end_continues, (value->>'late_hours')::int as late_hours, (value->>'blast_sagas')::bigint as blast_sagas,
                coalesce((value#>>array['approval_minor', $1])::bigint, (value#>>'{approval_minor,*}')::bigint) as approval_minor,
                (select count(*) from delivery.deliveries d
                  where d.template = $3 and d.state = 'gave_up' and d.finished_at > now() - make_interval(mins => (value->>'blast_minutes')::int)
                    and d.outcome->>'result' is not distinct from $2) as same_cause
           from p",
    )
    .bind(&instance.currency)
    .bind(&message.result)
    .bind(definition.message)
    .fetch_one(conn)
    .await?;
    Ok(Guards {
        on_exhausted: row.try_get("on_exhausted")?,
        end_continues: row.try_get("end_continues")?,
        late_hours: row.try_get("late_hours")?,
        approval_minor: row.try_get("approval_minor")?,
        blast_sagas: row.try_get("blast_sagas")?,
        same_cause: row.try_get("same_cause")?,
    })
}

/// The draft's events, within the caller's transaction.
pub(super) async fn append_events(
    conn: &mut PgConnection,
    world: &World,
) -> Result<i64, SagaError> {
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
