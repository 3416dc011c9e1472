//! Whatever people, providers and the clock do, and wherever a worker dies: money and slots come out whole. The plan and
//! the answers are the real ones; database, provider and executor are models small enough to be tried ten thousand times.

mod kept;
mod provider;
mod turns;

use std::collections::{BTreeMap, HashMap};

use bizing_stripe::{
    Checkout, CheckoutStatus, Failure, Intent, IntentStatus, Object, Operation, PaymentStatus,
    Refund, RefundStatus,
};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use kept::{Kept, Life};
use provider::Luck;

use super::answers::{self, Found};
use super::definition::{BOOKING, BOOKING_FREE, CANCELLATION, Definition, Policy, Step};
use super::executor::name_effect;
use super::gate::Gate;
use super::instance::{Direction, Effect, Instance, Outcome, idempotency_key};
use super::plan::{self, Look, Next};
use super::world::{Claims, Facts, Message, Resolved, World};
use crate::domain::booking::tests::samples;
use crate::domain::booking::{Booking, Status, replay};
use crate::domain::event::{BookingConfirmed, Event, PaymentMode};
use crate::domain::ids::EffectId;

const PRICE: i64 = 8_000;
const FEE: i64 = 2_000;

// ---- what may happen --------------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Act {
    /// A worker runs it, and dies at the n-th place.
    Run(usize),
    /// Minutes go by.
    Later(i64),
    /// Somebody gives the customer another hour to pay.
    Longer,
    Luck(Luck),
    Message(&'static str),
    /// The customer, on an open page.
    Pays,
    AskToStop,
    Compensate,
    Retry,
    RefundsFail(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let luck = prop_oneof![
        Just(Luck::Lost),
        Just(Luck::NeverArrived),
        Just(Luck::Late),
        Just(Luck::Declined),
        Just(Luck::Kept500),
    ];
    let act = prop_oneof![
        6 => (1usize..14).prop_map(Act::Run),
        // Seconds, a hold's length, a key's life.
        2 => prop_oneof![0i64..2, 10i64..20, 1380i64..3000].prop_map(Act::Later),
        3 => luck.prop_map(Act::Luck),
        2 => prop_oneof![Just("delivered"), Just("gave_up"), Just("unclear")].prop_map(Act::Message),
        2 => Just(Act::Pays),
        1 => Just(Act::Longer),
        1 => Just(Act::AskToStop),
        1 => Just(Act::Compensate),
        1 => Just(Act::Retry),
        1 => any::<bool>().prop_map(Act::RefundsFail),
    ];
    prop::collection::vec(act, 0..40)
}

fn check(k: &Kept) {
    let (taken, back, held) = (
        k.provider.captured(),
        k.provider.refunded(),
        k.provider.held(),
    );
    let captures = k
        .provider
        .intents
        .values()
        .filter(|i| i.amount_received > 0);
    assert!(captures.count() <= 1, "captured twice");
    assert!(back <= taken, "more went back than was taken");
    let payment = &k.booking.payment;
    let story = || format!("{:?}\n{:?}\n{payment:?}", k.instance, k.effects);
    assert!(
        payment.captured_minor <= taken && payment.refunded_minor <= back,
        "the ledger says more than is true: {}",
        story()
    );
    let price = if *k.definition == BOOKING_FREE {
        0
    } else {
        PRICE
    };
    assert!(
        k.instance.cancel_requested_by.is_none() || k.instance.state != "completed",
        "asked to stop, and it went on: {}",
        story()
    );
    match (k.definition.name, k.instance.state.as_str()) {
        ("cancellation", "completed") => {
            assert_eq!(
                (back, payment.refunded_minor, k.claimed),
                (PRICE - FEE, PRICE - FEE, false),
                "{}",
                story()
            );
            assert_eq!(k.booking.status, Status::Cancelled);
        }
        ("cancellation", "compensated") => {
            assert_eq!(
                (back, k.claimed, k.booking.status),
                (0, true, Status::Confirmed),
                "{}",
                story()
            );
        }
        (_, "completed") => {
            assert_eq!(
                (taken, back, held, k.claimed),
                (price, 0, 0, true),
                "{}",
                story()
            );
            assert_eq!(k.booking.status, Status::Confirmed);
        }
        (_, "compensated") => {
            assert_eq!((taken, held, k.claimed), (back, 0, false), "{}", story());
        }
        _ => {}
    }
}

/// All of it in turn, and then clear weather until it ends.
fn live(definition: &'static Definition, acts: Vec<Act>) {
    let mut k = Kept::new(definition);
    for act in acts {
        match act {
            Act::Run(dies) => k.run(Life(dies)),
            Act::Later(minutes) => k.later(minutes),
            Act::Longer => k.longer(),
            Act::Luck(luck) => k.provider.luck.push(luck),
            Act::Message(state) => {
                if k.message == Some("scheduled") {
                    k.message = Some(state);
                }
            }
            Act::Pays => k.provider.pay(),
            Act::AskToStop => {
                let refused = k.instance.finished_at.is_some()
                    || ["parked", "compensating"].contains(&k.instance.state.as_str())
                    || k.definition.at(k.instance.cursor) == Some(Step::Notify);
                if k.definition.name != "cancellation"
                    && !refused
                    && k.booking.payment.captured_minor == 0
                {
                    k.instance.cancel_requested_by = Some("ana".to_owned());
                }
            }
            Act::Compensate => k.compensate(),
            Act::Retry => k.retry(),
            Act::RefundsFail(fail) => k.provider.refunds_fail = fail,
        }
        check(&k);
    }
    // The weather clears: it ends by itself, or a person is asked, and once they decide it ends.
    k.provider.luck.clear();
    k.provider.refunds_fail = false;
    for round in 0..40 {
        k.run(Life(usize::MAX));
        check(&k);
        if k.instance.finished_at.is_some() {
            break;
        }
        if k.message == Some("scheduled") {
            k.message = Some("delivered");
        }
        if k.instance.state == "parked" {
            if round % 2 == 0 {
                k.retry()
            } else {
                k.compensate()
            }
        }
        k.later(61);
    }
    assert!(
        k.instance.finished_at.is_some(),
        "it never ends: {:?} {:?}",
        k.instance,
        k.effects
    );
}

proptest! {
    // PROPTEST_CASES=200000 for a long look.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(3000)))]

    #[test]
    fn money_and_slots_come_out_whole_whatever_happens(which in 0usize..3, acts in acts()) {
        live([&BOOKING, &BOOKING_FREE, &CANCELLATION][which], acts);
    }
}

/// How long an absence must last is counted from the last sending, also by whoever has just sent it again.
#[test]
fn what_was_sent_again_a_moment_ago_is_not_believed_to_be_absent() {
    let acts = [
        Act::Luck(Luck::Late),
        Act::Run(2),
        Act::Later(10),
        Act::Run(5),
        Act::AskToStop,
        Act::Run(3),
        Act::Later(0),
    ];
    live(&BOOKING, acts.into());
}
