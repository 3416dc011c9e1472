//! Taking a booking back, strictly in reverse.

use bizing_stripe::{CancelReason as StripeReason, CheckoutStatus, IntentStatus, Operation};

use super::super::definition::{Policy, Step};
use super::super::instance::{Direction, Outcome};
use super::super::world::{Claims, World};
use super::refund::{self, Refunding};
use super::{Look, Next, Wait, delta, local};
use crate::domain::booking::{Command, PaymentState, Status};
use crate::domain::event::{CancelReason, Party, PaymentVoided};
use crate::domain::ids::PaymentId;

pub fn undo(world: &World, step: Step, policy: &Policy) -> Next {
    let down = world.before(step);
    match step {
        // What a cancellation does is not taken back; before it has begun there is nothing.
        Step::Cancel | Step::Refund | Step::Release => local("nothing_to_undo", down),
        // Cannot be unsent. The cancellation that follows owes the customer its own message.
        Step::Notify => local("undone", down),
        Step::Confirm => Next::Local {
            result: "undone",
            commands: cancel_if_confirmed(world),
            claims: None,
            cursor: down,
        },
        Step::Capture => {
            let refunding = Refunding {
                step,
                direction: Direction::Undo,
                left: refund::due(world),
                reason: world.undo_code(),
                settled: if world.booking.payment.captured_minor > 0 {
                    "undone"
                } else {
                    "nothing_to_undo"
                },
                to: down,
            };
            refund::back(world, policy, refunding)
        }
        Step::Payment => undo_payment(world, policy),
        // Nothing below the refund gives money back: it must not end with some here.
        Step::Hold if money_here(world) => Next::Park {
            code: "money_here",
            reason: "money is here that nothing below this step gives back".to_owned(),
        },
        Step::Hold => {
            let mut commands = if world.booking.cancelled.is_some() {
                vec![]
            } else {
                vec![cancel(world)]
            };
            let reason = if world.undo_code() == "hold_expired" {
                "expired"
            } else {
                "compensated"
            };
            commands.push(Command::Release {
                reason: reason.to_owned(),
            });
            Next::Local {
                result: "undone",
                commands,
                claims: Some(Claims::Release(reason)),
                cursor: down,
            }
        }
    }
}

fn money_here(world: &World) -> bool {
    world.definition.steps.contains(&Step::Capture) && world.booking.payment.owed_back() > 0
}

/// What was decided about the money is said first: of the price, no more is given up then.
fn cancel_if_confirmed(world: &World) -> Vec<Command> {
    if world.booking.status != Status::Confirmed {
        return vec![];
    }
    Vec::from_iter(refund::decided(world).into_iter().chain([cancel(world)]))
}

fn cancel(world: &World) -> Command {
    let context = &world.instance.context["undo"];
    let text = context["text"].as_str().map(str::to_owned);
    let (by, reason_code) = match world.undo_code().as_str() {
        "hold_expired" => (Party::System, CancelReason::HoldExpired),
        "payment_failed" => (Party::System, CancelReason::PaymentFailed),
        "not_told" => (Party::System, CancelReason::NotTold),
        _ => (Party::Staff, CancelReason::Asked),
    };
    Command::Cancel {
        by,
        reason_code,
        reason: text,
        refund_minor: (refund::kept(world) > 0).then(|| refund::due(world)),
    }
}

/// Looks first: what is undone is the payment's actual state, not what our log says of it.
fn undo_payment(world: &World, policy: &Policy) -> Next {
    let payment = &world.booking.payment;
    let down = world.before(Step::Payment);
    let settled = |result| local(result, down);
    if payment.owed_back() > 0 {
        // It was captured after all: back up to the refund.
        return local("captured_meanwhile", world.place(Step::Capture));
    }
    if payment.captured_minor > 0 || payment.state == PaymentState::Voided {
        return settled("undone");
    }
    let asked = world.effects.iter().any(|e| {
        e.step == Step::Payment
            && e.direction == Direction::Forward
            && e.outcome == Outcome::Confirmed
    });
    if !asked && payment.intent.is_none() {
        return settled("nothing_to_undo");
    }
    if !world.seen.payment {
        return Next::Look(Look::Payment);
    }
    let newest = world.effect(Step::Payment, Direction::Undo);
    if let Some(e) = newest
        && e.outcome == Outcome::Rejected
        && world.instance.attempt >= policy.undo_tries
    {
        return Next::Park {
            code: "void_refused",
            reason: format!(
                "the payment cannot be cancelled: {}",
                world.instance.error_message.clone().unwrap_or_default()
            ),
        };
    }
    let generation = newest.map_or(0, |e| e.generation + 1);
    let intend = |operation| Next::Intend {
        operation,
        generation,
        commands: vec![],
        claims: None,
    };
    let void = |reason: &str| Next::Local {
        result: "undone",
        commands: vec![Command::VoidPayment(PaymentVoided {
            payment_id: payment.id.unwrap_or(PaymentId(world.instance.saga_id)),
            payment_intent: payment.intent.clone(),
            reason: reason.to_owned(),
        })],
        claims: None,
        cursor: down,
    };
    // Paid on the page while we were about to close it: the payment behind it is looked at before anything is believed.
    if let Some(page) = &world.seen.checkout
        && let Some(paid) = &page.payment_intent
        && world.seen.intent.as_ref().is_none_or(|i| i.id != *paid)
    {
        return Next::Look(Look::Payment);
    }
    if let Some(page) = &world.seen.checkout
        && page.status == CheckoutStatus::Open
    {
        return intend(Operation::ExpireCheckout {
            session: page.id.clone(),
        });
    }
    match &world.seen.intent {
        Some(intent) => match intent.status {
            IntentStatus::Canceled => void("cancelled"),
            IntentStatus::Processing => Next::Wait(Wait {
                until: world.now() + delta(policy.look_every),
                key: Some(format!("stripe:{}", intent.id)),
                why: "processing",
            }),
            // The intent of an expired page cannot be cancelled on its own, and holds no money.
            IntentStatus::RequiresPaymentMethod if world.seen.checkout.is_some() => {
                void("page_expired")
            }
            // A person says, with evidence, that it holds nothing any more, and Stripe has not taken it.
            _ if intent.status != IntentStatus::Succeeded
                && newest
                    .is_some_and(|e| e.outcome == Outcome::Confirmed && e.evidence.is_some()) =>
            {
                void("settled_by_hand")
            }
            _ => intend(Operation::CancelIntent {
                payment_intent: intent.id.clone(),
                reason: StripeReason::Abandoned,
            }),
        },
        None => void("page_expired"),
    }
}
