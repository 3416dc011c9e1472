//! Giving money back: the undo of a capture, and the third part of a cancellation. Both ask for a sum, wait until the
//! provider has it, and hand what fails for good to a person. A person may decide that a part stays here: then the sum is the
//! rest, and the booking's events say what is kept.

use std::collections::BTreeMap;

use bizing_stripe::Operation;
use serde_json::Value;

use super::super::definition::{Policy, Step};
use super::super::instance::{Direction, Effect, Outcome};
use super::super::world::World;
use super::{Look, Next, Wait, cancellation, delta, local, no_booking, payment_id};
use crate::domain::booking::{Command, PaymentState};
use crate::domain::event::{PaymentRefunded, RefundFailed, RefundRequested};
use crate::domain::ids::RefundId;
use crate::domain::money::Money;

/// One sum on its way back.
pub struct Refunding {
    pub step: Step,
    pub direction: Direction,
    /// What is still to go back, as the ledger has it, and as a person decided.
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
    let mut commands = given_up(world, &amount);
    commands.extend(decided(world));
    commands.push(Command::RequestRefund(request(world, &refunding, amount)));
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
        commands,
        claims: None,
    }
}

// ---- a part ----------------------------------------------------------------------------------------------------------

/// What a person decided to keep (`saga.apply`). It holds until another decision takes its place.
pub fn kept(world: &World) -> i64 {
    decision(world)["kept_minor"].as_i64().unwrap_or(0)
}

fn decision(world: &World) -> &Value {
    &world.instance.context["refund_part"]
}

/// What the undo of a capture gives back.
pub fn due(world: &World) -> i64 {
    world.booking.payment.here() - kept(world)
}

/// The decision for the booking's history; `None`: it is there, or there was never one.
pub fn decided(world: &World) -> Option<Command> {
    let currency = world.booking.created.as_ref()?.price.currency;
    let text = |name: &str| decision(world)[name].as_str().map(str::to_owned);
    (kept(world) != world.booking.payment.kept_minor).then_some(())?;
    Some(Command::KeepRemainder {
        payment_id: payment_id(world),
        amount: Money::new(kept(world), currency),
        decided_by: text("by")?,
        approved_by: text("approved_by"),
        reason: text("reason")?,
    })
}

/// A person decided about another sum since this was asked for: it is looked for, and never sent again.
pub fn another_sum(world: &World, open: &Effect) -> bool {
    let Operation::Refund { amount_minor, .. } = open.operation else {
        return false;
    };
    let now = match open.step {
        Step::Refund => cancellation::due(world),
        _ => due(world),
    };
    amount_minor != now
}

/// What was asked for, did not happen, and is not the sum any more.
fn given_up(world: &World, amount: &Money) -> Vec<Command> {
    let payment = &world.booking.payment;
    let pending = Money::new(payment.refund_pending_minor, amount.currency);
    match pending_id(world) {
        Some(refund_id) if pending != *amount => {
            vec![Command::FailRefund(RefundFailed {
                refund_id,
                payment_id: payment_id(world),
                amount: pending,
                reason: "another sum was decided".to_owned(),
            })]
        }
        _ => vec![],
    }
}

fn request(world: &World, refunding: &Refunding, amount: Money) -> RefundRequested {
    RefundRequested {
        refund_id: next_id(world),
        payment_id: payment_id(world),
        amount,
        reason: refunding.reason.clone(),
    }
}

/// The one that is on its way, or else one that no refund of this saga had: a part may have gone back before.
fn next_id(world: &World) -> RefundId {
    let refunds = &world.booking.payment.refunds;
    let saga = world.instance.saga_id;
    pending_id(world)
        .or_else(|| {
            (0..=refunds.len() as u128)
                .map(|before| RefundId::nth(saga, before))
                .find(|id| !refunds.contains(id))
        })
        .unwrap_or(RefundId(saga))
}

/// This saga's refund that is on its way.
pub fn pending_id(world: &World) -> Option<RefundId> {
    let payment = &world.booking.payment;
    let last = payment.refunds.last().copied();
    last.filter(|id| payment.refund_pending_minor > 0 && id.is_of(world.instance.saga_id))
}

/// A person gave the money back another way, and said how it can be seen: that is what the ledger gets to know. What was on
/// its way is what was settled.
fn went_back_by_hand(world: &World, refunding: Refunding, evidence: String) -> Next {
    let Some(created) = &world.booking.created else {
        return no_booking();
    };
    let (mut commands, sum) = match world.booking.payment.refund_pending_minor {
        0 => (Vec::from_iter(decided(world)), refunding.left),
        pending => (vec![], pending),
    };
    let amount = Money::new(sum, created.price.currency);
    let request = request(world, &refunding, amount.clone());
    let refunded = PaymentRefunded {
        refund_id: request.refund_id,
        payment_id: request.payment_id,
        provider_refund: evidence,
        amount,
    };
    commands.push(Command::RequestRefund(request));
    commands.push(Command::RecordRefund(refunded));
    Next::Local {
        result: refunding.settled,
        commands,
        claims: None,
        cursor: refunding.to,
    }
}
