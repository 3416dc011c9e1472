//! What a provider's answer means for the booking. The same facts come from an answer, a look-up or an event; each
//! becomes the same commands, and the domain ignores what it knows already.

use bizing_stripe::{
    Answer, Checkout, CheckoutStatus, Failure, Intent, IntentStatus, Object, Operation, Refund,
    RefundStatus,
};
use chrono::DateTime;
use serde_json::json;

use super::definition::Step;
use super::instance::{Direction, Effect, Outcome};
use super::plan::{payment_id, payment_ref, pending_id};
use super::world::{Resolved, World};
use crate::domain::booking::{Command, Refusal};
use crate::domain::event::*;
use crate::domain::money::{Currency, Money};

/// An effect that happened, as an object of the provider shows it.
pub fn confirmed(
    world: &mut World,
    effect: &Effect,
    object: &Object,
    via: &'static str,
    request_id: Option<String>,
) -> Result<(), Refusal> {
    let (id, status) = match object {
        Object::Intent(i) => (i.id.clone(), i.status.to_string()),
        Object::Checkout(c) => (c.id.clone(), c.status.to_string()),
        Object::Refund(r) => (r.id.clone(), r.status.to_string()),
    };
    world.resolve(Resolved {
        effect_id: effect.effect_id,
        outcome: Outcome::Confirmed,
        via,
        provider_object: Some(id),
        provider_status: Some(status),
        request_id,
        stored_error: false,
    });
    match (&effect.operation, object) {
        (Operation::CreateIntent { .. }, Object::Intent(intent)) => {
            requested(world, effect, Some(intent), None)?;
            payment_seen(world, Some(intent.clone()), None)
        }
        (Operation::CreateCheckout { .. }, Object::Checkout(page)) => {
            requested(world, effect, None, Some(page))?;
            payment_seen(world, None, Some(page.clone()))
        }
        (Operation::ExpireCheckout { .. }, Object::Checkout(page)) => {
            payment_seen(world, None, Some(page.clone()))?;
            let voided = PaymentVoided {
                payment_id: payment_id(world),
                payment_intent: page.payment_intent.clone(),
                reason: "page_expired".to_owned(),
            };
            world.absorb(vec![Command::VoidPayment(voided)])
        }
        (_, Object::Intent(intent)) => payment_seen(world, Some(intent.clone()), None),
        (_, Object::Refund(refund)) => refund_seen(world, refund),
        (_, Object::Checkout(page)) => payment_seen(world, None, Some(page.clone())),
    }
}

/// The provider refused for good. The next step is the plan's.
pub fn rejected(world: &mut World, effect: &Effect, failure: &Failure) -> Result<(), Refusal> {
    let (object, request_id) = match failure {
        Failure::Declined {
            intent, request_id, ..
        }
        | Failure::Refused {
            intent, request_id, ..
        } => (intent.as_ref().map(|i| i.id.clone()), request_id.clone()),
        _ => (None, None),
    };
    world.resolve(Resolved {
        effect_id: effect.effect_id,
        outcome: Outcome::Rejected,
        via: "response",
        provider_object: object,
        provider_status: None,
        request_id,
        stored_error: false,
    });
    world.instance.error_message = Some(failure.to_string());
    world.instance.error_class = Some(class(failure).to_owned());
    if let Failure::Declined {
        code,
        decline_code,
        message,
        intent,
        ..
    } = failure
        && effect.step == Step::Payment
        && effect.direction == Direction::Forward
    {
        requested(world, effect, intent.as_deref(), None)?;
        world.absorb(vec![Command::Decline(PaymentFailed {
            payment_id: payment_id(world),
            payment_intent: intent.as_ref().map(|i| i.id.clone()),
            code: code.clone(),
            decline_code: decline_code.clone(),
            message: message.clone(),
        })])?;
    }
    Ok(())
}

