//! Starting the saga of a booking, in the transaction of the booking itself.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::commit::{hex, request_json};
use super::definition::{BOOKING, BOOKING_FREE, Policy, Step};
use super::executor::name_effect;
use super::gate::Gate;
use super::instance::{Direction, Effect, Instance, Outcome, idempotency_key};
use super::plan::payment_operation_for;
use super::world::{Facts, World};
use crate::domain::booking;
use crate::domain::event::{BookingCreated, Event, PaymentMode};
use crate::domain::ids::{CorrelationId, EffectId, SagaId, WorkerId};
use crate::runtime::ids;

pub struct Start<'a> {
    pub saga: SagaId,
    pub created: &'a BookingCreated,
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
    /// Leased to this process from its first moment on; `None`: it was there before, or nobody works here.
    own: Option<Own>,
}

struct Own {
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
            gate: Gate::Open,
            now,
        };
        Some(World::new(facts, installation, true))
    }
}

/// Returns the saga; another one if this booking had been started before.
pub async fn start(conn: &mut PgConnection, start: Start<'_>) -> sqlx::Result<Started> {
    let created = start.created;
    let asks_stripe = created.payment_mode != PaymentMode::Venue && !created.price.is_zero();
    let definition = if asks_stripe { &BOOKING } else { &BOOKING_FREE };
    let effect = (start.lease.is_some() && asks_stripe).then(|| first_effect(&start));
    let context = json!({
        "reference": created.reference,
        // Whether the provider's gate concerns this saga.
        "provider": if asks_stripe { "stripe" } else { "none" },
    });
    let (saga, login): (Uuid, String) = sqlx::query_as("select api.start_saga($1,$2,$3,$4,1::smallint,$5,$6,$7,$8,$9,$10,$11,$12,'hold',$13,$14,$15), session_user::text")
        .bind(start.saga.0)
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
        .fetch_one(conn)
        .await?;
    let own = (start.lease.is_some() && saga == start.saga.0).then(|| Own {
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
    name_effect(&mut operation, id);
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
