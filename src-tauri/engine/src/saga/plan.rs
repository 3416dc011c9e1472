//! What comes next. A pure function over the world: it reads facts and says one thing to do. The executor does it,
//! absorbs the result, and asks again. So every decision can be tested without a database, and explained.

use std::collections::BTreeMap;

use bizing_stripe::{CancelReason as StripeReason, CheckoutStatus, IntentStatus, Operation};
use chrono::{DateTime, TimeDelta, Utc};

use super::definition::{Policy, Step};
use super::guards;
use super::instance::{Direction, Effect, Outcome};
use super::world::{Claims, World};
use crate::domain::booking::{Command, PaymentState, Status};
use crate::domain::event::{
    CancelReason, Party, PaymentMode, PaymentRef, PaymentRefunded, PaymentVoided, RefundRequested,
};
use crate::domain::ids::{PaymentId, RefundId};
use crate::domain::money::Money;

#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Facts of our own: no call is needed.
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
    if let Some(open) = world.open_effect() {
        return settle(world, open, policy);
    }
    let Some(step) = world.instance.step() else {
        return if world.instance.forward() {
            Next::Finish {
                state: "completed",
                outcome: "completed",
            }
        } else {
            Next::Finish {
                state: "compensated",
                outcome: "compensated",
            }
        };
    };
    if !world.instance.forward() {
        return undo(world, step, policy);
    }
    if let Some(by) = &world.instance.cancel_requested_by
        && step < Step::Confirm
        && world.booking.payment.captured_minor == 0
    {
        let text = world.instance.context["cancel_reason"]
            .as_str()
            .map(str::to_owned);
        return Next::Undo {
            code: "asked",
            by: by.clone(),
            text,
        };
    }
    match step {
        Step::Hold => Next::Local {
            result: "done",
            commands: vec![],
            claims: None,
            cursor: 1,
        },
        Step::Payment => payment(world, policy),
        Step::Capture => capture(world),
        Step::Confirm => Next::Local {
            result: "done",
            commands: vec![Command::Confirm],
            claims: Some(Claims::Pin),
            cursor: 4,
        },
        Step::Notify => notify(world, policy),
    }
}

/// An answer is missing. Same key and bytes while the key is young; otherwise look, and believe an absence only after
/// the quarantine.
fn settle(world: &World, open: &Effect, policy: &Policy) -> Next {
    let now = world.now();
    let age = open.first_sent_at.map_or(TimeDelta::zero(), |at| now - at);
    let must_look = open.stored_error || age > delta(policy.key_max_age);
    if !must_look {
        return Next::Call(open.effect_id);
    }
    if !world.seen.absent.contains(&open.effect_id) {
        return Next::Look(Look::Effect(open.effect_id));
    }
    let decisive_at = open.last_sent_at.unwrap_or(now) + delta(policy.quarantine);
    if now >= decisive_at {
        Next::NotExecuted(open.effect_id)
    } else {
        Next::Wait(Wait {
            until: decisive_at,
            key: None,
            why: "quarantine",
        })
    }
}

// ---- forward -------------------------------------------------------------------------------------------------------

fn payment(world: &World, policy: &Policy) -> Next {
    let Some(created) = &world.booking.created else {
        return Next::Park {
            code: "no_booking",
            reason: "the booking has no events".to_owned(),
        };
    };
    if created.payment_mode == PaymentMode::Venue || created.price.is_zero() {
        return Next::Local {
            result: "not_needed",
            commands: vec![],
            claims: None,
            cursor: Step::Confirm as i16,
        };
    }
    match world.booking.payment.state {
        PaymentState::Authorised => {
            return Next::Local {
                result: "done",
                commands: vec![],
                claims: None,
                cursor: Step::Capture as i16,
            };
        }
        PaymentState::Paid => {
            return Next::Local {
                result: "done",
                commands: vec![],
                claims: None,
                cursor: Step::Confirm as i16,
            };
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
    let expired = expires.is_some_and(|at| at <= world.now());
    let newest = world.effect(Step::Payment, Direction::Forward);
    // Before the hold runs out for good, the provider is asked once more: the customer may just have paid.
    if newest.is_some_and(|e| e.outcome == Outcome::Confirmed) && !world.seen.payment {
        return Next::Look(Look::Payment);
    }
    if expired {
        return Next::Undo {
            code: "hold_expired",
            by: "system".to_owned(),
            text: None,
        };
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
            // The saved card was refused: the customer gets a link and may use another one.
            Outcome::Rejected if mode_of(e) == PaymentMode::CardOnFile => {
                intend_payment(world, policy, PaymentMode::Link, generation)
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
                _ => wait(format!(
                    "stripe:{}",
                    e.provider_object.clone().unwrap_or_default()
                )),
            },
        },
    }
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
        None => Next::Park {
            code: "no_booking",
            reason: "the booking has no events".to_owned(),
        },
    }
}

