//! A booking and its saga, begun together: claims, events and saga in one statement, and so in one transaction.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use sqlx::postgres::PgDatabaseError;
use sqlx::postgres::types::PgRange;
use uuid::Uuid;

use super::commit::{hex, request_json};
use super::definition::{BOOKING, BOOKING_FREE, Policy, Step};
use super::executor::name_effect;
use super::gate::Gate;
use super::instance::{Direction, Effect, Instance, Outcome, idempotency_key};
use super::plan::payment_operation_for;
use super::world::{Facts, World};
use crate::domain::booking;
use crate::domain::event::{BookingCreated, Claim, Event, PaymentMode};
use crate::domain::ids::{CorrelationId, EffectId, SagaId, WorkerId};
use crate::runtime::ids;
use crate::store::append::{Append, AppendError, Context, Expected, Plain, plain, refusal};

pub struct Start<'a> {
    pub saga: SagaId,
    pub created: &'a BookingCreated,
    pub claims: &'a [Claim],
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub correlation: CorrelationId,
    pub causation: Uuid,
    pub installation: &'a str,
    pub policy: &'a Policy,
    /// A worker in this very process goes straight on: the saga starts leased, with its first effect intended.
    pub lease: Option<WorkerId>,
    pub now: DateTime<Utc>,
}

/// A saga that was started, with what its own process need not read again.
pub struct Started {
    pub saga: SagaId,
    /// Leased to this process from its first moment on; `None`: nobody works here.
    own: Option<Own>,
}

struct Own {
    gate: Gate,
    instance: Instance,
    effect: Option<Effect>,
}

impl Started {
    /// The world after the commit of the start, for the worker that goes straight on: the booking's events so far, and
    /// nothing that anybody else could have changed without taking the lease away.
    pub fn world(self, events: &[Event], now: DateTime<Utc>, installation: &str) -> Option<World> {
        let own = self.own?;
        let facts = Facts {
            definition: own.instance.definition()?,
            instance: own.instance,
            booking: booking::replay(events),
            version: events.len() as i64,
            effects: own.effect.into_iter().collect(),
            message: None,
            guards: None,
            gate: own.gate,
            rules: None,
            now,
        };
        Some(World::new(facts, installation, true))
    }
}

/// Why nothing was booked.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error("somebody has the slot")]
    SlotTaken(Vec<Rival>),
    /// Lost a race, over a lock, a reference or this very booking.
    #[error("somebody else was a moment earlier")]
    Overtaken,
    #[error(transparent)]
    Append(AppendError),
}

/// What stands in the way: when, and on what, never whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Rival {
    pub resource_id: Uuid,
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// Books: everything, or nothing. `appends` begin their streams: the booking's, and whatever belongs to it.
pub async fn book(
    conn: &mut PgConnection,
    start: Start<'_>,
    mut appends: Vec<Append>,
) -> Result<Started, BookError> {
    let created = start.created;
    let asks_stripe = created.payment_mode != PaymentMode::Venue && !created.price.is_zero();
    let definition = if asks_stripe { &BOOKING } else { &BOOKING_FREE };
    let effect = (start.lease.is_some() && asks_stripe).then(|| first_effect(&start));
    let saga = start.saga.0;
    let context = json!({
        "reference": created.reference,
        // Whether the provider's gate concerns this saga.
        "provider": if asks_stripe { "stripe" } else { "none" },
    });
    let (claims, during) = (start.claims, start.claims.iter().map(blocked));
    let why = Context {
        correlation: start.correlation,
        causation: Some(start.causation),
        on_behalf_of: None,
    };
    // Everybody locks streams in one order.
    appends.sort_by(|a, b| a.stream.cmp(&b.stream));
    let (mut streams, mut events) = (vec![], Plain::default());
    for append in &appends {
        let more = plain(append, &why).map_err(BookError::Append)?;
        streams.extend(more.ids.iter().map(|_| append.stream.0.as_str()));
        events.extend(more);
    }
    let (login, shut_until): (String, Option<DateTime<Utc>>) = sqlx::query_as("select login, shut_until from api.book($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27)")
        .bind(saga)
        .bind(definition.name)
        .bind(definition.version)
        .bind(format!("booking:{}:1", created.booking_id))
        .bind(created.booking_id.0)
        .bind(created.customer_id.0)
        .bind(created.price.amount_minor)
        .bind(created.price.currency.as_str())
        .bind(start.hold_expires_at)
        .bind(&context)
        .bind(start.correlation.0)
        .bind(start.causation)
        .bind(start.lease.map(|w| w.0))
        .bind(start.policy.lease)
        .bind(effect.as_ref().map(row_of))
        .bind(&created.reference.0)
        .bind(claims.iter().map(|c| c.claim_id.0).collect::<Vec<_>>())
        .bind(claims.iter().map(|c| c.resource_id.0).collect::<Vec<_>>())
        .bind(claims.iter().map(|c| c.unit).collect::<Vec<_>>())
        .bind(during.collect::<Vec<_>>())
        .bind(streams)
        .bind(events.ids)
        .bind(events.names)
        .bind(events.schemas)
        .bind(events.data)
        .bind(start.now)
        .bind(events.metadata)
        .fetch_one(conn)
        .await
        .map_err(refused)?;
    let own = start.lease.is_some().then(|| Own {
        gate: shut_until.map_or(Gate::Open, |until| Gate::Shut { until }),
        instance: Instance {
            saga_id: saga,
            definition: definition.name.to_owned(),
            def_version: definition.version,
            state: "running".to_owned(),
            direction: "F".to_owned(),
            cursor: 1,
            pivot_passed_at: None,
            version: 0,
            fence: 1,
            wake_at: start.now,
            attempt: 0,
            await_key: None,
            hold_expires_at: start.hold_expires_at,
            auth_expires_at: None,
            cancel_requested_at: None,
            cancel_requested_by: None,
            park_reason: None,
            park_code: None,
            take_overs: 0,
            currency: Some(created.price.currency.as_str().to_owned()),
            error_class: None,
            error_message: None,
            outcome: None,
            booking_id: created.booking_id.0,
            context,
            correlation_id: start.correlation.0,
            started_by: login,
            finished_at: None,
        },
        effect,
    });
    Ok(Started {
        saga: SagaId(saga),
        own,
    })
}