fn requested(
    world: &mut World,
    effect: &Effect,
    intent: Option<&Intent>,
    page: Option<&Checkout>,
) -> Result<(), Refusal> {
    let Some(created) = &world.booking.created else {
        return Ok(());
    };
    let request = PaymentRequested {
        payment_id: payment_id(world),
        amount: created.price.clone(),
        mode: if page.is_some() {
            PaymentMode::Link
        } else {
            PaymentMode::CardOnFile
        },
        payment_intent: intent.map(|i| i.id.clone()),
        checkout_session: page.map(|p| p.id.clone()),
        pay_url: page.and_then(|p| p.url.clone()),
        link_expires_at: page.and_then(|p| DateTime::from_timestamp(p.expires_at, 0)),
        idempotency_key: effect.idempotency_key.clone(),
    };
    world.absorb(vec![Command::RequestPayment(Box::new(request))])
}

/// The payment as the provider has it now.
pub fn payment_seen(
    world: &mut World,
    intent: Option<Intent>,
    page: Option<Checkout>,
) -> Result<(), Refusal> {
    world.seen.payment = true;
    let mut commands = vec![];
    // What ended with its page never was a payment, so nothing of the booking's is void: another page may follow.
    let ended_with_page = page
        .as_ref()
        .is_some_and(|p| p.status == CheckoutStatus::Expired)
        && world.booking.payment.authorised_minor == 0;
    if let Some(intent) = &intent {
        if !(ended_with_page && intent.status == IntentStatus::Canceled) {
            commands.extend(facts_of(world, intent));
        }
        if let Some(at) = intent
            .capture_before
            .and_then(|s| DateTime::from_timestamp(s, 0))
        {
            world.instance.auth_expires_at = Some(at);
        }
        world.seen.intent = Some(intent.clone());
    }
    if let Some(page) = page {
        if page.status == CheckoutStatus::Expired {
            commands.push(Command::ExpireLink(payment_ref(
                world,
                page.payment_intent.clone(),
            )));
        }
        world.seen.checkout = Some(page);
    }
    world.absorb(commands)
}

/// That a payment was taken, as the provider shows it.
pub fn received(world: &World, intent: &Intent) -> Option<Command> {
    let currency = intent.currency.to_uppercase().parse::<Currency>().ok()?;
    Some(Command::ReceivePayment(PaymentReceived {
        payment_id: payment_id(world),
        payment_intent: intent.id.clone(),
        amount_received: Money::new(intent.amount_received, currency),
        charge_id: intent.latest_charge.clone(),
    }))
}

fn facts_of(world: &World, intent: &Intent) -> Vec<Command> {
    let money = |amount: i64| {
        Some(Money::new(
            amount,
            intent.currency.to_uppercase().parse::<Currency>().ok()?,
        ))
    };
    let id = payment_id(world);
    match intent.status {
        IntentStatus::RequiresCapture => money(intent.amount_capturable)
            .map(|amount_capturable| {
                Command::Authorise(PaymentAuthorized {
                    payment_id: id,
                    payment_intent: intent.id.clone(),
                    amount_capturable,
                    capture_before: intent
                        .capture_before
                        .and_then(|s| DateTime::from_timestamp(s, 0)),
                })
            })
            .into_iter()
            .collect(),
        IntentStatus::Succeeded => received(world, intent).into_iter().collect(),
        IntentStatus::RequiresAction => vec![Command::RequireAction(payment_ref(
            world,
            Some(intent.id.clone()),
        ))],
        IntentStatus::RequiresPaymentMethod => match &intent.last_payment_error {
            // The same refusal seen twice is one fact.
            Some(error)
                if world.booking.payment.state
                    != crate::domain::booking::PaymentState::Declined =>
            {
                vec![Command::Decline(PaymentFailed {
                    payment_id: id,
                    payment_intent: Some(intent.id.clone()),
                    code: error.code.clone(),
                    decline_code: error.decline_code.clone(),
                    message: error.message.clone(),
                })]
            }
            _ => vec![],
        },
        IntentStatus::Canceled => vec![Command::VoidPayment(PaymentVoided {
            payment_id: id,
            payment_intent: Some(intent.id.clone()),
            reason: intent
                .cancellation_reason
                .clone()
                .unwrap_or_else(|| "cancelled".to_owned()),
        })],
        IntentStatus::Processing
        | IntentStatus::RequiresConfirmation
        | IntentStatus::Unknown(_) => vec![],
    }
}

