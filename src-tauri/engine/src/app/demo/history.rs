//! What happened to a demo booking, told as the real steps would have left it: events, the saga's calls and tries,
//! the messages. Pure.

use bizing_stripe::Operation;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::business::{self, CURRENCY, ROOMS, SERVICES, STAFF};
use super::dice::{id, provider_id};
use super::plan::{Planned, Story};
use super::telling::Teller;
use crate::domain::event::*;
use crate::domain::ids::*;
use crate::domain::money::Money;

/// An event, and what led to it.
#[derive(Debug, Clone)]
pub struct Happened {
    pub id: Uuid,
    pub event: Event,
    pub at: DateTime<Utc>,
    pub cause: Option<Uuid>,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub event_id: Uuid,
    pub delivery_id: Uuid,
    pub state: &'static str,
    pub result: &'static str,
    pub problem: Option<&'static str>,
    pub response: Option<&'static str>,
    pub begun_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
}

/// A call to the provider that has its answer.
#[derive(Debug, Clone)]
pub struct Call {
    pub effect_id: Uuid,
    pub step: &'static str,
    pub direction: &'static str,
    pub generation: i16,
    pub operation: Operation,
    pub outcome: &'static str,
    pub object: Option<String>,
    pub status: Option<&'static str>,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
pub struct Try {
    pub step: &'static str,
    pub direction: &'static str,
    pub effect_id: Option<Uuid>,
    pub at: DateTime<Utc>,
    pub result: &'static str,
    pub error_class: Option<&'static str>,
    pub error: Option<Value>,
}

#[derive(Debug, Clone)]
pub struct History {
    pub booking: BookingId,
    pub reference: Reference,
    pub customer: CustomerId,
    pub saga: SagaId,
    pub correlation: Uuid,
    pub price: Money,
    /// Written by the person at the desk.
    pub opening: Vec<Happened>,
    /// Written by the worker.
    pub rest: Vec<Happened>,
    pub claims: Vec<Claim>,
    pub released: Option<(DateTime<Utc>, &'static str)>,
    pub messages: Vec<Message>,
    pub calls: Vec<Call>,
    pub tries: Vec<Try>,
    pub state: &'static str,
    pub undoing: bool,
    pub cursor: i16,
    pub pivot_passed_at: Option<DateTime<Utc>>,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub park_reason: Option<&'static str>,
    pub cancel_requested: bool,
    pub context: Value,
    pub begun_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
}

pub const NO_SUCH_BOX: &str = "550 5.1.1 No such mailbox here";
const REFUND_FAILED: &str = "the refund failed: the money must go back another way";
const NOTE: &str = "The customer called and cannot come";

pub fn tell(planned: &Planned) -> History {
    let mut teller = Teller::new(planned);
    teller.opening();
    match planned.story {
        Story::PaidCard => teller.paid_by_card(),
        Story::PaidLink => teller.paid_by_link(0, 47),
        Story::PaidAfterDecline => teller.paid_after_decline(),
        Story::Venue => teller.at_venue(),
        Story::Expired => teller.expired(),
        Story::TakenBack => teller.taken_back(),
        Story::NotTold => teller.not_told(),
        Story::RefundFailed => teller.refund_failed(),
    }
    teller.history
}

impl Teller<'_> {
    // ---- the stories -------------------------------------------------------------------------------------------------

