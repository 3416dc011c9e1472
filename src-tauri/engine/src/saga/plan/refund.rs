//! Giving money back: the undo of a capture, and the third part of a cancellation. Both ask for a sum, wait until the
//! provider has it, and hand what fails for good to a person.

use std::collections::BTreeMap;

use bizing_stripe::Operation;

use super::super::definition::{Policy, Step};
use super::super::instance::{Direction, Outcome};
use super::super::world::World;
use super::{Look, Next, Wait, delta, local, no_booking, payment_id};
use crate::domain::booking::{Command, PaymentState};
use crate::domain::event::{PaymentRefunded, RefundRequested};
use crate::domain::ids::RefundId;
use crate::domain::money::Money;

/// One sum on its way back.
pub struct Refunding {
    pub step: Step,
    pub direction: Direction,
    /// What is still to go back, as the ledger has it.
    pub left: i64,
    /// Why, for the refund's own record.
    pub reason: String,
    /// What the step says, and where the saga is, once nothing is left.
    pub settled: &'static str,
    pub to: i16,
}

pub fn back(world: &World, policy: &Policy, refunding: Refunding) -> Next {
    let payment = &world.booking.payment;
    let newest = world.effect(refunding.step, refunding.direction);
    let confirmed = newest.is_some_and(|e| e.outcome == Outcome::Confirmed);
    let failed = payment.state == PaymentState::RefundFailed;
    if let Some(evidence) = newest.and_then(|e| e.evidence.clone())
        && confirmed
        && (failed || payment.refund_pending_minor > 0)
    {
        return went_back_by_hand(world, refunding, evidence);
    }
    if failed
        && !newest
            .is_some_and(|e| e.outcome == Outcome::NotExecuted || world.may_try_again(e.generation))
    {
        return Next::Park {
            code: "refund_failed",
            reason: "the refund failed: the money must go back another way".to_owned(),
        };
    }
    if payment.refund_pending_minor > 0 && confirmed {
        if !world.seen.refund {
            return Next::Look(Look::Refund);
        }
        return Next::Wait(Wait {
            until: world.now() + delta(policy.look_every),
            key: payment.intent.clone().map(|i| format!("stripe:{i}")),
            why: "refund",
        });
    }
    let (Some(created), Some(intent), true) = (
        &world.booking.created,
        payment.intent.clone(),
        refunding.left > 0,
    ) else {
        return local(refunding.settled, refunding.to);
    };
    if let Some(e) = newest
        && e.outcome == Outcome::Rejected
        && !world.may_try_again(e.generation)
    {
        return Next::Park {
            code: "refund_refused",
            reason: format!(
                "the refund was refused: {}",
                world.instance.error_message.clone().unwrap_or_default()
            ),
        };
    }
    let amount = Money::new(refunding.left, created.price.currency);
    Next::Intend {
        operation: Operation::Refund {
            payment_intent: intent,
            amount_minor: refunding.left,
            metadata: BTreeMap::from([
                ("saga_id".to_owned(), world.instance.saga_id.to_string()),
                (
                    "booking_id".to_owned(),
                    world.instance.booking_id.to_string(),
                ),
            ]),
        },
        generation: newest.map_or(0, |e| e.generation + 1),
        commands: vec![Command::RequestRefund(request(world, &refunding, amount))],
        claims: None,
    }
}

fn request(world: &World, refunding: &Refunding, amount: Money) -> RefundRequested {
    RefundRequested {
        refund_id: RefundId(world.instance.saga_id),
        payment_id: payment_id(world),
        amount,
        reason: refunding.reason.clone(),
    }
}

/// A person gave the money back another way, and said how it can be seen: that is what the ledger gets to know.
fn went_back_by_hand(world: &World, refunding: Refunding, evidence: String) -> Next {
    let Some(created) = &world.booking.created else {
        return no_booking();
    };
    let amount = Money::new(refunding.left, created.price.currency);
    Next::Local {
        result: refunding.settled,
        commands: vec![
            Command::RequestRefund(request(world, &refunding, amount.clone())),
            Command::RecordRefund(PaymentRefunded {
                refund_id: RefundId(world.instance.saga_id),
                payment_id: payment_id(world),
                provider_refund: evidence,
                amount,
            }),
        ],
        claims: None,
        cursor: refunding.to,
    }
}
