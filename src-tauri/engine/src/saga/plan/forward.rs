//! The way forward of a booking: ask for the payment, take it, see that the customer is told.

use bizing_stripe::{CheckoutStatus, IntentStatus, Operation};
use chrono::TimeDelta;

use super::super::definition::{Policy, Step};
use super::super::guards;
use super::super::instance::{Direction, Effect, Outcome};
use super::super::rules::CardDeclined;
use super::super::world::{Claims, Message, World};
use super::request::payment_operation;
use super::{Look, Next, Wait, delta, done, local, message_key, no_booking};
use crate::domain::booking::PaymentState;
use crate::domain::event::PaymentMode;

pub fn payment(world: &World, policy: &Policy) -> Next {
    let Some(created) = &world.booking.created else {
        return no_booking();
    };
    if created.payment_mode == PaymentMode::Venue || created.price.is_zero() {
        return local("not_needed", world.place(Step::Confirm));
    }
    match world.booking.payment.state {
        PaymentState::Authorised => {
            return local("done", world.place(Step::Capture));
        }
        PaymentState::Paid => {
            return local("done", world.place(Step::Confirm));
        }
        PaymentState::Voided => {
            return Next::Undo {
                code: "payment_failed",
                by: "system".to_owned(),
                text: Some("the authorisation was cancelled".to_owned()),
            };
        }
        _ => {}
    }
    let expires = world.instance.hold_expires_at;
    let newest = world.effect(Step::Payment, Direction::Forward);
    // Before the hold runs out for good, the provider is asked once more: the customer may just have paid.
    if newest.is_some_and(|e| e.outcome == Outcome::Confirmed) && !world.seen.payment {
        return Next::Look(Look::Payment);
    }
    if hold_over(world) {
        return hold_expired();
    }
    if !world.has_stripe {
        return Next::Wait(Wait {
            until: world.now() + TimeDelta::seconds(30),
            key: None,
            why: "not_set",
        });
    }
    let generation = newest.map_or(0, |e| e.generation + 1);
    let wait = |key: String| {
        let look_at = world.now() + delta(policy.look_every);
        Next::Wait(Wait {
            until: expires.map_or(look_at, |at| at.min(look_at)),
            key: Some(key),
            why: "customer",
        })
    };
    match newest {
        None => intend_payment(world, policy, created.payment_mode, generation),
        Some(e) => match e.outcome {
            Outcome::NotExecuted => intend_payment(world, policy, mode_of(e), generation),
            Outcome::Rejected if mode_of(e) == PaymentMode::CardOnFile => {
                declined(world, policy, e)
            }
            Outcome::Rejected => Next::Undo {
                code: "payment_failed",
                by: "system".to_owned(),
                text: world.instance.error_message.clone(),
            },
            _ => match mode_of(e) {
                // Confirmed, yet neither authorised nor paid: declined after all, or the customer must act.
                PaymentMode::CardOnFile
                    if world.booking.payment.state == PaymentState::Declined =>
                {
                    intend_payment(world, policy, PaymentMode::Link, generation)
                }
                // It lives for a day at most, and the slot is held for longer: the customer gets another one.
                PaymentMode::Link if page_ran_out(world, e) && time_to_pay(world) => {
                    intend_payment(world, policy, PaymentMode::Link, generation)
                }
                _ => wait(format!(
                    "stripe:{}",
                    e.provider_object.clone().unwrap_or_default()
                )),
            },
        },
    }
}

/// Nobody paid on the newest page, and nobody can any more.
fn page_ran_out(world: &World, newest: &Effect) -> bool {
    let over = world.seen.checkout.as_ref().is_some_and(|page| {
        page.status == CheckoutStatus::Expired && newest.provider_object.as_ref() == Some(&page.id)
    });
    let unpaid = world.seen.intent.as_ref().is_none_or(|intent| {
        matches!(
            intent.status,
            IntentStatus::RequiresPaymentMethod | IntentStatus::Canceled
        )
    });
    over && unpaid
}