    fn opening(&mut self) {
        let p = self.planned;
        let service = &SERVICES[p.service];
        let resource = |resource_id, role: &str, name: &str| BookedResource {
            resource_id: ResourceId(resource_id),
            unit: 1,
            role: role.to_owned(),
            name: name.to_owned(),
        };
        let mode = match p.story {
            Story::PaidCard | Story::NotTold | Story::RefundFailed | Story::PaidAfterDecline => {
                PaymentMode::CardOnFile
            }
            Story::PaidLink | Story::Expired | Story::TakenBack => PaymentMode::Link,
            Story::Venue => PaymentMode::Venue,
        };
        let resources = vec![
            resource(business::staff_id(p.staff), "staff", STAFF[p.staff].name),
            resource(business::room_id(p.room), "room", ROOMS[p.room].0),
        ];
        let (from, until) = p.blocked();
        self.history.claims = resources
            .iter()
            .enumerate()
            .map(|(i, r)| Claim {
                claim_id: ClaimId(id("claim", p.n * 2 + i)),
                resource_id: r.resource_id,
                unit: 1,
                blocked_from: from,
                blocked_until: until,
            })
            .collect();
        let created = BookingCreated {
            booking_id: self.history.booking,
            reference: self.history.reference.clone(),
            customer_id: self.history.customer,
            service_id: ServiceId(business::service_id(p.service)),
            service_version: 1,
            service_name: service.name.to_owned(),
            source: Source::Staff,
            start: p.start.clone(),
            start_utc: p.start_utc,
            end_utc: p.end_utc(),
            duration_min: service.minutes,
            buffer_before_min: 0,
            buffer_after_min: service.after_min,
            resources,
            price: self.history.price.clone(),
            payment_mode: mode,
            payment_method: (mode == PaymentMode::CardOnFile).then(|| "pm_card_visa".to_owned()),
        };
        let expires_at = match mode {
            PaymentMode::CardOnFile => Some(self.at + TimeDelta::minutes(15)),
            PaymentMode::Link => Some(self.at + TimeDelta::hours(24)),
            PaymentMode::Venue => None,
        };
        let claims = self.history.claims.clone();
        self.history.hold_expires_at = expires_at;
        self.event(Event::BookingCreated(created));
        self.event(Event::InventoryHeld(InventoryHeld { claims, expires_at }));
        self.history.opening = std::mem::take(&mut self.history.rest);
        self.done("hold");
    }

    fn paid_by_card(&mut self) {
        self.charged();
        self.confirmed();
        self.told("booking_confirmed", true);
        self.done("notify");
        self.ended();
    }

    fn paid_by_link(&mut self, generation: i16, minutes: i64) {
        let session = provider_id("cs_test", self.planned.n);
        let metadata = self.metadata();
        self.link_sent(&session, generation, metadata);
        self.later(TimeDelta::minutes(minutes));
        self.authorised();
        self.done("payment");
        self.captured();
        self.confirmed();
        self.told("booking_confirmed", true);
        self.done("notify");
        self.ended();
    }

    fn paid_after_decline(&mut self) {
        let intent = self.intent();
        let metadata = self.metadata();
        let price = self.history.price.clone();
        self.later(TimeDelta::milliseconds(640));
        let call = self.call(
            "payment",
            "F",
            0,
            "rejected",
            Some(intent.clone()),
            Some("requires_payment_method"),
            Operation::CreateIntent {
                amount_minor: price.amount_minor,
                currency: CURRENCY.to_lowercase(),
                payment_method: "pm_card_visa".to_owned(),
                customer: None,
                description: None,
                metadata,
            },
        );
        let message = "Your card has insufficient funds.";
        self.attempt(
            "payment",
            "F",
            Some(call),
            "failed",
            Some("declined"),
            Some(json!({ "message": message, "code": "card_declined" })),
        );
        self.event(Event::PaymentFailed(PaymentFailed {
            payment_id: self.payment(),
            payment_intent: Some(intent),
            code: "card_declined".to_owned(),
            decline_code: Some("insufficient_funds".to_owned()),
            message: message.to_owned(),
        }));
        self.later(TimeDelta::seconds(1));
        self.paid_by_link(1, 9);
    }

    fn at_venue(&mut self) {
        self.history.context["not_needed"] = json!(["payment", "capture"]);
        self.attempt("payment", "F", None, "not_needed", None, None);
        self.confirmed();
        self.told("booking_confirmed", true);
        self.done("notify");
        self.ended();
    }

    fn expired(&mut self) {
        let session = provider_id("cs_test", self.planned.n);
        let metadata = self.metadata();
        self.link_sent(&session, 0, metadata);
        self.later(TimeDelta::hours(24));
        self.turn("hold_expired", "system", None, 1);
        self.page_closed(&session);
        self.later(TimeDelta::milliseconds(20));
        let expired_at = self.at;
        self.event(Event::BookingExpired(BookingExpired { expired_at }));
        self.released("expired");
        self.compensated();
    }

    fn taken_back(&mut self) {
        let session = provider_id("cs_test", self.planned.n);
        let metadata = self.metadata();
        self.link_sent(&session, 0, metadata);
        self.later(TimeDelta::minutes(95));
        self.history.cancel_requested = true;
        self.turn("asked", "desk", Some(NOTE), 1);
        self.page_closed(&session);
        self.cancelled(Party::Staff, CancelReason::Asked, Some(NOTE), None);
        self.told("booking_cancelled", true);
        self.released("compensated");
        self.compensated();
    }

