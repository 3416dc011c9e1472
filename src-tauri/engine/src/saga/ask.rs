//! Questions that need a provider's key, answered by a worker that holds it (`admin.ask`).
//!
//! An answer is a look and nothing else: it stands beside the ledger with its time, and says where the two differ. What
//! follows from that is decided by the saga's own look, or by a person.

use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::{Failure, Intent, IntentStatus, Object, RefundStatus, Stripe};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::answers::{self, Found};
use super::executor::look;
use super::store::{self, SagaError};
use super::world::World;
use crate::domain::booking::PaymentState;
use crate::domain::ids::WorkerId;

pub struct Asks {
    pub pool: PgPool,
    pub worker: WorkerId,
    pub stripe: Arc<Stripe>,
    pub installation: String,
}

/// Shorter than anybody waits, so that "no answer" is an answer.
const LONGEST: Duration = Duration::from_secs(20);

impl Asks {
    /// Answers what is asked, one after the other. Returns how many.
    pub async fn round(&self) -> Result<u64, SagaError> {
        let mut told = 0;
        while let Some((ask, saga)) = self.take().await? {
            let (answer, problem) = match tokio::time::timeout(LONGEST, self.look(saga)).await {
                Ok(Ok(answer)) => (Some(answer), None),
                Ok(Err(Unanswered::Stripe(failure))) => (None, Some(failure.to_string())),
                Ok(Err(Unanswered::Saga(SagaError::Database(error)))) => return Err(error.into()),
                Ok(Err(Unanswered::Saga(error))) => (None, Some(error.to_string())),
                Err(_) => (
                    None,
                    Some(format!("no answer within {} s", LONGEST.as_secs())),
                ),
            };
            sqlx::query("select admin.answer_ask($1, $2, $3, $4)")
                .bind(ask)
                .bind(self.worker.0)
                .bind(answer)
                .bind(problem)
                .execute(&self.pool)
                .await?;
            told += 1;
        }
        while let Some(check) = self.take_check().await? {
            let (answer, problem) = match tokio::time::timeout(LONGEST, self.check(&check)).await {
                Ok(Ok(answer)) => (Some(answer), None),
                Ok(Err(failure)) => (None, Some(failure.to_string())),
                Err(_) => (
                    None,
                    Some(format!("no answer within {} s", LONGEST.as_secs())),
                ),
            };
            sqlx::query("select admin.answer_check($1, $2, $3, $4)")
                .bind(check.ask_id)
                .bind(self.worker.0)
                .bind(answer)
                .bind(problem)
                .execute(&self.pool)
                .await?;
            told += 1;
        }
        Ok(told)
    }

    async fn take_check(&self) -> sqlx::Result<Option<Check>> {
        sqlx::query_as("select ask_id, object, what from admin.take_check($1)")
            .bind(self.worker.0)
            .fetch_optional(&self.pool)
            .await
    }

    /// One object that did not fit, as it is now. What follows from it is said by the database.
    async fn check(&self, check: &Check) -> Result<Value, Failure> {
        if check.what == "refund" {
            return Ok(match there(self.stripe.refund(&check.object).await)? {
                Some(refund) => {
                    json!({ "found": true, "status": refund.status, "amount_minor": refund.amount })
                }
                None => json!({ "found": false }),
            });
        }
        let Some(intent) = there(self.stripe.intent(&check.object).await)? else {
            return Ok(json!({ "found": false }));
        };
        let refunds = self.stripe.refunds_of(&intent.id).await?;
        let back: i64 = refunds
            .iter()
            .filter(|r| r.status == RefundStatus::Succeeded)
            .map(|r| r.amount)
            .sum();
        let held = match intent.status {
            IntentStatus::Succeeded => intent.amount_received,
            _ => intent.amount,
        };
        Ok(
            json!({ "found": true, "status": intent.status, "amount_minor": held, "refunded_minor": back }),
        )
    }

    async fn take(&self) -> sqlx::Result<Option<(Uuid, Uuid)>> {
        sqlx::query_as("select ask_id, saga_id from admin.take_ask($1)")
            .bind(self.worker.0)
            .fetch_optional(&self.pool)
            .await
    }

