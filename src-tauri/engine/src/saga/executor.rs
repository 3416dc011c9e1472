//! Runs one leased saga until it waits, parks or ends: plan, do, absorb, and again. Commits only before a call and at
//! the end, so that a booking costs three commits.

use std::sync::Arc;

use bizing_stripe::{Failure, Object, Operation, Stripe};
use chrono::TimeDelta;
use rand::Rng;
use sqlx::PgPool;
use uuid::Uuid;

use super::answers::{self, Found};
use super::definition::{Policy, Step};
use super::gate::{self, Gate};
use super::instance::{Effect, Outcome, idempotency_key};
use super::plan::{self, Look, Next, Wait, delta};
use super::store::{self, Leave, SagaError};
use super::world::{Resolved, World};
use crate::domain::ids::{EffectId, WorkerId};
use crate::runtime::bell::Bell;
use crate::runtime::crash::CrashPoints;

#[derive(Clone)]
pub struct Executor {
    pub pool: PgPool,
    pub worker: WorkerId,
    pub installation: String,
    pub stripe: Option<Arc<Stripe>>,
    pub policy: Arc<Policy>,
    pub bell: Bell,
    pub crash: CrashPoints,
}

/// Claims from dead owners, with nothing written between them, after which no further worker is risked.
const POISON: i16 = 5;

/// What one thing done leads to.
enum Step1 {
    Again,
    /// Written and given back.
    Left,
}

