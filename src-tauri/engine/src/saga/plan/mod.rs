//! What comes next. A pure function over the world: it reads facts and says one thing to do. The executor does it,
//! absorbs the result, and asks again. So every decision can be tested without a database, and explained.

mod cancellation;
mod forward;
mod refund;
mod request;
mod undo;

use bizing_stripe::Operation;
use chrono::{DateTime, TimeDelta, Utc};

use super::definition::{Policy, Step};
use super::instance::Effect;
use super::world::{Claims, World};
use crate::domain::booking::Command;
use crate::domain::event::PaymentRef;
use crate::domain::ids::PaymentId;

pub use refund::pending_id;
pub use request::{payment_operation, payment_operation_for};

#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Facts of our own: no call is needed. `not_needed` leaves out every step before `cursor`.
    Local {
        result: &'static str,
        commands: Vec<Command>,
        claims: Option<Claims>,
        cursor: i16,
    },
    /// Write down what will be asked, then ask.
    Intend {
        operation: Operation,
        generation: i16,
        commands: Vec<Command>,
        claims: Option<Claims>,
    },
    /// Ask: the first time, or again with the same key and bytes.
    Call(uuid::Uuid),
    /// Ask without changing anything.
    Look(Look),
    /// An effect was proven not to have happened: the next generation may try.
    NotExecuted(uuid::Uuid),
    Wait(Wait),
    Undo {
        code: &'static str,
        by: String,
        text: Option<String>,
    },
    Park {
        /// One word for the window and for grouping.
        code: &'static str,
        reason: String,
    },
    Finish {
        state: &'static str,
        outcome: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The payment as the provider has it: intent or hosted page.
    Payment,
    /// The refund of an undone capture.
    Refund,
    /// What became of an effect whose answer we do not have.
    Effect(uuid::Uuid),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub until: DateTime<Utc>,
    pub key: Option<String>,
    /// `customer`, `message`, `refund`, `processing`, `quarantine`, `not_set`
    pub why: &'static str,
}

pub fn next(world: &World, policy: &Policy) -> Next {
    if let Some(turn) = turns_back(world) {
        return turn;
    }
    if let Some(open) = world.open_effect() {
        return settle(world, open, policy);
    }
    let forward = world.instance.forward();
    let Some(step) = world.step() else {
        return match forward {
            true => done("completed"),
            false => Next::Finish {
                state: "compensated",
                outcome: "compensated",
            },
        };
    };
    if !forward {
        return undo::undo(world, step, policy);
    }
    match step {
        Step::Hold => local("done", world.after(step)),
        Step::Payment => forward::payment(world, policy),
        Step::Capture => forward::capture(world),
        Step::Confirm => Next::Local {
            result: "done",
            commands: vec![Command::Confirm],
            claims: Some(Claims::Pin),
            cursor: world.after(step),
        },
        Step::Cancel => cancellation::cancel(world),
        Step::Refund => cancellation::refund(world, policy),
        Step::Release => cancellation::release(world),
        Step::Notify => forward::notify(world, policy),
    }
}

/// Why the way forward ends here, before anything open is asked for again: what nobody wants any more is looked for, and
/// not sent.
fn turns_back(world: &World) -> Option<Next> {
    let step = world.step().filter(|_| world.instance.forward())?;
    if let Some(by) = &world.instance.cancel_requested_by
        && step != Step::Notify
        && world.booking.payment.captured_minor == 0
    {
        let text = world.instance.context["cancel_reason"]
            .as_str()
            .map(str::to_owned);
        return Some(Next::Undo {
            code: "asked",
            by: by.clone(),
            text,
        });
    }
    let open = step == Step::Payment && world.open_effect().is_some();
    (open && forward::hold_over(world)).then(forward::hold_expired)
}

/// Only the place changes.
fn local(result: &'static str, cursor: i16) -> Next {
    Next::Local {
        result,
        commands: vec![],
        claims: None,
        cursor,
    }
}

fn done(outcome: &'static str) -> Next {
    Next::Finish {
        state: "completed",
        outcome,
    }
}

fn no_booking() -> Next {
    Next::Park {
        code: "no_booking",
        reason: "the booking has no events".to_owned(),
    }
}

/// An answer is missing. Same key and bytes while the key is young; otherwise look, and believe an absence only after
/// the quarantine.
fn settle(world: &World, open: &Effect, policy: &Policy) -> Next {
    let now = world.now();
    let age = open.first_sent_at.map_or(TimeDelta::zero(), |at| now - at);
    // What is being taken back is not asked for any more, however young its key: that would take the money only to
    // give it back. Nor is a refund of which a person has decided otherwise since.
    let given_up = world.direction() != open.direction;
    let overtaken = given_up || refund::another_sum(world, open);
    if !(overtaken || open.stored_error || age > delta(policy.key_max_age)) {
        return Next::Call(open.effect_id);
    }
    if !world.seen.absent.contains(&open.effect_id) {
        return Next::Look(Look::Effect(open.effect_id));
    }
    let decisive_at = open.last_sent_at.unwrap_or(now) + delta(policy.quarantine);
    // The authorisation is cancelled next. A capture that still arrives finds it cancelled, or comes first and stops the
    // cancelling, which then sees the money and gives it back: there is nothing to wait for.
    let shut_out = given_up && open.step == Step::Capture;
    if shut_out || now >= decisive_at {
        Next::NotExecuted(open.effect_id)
    } else {
        Next::Wait(Wait {
            until: decisive_at,
            key: None,
            why: "quarantine",
        })
    }
}

pub fn message_key(world: &World) -> String {
    format!("message:{}", world.instance.booking_id)
}

/// `PaymentRef` of this saga's one payment.
pub fn payment_ref(world: &World, intent: Option<String>) -> PaymentRef {
    PaymentRef {
        payment_id: payment_id(world),
        payment_intent: intent,
    }
}

pub fn payment_id(world: &World) -> PaymentId {
    // One saga, one payment: the id needs no table.
    world
        .booking
        .payment
        .id
        .unwrap_or(PaymentId(world.instance.saga_id))
}

pub fn delta(duration: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