pub fn refund_seen(world: &mut World, refund: &Refund) -> Result<(), Refusal> {
    world.seen.refund = true;
    let Some(created) = &world.booking.created else {
        return Ok(());
    };
    let amount = Money::new(refund.amount, created.price.currency);
    // None of ours is on its way: nothing is new.
    let Some(refund_id) = pending_id(world) else {
        return Ok(());
    };
    let payment_id = payment_id(world);
    let command = match &refund.status {
        RefundStatus::Succeeded => Command::RecordRefund(PaymentRefunded {
            refund_id,
            payment_id,
            provider_refund: refund.id.clone(),
            amount,
        }),
        RefundStatus::Failed | RefundStatus::Canceled => Command::FailRefund(RefundFailed {
            refund_id,
            payment_id,
            amount,
            reason: refund
                .failure_reason
                .clone()
                .unwrap_or_else(|| refund.status.to_string()),
        }),
        RefundStatus::Pending | RefundStatus::RequiresAction | RefundStatus::Unknown(_) => {
            return Ok(());
        }
    };
    world.absorb(vec![command])
}

/// Whether an object shows that the effect happened, was overtaken, or is not there (yet).
pub enum Found {
    Happened(Object),
    Overtaken(Object),
    Absent,
}

pub fn judge(effect: &Effect, object: Option<Object>) -> Found {
    let Some(object) = object else {
        return Found::Absent;
    };
    let happened = match (&effect.operation, &object) {
        (Operation::Capture { .. }, Object::Intent(i)) => match i.status {
            IntentStatus::Succeeded => true,
            IntentStatus::Canceled => return Found::Overtaken(object),
            _ => false,
        },
        (Operation::CancelIntent { .. }, Object::Intent(i)) => match i.status {
            IntentStatus::Canceled => true,
            IntentStatus::Succeeded => return Found::Overtaken(object),
            _ => false,
        },
        (Operation::ExpireCheckout { .. }, Object::Checkout(c)) => match c.status {
            CheckoutStatus::Expired => true,
            CheckoutStatus::Complete => return Found::Overtaken(object),
            _ => false,
        },
        _ => true,
    };
    if happened {
        Found::Happened(object)
    } else {
        Found::Absent
    }
}

/// Words for `error_class`: they group sagas that share a fate.
pub fn class(failure: &Failure) -> &'static str {
    match failure {
        Failure::NotSent { .. } => "not_sent",
        Failure::Declined { .. } => "declined",
        Failure::Refused { .. } => "refused",
        Failure::Unauthorized { .. } => "unauthorized",
        Failure::Busy { .. } => "busy",
        Failure::Unknown { .. } => "unknown",
    }
}

pub fn error_json(failure: &Failure) -> serde_json::Value {
    let (code, request_id) = match failure {
        Failure::Declined {
            code, request_id, ..
        }
        | Failure::Refused {
            code, request_id, ..
        } => (Some(code), request_id.as_ref()),
        Failure::Unknown { request_id, .. } => (None, request_id.as_ref()),
        _ => (None, None),
    };
    json!({ "message": failure.to_string(), "code": code, "request_id": request_id })
}

/// What an answer tells a person, without the provider's whole object.
pub fn output(answer: &Answer) -> serde_json::Value {
    let (object, status) = match &answer.object {
        Object::Intent(i) => (&i.id, i.status.to_string()),
        Object::Checkout(c) => (&c.id, c.status.to_string()),
        Object::Refund(r) => (&r.id, r.status.to_string()),
    };
    json!({ "object": object, "status": status, "request_id": answer.request_id, "replayed": answer.replayed })
}
