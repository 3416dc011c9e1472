//! Asking a provider, and what each answer leads to.

use bizing_stripe::{Failure, Operation};
use uuid::Uuid;

use super::super::answers::{self, Found};
use super::super::commit::{self, Leave};
use super::super::gate::{self, Gate};
use super::super::instance::{Effect, Outcome, idempotency_key};
use super::super::plan::{self, delta};
use super::super::store::SagaError;
use super::super::world::{Resolved, World};
use super::{Executor, INSTALLATION, Step1, name_effect};
use crate::domain::event::PaymentMode;
use crate::domain::ids::EffectId;
use crate::runtime::crash::Promise;

impl Executor {
    pub(super) async fn call(&self, world: &mut World, id: Uuid) -> Result<Step1, SagaError> {
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
        // Before anything is marked as sent: a turn may take as long as another's call.
        let _turn = self.calls.turn().await;
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
        // A computer that was shut in between knows nothing of who has the saga now: the database does.
        let age = world.now() - effect.first_sent_at.unwrap_or(world.now()) + delta(world.slept());
        if (!fresh && !self.first_send_of_a_leased_start(world, &effect))
            || age > delta(self.policy.send_guard)
        {
            commit::mark_sent(&self.pool, self.worker, world, id, self.policy.call_timeout).await?;
        }
        if let Some(reason) = self.forged(world, &effect) {
            return self.park(world, "forged", &reason).await;
        }

        let started = world.now();
        self.crash.point("before_call").await;
        let key = match self.crash.breaks(Promise::Key) {
            true => crate::runtime::ids::v7().to_string(),
            false => effect.idempotency_key.clone(),
        };
        let answer = stripe.send(&effect.request, &key).await;
        self.crash.point("after_call").await;

        let (step, direction) = (effect.step, effect.direction);
        match &answer {
            Ok(_) | Err(Failure::Declined { .. } | Failure::Refused { .. }) => {
                self.answered(world).await?
            }
            Err(failure) => {
                if self.shuts(world, failure).await? {
                    // The provider refuses everybody: this saga's tries are not what failed.
                    record(world, &effect, failure, started);
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
            Operation::CreateIntent { .. } => PaymentMode::CardOnFile,
            Operation::CreateCheckout { .. } => PaymentMode::Link,
            _ => return None,
        };
        let mut ours = plan::payment_operation(world, &self.policy, mode)?;
        name_effect(&mut ours, EffectId(effect.effect_id), &self.installation);
        // A window of before does not name its desk.
        if let (
            Operation::CreateIntent { metadata: now, .. }
            | Operation::CreateCheckout { metadata: now, .. },
            Operation::CreateIntent { metadata: was, .. }
            | Operation::CreateCheckout { metadata: was, .. },
        ) = (&mut ours, &effect.operation)
            && !was.contains_key(INSTALLATION)
        {
            now.remove(INSTALLATION);
        }
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
        record(world, effect, &failure, started);
        match &failure {
            Failure::Declined { .. } => {
                answers::rejected(world, effect, &failure)?;
                Ok(Step1::Again)
            }
            Failure::Refused { code, .. } if code == "idempotency_error" => {
                self.park(world, "key_reused", "one idempotency key met two requests")
                    .await
            }
            // What is refused may be there already: the object decides.
            Failure::Refused { .. } => {
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
            // The provider keeps this answer: the plan looks.
            Failure::Unknown { stored: true, .. } => Ok(Step1::Again),
            Failure::Busy { retry_after, .. } => {
                self.retry_later(world, class, failure.to_string(), *retry_after)
                    .await
            }
            Failure::Unknown { .. } | Failure::Unauthorized { .. } | Failure::NotSent { .. } => {
                self.retry_later(world, class, failure.to_string(), None)
                    .await
            }
        }
    }
}

/// A try that failed, and what is known of its effect since.
fn record(
    world: &mut World,
    effect: &Effect,
    failure: &Failure,
    started: chrono::DateTime<chrono::Utc>,
) {
    let class = answers::class(failure);
    let attempt = world.attempt(effect.step, effect.direction, started, class);
    attempt.effect_id = Some(effect.effect_id);
    attempt.error_class = Some(class);
    attempt.error = Some(answers::error_json(failure));
    if let Failure::Unknown {
        stored, request_id, ..
    } = failure
    {
        world.resolve(Resolved {
            effect_id: effect.effect_id,
            outcome: Outcome::Unknown,
            via: "response",
            provider_object: None,
            provider_status: None,
            request_id: request_id.clone(),
            stored_error: *stored,
        });
    }
}