fn blocked(claim: &Claim) -> PgRange<DateTime<Utc>> {
    (claim.blocked_from..claim.blocked_until).into()
}

/// What `api.book` raises, with what it says in the detail.
fn refused(error: sqlx::Error) -> BookError {
    let pg = error
        .as_database_error()
        .and_then(|d| d.try_downcast_ref::<PgDatabaseError>());
    let detail = pg.and_then(PgDatabaseError::detail).unwrap_or_default();
    match pg.map_or("", PgDatabaseError::code) {
        "40001" | "40P01" | "23505" => BookError::Overtaken,
        "BK001" => match serde_json::from_str(detail) {
            Ok(rivals) => BookError::SlotTaken(rivals),
            Err(_) => BookError::Append(AppendError::Database(error)),
        },
        "BK002" => match serde_json::from_str::<Elsewhere>(detail) {
            Ok(told) => BookError::Append(AppendError::Conflict {
                stream: told.stream,
                expected: Expected::Version(told.expected),
                actual: told.actual,
            }),
            Err(_) => BookError::Append(AppendError::Database(error)),
        },
        _ => BookError::Append(refusal(error)),
    }
}

/// Where a stream is that should have begun here.
#[derive(Deserialize)]
struct Elsewhere {
    stream: String,
    expected: i64,
    actual: i64,
}

fn first_effect(start: &Start<'_>) -> Effect {
    let id = EffectId(ids::v7());
    let mut operation = payment_operation_for(
        start.created,
        start.saga.0,
        start.hold_expires_at,
        start.now,
        start.policy,
        start.created.payment_mode,
    );
    name_effect(&mut operation, id, start.installation);
    Effect {
        effect_id: id.0,
        step: Step::Payment,
        direction: Direction::Forward,
        generation: 0,
        request: operation.encode(),
        operation,
        idempotency_key: idempotency_key(
            start.installation,
            start.saga.0,
            Step::Payment,
            Direction::Forward,
            0,
        ),
        first_sent_at: Some(start.now),
        last_sent_at: Some(start.now),
        outcome: Outcome::Intended,
        stored_error: false,
        provider_object: None,
        evidence: None,
    }
}

fn row_of(effect: &Effect) -> serde_json::Value {
    json!({
        "effect_id": effect.effect_id,
        "step": effect.step.name(),
        "generation": effect.generation,
        "provider": "stripe",
        "operation": effect.operation.name(),
        "idempotency_key": effect.idempotency_key,
        "request": request_json(effect),
        "request_sha256": hex(&effect.request.sha256()),
    })
}