    fn not_told(&mut self) {
        self.paid_but_not_told();
        let refund = provider_id("re", self.planned.n);
        self.refund_asked("confirmed", &refund, "succeeded");
        let amount = self.history.price.clone();
        self.event(Event::PaymentRefunded(PaymentRefunded {
            refund_id: RefundId(self.history.saga.0),
            payment_id: self.payment(),
            provider_refund: refund,
            amount,
        }));
        self.attempt("capture", "C", None, "undone", None, None);
        self.attempt("payment", "C", None, "undone", None, None);
        self.released("compensated");
        self.compensated();
    }

    fn refund_failed(&mut self) {
        self.paid_but_not_told();
        let refund = provider_id("re", self.planned.n);
        let call = self.refund_asked("confirmed", &refund, "failed");
        // The desk gave the slot away by hand: it need not wait for the money.
        let claims = self.history.claims.iter().map(|c| c.claim_id).collect();
        self.history.released = Some((self.at, "compensated"));
        self.event(Event::InventoryReleased(InventoryReleased {
            claims,
            reason: "compensated".to_owned(),
        }));
        self.later(TimeDelta::hours(3));
        let amount = self.history.price.clone();
        self.event(Event::RefundFailed(RefundFailed {
            refund_id: RefundId(self.history.saga.0),
            payment_id: self.payment(),
            amount,
            reason: "lost_or_stolen_card".to_owned(),
        }));
        self.attempt(
            "capture",
            "C",
            Some(call),
            "failed",
            Some("refused"),
            Some(json!({ "message": "The refund failed: lost_or_stolen_card" })),
        );
        self.history.state = "parked";
        self.history.cursor = 2;
        self.history.park_reason = Some(REFUND_FAILED);
        self.history.ended_at = self.at;
    }
}

/// Events that the mail destination subscribes to.
pub fn owes(event: &Event) -> bool {
    matches!(
        event,
        Event::PaymentRequested(_) | Event::BookingConfirmed(_) | Event::BookingCancelled(_)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::app::demo::plan::plan;
    use crate::domain::booking::{self, PaymentState, Status};

    fn all() -> Vec<(Planned, History)> {
        let now = "2026-11-24T10:07:13Z".parse().unwrap();
        plan(now)
            .into_iter()
            .map(|p| {
                let h = tell(&p);
                (p, h)
            })
            .collect()
    }

    #[test]
    fn each_story_ends_as_its_name_says() {
        for (planned, h) in all() {
            let state = booking::replay(h.opening.iter().chain(&h.rest).map(|x| &x.event));
            let ends = match planned.story {
                Story::PaidCard | Story::PaidLink | Story::PaidAfterDecline => {
                    (Status::Confirmed, PaymentState::Paid)
                }
                Story::Venue => (Status::Confirmed, PaymentState::AtVenue),
                Story::Expired => (Status::Expired, PaymentState::Voided),
                Story::TakenBack => (Status::Cancelled, PaymentState::Voided),
                Story::NotTold => (Status::Cancelled, PaymentState::Refunded),
                Story::RefundFailed => (Status::Cancelled, PaymentState::RefundFailed),
            };
            assert_eq!(
                (state.status, state.payment.state),
                ends,
                "{:?}",
                planned.story
            );
            assert_eq!(state.claims.is_empty(), h.released.is_some());
        }
    }

    #[test]
    fn every_message_that_is_owed_is_there_and_ids_are_given_once() {
        let (mut ids, mut references) = (HashSet::new(), HashSet::new());
        for (_, h) in all() {
            let owing: Vec<Uuid> = h
                .rest
                .iter()
                .filter(|x| owes(&x.event))
                .map(|x| x.id)
                .collect();
            let told: Vec<Uuid> = h.messages.iter().map(|m| m.event_id).collect();
            assert_eq!(owing, told);
            assert!(references.insert(h.reference.0.clone()));
            assert!(h.opening.iter().chain(&h.rest).all(|x| ids.insert(x.id)));
            assert!(h.calls.iter().all(|c| ids.insert(c.effect_id)));
        }
    }

    #[test]
    fn time_only_goes_forward_and_never_past_now() {
        let now: DateTime<Utc> = "2026-11-24T10:07:13Z".parse().unwrap();
        for (_, h) in all() {
            let times: Vec<_> = h.opening.iter().chain(&h.rest).map(|x| x.at).collect();
            assert!(times.is_sorted() && h.ended_at < now, "{:?}", h.reference);
        }
    }
}
