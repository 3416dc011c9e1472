//! Starting the booking saga, in the transaction of the booking itself.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::definition::{self, Policy, Step};
use super::executor::name_effect;
use super::instance::{Direction, idempotency_key};
use super::plan::payment_operation_for;
use crate::domain::event::{BookingCreated, PaymentMode};
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

/// Returns the saga; another one if this booking had been started before.
pub async fn start(conn: &mut PgConnection, start: Start<'_>) -> sqlx::Result<SagaId> {
    let created = start.created;
    let asks_stripe = created.payment_mode != PaymentMode::Venue && !created.price.is_zero();
    let effect = (start.lease.is_some() && asks_stripe).then(|| first_effect(&start));
    let saga: Uuid = sqlx::query_scalar("select api.start_saga($1,$2,$3,$4,1::smallint,$5,$6,$7,$8,$9,$10,$11,$12,'hold',$13,$14,$15)")
        .bind(start.saga.0)
        .bind(definition::NAME)
        .bind(definition::VERSION)
        .bind(format!("booking:{}:1", created.booking_id))
        .bind(created.booking_id.0)
        .bind(created.customer_id.0)
        .bind(created.price.amount_minor)
        .bind(created.price.currency.as_str())
        .bind(start.hold_expires_at)
        .bind(json!({
            "reference": created.reference,
            // Whether the provider's gate concerns this saga.
            "provider": if asks_stripe { "stripe" } else { "none" },
        }))
        .bind(start.correlation.0)
        .bind(start.causation)
        .bind(start.lease.map(|w| w.0))
        .bind(start.policy.lease)
        .bind(effect)
        .fetch_one(conn)
        .await?;
    Ok(SagaId(saga))
}

fn first_effect(start: &Start<'_>) -> serde_json::Value {
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
    let encoded = operation.encode();
    let sha256: String = encoded
        .sha256()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    json!({
        "effect_id": id,
        "step": Step::Payment.name(),
        "generation": 0,
        "provider": "stripe",
        "operation": operation.name(),
        "idempotency_key": idempotency_key(start.installation, start.saga.0, Step::Payment, Direction::Forward, 0),
        "request": { "operation": operation, "encoded": encoded },
        "request_sha256": sha256,
    })
}