impl Executor {
    /// Runs a saga that is leased to this worker. A lost lease is no error: somebody else goes on.
    pub async fn run(&self, saga: Uuid) {
        match self.try_run(saga).await {
            Ok(()) | Err(SagaError::LeaseLost) => {}
            Err(error) => {
                // The lease runs out and the saga is taken up again; nothing half-done was written.
                tracing::error!(saga.id = %saga, error = &error as &dyn std::error::Error, "saga run failed");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
        self.bell.ring();
    }

    async fn try_run(&self, saga: Uuid) -> Result<(), SagaError> {
        let mut world = self.load(saga).await?;
        if world.instance.take_overs >= POISON {
            let reason = format!(
                "{} workers in a row ended while they worked on it",
                world.instance.take_overs
            );
            return self.park(&mut world, "poison", &reason).await.map(|_| ());
        }
        // A saga that never settles within this many turns is a fault of the plan, not of the world.
        for _ in 0..60 {
            if world.instance.finished() {
                return Ok(());
            }
            let next = plan::next(&world, &self.policy);
            tracing::debug!(saga.id = %saga, ?next, "next");
            let done = match self.act(&mut world, next).await {
                Err(SagaError::HoldLost) => {
                    world = self.load(saga).await?;
                    world.undo(
                        "hold_expired",
                        "system",
                        Some("the hold ended and the slot was taken".to_owned()),
                    );
                    Ok(Step1::Again)
                }
                Err(SagaError::Refused(refusal)) => {
                    world = self.load(saga).await?;
                    self.park(
                        &mut world,
                        "rule",
                        &format!("a rule refuses to go on: {refusal}"),
                    )
                    .await
                }
                other => other,
            };
            if let Step1::Left = done? {
                return Ok(());
            }
        }
        self.park(&mut world, "plan", "the plan does not settle")
            .await
            .map(|_| ())
    }

    async fn load(&self, saga: Uuid) -> Result<World, SagaError> {
        store::load(
            &self.pool,
            self.worker,
            saga,
            &self.installation,
            self.stripe.is_some(),
        )
        .await
    }

    async fn act(&self, world: &mut World, next: Next) -> Result<Step1, SagaError> {
        match next {
            Next::Local {
                result,
                commands,
                claims,
                cursor,
            } => {
                let (step, direction, now) = (
                    world.instance.step().unwrap_or(Step::Hold),
                    world.direction(),
                    world.now(),
                );
                world.absorb(commands)?;
                if result == "not_needed" {
                    // Paid at the venue: neither step two nor step three takes place.
                    world.note_not_needed(Step::Payment);
                    world.note_not_needed(Step::Capture);
                }
                world.attempt(step, direction, now, result);
                world.draft.claims = claims.or(world.draft.claims);
                world.move_to(cursor);
                Ok(Step1::Again)
            }
            Next::Intend {
                operation,
                generation,
                commands,
                claims,
            } => {
                world.absorb(commands)?;
                world.draft.claims = claims.or(world.draft.claims);
                let effect = self.effect(world, operation, generation);
                world.intend(effect);
                Ok(Step1::Again)
            }
            Next::Call(effect) => self.call(world, effect).await,
            Next::Look(look) => self.look(world, look).await,
            Next::NotExecuted(effect) => {
                world.resolve(Resolved {
                    effect_id: effect,
                    outcome: Outcome::NotExecuted,
                    via: "lookup",
                    provider_object: None,
                    provider_status: None,
                    request_id: None,
                    stored_error: false,
                });
                Ok(Step1::Again)
            }
            Next::Wait(wait) => self.wait(world, wait).await,
            Next::Undo { code, by, text } => {
                world.undo(code, &by, text);
                Ok(Step1::Again)
            }
            Next::Park { code, reason } => self.park(world, code, &reason).await,
            Next::Finish { state, outcome } => {
                world.instance.state = state.to_owned();
                world.instance.outcome = Some(outcome.to_owned());
                world.instance.await_key = None;
                if state == "completed" && world.instance.cursor == Step::Notify as i16 {
                    let now = world.now();
                    let direction = world.direction();
                    world.attempt(Step::Notify, direction, now, "done");
                    world.move_to(5);
                }
                self.leave(world).await
            }
        }
    }

    fn effect(&self, world: &World, mut operation: Operation, generation: i16) -> Effect {
        let id = EffectId(crate::runtime::ids::v7());
        let step = world.instance.step().unwrap_or(Step::Payment);
        name_effect(&mut operation, id);
        Effect {
            effect_id: id.0,
            step,
            direction: world.direction(),
            generation,
            request: operation.encode(),
            operation,
            idempotency_key: idempotency_key(
                &self.installation,
                world.instance.saga_id,
                step,
                world.direction(),
                generation,
            ),
            first_sent_at: Some(world.now()),
            last_sent_at: Some(world.now()),
            outcome: Outcome::Intended,
            stored_error: false,
            provider_object: None,
            evidence: None,
        }
    }

    async fn commit(&self, world: &mut World, leave: Leave) -> Result<(), SagaError> {
        self.crash.point("before_commit").await;
        store::commit(&self.pool, self.worker, world, leave).await?;
        self.crash.point("after_commit").await;
        self.bell.ring();
        Ok(())
    }

    async fn leave(&self, world: &mut World) -> Result<Step1, SagaError> {
        self.commit(world, Leave::Release).await?;
        Ok(Step1::Left)
    }

    async fn wait(&self, world: &mut World, wait: Wait) -> Result<Step1, SagaError> {
        world.instance.state = "waiting".to_owned();
        world.instance.wake_at = wait.until;
        world.instance.await_key = wait.key;
        world.instance.context["waits_for"] = serde_json::json!(wait.why);
        world.draft.consume_signals = true;
        self.leave(world).await
    }

    async fn park(&self, world: &mut World, code: &str, reason: &str) -> Result<Step1, SagaError> {
        tracing::warn!(saga.id = %world.instance.saga_id, code, reason, "saga parked: a person decides");
        world.instance.state = "parked".to_owned();
        world.instance.park_code = Some(code.to_owned());
        world.instance.park_reason = Some(reason.to_owned());
        if let (Some(Step::Notify), Some(message)) = (world.instance.step(), &world.message) {
            // The cause groups those that share a fate.
            world.instance.error_class = message.result.clone();
            world.instance.error_message = message.problem.clone();
        }
        world.instance.await_key = None;
        self.leave(world).await
    }

    // ---- the provider's gate -------------------------------------------------------------------------------------

    /// Nothing is asked: no try is used up, and what is decided so far is kept.
    async fn at_the_gate(
        &self,
        world: &mut World,
        until: chrono::DateTime<chrono::Utc>,
    ) -> Result<Step1, SagaError> {
        let key = world.instance.await_key.clone();
        self.wait(
            world,
            Wait {
                until,
                key,
                why: "gate",
            },
        )
        .await
    }

    /// The provider answered: whoever waited for that may follow.
    async fn answered(&self, world: &mut World) -> Result<(), SagaError> {
        if world.gate == Gate::Ahead {
            gate::open(&self.pool).await?;
            world.gate = Gate::Open;
            self.bell.ring();
        }
        Ok(())
    }

    /// Whether this failure is the provider's own, and shuts it for everybody.
    async fn shuts(&self, world: &mut World, failure: &Failure) -> Result<bool, SagaError> {
        let shut = match failure {
            Failure::Unauthorized { message } => {
                gate::shut(&self.pool, message, gate::REFUSED).await?;
                true
            }
            Failure::NotSent { cause } => gate::away(&self.pool, cause).await?,
            _ => false,
        };
        if shut {
            world.gate = Gate::Shut {
                until: world.now() + delta(gate::REFUSED),
            };
        }
        Ok(shut)
    }

    // ---- the outside -------------------------------------------------------------------------------------------

    async fn call(&self, world: &mut World, id: Uuid) -> Result<Step1, SagaError> {
        let Some(stripe) = self.stripe.clone() else {
            return self
                .retry_later(
                    world,
                    "not_set",
                    "Stripe is not set up on this worker".to_owned(),
                    None,
                )
                .await;
        };
        if let Gate::Shut { until } = world.gate {
            return self.at_the_gate(world, until).await;
        }
        let fresh = world.draft.effects.iter().any(|e| e.effect_id == id);
        if world.draft.touched {
            world.instance.state = if world.instance.forward() {
                "running"
            } else {
                "compensating"
            }
            .to_owned();
            self.commit(world, Leave::Keep).await?;
        }
        let effect = world
            .effects
            .iter()
            .find(|e| e.effect_id == id)
            .cloned()
            .ok_or(SagaError::LeaseLost)?;
        let age = world.now() - effect.first_sent_at.unwrap_or(world.now());
        if (!fresh && !self.first_send_of_a_leased_start(world, &effect))
            || age > delta(self.policy.send_guard)
        {
            store::mark_sent(&self.pool, self.worker, world, id, self.policy.call_timeout).await?;
        }
        if let Some(reason) = self.forged(world, &effect) {
            return self.park(world, "forged", &reason).await;
        }

        let started = world.now();
        self.crash.point("before_call").await;
        let answer = stripe.send(&effect.request, &effect.idempotency_key).await;
        self.crash.point("after_call").await;

        let (step, direction) = (effect.step, effect.direction);
        match &answer {
            Ok(_) | Err(Failure::Declined { .. } | Failure::Refused { .. }) => {
                self.answered(world).await?
            }
            Err(failure) => {
                if self.shuts(world, failure).await? {
                    // The provider refuses everybody: this saga's tries are not what failed.
                    let attempt = world.attempt(step, direction, started, "unauthorized");
                    attempt.effect_id = Some(id);
                    attempt.error_class = Some(answers::class(failure));
                    attempt.error = Some(answers::error_json(failure));
                    let until = world.now() + delta(gate::REFUSED);
                    return self.at_the_gate(world, until).await;
                }
            }
        }
        match answer {
            Ok(answer) => {
                let output = answers::output(&answer);
                let attempt = world.attempt(step, direction, started, "done");
                attempt.effect_id = Some(id);
                attempt.output = Some(output);
                world.instance.error_class = None;
                world.instance.attempt = 0;
                answers::confirmed(
                    world,
                    &effect,
                    &answer.object,
                    "response",
                    answer.request_id.clone(),
                )?;
                Ok(Step1::Again)
            }
            Err(failure) => self.failed(world, &effect, failure, started).await,
        }
    }

    /// An admin's window starts a saga leased to itself and writes the first effect in the same commit: its first
    /// sending needs no mark.
    fn first_send_of_a_leased_start(&self, world: &World, effect: &Effect) -> bool {
        world.instance.fence == 1
            && world.instance.version == 0
            && effect.first_sent_at == effect.last_sent_at
            && world.seen.absent.is_empty()
    }

    /// A first effect written by a person's login is only believed if it is what the booking says.
    fn forged(&self, world: &World, effect: &Effect) -> Option<String> {
        let mode = match effect.operation {
            Operation::CreateIntent { .. } => crate::domain::event::PaymentMode::CardOnFile,
            Operation::CreateCheckout { .. } => crate::domain::event::PaymentMode::Link,
            _ => return None,
        };
        let mut ours = plan::payment_operation(world, &self.policy, mode)?;
        name_effect(&mut ours, EffectId(effect.effect_id));
        let same = match (&ours, &effect.operation) {
            // The expiry of a page depends on when it was asked for.
            (
                Operation::CreateCheckout {
                    amount_minor: a,
                    currency: b,
                    metadata: c,
                    ..
                },
                Operation::CreateCheckout {
                    amount_minor: x,
                    currency: y,
                    metadata: z,
                    ..
                },
            ) => (a, b, c) == (x, y, z),
            (a, b) => a == b,
        };
        let key = idempotency_key(
            &self.installation,
            world.instance.saga_id,
            effect.step,
            effect.direction,
            effect.generation,
        );
        let whole =
            same && effect.operation.encode() == effect.request && key == effect.idempotency_key;
        (!whole).then(|| "the stored request is not what this booking asks for".to_owned())
    }

    async fn failed(
        &self,
        world: &mut World,
        effect: &Effect,
        failure: Failure,
        started: chrono::DateTime<chrono::Utc>,
    ) -> Result<Step1, SagaError> {
        let class = answers::class(&failure);
        let record = |world: &mut World, result: &'static str| {
            let attempt = world.attempt(effect.step, effect.direction, started, result);
            attempt.effect_id = Some(effect.effect_id);
            attempt.error_class = Some(class);
            attempt.error = Some(answers::error_json(&failure));
        };
        match &failure {
            Failure::Declined { .. } => {
                record(world, "declined");
                answers::rejected(world, effect, &failure)?;
                Ok(Step1::Again)
            }
            Failure::Refused { code, .. } if code == "idempotency_error" => {
                record(world, "refused");
                self.park(world, "key_reused", "one idempotency key met two requests")
                    .await
            }
            // What is refused may be there already: the object decides.
            Failure::Refused { .. } => {
                record(world, "refused");
                match self.find(world, effect).await {
                    Ok(Found::Happened(object)) => {
                        answers::confirmed(world, effect, &object, "lookup", None)?
                    }
                    Ok(Found::Overtaken(object)) => {
                        answers::rejected(world, effect, &failure)?;
                        self.see(world, object)?;
                    }
                    Ok(Found::Absent) => {
                        world.instance.attempt += 1;
                        answers::rejected(world, effect, &failure)?;
                    }
                    Err(look) => {
                        return self
                            .retry_later(world, answers::class(&look), look.to_string(), None)
                            .await;
                    }
                }
                Ok(Step1::Again)
            }
            Failure::Unknown {
                stored, request_id, ..
            } => {
                record(world, "unknown");
                world.resolve(Resolved {
                    effect_id: effect.effect_id,
                    outcome: Outcome::Unknown,
                    via: "response",
                    provider_object: None,
                    provider_status: None,
                    request_id: request_id.clone(),
                    stored_error: *stored,
                });
                if *stored {
                    return Ok(Step1::Again);
                }
                self.retry_later(world, class, failure.to_string(), None)
                    .await
            }
            Failure::Busy { retry_after } => {
                let after = *retry_after;
                record(world, "busy");
                self.retry_later(world, class, failure.to_string(), after)
                    .await
            }
            Failure::Unauthorized { .. } => {
                record(world, "unauthorized");
                self.retry_later(world, class, failure.to_string(), None)
                    .await
            }
            Failure::NotSent { .. } => {
                record(world, "not_sent");
                self.retry_later(world, class, failure.to_string(), None)
                    .await
            }
        }
    }

    async fn look(&self, world: &mut World, look: Look) -> Result<Step1, SagaError> {
        let Some(stripe) = self.stripe.clone() else {
            return self
                .retry_later(
                    world,
                    "not_set",
                    "Stripe is not set up on this worker".to_owned(),
                    None,
                )
                .await;
        };
        if let Gate::Shut { until } = world.gate {
            return self.at_the_gate(world, until).await;
        }
        self.crash.point("before_look").await;
        let looked = match look {
            Look::Payment => self.look_at_payment(world, &stripe).await,
            Look::Refund => self.look_at_refund(world, &stripe).await,
            Look::Effect(id) => {
                let Some(effect) = world.effects.iter().find(|e| e.effect_id == id).cloned() else {
                    return Err(SagaError::LeaseLost);
                };
                match self.find(world, &effect).await {
                    Ok(Found::Happened(object)) => {
                        let now = world.now();
                        let attempt = world.attempt(effect.step, effect.direction, now, "done");
                        attempt.kind = "reconcile";
                        attempt.effect_id = Some(id);
                        answers::confirmed(world, &effect, &object, "lookup", None)
                            .map_err(SagaError::from)?;
                        Ok(())
                    }
                    Ok(Found::Overtaken(object)) => {
                        let failure = Failure::Refused {
                            code: "overtaken".to_owned(),
                            message: "the payment went another way meanwhile".to_owned(),
                            status: 0,
                            intent: None,
                            request_id: None,
                        };
                        answers::rejected(world, &effect, &failure)?;
                        self.see(world, object)?;
                        Ok(())
                    }
                    Ok(Found::Absent) => {
                        world.seen.absent.push(id);
                        Ok(())
                    }
                    Err(failure) => Err(failure),
                }
            }
        };
        match looked {
            Ok(()) => {
                self.answered(world).await?;
                Ok(Step1::Again)
            }
            Err(failure) if self.shuts(world, &failure).await? => {
                let until = world.now() + delta(gate::REFUSED);
                self.at_the_gate(world, until).await
            }
            Err(failure) => {
                self.retry_later(world, answers::class(&failure), failure.to_string(), None)
                    .await
            }
        }
    }

    async fn look_at_payment(&self, world: &mut World, stripe: &Stripe) -> Result<(), Failure> {
        let payment = &world.booking.payment;
        let page = match payment.checkout_session.clone() {
            Some(id) => Some(stripe.checkout(&id).await?),
            None => None,
        };
        let intent_id = page
            .as_ref()
            .and_then(|p| p.payment_intent.clone())
            .or_else(|| world.booking.payment.intent.clone());
        let intent = match intent_id {
            Some(id) => Some(stripe.intent(&id).await?),
            None => None,
        };
        refused_as_failure(answers::payment_seen(world, intent, page))
    }

    async fn look_at_refund(&self, world: &mut World, stripe: &Stripe) -> Result<(), Failure> {
        let Some(intent) = world.booking.payment.intent.clone() else {
            return Ok(());
        };
        let ours = world
            .effect(Step::Capture, super::instance::Direction::Undo)
            .and_then(|e| e.provider_object.clone());
        let refund = stripe
            .refunds_of(&intent)
            .await?
            .into_iter()
            .find(|r| Some(&r.id) == ours.as_ref());
        world.seen.refund = true;
        match refund {
            Some(refund) => refused_as_failure(answers::refund_seen(world, &refund)),
            None => Ok(()),
        }
    }

    /// What became of an effect, as the provider's objects tell.
    async fn find(&self, world: &World, effect: &Effect) -> Result<Found, Failure> {
        let Some(stripe) = &self.stripe else {
            return Ok(Found::Absent);
        };
        let since = effect.first_sent_at.unwrap_or(world.now()).timestamp() - 300;
        let id = effect.effect_id.to_string();
        let object = match &effect.operation {
            Operation::CreateIntent { .. } => stripe
                .find_intent_by_metadata("effect_id", &id, since)
                .await?
                .map(Object::Intent),
            Operation::CreateCheckout { .. } => stripe
                .find_checkout_by_metadata("effect_id", &id, since)
                .await?
                .map(Object::Checkout),
            Operation::Capture { payment_intent, .. }
            | Operation::CancelIntent { payment_intent, .. } => {
                Some(Object::Intent(stripe.intent(payment_intent).await?))
            }
            Operation::ExpireCheckout { session } => {
                Some(Object::Checkout(stripe.checkout(session).await?))
            }
            Operation::Refund { payment_intent, .. } => stripe
                .refunds_of(payment_intent)
                .await?
                .into_iter()
                .find(|r| r.metadata.get("effect_id") == Some(&id))
                .map(Object::Refund),
        };
        Ok(answers::judge(effect, object))
    }

    fn see(&self, world: &mut World, object: Object) -> Result<(), SagaError> {
        match object {
            Object::Intent(intent) => answers::payment_seen(world, Some(intent), None)?,
            Object::Checkout(page) => answers::payment_seen(world, None, Some(page))?,
            Object::Refund(refund) => answers::refund_seen(world, &refund)?,
        }
        Ok(())
    }

    /// Later, with the same key and bytes. Full jitter, so that a crowd does not come back as one.
    async fn retry_later(
        &self,
        world: &mut World,
        class: &str,
        message: String,
        after: Option<std::time::Duration>,
    ) -> Result<Step1, SagaError> {
        world.instance.attempt += 1;
        let tries = world.instance.attempt;
        world.instance.error_class = Some(class.to_owned());
        world.instance.error_message = Some(message.clone());
        let given_up = (!world.instance.forward() && tries > self.policy.undo_tries)
            || (world.instance.step() == Some(Step::Capture) && tries > self.policy.capture_tries);
        if given_up {
            return self
                .park(
                    world,
                    "exhausted",
                    &format!("gave up after {tries} tries: {message}"),
                )
                .await;
        }
        let ceiling = self
            .policy
            .backoff_base
            .saturating_mul(1 << tries.clamp(0, 16))
            .min(self.policy.backoff_cap);
        let pause = after.unwrap_or_else(|| ceiling.mul_f64(rand::rng().random_range(0.5..1.0)));
        let until = world.now() + TimeDelta::from_std(pause).unwrap_or(TimeDelta::seconds(60));
        if let Some(attempt) = world.draft.attempts.last_mut() {
            attempt.next_retry_at = Some(until);
        }
        let why = if world.instance.error_class.as_deref() == Some("not_set") {
            "not_set"
        } else {
            "retry"
        };
        self.wait(
            world,
            Wait {
                until,
                key: world.instance.await_key.clone(),
                why,
            },
        )
        .await
    }
}

/// A rule that refuses a fact of the provider is for a person; the caller parks through the same path as a refusal.
fn refused_as_failure(result: Result<(), crate::domain::booking::Refusal>) -> Result<(), Failure> {
    result.map_err(|refusal| Failure::Refused {
        code: "rule".to_owned(),
        message: refusal.to_string(),
        status: 0,
        intent: None,
        request_id: None,
    })
}

/// The effect's id travels in the object's metadata: for look-ups, and for the way back from the provider's pages.
pub fn name_effect(operation: &mut Operation, id: EffectId) {
    if let Operation::CreateIntent { metadata, .. }
    | Operation::CreateCheckout { metadata, .. }
    | Operation::Refund { metadata, .. } = operation
    {
        metadata.insert("effect_id".to_owned(), id.to_string());
    }
}