/// Computed from the booking, never from what somebody wrote into a row. `metadata.effect_id` is added when the effect
/// gets its id.
pub fn payment_operation(world: &World, policy: &Policy, mode: PaymentMode) -> Option<Operation> {
    let created = world.booking.created.as_ref()?;
    Some(payment_operation_for(
        created,
        world.instance.saga_id,
        world.instance.hold_expires_at,
        world.now(),
        policy,
        mode,
    ))
}

pub fn payment_operation_for(
    created: &crate::domain::event::BookingCreated,
    saga: uuid::Uuid,
    hold_expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    policy: &Policy,
    mode: PaymentMode,
) -> Operation {
    let metadata = BTreeMap::from([
        ("saga_id".to_owned(), saga.to_string()),
        ("booking_id".to_owned(), created.booking_id.to_string()),
        ("booking".to_owned(), created.reference.0.clone()),
    ]);
    let currency = created.price.currency.as_str().to_lowercase();
    let amount_minor = created.price.amount_minor;
    let description = format!("{} {}", created.reference, created.service_name);
    match mode {
        PaymentMode::CardOnFile => Operation::CreateIntent {
            amount_minor,
            currency,
            payment_method: created.payment_method.clone().unwrap_or_default(),
            customer: None,
            description: Some(description),
            metadata,
        },
        PaymentMode::Link | PaymentMode::Venue => {
            // Stripe wants at least 30 minutes; a page that outlives the hold is expired by the undo.
            let soonest = now + TimeDelta::minutes(31);
            let latest = now + TimeDelta::hours(24) - TimeDelta::minutes(1);
            let expires = hold_expires_at.unwrap_or(latest).clamp(soonest, latest);
            let page = |end: &str| format!("{}/{}/{end}", policy.return_url, created.reference);
            Operation::CreateCheckout {
                amount_minor,
                currency,
                product_name: description,
                success_url: page("paid"),
                cancel_url: page("open"),
                customer_email: None,
                expires_at: expires.timestamp(),
                client_reference_id: created.booking_id.to_string(),
                metadata,
            }
        }
    }
}