/// Whether enough of the hold is left to be worth a message.
fn time_to_pay(world: &World) -> bool {
    let soonest = world.now() + TimeDelta::minutes(5);
    world.instance.hold_expires_at.is_none_or(|at| at > soonest)
}

pub fn hold_over(world: &World) -> bool {
    world
        .instance
        .hold_expires_at
        .is_some_and(|at| at <= world.now())
}

pub fn hold_expired() -> Next {
    Next::Undo {
        code: "hold_expired",
        by: "system".to_owned(),
        text: None,
    }
}

/// The saved card was refused for good.
fn declined(world: &World, policy: &Policy, e: &Effect) -> Next {
    // A person said once more, or which card instead.
    if world.may_try_again(e.generation) {
        return intend_payment(world, policy, PaymentMode::CardOnFile, e.generation + 1);
    }
    if world.rules.card_declined == CardDeclined::Park {
        return Next::Park {
            code: "declined",
            reason: world
                .instance
                .error_message
                .clone()
                .unwrap_or_else(|| "the card was declined".to_owned()),
        };
    }
    // The customer gets a link and may use another one.
    intend_payment(world, policy, PaymentMode::Link, e.generation + 1)
}

fn mode_of(effect: &Effect) -> PaymentMode {
    match effect.operation {
        Operation::CreateIntent { .. } => PaymentMode::CardOnFile,
        _ => PaymentMode::Link,
    }
}

fn intend_payment(world: &World, policy: &Policy, mode: PaymentMode, generation: i16) -> Next {
    match payment_operation(world, policy, mode) {
        Some(operation) => Next::Intend {
            operation,
            generation,
            commands: vec![],
            claims: None,
        },
        None => no_booking(),
    }
}

pub fn capture(world: &World) -> Next {
    if world.booking.payment.captured_minor > 0 {
        return local("done", world.place(Step::Confirm));
    }
    let newest = world.effect(Step::Capture, Direction::Forward);
    let Some(intent) = world.booking.payment.intent.clone() else {
        return Next::Park {
            code: "not_authorised",
            reason: "nothing is authorised".to_owned(),
        };
    };
    match newest.map(|e| (e.outcome, e.generation)) {
        None => Next::Intend {
            operation: Operation::Capture {
                payment_intent: intent,
                amount_minor: None,
            },
            generation: 0,
            commands: vec![],
            // From here on the hold cannot expire under the money.
            claims: Some(Claims::Pin),
        },
        Some((Outcome::NotExecuted, generation)) => Next::Intend {
            operation: Operation::Capture {
                payment_intent: intent,
                amount_minor: None,
            },
            generation: generation + 1,
            commands: vec![],
            claims: None,
        },
        Some((Outcome::Rejected, _)) => Next::Undo {
            code: "payment_failed",
            by: "system".to_owned(),
            text: world.instance.error_message.clone(),
        },
        // It is said to have happened, and the provider shows otherwise.
        Some(_) if world.seen.payment => Next::Park {
            code: "contradiction",
            reason:
                "the capture is said to have happened, but the provider shows no captured payment"
                    .to_owned(),
        },
        Some(_) => Next::Look(Look::Payment),
    }
}

pub fn notify(world: &World, policy: &Policy) -> Next {
    let message = world.message.as_ref();
    if message.is_some_and(Message::had_no_address) {
        return guards::nobody_to_tell(world);
    }
    match message.map(|m| m.state.as_str()) {
        Some("delivered" | "skipped") => done("completed"),
        // It may have arrived or not; a person should know, the booking stands.
        Some("unclear") => done("completed_with_warnings"),
        Some("gave_up") if world.forward_only() => guards::nobody_told_of_the_end(world),
        Some("gave_up") => guards::nobody_told(world),
        // Its finish carries our result in its own commit and wakes us; looking is the net below.
        _ => Next::Wait(Wait {
            until: world.now() + delta(policy.look_every),
            key: Some(message_key(world)),
            why: "message",
        }),
    }
}
