//! The parts that the stories of the demo share, and how they are written down.

use std::collections::BTreeMap;

use bizing_stripe::Operation;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::business::{self, CURRENCY, SERVICES};
use super::dice::{bits, id, provider_id, timed_id};
use super::history::{Call, Happened, History, Message, NO_SUCH_BOX, Try, owes};
use super::plan::Planned;
use crate::domain::event::*;
use crate::domain::ids::*;
use crate::domain::money::Money;

pub struct Teller<'a> {
    pub planned: &'a Planned,
    pub history: History,
    /// Where the story stands.
    pub at: DateTime<Utc>,
    events: usize,
}

impl<'a> Teller<'a> {
    pub fn new(planned: &'a Planned) -> Teller<'a> {
        let n = planned.n;
        let service = &SERVICES[planned.service];
        let reference = Reference::from_bits(bits("reference", n));
        // An upper-case constant of ours always is a currency.
        let currency = CURRENCY.parse().expect("EUR is a currency");
        Teller {
            planned,
            at: planned.created_at,
            events: 0,
            history: History {
                booking: BookingId(id("booking", n)),
                customer: CustomerId(business::customer_id(planned.customer)),
                saga: SagaId(id("saga", n)),
                correlation: id("correlation", n),
                price: Money::new(service.price_minor, currency),
                opening: vec![],
                rest: vec![],
                claims: vec![],
                released: None,
                messages: vec![],
                calls: vec![],
                tries: vec![],
                state: "completed",
                undoing: false,
                cursor: 5,
                pivot_passed_at: None,
                hold_expires_at: None,
                park_reason: None,
                cancel_requested: false,
                context: json!({ "reference": reference }),
                begun_at: planned.created_at,
                ended_at: planned.created_at,
                reference,
            },
        }
    }

    // ---- their parts -------------------------------------------------------------------------------------------------

    pub fn charged(&mut self) {
        let intent = self.intent();
        let metadata = self.metadata();
        let amount = self.history.price.clone();
        self.later(TimeDelta::milliseconds(410));
        let call = self.call(
            "payment",
            "F",
            0,
            "confirmed",
            Some(intent.clone()),
            Some("requires_capture"),
            Operation::CreateIntent {
                amount_minor: amount.amount_minor,
                currency: CURRENCY.to_lowercase(),
                payment_method: "pm_card_visa".to_owned(),
                customer: None,
                description: None,
                metadata,
            },
        );
        self.event(Event::PaymentRequested(PaymentRequested {
            payment_id: self.payment(),
            amount,
            mode: PaymentMode::CardOnFile,
            payment_intent: Some(intent),
            checkout_session: None,
            pay_url: None,
            link_expires_at: None,
            idempotency_key: String::new(),
        }));
        self.skipped_message();
        self.authorised();
        self.attempt("payment", "F", Some(call), "done", None, None);
        self.captured();
    }

    pub fn link_sent(
        &mut self,
        session: &str,
        generation: i16,
        metadata: BTreeMap<String, String>,
    ) {
        self.later(TimeDelta::milliseconds(520));
        let amount = self.history.price.clone();
        let url = format!("https://checkout.stripe.com/c/pay/{session}");
        let call = self.call(
            "payment",
            "F",
            generation,
            "confirmed",
            Some(session.to_owned()),
            Some("open"),
            Operation::CreateCheckout {
                amount_minor: amount.amount_minor,
                currency: CURRENCY.to_lowercase(),
                product_name: format!(
                    "{} {}",
                    self.history.reference, SERVICES[self.planned.service].name
                ),
                success_url: format!(
                    "https://example.com/booking/{}/paid",
                    self.history.reference
                ),
                cancel_url: format!(
                    "https://example.com/booking/{}/open",
                    self.history.reference
                ),
                customer_email: None,
                expires_at: (self.at + TimeDelta::hours(23)).timestamp(),
                client_reference_id: self.history.booking.to_string(),
                metadata,
            },
        );
        self.attempt("payment", "F", Some(call), "waiting", None, None);
        self.event(Event::PaymentRequested(PaymentRequested {
            payment_id: self.payment(),
            amount,
            mode: PaymentMode::Link,
            payment_intent: None,
            checkout_session: Some(session.to_owned()),
            pay_url: Some(url),
            link_expires_at: Some(self.at + TimeDelta::hours(23)),
            idempotency_key: String::new(),
        }));
        self.told("payment_link", true);
    }

    pub fn authorised(&mut self) {
        let (payment_id, payment_intent) = (self.payment(), self.intent());
        let amount_capturable = self.history.price.clone();
        let capture_before = Some(self.at + TimeDelta::days(7));
        self.event(Event::PaymentAuthorized(PaymentAuthorized {
            payment_id,
            payment_intent,
            amount_capturable,
            capture_before,
        }));
    }

    pub fn captured(&mut self) {
        let intent = self.intent();
        self.later(TimeDelta::milliseconds(380));
        let call = self.call(
            "capture",
            "F",
            0,
            "confirmed",
            Some(intent.clone()),
            Some("succeeded"),
            Operation::Capture {
                payment_intent: intent.clone(),
                amount_minor: None,
            },
        );
        self.history.pivot_passed_at = Some(self.at);
        self.history.hold_expires_at = None;
        let amount_received = self.history.price.clone();
        self.event(Event::PaymentReceived(PaymentReceived {
            payment_id: self.payment(),
            payment_intent: intent,
            amount_received,
            charge_id: Some(provider_id("ch", self.planned.n)),
        }));
        self.attempt("capture", "F", Some(call), "done", None, None);
    }

    pub fn confirmed(&mut self) {
        let confirmed_at = self.at;
        self.event(Event::BookingConfirmed(BookingConfirmed {
            confirmed_at,
            sequence: 0,
        }));
        self.done("confirm");
    }

    pub fn paid_but_not_told(&mut self) {
        self.charged();
        self.confirmed();
        self.told("booking_confirmed", false);
        self.attempt(
            "notify",
            "F",
            None,
            "failed",
            Some("refused"),
            Some(json!({ "message": NO_SUCH_BOX })),
        );
        self.turn("not_told", "system", Some(NO_SUCH_BOX), 4);
        self.attempt("notify", "C", None, "undone", None, None);
        let due = self.history.price.clone();
        self.cancelled(
            Party::System,
            CancelReason::NotTold,
            Some(NO_SUCH_BOX),
            Some(due),
        );
        self.attempt("confirm", "C", None, "undone", None, None);
        self.told("booking_cancelled", false);
    }

    pub fn refund_asked(
        &mut self,
        outcome: &'static str,
        refund: &str,
        status: &'static str,
    ) -> Uuid {
        let (amount, metadata, payment_intent) =
            (self.history.price.clone(), self.metadata(), self.intent());
        self.event(Event::RefundRequested(RefundRequested {
            refund_id: RefundId(self.history.saga.0),
            payment_id: self.payment(),
            amount: amount.clone(),
            reason: "not_told".to_owned(),
        }));
        self.later(TimeDelta::milliseconds(450));
        self.call(
            "capture",
            "C",
            0,
            outcome,
            Some(refund.to_owned()),
            Some(status),
            Operation::Refund {
                payment_intent,
                amount_minor: amount.amount_minor,
                metadata,
            },
        )
    }

    pub fn page_closed(&mut self, session: &str) {
        self.later(TimeDelta::milliseconds(300));
        let call = self.call(
            "payment",
            "C",
            0,
            "confirmed",
            Some(session.to_owned()),
            Some("expired"),
            Operation::ExpireCheckout {
                session: session.to_owned(),
            },
        );
        self.event(Event::PaymentVoided(PaymentVoided {
            payment_id: self.payment(),
            payment_intent: None,
            reason: "page_expired".to_owned(),
        }));
        self.attempt("payment", "C", Some(call), "undone", None, None);
    }

    pub fn cancelled(
        &mut self,
        by: Party,
        reason_code: CancelReason,
        reason: Option<&str>,
        refund_due: Option<Money>,
    ) {
        let told = self.history.opening.iter().chain(&self.history.rest);
        let was_confirmed = told
            .into_iter()
            .any(|h| matches!(h.event, Event::BookingConfirmed(_)));
        self.event(Event::BookingCancelled(BookingCancelled {
            cancelled_by: by,
            reason_code,
            reason: reason.map(str::to_owned),
            refund_due,
            sequence: 1,
            notice_min: Some((self.planned.start_utc - self.at).num_minutes()),
            was_confirmed: Some(was_confirmed),
        }));
    }

    pub fn released(&mut self, reason: &'static str) {
        let claims = self.history.claims.iter().map(|c| c.claim_id).collect();
        let released = InventoryReleased {
            claims,
            reason: reason.to_owned(),
        };
        self.history.released = Some((self.at, reason));
        self.event(match reason {
            "expired" => Event::InventoryHoldExpired(released),
            _ => Event::InventoryReleased(released),
        });
        self.attempt("hold", "C", None, "undone", None, None);
    }

    /// The message of the newest event that owes one: accepted, or refused for good.
    pub fn told(&mut self, template: &'static str, accepted: bool) {
        let Some(owing) = self
            .history
            .rest
            .iter()
            .rev()
            .find(|h| owes(&h.event))
            .map(|h| h.id)
        else {
            return;
        };
        let begun_at = self.at + TimeDelta::milliseconds(90);
        let delivery_id = self.delivery_id(begun_at);
        self.later(TimeDelta::milliseconds(850));
        self.history.messages.push(Message {
            event_id: owing,
            delivery_id,
            state: if accepted { "delivered" } else { "gave_up" },
            result: if accepted { "accepted" } else { "refused" },
            problem: (!accepted).then_some(NO_SUCH_BOX),
            response: accepted.then_some("250 2.0.0 Ok: queued"),
            begun_at,
            ended_at: self.at,
        });
        let (template, channel) = (template.to_owned(), "email".to_owned());
        let (delivery_id, attempt) = (DeliveryId(delivery_id), 1);
        let event = if accepted {
            let provider_message_id = format!("<{}@halcyon.example>", delivery_id);
            Event::NotificationSent(NotificationSent {
                delivery_id,
                template,
                channel,
                provider_message_id,
                attempt,
            })
        } else {
            Event::NotificationFailed(NotificationFailed {
                delivery_id,
                template,
                channel,
                attempt,
                error: NO_SUCH_BOX.to_owned(),
            })
        };
        self.event_because(event, Some(owing));
    }

    fn delivery_id(&self, at: DateTime<Utc>) -> Uuid {
        timed_id(
            "delivery",
            self.planned.n * 8 + self.history.messages.len(),
            at,
        )
    }

    /// Nothing had to be said: a saved card needs no link.
    pub fn skipped_message(&mut self) {
        let Some(owing) = self.history.rest.last().map(|h| h.id) else {
            return;
        };
        self.history.messages.push(Message {
            event_id: owing,
            delivery_id: self.delivery_id(self.at),
            state: "skipped",
            result: "skipped",
            problem: None,
            response: None,
            begun_at: self.at,
            ended_at: self.at,
        });
    }

    pub fn turn(&mut self, code: &str, by: &str, text: Option<&str>, from: i16) {
        self.history.undoing = true;
        self.history.context["undo_from"] = json!(from);
        self.history.context["undo"] = json!({ "code": code, "by": by, "text": text });
    }

    pub fn compensated(&mut self) {
        self.history.state = "compensated";
        self.history.cursor = -1;
        self.history.ended_at = self.at;
    }

    pub fn ended(&mut self) {
        self.history.ended_at = self.at;
    }

    // ---- writing down ------------------------------------------------------------------------------------------------

    pub fn event(&mut self, event: Event) {
        // As the desk names them: the command that made the booking, whose id it has, and then the saga that goes on.
        let cause = match self.history.opening.is_empty() {
            true => self.history.booking.0,
            false => self.history.saga.0,
        };
        self.event_because(event, Some(cause));
    }

    pub fn event_because(&mut self, event: Event, cause: Option<Uuid>) {
        let happened = Happened {
            id: id("event", self.planned.n * 32 + self.events),
            event,
            at: self.at,
            cause,
        };
        self.history.rest.push(happened);
        self.events += 1;
        self.later(TimeDelta::milliseconds(4));
    }

    #[allow(clippy::too_many_arguments, reason = "one column each")]
    pub fn call(
        &mut self,
        step: &'static str,
        direction: &'static str,
        generation: i16,
        outcome: &'static str,
        object: Option<String>,
        status: Option<&'static str>,
        operation: Operation,
    ) -> Uuid {
        let effect_id = id("effect", self.planned.n * 8 + self.history.calls.len());
        self.history.calls.push(Call {
            effect_id,
            step,
            direction,
            generation,
            operation,
            outcome,
            object,
            status,
            at: self.at,
        });
        effect_id
    }

    pub fn done(&mut self, step: &'static str) {
        self.attempt(step, "F", None, "done", None, None);
    }

    pub fn attempt(
        &mut self,
        step: &'static str,
        direction: &'static str,
        effect_id: Option<Uuid>,
        result: &'static str,
        error_class: Option<&'static str>,
        error: Option<Value>,
    ) {
        self.history.tries.push(Try {
            step,
            direction,
            effect_id,
            at: self.at,
            result,
            error_class,
            error,
        });
        self.later(TimeDelta::milliseconds(3));
    }

    pub fn later(&mut self, by: TimeDelta) {
        self.at += by;
    }

    pub fn payment(&self) -> PaymentId {
        PaymentId(self.history.saga.0)
    }

    pub fn intent(&self) -> String {
        provider_id("pi", self.planned.n)
    }

    pub fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("saga_id".to_owned(), self.history.saga.to_string()),
            ("booking_id".to_owned(), self.history.booking.to_string()),
        ])
    }
}