fn capture(world: &World) -> Next {
    if world.booking.payment.captured_minor > 0 {
        return Next::Local {
            result: "done",
            commands: vec![],
            claims: None,
            cursor: Step::Confirm as i16,
        };
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

fn notify(world: &World, policy: &Policy) -> Next {
    let done = |outcome| Next::Finish {
        state: "completed",
        outcome,
    };
    match world.message.as_ref().map(|m| m.state.as_str()) {
        Some("delivered" | "skipped") => done("completed"),
        // It may have arrived or not; a person should know, the booking stands.
        Some("unclear") => done("completed_with_warnings"),
        Some("gave_up") => guards::nobody_told(world),
        // Its finish carries our result in its own commit and wakes us; looking is the net below.
        _ => Next::Wait(Wait {
            until: world.now() + delta(policy.look_every),
            key: Some(message_key(world)),
            why: "message",
        }),
    }
}

pub fn message_key(world: &World) -> String {
    format!("message:{}", world.instance.booking_id)
}

// ---- undo, strictly in reverse --------------------------------------------------------------------------------------

fn undo(world: &World, step: Step, policy: &Policy) -> Next {
    let down = step as i16 - 1;
    match step {
        // Cannot be unsent. The cancellation that follows owes the customer its own message.
        Step::Notify => Next::Local {
            result: "undone",
            commands: vec![],
            claims: None,
            cursor: down,
        },
        Step::Confirm => Next::Local {
            result: "undone",
            commands: cancel_if(world, Status::Confirmed),
            claims: None,
            cursor: down,
        },
        Step::Capture => undo_capture(world, policy),
        Step::Payment => undo_payment(world, policy),
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

fn cancel_if(world: &World, status: Status) -> Vec<Command> {
    if world.booking.status == status {
        vec![cancel(world)]
    } else {
        vec![]
    }
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
    }
}

fn undo_capture(world: &World, policy: &Policy) -> Next {
    let payment = &world.booking.payment;
    let down = Step::Payment as i16;
    let newest = world.effect(Step::Capture, Direction::Undo);
    let failed = payment.state == PaymentState::RefundFailed;
    if let Some(evidence) = newest.and_then(|e| e.evidence.clone())
        && newest.is_some_and(|e| e.outcome == Outcome::Confirmed)
        && (failed || payment.refund_pending_minor > 0)
    {
        return went_back_by_hand(world, evidence);
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
    if payment.refund_pending_minor > 0 && newest.is_some_and(|e| e.outcome == Outcome::Confirmed) {
        if !world.seen.refund {
            return Next::Look(Look::Refund);
        }
        return Next::Wait(Wait {
            until: world.now() + delta(policy.look_every),
            key: payment.intent.clone().map(|i| format!("stripe:{i}")),
            why: "refund",
        });
    }
    let left = payment.captured_minor - payment.refunded_minor;
    let (Some(created), Some(intent), true) =
        (&world.booking.created, payment.intent.clone(), left > 0)
    else {
        return Next::Local {
            result: if payment.captured_minor > 0 {
                "undone"
            } else {
                "nothing_to_undo"
            },
            commands: vec![],
            claims: None,
            cursor: down,
        };
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
    let generation = newest.map_or(0, |e| e.generation + 1);
    let request = refund_request(world, Money::new(left, created.price.currency));
    Next::Intend {
        operation: Operation::Refund {
            payment_intent: intent,
            amount_minor: left,
            metadata: BTreeMap::from([
                ("saga_id".to_owned(), world.instance.saga_id.to_string()),
                (
                    "booking_id".to_owned(),
                    world.instance.booking_id.to_string(),
                ),
            ]),
        },
        generation,
        commands: vec![Command::RequestRefund(request)],
        claims: None,
    }
}

fn refund_request(world: &World, amount: Money) -> RefundRequested {
    RefundRequested {
        refund_id: RefundId(world.instance.saga_id),
        payment_id: payment_id(world),
        amount,
        reason: world.undo_code(),
    }
}

/// A person gave the money back another way, and said how it can be seen: that is what the ledger gets to know.
fn went_back_by_hand(world: &World, evidence: String) -> Next {
    let payment = &world.booking.payment;
    let down = Step::Payment as i16;
    let Some(created) = &world.booking.created else {
        return Next::Park {
            code: "no_booking",
            reason: "the booking has no events".to_owned(),
        };
    };
    let amount = Money::new(
        payment.captured_minor - payment.refunded_minor,
        created.price.currency,
    );
    Next::Local {
        result: "undone",
        commands: vec![
            Command::RequestRefund(refund_request(world, amount.clone())),
            Command::RecordRefund(PaymentRefunded {
                refund_id: RefundId(world.instance.saga_id),
                payment_id: payment_id(world),
                provider_refund: evidence,
                amount,
            }),
        ],
        claims: None,
        cursor: down,
    }
}

/// Looks first: what is undone is the payment's actual state, not what our log says of it.
fn undo_payment(world: &World, policy: &Policy) -> Next {
    let payment = &world.booking.payment;
    let down = Step::Hold as i16;
    let settled = |result| Next::Local {
        result,
        commands: vec![],
        claims: None,
        cursor: down,
    };
    if payment.captured_minor - payment.refunded_minor > 0 {
        // It was captured after all: back up to the refund.
        return Next::Local {
            result: "captured_meanwhile",
            commands: vec![],
            claims: None,
            cursor: Step::Capture as i16,
        };
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
            _ => intend(Operation::CancelIntent {
                payment_intent: intent.id.clone(),
                reason: StripeReason::Abandoned,
            }),
        },
        None => void("page_expired"),
    }
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
