//! A booking: what may happen to it, and what has.
//!
//! `decide` says what a command leads to; `evolve` says what an event means. An empty answer is a fine answer: it
//! makes a command safe to send twice. Booking and payment are two dimensions; a hold is not yet a booking.

use chrono::{DateTime, Utc};

use super::dispute::{self, Contested, Dispute, DisputeSeen};
use super::event::*;
use super::ids::*;
use super::money::Money;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Booking {
    pub created: Option<BookingCreated>,
    pub status: Status,
    pub claims: Vec<Claim>,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub payment: Payment,
    pub notified: bool,
    /// iCalendar `SEQUENCE` of the last thing the customer was told.
    pub sequence: i32,
    pub cancelled: Option<BookingCancelled>,
    /// They did not come.
    pub no_show: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    #[default]
    None,
    Held,
    AwaitingPayment,
    Confirmed,
    Cancelled,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payment {
    pub id: Option<PaymentId>,
    pub state: PaymentState,
    pub intent: Option<String>,
    pub checkout_session: Option<String>,
    pub pay_url: Option<String>,
    pub authorised_minor: i64,
    pub captured_minor: i64,
    /// What the provider kept for it, once that is known.
    pub fee: Option<Money>,
    pub refunded_minor: i64,
    pub refund_pending_minor: i64,
    /// What of the captured money stays here because a person decided so.
    pub kept_minor: i64,
    /// Asked for and not failed. Only the last one can be pending.
    pub refunds: Vec<RefundId>,
    /// How those that have gone back did: the provider's id of the refund, or what a person gave as evidence.
    pub refunded_as: Vec<(RefundId, String)>,
    pub disputes: Vec<Dispute>,
    /// The newest word about a dispute. It covers `state`, which goes on beneath it.
    pub contested: Option<Contested>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaymentState {
    #[default]
    NotAsked,
    AtVenue,
    Requested,
    LinkSent,
    ActionRequired,
    Authorised,
    Declined,
    Paid,
    Voided,
    RefundPending,
    PartRefunded,
    Refunded,
    RefundFailed,
    /// The customer's bank asks for it back, and nothing is decided.
    Disputed,
    DisputeLost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Create(Box<BookingCreated>),
    Hold {
        claims: Vec<Claim>,
        expires_at: Option<DateTime<Utc>>,
    },
    /// More time to pay.
    ExtendHold {
        expires_at: DateTime<Utc>,
    },
    /// Another saved card is asked for the money.
    CorrectPaymentMethod {
        payment_method: String,
    },
    RequestPayment(Box<PaymentRequested>),
    RequireAction(PaymentRef),
    Authorise(PaymentAuthorized),
    Decline(PaymentFailed),
    ReceivePayment(PaymentReceived),
    SeeFee(ProviderFeeCharged),
    VoidPayment(PaymentVoided),
    ExpireLink(PaymentRef),
    RequestRefund(RefundRequested),
    RecordRefund(PaymentRefunded),
    FailRefund(RefundFailed),
    ReturnRefund(RefundReturned),
    /// This much of the money stays here, whatever was decided before.
    KeepRemainder {
        payment_id: PaymentId,
        amount: Money,
        decided_by: String,
        approved_by: Option<String>,
        reason: String,
    },
    /// What the provider shows of a dispute now, however much of it was known.
    SeeDispute(Box<DisputeSeen>),
    Confirm,
    RecordNotification(NotificationSent),
    FailNotification(NotificationFailed),
    Cancel {
        by: Party,
        reason_code: CancelReason,
        reason: Option<String>,
        /// What of the money goes back, where the terms of a cancellation keep a fee; `None`: all of it.
        refund_minor: Option<i64>,
    },
    Release {
        reason: String,
    },
    RecordNoShow,
    WithdrawNoShow,
}

/// Why a command is refused. Expected failures of the business (a declined card) are events, not refusals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the booking does not exist yet")]
    NotCreated,
    #[error("the booking exists already")]
    Exists,
    #[error("{0} lies in the past")]
    InThePast(DateTime<Utc>),
    #[error("the end must be after the start")]
    EmptySlot,
    #[error("a price cannot be negative")]
    NegativePrice,
    #[error("a booking that is {0:?} can no longer be {1}")]
    WrongStatus(Status, &'static str),
    #[error("the slot is not held any more")]
    NotHeld,
    #[error("nothing is authorised that could be captured")]
    NotAuthorised,
    #[error("there is nothing to hold")]
    NothingToHold,
    #[error("{got} is not what was agreed, {agreed}, in minor units")]
    WrongAmount { got: i64, agreed: i64 },
    #[error("only {left} of what was captured is left to refund, in minor units")]
    RefundTooLarge { left: i64 },
    #[error("no more than {left} of what was captured can be kept, in minor units")]
    KeepsTooMuch { left: i64 },
    #[error("a refund is a positive amount in the currency of the payment")]
    OddRefund,
    #[error("the customer's bank has disputed the payment: nothing is refunded beside that")]
    Disputed,
    #[error("the payment is still open: void or refund it first")]
    PaymentOpen,
    #[error("the booking is not paid yet")]
    NotPaid,
    #[error("it begins at {0}: until then nobody can have failed to come")]
    NotBegun(DateTime<Utc>),
}

/// How far back a front desk may book a walk-in that is already being served.
const WALK_IN_GRACE: chrono::TimeDelta = chrono::TimeDelta::hours(12);

pub fn decide(
    state: &Booking,
    command: Command,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, Refusal> {
    use Status::*;
    if let Command::Create(created) = command {
        return create(state, *created, now);
    }
    let created = state.created.as_ref().ok_or(Refusal::NotCreated)?;
    let payment = &state.payment;
    let over = matches!(state.status, Cancelled | Expired);
    Ok(match command {
        Command::Create(_) => unreachable!("handled above"),
        Command::Hold { claims, expires_at } => match state.status {
            None if claims.is_empty() => return Err(Refusal::NothingToHold),
            None if state.claims.is_empty() => {
                vec![Event::InventoryHeld(InventoryHeld { claims, expires_at })]
            }
            _ => vec![],
        },
        Command::ExtendHold { expires_at } => {
            let Some(before) = state.hold_expires_at.filter(|_| !state.claims.is_empty()) else {
                return Err(Refusal::NotHeld);
            };
            when(
                expires_at > before,
                Event::HoldExtended(HoldExtended { expires_at, before }),
            )
        }
        Command::CorrectPaymentMethod { payment_method } => {
            // Money that is there was given by the card that is there.
            if over || payment.authorised_minor > 0 || payment.captured_minor > 0 {
                return Err(Refusal::WrongStatus(state.status, "paid with another card"));
            }
            when(
                created.payment_method.as_ref() != Some(&payment_method),
                Event::PaymentMethodCorrected(PaymentMethodCorrected {
                    payment_method,
                    before: created.payment_method.clone(),
                }),
            )
        }
        Command::RequestPayment(request) => {
            if over || state.status == Confirmed {
                return Err(Refusal::WrongStatus(state.status, "paid for"));
            }
            check_amount(&request.amount, &created.price)?;
            // Money that is there must not be hidden behind another question for it.
            let there = payment.authorised_minor > 0 || payment.captured_minor > 0;
            if there
                || payment.id == Some(request.payment_id)
                    && payment.checkout_session == request.checkout_session
            {
                vec![]
            } else {
                vec![Event::PaymentRequested(*request)]
            }
        }
        Command::RequireAction(p) => when(
            payment.state == PaymentState::Requested,
            Event::PaymentActionRequired(p),
        ),
        Command::Authorise(authorised) => {
            check_amount(&authorised.amount_capturable, &created.price)?;
            when(
                payment.authorised_minor == 0
                    && payment.captured_minor == 0
                    && !created.price.is_zero(),
                Event::PaymentAuthorized(authorised),
            )
        }
        // The same refusal seen twice is one fact.
        Command::Decline(failed) => when(
            payment.captured_minor == 0
                && payment.authorised_minor == 0
                && (payment.state != PaymentState::Declined
                    || failed
                        .payment_intent
                        .as_ref()
                        .is_some_and(|i| payment.intent.as_ref() != Some(i))),
            Event::PaymentFailed(failed),
        ),
        Command::ReceivePayment(received) => {
            if payment.captured_minor > 0 || created.price.is_zero() {
                return Ok(vec![]);
            }
            check_amount(&received.amount_received, &created.price)?;
            vec![Event::PaymentReceived(received)]
        }
        Command::SeeFee(seen) => {
            if payment.captured_minor == 0 || payment.intent.as_ref() != Some(&seen.payment_intent)
            {
                return Err(Refusal::NotPaid);
            }
            when(payment.fee.is_none(), Event::ProviderFeeCharged(seen))
        }
        Command::VoidPayment(voided) => when(
            payment.captured_minor == 0
                && !matches!(
                    payment.state,
                    PaymentState::Voided | PaymentState::NotAsked | PaymentState::AtVenue
                ),
            Event::PaymentVoided(voided),
        ),
        Command::ExpireLink(p) => when(
            payment.captured_minor == 0 && payment.pay_url.is_some(),
            Event::PaymentLinkExpired(p),
        ),
        Command::RequestRefund(request) => {
            let left =
                payment.captured_minor - payment.refunded_minor - payment.refund_pending_minor;
            if payment.refund_pending_minor > 0 || payment.refunds.contains(&request.refund_id) {
                return Ok(vec![]);
            }
            if request.amount.amount_minor <= 0 || request.amount.currency != created.price.currency
            {
                return Err(Refusal::OddRefund);
            }
            // Else the customer could have it twice. Won, it may be refunded again.
            if payment.contested.is_some() {
                return Err(Refusal::Disputed);
            }
            if request.amount.amount_minor > left {
                return Err(Refusal::RefundTooLarge { left });
            }
            vec![Event::RefundRequested(request)]
        }
        Command::RecordRefund(refunded) => {
            if !payment.refund_is_pending(refunded.refund_id) {
                return Ok(vec![]);
            }
            let asked = Money::new(payment.refund_pending_minor, created.price.currency);
            check_amount(&refunded.amount, &asked)?;
            vec![Event::PaymentRefunded(refunded)]
        }
        Command::FailRefund(failed) => when(
            payment.refund_is_pending(failed.refund_id),
            Event::RefundFailed(failed),
        ),
        // Only what was said to have gone back can come back, and only once: not what a person paid out, because an older
        // refund of the same money failed.
        Command::ReturnRefund(returned) => when(
            !payment.refund_is_pending(returned.refund_id)
                && payment
                    .refunded_as
                    .iter()
                    .any(|(id, by)| *id == returned.refund_id && *by == returned.provider_refund)
                && returned.amount.amount_minor <= payment.refunded_minor,
            Event::RefundReturned(returned),
        ),
        Command::KeepRemainder {
            payment_id,
            amount,
            decided_by,
            approved_by,
            reason,
        } => {
            let before = Money::new(payment.kept_minor, created.price.currency);
            if amount == before {
                return Ok(vec![]);
            }
            let left = payment.here() - payment.refund_pending_minor;
            if !(0..=left).contains(&amount.amount_minor) || amount.currency != before.currency {
                return Err(Refusal::KeepsTooMuch { left });
            }
            vec![Event::RemainderKept(RemainderKept {
                payment_id,
                amount,
                before,
                decided_by,
                approved_by,
                reason,
            })]
        }
        Command::SeeDispute(seen) => {
            if payment.captured_minor == 0 {
                return Err(Refusal::NotPaid);
            }
            dispute::news(&payment.disputes, *seen)
        }
        Command::Confirm => {
            if state.status == Confirmed {
                return Ok(vec![]);
            }
            if over {
                return Err(Refusal::WrongStatus(state.status, "confirmed"));
            }
            if state.claims.is_empty() {
                return Err(Refusal::NotHeld);
            }
            if created.payment_mode != PaymentMode::Venue
                && !created.price.is_zero()
                && payment.captured_minor == 0
            {
                return Err(Refusal::NotPaid);
            }
            vec![Event::BookingConfirmed(BookingConfirmed {
                confirmed_at: now,
                sequence: state.sequence,
            })]
        }
        Command::RecordNotification(sent) => vec![Event::NotificationSent(sent)],
        Command::FailNotification(failed) => vec![Event::NotificationFailed(failed)],
        Command::Cancel {
            by,
            reason_code,
            reason,
            refund_minor,
        } => {
            if over {
                return Ok(vec![]);
            }
            // What never was a booking expires; only what the customer may count on is cancelled.
            if state.status != Confirmed && reason_code == CancelReason::HoldExpired {
                return Ok(vec![Event::BookingExpired(BookingExpired {
                    expired_at: now,
                })]);
            }
            let kept = payment.captured_minor - payment.refunded_minor;
            let due = refund_minor.unwrap_or(kept);
            if !(0..=kept.max(0)).contains(&due) {
                return Err(Refusal::RefundTooLarge { left: kept });
            }
            vec![Event::BookingCancelled(BookingCancelled {
                cancelled_by: by,
                reason_code,
                reason,
                refund_due: (kept > 0).then(|| Money::new(due, created.price.currency)),
                sequence: state.sequence + 1,
                notice_min: Some((created.start_utc - now).num_minutes()),
                was_confirmed: Some(state.status == Confirmed),
            })]
        }
        Command::RecordNoShow => {
            if state.status != Confirmed {
                return Err(Refusal::WrongStatus(state.status, "missed"));
            }
            if now < created.start_utc {
                return Err(Refusal::NotBegun(created.start_utc));
            }
            when(
                !state.no_show,
                Event::NoShowRecorded(NoShowRecorded { recorded_at: now }),
            )
        }
        // Whatever became of the booking since: what was not so is taken back.
        Command::WithdrawNoShow => when(
            state.no_show,
            Event::NoShowWithdrawn(NoShowWithdrawn { withdrawn_at: now }),
        ),
        Command::Release { reason } => {
            if state.claims.is_empty() {
                return Ok(vec![]);
            }
            // First it is cancelled, and the customer told; then the slot is somebody else's.
            if state.status == Confirmed {
                return Err(Refusal::WrongStatus(Confirmed, "stripped of its slot"));
            }
            let released = InventoryReleased {
                claims: state.claims.iter().map(|c| c.claim_id).collect(),
                reason,
            };
            match released.reason.as_str() {
                "expired" => vec![Event::InventoryHoldExpired(released)],
                _ => vec![Event::InventoryReleased(released)],
            }
        }
    })
}

fn create(
    state: &Booking,
    created: BookingCreated,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, Refusal> {
    if state.created.is_some() {
        return Err(Refusal::Exists);
    }
    if created.end_utc <= created.start_utc {
        return Err(Refusal::EmptySlot);
    }
    if created.start_utc < now - WALK_IN_GRACE && created.source == Source::Staff {
        return Err(Refusal::InThePast(created.start_utc));
    }
    if created.price.amount_minor < 0 {
        return Err(Refusal::NegativePrice);
    }
    Ok(vec![Event::BookingCreated(created)])
}

impl Payment {
    /// What a person is told: while a bank contests the payment, that.
    pub fn shown(&self) -> PaymentState {
        match self.contested {
            Some(Contested::Open) => PaymentState::Disputed,
            Some(Contested::Lost) => PaymentState::DisputeLost,
            None => self.state,
        }
    }

    /// By its sums alone: what is left when a dispute is over.
    fn settled(&self) -> PaymentState {
        match self.refunded_minor {
            r if r <= 0 => PaymentState::Paid,
            r if r < self.captured_minor => PaymentState::PartRefunded,
            _ => PaymentState::Refunded,
        }
    }

    /// What was taken and has not gone back.
    pub fn here(&self) -> i64 {
        self.captured_minor - self.refunded_minor
    }

    /// And is not to stay here either.
    pub fn owed_back(&self) -> i64 {
        self.here() - self.kept_minor.min(self.here())
    }

    fn refund_is_pending(&self, id: RefundId) -> bool {
        self.refund_pending_minor > 0 && self.refunds.last() == Some(&id)
    }
}

fn check_amount(got: &Money, agreed: &Money) -> Result<(), Refusal> {
    if got == agreed {
        Ok(())
    } else {
        Err(Refusal::WrongAmount {
            got: got.amount_minor,
            agreed: agreed.amount_minor,
        })
    }
}

fn when(fact: bool, event: Event) -> Vec<Event> {
    if fact { vec![event] } else { vec![] }
}

/// Total and infallible: history is never rejected.
pub fn evolve(mut state: Booking, event: &Event) -> Booking {
    let p = &mut state.payment;
    match event {
        Event::BookingCreated(e) => {
            if e.payment_mode == PaymentMode::Venue {
                p.state = PaymentState::AtVenue;
            }
            state.created = Some(e.clone());
        }
        Event::InventoryHeld(e) => {
            state.claims = e.claims.clone();
            state.hold_expires_at = e.expires_at;
            state.status = Status::Held;
        }
        Event::HoldExtended(e) => state.hold_expires_at = Some(e.expires_at),
        Event::PaymentMethodCorrected(e) => {
            if let Some(created) = &mut state.created {
                created.payment_method = Some(e.payment_method.clone());
            }
        }
        Event::PaymentRequested(e) => {
            p.id = Some(e.payment_id);
            p.state = if e.pay_url.is_some() {
                PaymentState::LinkSent
            } else {
                PaymentState::Requested
            };
            p.intent = e.payment_intent.clone();
            p.checkout_session = e.checkout_session.clone();
            p.pay_url = e.pay_url.clone();
            state.status = Status::AwaitingPayment;
        }
        Event::PaymentActionRequired(_) => p.state = PaymentState::ActionRequired,
        Event::PaymentAuthorized(e) => {
            p.state = PaymentState::Authorised;
            p.intent = Some(e.payment_intent.clone());
            p.authorised_minor = e.amount_capturable.amount_minor;
            p.pay_url = None;
        }
        Event::PaymentFailed(e) => {
            p.state = PaymentState::Declined;
            p.intent = e.payment_intent.clone().or(p.intent.take());
        }
        Event::PaymentReceived(e) => {
            p.state = PaymentState::Paid;
            p.intent = Some(e.payment_intent.clone());
            p.captured_minor = e.amount_received.amount_minor;
            p.authorised_minor = 0;
            p.pay_url = None;
            state.hold_expires_at = None;
        }
        Event::ProviderFeeCharged(e) => p.fee = Some(e.fee.clone()),
        Event::PaymentVoided(_) => {
            p.state = PaymentState::Voided;
            p.authorised_minor = 0;
            p.pay_url = None;
        }
        Event::PaymentLinkExpired(_) => p.pay_url = None,
        Event::RefundRequested(e) => {
            p.state = PaymentState::RefundPending;
            p.refund_pending_minor = e.amount.amount_minor;
            p.refunds.push(e.refund_id);
        }
        Event::PaymentRefunded(e) => {
            p.refund_pending_minor = 0;
            p.refunded_minor = p.refunded_minor.saturating_add(e.amount.amount_minor);
            p.refunded_as.push((e.refund_id, e.provider_refund.clone()));
            p.state = if p.refunded_minor >= p.captured_minor {
                PaymentState::Refunded
            } else {
                PaymentState::PartRefunded
            };
        }
        Event::RefundFailed(e) => {
            p.refund_pending_minor = 0;
            p.refunds.retain(|id| *id != e.refund_id);
            p.state = PaymentState::RefundFailed;
        }
        Event::RefundReturned(e) => {
            p.refunds.retain(|id| *id != e.refund_id);
            p.refunded_as.retain(|(id, _)| *id != e.refund_id);
            p.refunded_minor = p.refunded_minor.saturating_sub(e.amount.amount_minor);
            p.state = PaymentState::RefundFailed;
        }
        Event::RemainderKept(e) => p.kept_minor = e.amount.amount_minor,
        Event::PaymentDisputed(e) => {
            dispute::known(&mut p.disputes, &e.dispute_id);
            p.contested = Some(Contested::Open);
        }
        Event::DisputeFundsWithdrawn(e) => {
            dispute::known(&mut p.disputes, &e.dispute_id)
                .withdrawn
                .add(e);
        }
        Event::DisputeFundsReinstated(e) => {
            dispute::known(&mut p.disputes, &e.dispute_id)
                .reinstated
                .add(e);
        }
        Event::DisputeClosed(e) => {
            dispute::known(&mut p.disputes, &e.dispute_id).outcome = Some(e.outcome);
            p.contested = (e.outcome == DisputeOutcome::Lost).then_some(Contested::Lost);
            p.state = p.settled();
        }
        Event::BookingConfirmed(_) => {
            state.status = Status::Confirmed;
            state.hold_expires_at = None;
        }
        Event::NotificationSent(_) => state.notified = true,
        Event::BookingCancelled(e) => {
            state.status = Status::Cancelled;
            state.sequence = e.sequence;
            state.cancelled = Some(e.clone());
            p.pay_url = None;
        }
        Event::BookingExpired(_) => {
            state.status = Status::Expired;
            p.pay_url = None;
        }
        Event::NoShowRecorded(_) => state.no_show = true,
        Event::NoShowWithdrawn(_) => state.no_show = false,
        Event::InventoryReleased(_) | Event::InventoryHoldExpired(_) => state.claims.clear(),
        Event::NotificationFailed(_)
        | Event::CalendarSynced(_)
        | Event::CustomerRegistered(_)
        | Event::CustomerErased(_) => {}
    }
    state
}

pub fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Booking {
    events.into_iter().fold(Booking::default(), evolve)
}

#[cfg(test)]
#[path = "booking_tests.rs"]
pub(crate) mod tests;
