//! Giving a saga back: it waits, tries again later, stands before a shut gate, or needs a person.

use bizing_stripe::Failure;
use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;

use super::super::definition::{Policy, Step};
use super::super::gate::{self, Gate};
use super::super::plan::{Wait, delta};
use super::super::rules::CaptureExhausted;
use super::super::store::{self, SagaError};
use super::super::world::World;
use super::{Executor, Step1};

/// How often a call is tried without an answer before somebody decides, and until when it goes on beyond that.
#[derive(Clone, Copy)]
struct Limit {
    tries: i32,
    until: DateTime<Utc>,
}

impl Limit {
    /// `None`: the plan knows when to stop.
    fn of(world: &World, policy: &Policy) -> Option<Limit> {
        let now = world.now();
        let (tries, until) = match (world.instance.forward(), world.step()?) {
            (true, Step::Capture) => (
                policy.capture_tries,
                policy
                    .capture_margin
                    .and_then(|margin| Some(world.instance.auth_expires_at? - delta(margin))),
            ),
            (true, Step::Refund) | (false, _) => (
                policy.undo_tries,
                policy
                    .undo_budget
                    .map(|budget| world.failing_since() + delta(budget)),
            ),
            _ => return None,
        };
        Some(Limit {
            tries,
            until: until.unwrap_or(now),
        })
    }
}

impl Executor {
    pub(super) async fn wait(&self, world: &mut World, wait: Wait) -> Result<Step1, SagaError> {
        world.instance.state = "waiting".to_owned();
        world.instance.wake_at = wait.until;
        world.instance.await_key = wait.key;
        world.instance.context["waits_for"] = serde_json::json!(wait.why);
        world.draft.consume_signals = true;
        let left = self.leave(world).await?;
        // Its own message is not told by the provider; whatever else it waits for may be.
        if wait.why != "message" {
            store::wake_if_told(&self.pool, world.instance.saga_id, world.loaded_at()).await?;
        }
        Ok(left)
    }

    pub(super) async fn park(
        &self,
        world: &mut World,
        code: &str,
        reason: &str,
    ) -> Result<Step1, SagaError> {
        tracing::warn!(saga.id = %world.instance.saga_id, code, reason, "saga parked: a person decides");
        world.instance.state = "parked".to_owned();
        world.instance.park_code = Some(code.to_owned());
        world.instance.park_reason = Some(reason.to_owned());
        if let (Some(Step::Notify), Some(message)) = (world.step(), &world.message) {
            // The cause groups those that share a fate.
            world.instance.error_class = message.result.clone();
            world.instance.error_message = message.problem.clone();
        }
        world.instance.await_key = None;
        self.leave(world).await
    }

    /// Later, with the same key and bytes. Full jitter, so that a crowd does not come back as one.
    pub(super) async fn retry_later(
        &self,
        world: &mut World,
        class: &str,
        message: String,
        after: Option<std::time::Duration>,
    ) -> Result<Step1, SagaError> {
        self.read_rules(world).await?;
        let policy = world.rules.over(&self.policy);
        world.instance.attempt += 1;
        world.note_failing();
        let tries = world.instance.attempt;
        world.instance.error_class = Some(class.to_owned());
        world.instance.error_message = Some(message.clone());
        let limit = Limit::of(world, &policy);
        let given_up = limit.is_some_and(|l| tries > l.tries && l.until <= world.now());
        let takes_back = given_up
            && world.step() == Some(Step::Capture)
            && world.instance.forward()
            && world.rules.capture_exhausted == CaptureExhausted::Undo;
        if takes_back {
            // What became of the open call is looked up first, after a pause: it may still be on its way.
            world.undo("payment_failed", "system", Some(message.clone()));
        } else if given_up {
            return self
                .park(
                    world,
                    "exhausted",
                    &format!("gave up after {tries} tries: {message}"),
                )
                .await;
        }
        let cap = match limit {
            Some(limit) if tries > limit.tries => policy.patient_cap.max(policy.backoff_cap),
            _ => policy.backoff_cap,
        };
        let ceiling = policy
            .backoff_base
            .saturating_mul(1 << tries.clamp(0, 16))
            .min(cap);
        let pause = after.unwrap_or_else(|| ceiling.mul_f64(rand::rng().random_range(0.0..1.0)));
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

    // ---- the provider's gate -------------------------------------------------------------------------------------

    /// Nothing is asked: no try is used up, and what is decided so far is kept.
    pub(super) async fn at_the_gate(
        &self,
        world: &mut World,
        until: DateTime<Utc>,
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
    pub(super) async fn answered(&self, world: &mut World) -> Result<(), SagaError> {
        self.calls.answered();
        if world.gate == Gate::Ahead {
            gate::open(&self.pool).await?;
            world.gate = Gate::Open;
            self.bell.ring();
        }
        Ok(())
    }

    /// Whether this failure is the provider's own, and shuts it for everybody.
    pub(super) async fn shuts(
        &self,
        world: &mut World,
        failure: &Failure,
    ) -> Result<bool, SagaError> {
        let shut = match failure {
            Failure::Unauthorized { message } => {
                gate::shut(&self.pool, message, gate::REFUSED).await?;
                true
            }
            // Whoever was sent ahead knows for all.
            silence if is_silence(silence) && world.gate == Gate::Ahead => {
                gate::shut(&self.pool, &silence.to_string(), gate::AWAY).await?;
                true
            }
            silence if is_silence(silence) => {
                gate::away(&self.pool, &self.calls, &silence.to_string()).await?
            }
            _ => false,
        };
        if shut {
            world.gate = Gate::Shut {
                until: world.now() + delta(gate::REFUSED),
            };
        }
        Ok(shut)
    }
}

/// No answer that has to do with what was asked: the provider, or the way there, is the matter.
fn is_silence(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::NotSent { .. }
            | Failure::Unknown { stored: false, .. }
            | Failure::Busy {
                same_key: false,
                ..
            }
    )
}