    async fn look(&self, saga: Uuid) -> Result<Value, Unanswered> {
        let world = store::peek(&self.pool, saga, &self.installation).await?;
        let payment = &world.booking.payment;
        let page = match &payment.checkout_session {
            Some(id) => there(self.stripe.checkout(id).await)?,
            None => None,
        };
        let named = page
            .as_ref()
            .and_then(|p| p.payment_intent.clone())
            .or_else(|| payment.intent.clone());
        let intent = match &named {
            Some(id) => there(self.stripe.intent(id).await)?,
            None => None,
        };
        let refunds = match &intent {
            Some(intent) => self.stripe.refunds_of(&intent.id).await?,
            None => vec![],
        };
        // What our own books name and this account of Stripe's does not have.
        let absent = match (&intent, &page) {
            (None, None) => named.as_ref().or(payment.checkout_session.as_ref()),
            (None, Some(_)) => named.as_ref(),
            (Some(_), _) => None,
        };
        let absent = match absent {
            Some(id) => Some(json!({ "id": id, "example": self.written(id).await? })),
            None => None,
        };
        // What is open is what a person may have to say something about.
        let mut calls = vec![];
        for effect in world.effects.iter().filter(|e| e.outcome.open()) {
            let since = effect.first_sent_at.unwrap_or(world.now()).timestamp() - 300;
            let object = look::object_of(&self.stripe, effect, since).await?;
            let (found, object) = match answers::judge(effect, object) {
                Found::Happened(object) => ("happened", Some(object)),
                Found::Overtaken(object) => ("overtaken", Some(object)),
                Found::Absent => ("absent", None),
            };
            calls.push(json!({ "effect_id": effect.effect_id, "operation": effect.operation.name(), "found": found, "object": object.as_ref().map(id_of) }));
        }
        let given_back: i64 = refunds
            .iter()
            .filter(|r| r.status == RefundStatus::Succeeded)
            .map(|r| r.amount)
            .sum();
        let known = self.known(world.instance.booking_id).await?;
        Ok(json!({
            "intent": intent.as_ref().map(|i| json!({ "id": i.id, "status": i.status })),
            "page": page.as_ref().map(|p| json!({ "id": p.id, "status": p.status })),
            "refunds": refunds.iter().map(|r| json!({ "id": r.id, "status": r.status, "amount_minor": r.amount, "known": known.contains(&r.id) })).collect::<Vec<_>>(),
            "calls": calls,
            "absent": absent,
            "stripe": sums(intent.as_ref().map_or(0, authorised), intent.as_ref().map_or(0, |i| i.amount_received), given_back),
            "ledger": sums(
                if payment.state == PaymentState::Authorised { payment.authorised_minor } else { 0 },
                payment.captured_minor,
                payment.refunded_minor,
            ),
            "currency": currency(&world, intent.as_ref()),
        }))
    }

    /// The example's past was written when the desk was set up: no provider ever heard of it.
    async fn written(&self, object: &str) -> Result<bool, SagaError> {
        Ok(sqlx::query_scalar(
            "select exists (select 1 from saga.effect e, admin.installation n where e.provider_object = $1 and e.intended_at < n.created_at)",
        )
        .bind(object)
        .fetch_one(&self.pool)
        .await?)
    }

    /// What the provider gave us for any saga of this booking.
    async fn known(&self, booking: Uuid) -> Result<Vec<String>, SagaError> {
        Ok(sqlx::query_scalar(
            "select e.provider_object from saga.effect e join saga.instance i using (saga_id) where i.booking_id = $1 and e.provider_object is not null",
        )
        .bind(booking)
        .fetch_all(&self.pool)
        .await?)
    }
}

fn sums(authorised: i64, captured: i64, refunded: i64) -> Value {
    json!({ "authorised_minor": authorised, "captured_minor": captured, "refunded_minor": refunded })
}

fn authorised(intent: &Intent) -> i64 {
    match intent.status {
        IntentStatus::RequiresCapture => intent.amount_capturable,
        _ => 0,
    }
}

fn currency(world: &World, intent: Option<&Intent>) -> Option<String> {
    world
        .booking
        .created
        .as_ref()
        .map(|c| c.price.currency.as_str().to_owned())
        .or_else(|| intent.map(|i| i.currency.to_uppercase()))
}

fn id_of(object: &Object) -> String {
    match object {
        Object::Intent(i) => i.id.clone(),
        Object::Checkout(c) => c.id.clone(),
        Object::Refund(r) => r.id.clone(),
    }
}

/// A question about one object that does not fit.
#[derive(sqlx::FromRow)]
struct Check {
    ask_id: Uuid,
    object: String,
    what: String,
}

/// `None`: Stripe knows no such object.
fn there<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(Failure::Refused { code, .. }) if code == "resource_missing" => Ok(None),
        Err(failure) => Err(failure),
    }
}

enum Unanswered {
    Stripe(Failure),
    Saga(SagaError),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Unanswered {
        Unanswered::Stripe(failure)
    }
}

impl From<SagaError> for Unanswered {
    fn from(error: SagaError) -> Unanswered {
        Unanswered::Saga(error)
    }
}
