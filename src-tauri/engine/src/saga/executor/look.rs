//! Looking at a provider's objects without changing anything.

use bizing_stripe::{CheckoutStatus, Failure, IntentStatus, Object, Operation, Stripe};

use super::super::answers::{self, Found};
use super::super::gate::{self, Gate};
use super::super::instance::Effect;
use super::super::plan::{Look, delta};
use super::super::store::SagaError;
use super::super::world::World;
use super::{Executor, Step1};

impl Executor {
    pub(super) async fn look(&self, world: &mut World, look: Look) -> Result<Step1, SagaError> {
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

    pub(super) async fn look_at_payment(
        &self,
        world: &mut World,
        stripe: &Stripe,
    ) -> Result<(), Failure> {
        let payment = &world.booking.payment;
        let mut page = match payment.checkout_session.clone() {
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
        // An intent ends with its page. Of a page that ran out between the two answers only the intent would tell, and it
        // would look as if somebody had cancelled the payment.
        if let (Some(open), Some(ended)) = (&page, &intent)
            && open.status == CheckoutStatus::Open
            && ended.status == IntentStatus::Canceled
        {
            page = Some(stripe.checkout(&open.id).await?);
        }
        refused_as_failure(answers::payment_seen(world, intent, page))
    }

    pub(super) async fn look_at_refund(
        &self,
        world: &mut World,
        stripe: &Stripe,
    ) -> Result<(), Failure> {
        let Some(intent) = world.booking.payment.intent.clone() else {
            return Ok(());
        };
        // One saga asks for one refund, whichever step it is.
        let ours = world
            .effects
            .iter()
            .rev()
            .filter(|e| matches!(e.operation, Operation::Refund { .. }))
            .max_by_key(|e| e.generation)
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
    pub(super) async fn find(&self, world: &World, effect: &Effect) -> Result<Found, Failure> {
        let Some(stripe) = &self.stripe else {
            return Ok(Found::Absent);
        };
        let since = effect.first_sent_at.unwrap_or(world.now()).timestamp() - 300;
        let object = object_of(stripe, effect, since).await?;
        Ok(answers::judge(effect, object))
    }

    pub(super) fn see(&self, world: &mut World, object: Object) -> Result<(), SagaError> {
        match object {
            Object::Intent(intent) => answers::payment_seen(world, Some(intent), None)?,
            Object::Checkout(page) => answers::payment_seen(world, None, Some(page))?,
            Object::Refund(refund) => answers::refund_seen(world, &refund)?,
        }
        Ok(())
    }
}

/// The object that an effect would have made or changed, if it is there.
pub async fn object_of(
    stripe: &Stripe,
    effect: &Effect,
    since: i64,
) -> Result<Option<Object>, Failure> {
    let id = effect.effect_id.to_string();
    Ok(match &effect.operation {
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
    })
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
