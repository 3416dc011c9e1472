//! Runs one leased saga until it waits, parks or ends: plan, do, absorb, and again. Commits only before a call and at
//! the end, so that a booking costs three commits.

mod call;
mod leave;
pub mod look;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bizing_stripe::{Operation, Stripe};
use sqlx::PgPool;
use uuid::Uuid;

use super::commit::{self, Leave};
use super::definition::{Policy, Step};
use super::gate::Calls;
use super::instance::{Effect, Outcome, idempotency_key};
use super::plan::{self, Look, Next};
use super::rules;
use super::store::{self, SagaError};
use super::world::{Resolved, World};
use crate::domain::ids::{EffectId, WorkerId};
use crate::runtime::bell::Bell;
use crate::runtime::crash::{CrashPoints, Promise};

#[derive(Clone)]
pub struct Executor {
    pub pool: PgPool,
    pub worker: WorkerId,
    pub installation: String,
    pub stripe: Option<Arc<Stripe>>,
    pub policy: Arc<Policy>,
    pub bell: Bell,
    pub crash: CrashPoints,
    pub handed: Handed,
    pub calls: Calls,
}

/// Worlds of sagas that this very process has just started: it goes on without reading what it wrote.
#[derive(Clone, Default)]
pub struct Handed(Arc<Mutex<HashMap<Uuid, World>>>);

impl Handed {
    pub fn put(&self, world: World) {
        self.lock().insert(world.instance.saga_id, world);
    }

    fn take(&self, saga: Uuid) -> Option<World> {
        self.lock().remove(&saga)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, World>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let mut world = match self.handed.take(saga) {
            Some(mut world) => {
                world.has_stripe = self.stripe.is_some();
                world
            }
            None => self.load(saga).await?,
        };
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
            if world.needs_rules() {
                self.read_rules(&mut world).await?;
            }
            let next = plan::next(&world, &world.rules.over(&self.policy));
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

    async fn read_rules(&self, world: &mut World) -> Result<(), SagaError> {
        if !world.rules_read {
            world.rules = rules::newest(&mut *self.pool.acquire().await?).await?;
            world.rules_read = true;
        }
        Ok(())
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
                    world.step().unwrap_or(Step::Hold),
                    world.direction(),
                    world.now(),
                );
                world.absorb(commands)?;
                if result == "not_needed" {
                    for left_out in world.instance.cursor..cursor {
                        if let Some(step) = world.definition.at(left_out) {
                            world.note_not_needed(step);
                        }
                    }
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
            Next::Look(Look::Effect(effect)) if self.crash.breaks(Promise::Lookup) => {
                self.not_executed(world, effect)
            }
            Next::Look(look) => self.look(world, look).await,
            Next::NotExecuted(effect) => self.not_executed(world, effect),
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
                if state == "completed"
                    && let Some(step) = world.step()
                {
                    let (direction, now) = (world.direction(), world.now());
                    world.attempt(step, direction, now, "done");
                    world.move_to(world.definition.end());
                }
                self.leave(world).await
            }
        }
    }

    fn not_executed(&self, world: &mut World, effect: Uuid) -> Result<Step1, SagaError> {
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

    fn effect(&self, world: &World, mut operation: Operation, generation: i16) -> Effect {
        let id = EffectId(crate::runtime::ids::v7());
        let step = world.step().unwrap_or(Step::Payment);
        name_effect(&mut operation, id, &self.installation);
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
        commit::commit(&self.pool, self.worker, world, leave).await?;
        self.crash.point("after_commit").await;
        self.bell.ring();
        Ok(())
    }

    async fn leave(&self, world: &mut World) -> Result<Step1, SagaError> {
        self.commit(world, Leave::Release).await?;
        Ok(Step1::Left)
    }
}

/// What tells one desk's objects from another's in the same account.
pub const INSTALLATION: &str = "installation";

/// The effect's id travels in the object's metadata: for look-ups, and for the way back from the provider's pages. So does
/// whose desk it is.
pub fn name_effect(operation: &mut Operation, id: EffectId, installation: &str) {
    if let Operation::CreateIntent { metadata, .. }
    | Operation::CreateCheckout { metadata, .. }
    | Operation::Refund { metadata, .. } = operation
    {
        metadata.insert("effect_id".to_owned(), id.to_string());
        metadata.insert(INSTALLATION.to_owned(), installation.to_owned());
    }
}
