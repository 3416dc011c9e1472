//! What stands between a message that reached nobody and the undoing of a paid booking.
//!
//! The policy's word is "compensate" unless the business says otherwise. A guard turns it into a question for a person:
//! G1 where much money would go back, G2 where several fail for one cause (an outage must not refund every customer),
//! G3 where the customer is about to be served. Pure, so that each can be tried without a database.

use chrono::TimeDelta;

use super::plan::Next;
use super::rules::EndExhausted;
use super::world::World;
use crate::connectors::booking_mail::NO_ADDRESS;

/// Policies in force, and what they look at, read in the snapshot that the plan decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// `compensate`, `park`, `continue`
    pub on_exhausted: String,
    /// Whether a cancellation that reached nobody is over all the same.
    pub end_continues: bool,
    /// G1: from this much on a person decides.
    pub approval_minor: i64,
    /// G2: as many as this for one cause, lately.
    pub blast_sagas: i64,
    pub same_cause: i64,
    /// G3: closer to its start than this.
    pub late_hours: i32,
}

/// Step five failed for good: nobody could be told.
pub fn nobody_told(world: &World) -> Next {
    let text = world.message.as_ref().and_then(|m| m.problem.clone());
    let because = text
        .clone()
        .unwrap_or_else(|| "no message was accepted".to_owned());
    let park = |code, why: String| Next::Park {
        code,
        reason: format!("{because}. {why}"),
    };
    let undo = Next::Undo {
        code: "not_told",
        by: "system".to_owned(),
        text,
    };
    let Some(guards) = &world.guards else {
        return undo;
    };
    if world.hands_on() {
        return park("not_told", "A person has this saga in hand.".to_owned());
    }
    match guards.on_exhausted.as_str() {
        "continue" => {
            return Next::Finish {
                state: "completed",
                outcome: "completed_with_warnings",
            };
        }
        "park" => {
            return park("not_told", "The policy leaves it to a person.".to_owned());
        }
        _ => {}
    }
    let kept = world.booking.payment.captured_minor - world.booking.payment.refunded_minor;
    if kept > 0 && kept >= guards.approval_minor {
        return park(
            "guard_money",
            "So much money does not go back by itself.".to_owned(),
        );
    }
    if guards.same_cause >= guards.blast_sagas {
        return park(
            "guard_blast",
            format!(
                "{} bookings fail for one cause, so none is undone by itself.",
                guards.same_cause
            ),
        );
    }
    let starts = world.booking.created.as_ref().map(|c| c.start_utc);
    if starts.is_some_and(|at| at - world.now() < TimeDelta::hours(guards.late_hours.into())) {
        return park(
            "guard_late",
            format!(
                "The service starts in less than {} hours.",
                guards.late_hours
            ),
        );
    }
    undo
}

/// There is no address to tell anything to. Whoever booked knew that, so nothing is undone for it; a person calls.
pub fn nobody_to_tell(world: &World) -> Next {
    let asks = match world.forward_only() {
        true => world.rules.end_exhausted == Some(EndExhausted::Park),
        false => world
            .guards
            .as_ref()
            .is_some_and(|g| g.on_exhausted == "park"),
    };
    match asks {
        true => Next::Park {
            code: "not_told",
            reason: format!("{NO_ADDRESS}. The policy leaves it to a person."),
        },
        false => Next::Finish {
            state: "completed",
            outcome: "completed_with_warnings",
        },
    }
}

/// A cancellation that reached nobody stands all the same; somebody has to call.
pub fn nobody_told_of_the_end(world: &World) -> Next {
    if world.guards.as_ref().is_some_and(|g| g.end_continues) {
        return Next::Finish {
            state: "completed",
            outcome: "completed_with_warnings",
        };
    }
    let problem = world.message.as_ref().and_then(|m| m.problem.clone());
    Next::Park {
        code: "not_told",
        reason: format!(
            "{}. The booking is cancelled, and the customer does not know.",
            problem.unwrap_or_else(|| "no message was accepted".to_owned())
        ),
    }
}
