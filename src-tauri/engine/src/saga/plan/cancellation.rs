//! Giving up a confirmed booking under the terms that were shown: cancelled, the money less the fee sent back, the slot
//! let go, the customer told. From the first step on it only goes forward: nobody takes a cancellation back.

use serde_json::Value;

use super::super::definition::{Policy, Step};
use super::super::instance::Direction;
use super::super::world::{Claims, World};
use super::refund::{self as giving_back, Refunding};
use super::{Next, local};
use crate::domain::booking::Command;
use crate::domain::event::{CancelReason, Party};
use crate::domain::ids::RefundId;

pub fn cancel(world: &World) -> Next {
    let context = &world.instance.context["cancel"];
    Next::Local {
        result: "done",
        commands: vec![Command::Cancel {
            by: Party::Staff,
            reason_code: CancelReason::Asked,
            reason: context["text"].as_str().map(str::to_owned),
            refund_minor: Some(agreed(world)),
        }],
        claims: None,
        cursor: world.after(Step::Cancel),
    }
}

pub fn refund(world: &World, policy: &Policy) -> Next {
    let (agreed, to) = (agreed(world), world.after(Step::Refund));
    if agreed == 0 {
        return local("not_needed", to);
    }
    let payment = &world.booking.payment;
    let ours = RefundId(world.instance.saga_id);
    let went = payment.refunds.contains(&ours) && payment.refund_pending_minor == 0;
    let refunding = Refunding {
        step: Step::Refund,
        direction: Direction::Forward,
        left: if went { 0 } else { due(world) },
        reason: "cancelled".to_owned(),
        settled: "done",
        to,
    };
    giving_back::back(world, policy, refunding)
}

pub fn release(world: &World) -> Next {
    Next::Local {
        result: "done",
        commands: vec![Command::Release {
            reason: "cancelled".to_owned(),
        }],
        claims: Some(Claims::Release("cancelled")),
        cursor: world.after(Step::Release),
    }
}

/// What the terms give back, as far as it is here, less what a person decided to keep since.
pub fn due(world: &World) -> i64 {
    agreed(world).min(world.booking.payment.here()) - giving_back::kept(world)
}

/// What the terms give back: fixed when the cancellation was asked for, whatever the policy says since.
fn agreed(world: &World) -> i64 {
    let terms: &Value = &world.instance.context["terms"];
    terms["refund_minor"].as_i64().unwrap_or(0)
}
