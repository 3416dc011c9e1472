//! Disputes: a customer's bank asks for the money back.
//!
//! What the provider shows is held against what the events say, and only the difference becomes events. So it does not
//! matter in which order, or how often, the provider tells of a dispute.

use super::event::*;
use super::money::{Currency, Money};

/// What the events say about a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    pub id: String,
    pub withdrawn: Moved,
    pub reinstated: Moved,
    pub outcome: Option<DisputeOutcome>,
}

/// Money that went one way since the dispute began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    pub amount_minor: i64,
    pub fee_minor: i64,
}

/// The newest word about a dispute of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contested {
    Open,
    Lost,
}

/// A dispute as the provider shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeSeen {
    pub opened: PaymentDisputed,
    /// Of what moved: the account's, which need not be the payment's.
    pub currency: Currency,
    pub withdrawn: Moved,
    pub reinstated: Moved,
    pub outcome: Option<DisputeOutcome>,
}

/// What of it is new. Sums only grow, so a look that is older than another one adds nothing.
pub(super) fn news(disputes: &[Dispute], seen: DisputeSeen) -> Vec<Event> {
    let known = disputes.iter().find(|d| d.id == seen.opened.dispute_id);
    let (dispute_id, payment_id) = (seen.opened.dispute_id.clone(), seen.opened.payment_id);
    let more = |now: Moved, before: Option<Moved>| {
        let more = now.since(before.unwrap_or_default());
        (more != Moved::default()).then(|| DisputeFunds {
            dispute_id: dispute_id.clone(),
            payment_id,
            amount: Money::new(more.amount_minor, seen.currency),
            fee: Money::new(more.fee_minor, seen.currency),
        })
    };
    let withdrawn = more(seen.withdrawn, known.map(|d| d.withdrawn));
    let reinstated = more(seen.reinstated, known.map(|d| d.reinstated));
    let outcome = seen
        .outcome
        .filter(|o| known.and_then(|d| d.outcome) != Some(*o));
    let opened = known.is_none().then_some(seen.opened);
    [
        opened.map(Event::PaymentDisputed),
        withdrawn.map(Event::DisputeFundsWithdrawn),
        reinstated.map(Event::DisputeFundsReinstated),
        outcome.map(|outcome| {
            Event::DisputeClosed(DisputeClosed {
                dispute_id,
                payment_id,
                outcome,
            })
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The dispute of that id; told of for the first time, a new one.
pub(super) fn known<'a>(disputes: &'a mut Vec<Dispute>, id: &str) -> &'a mut Dispute {
    let at = disputes.iter().position(|d| d.id == id).unwrap_or_else(|| {
        disputes.push(Dispute {
            id: id.to_owned(),
            withdrawn: Moved::default(),
            reinstated: Moved::default(),
            outcome: None,
        });
        disputes.len() - 1
    });
    &mut disputes[at]
}

impl Moved {
    fn since(self, before: Moved) -> Moved {
        let more = |now: i64, before: i64| now.saturating_sub(before).max(0);
        Moved {
            amount_minor: more(self.amount_minor, before.amount_minor),
            fee_minor: more(self.fee_minor, before.fee_minor),
        }
    }

    pub(super) fn add(&mut self, funds: &DisputeFunds) {
        self.amount_minor = self.amount_minor.saturating_add(funds.amount.amount_minor);
        self.fee_minor = self.fee_minor.saturating_add(funds.fee.amount_minor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::booking::tests::samples::*;
    use crate::domain::booking::{Booking, Command, PaymentState, Refusal, decide, evolve, replay};

    fn moved(amount_minor: i64, fee_minor: i64) -> Moved {
        Moved {
            amount_minor,
            fee_minor,
        }
    }

    fn seen(withdrawn: Moved, reinstated: Moved, outcome: Option<DisputeOutcome>) -> DisputeSeen {
        DisputeSeen {
            opened: disputed(),
            currency: "EUR".parse().unwrap(),
            withdrawn,
            reinstated,
            outcome,
        }
    }

    fn paid() -> Booking {
        replay(&[
            Event::BookingCreated(booking(PaymentMode::CardOnFile)),
            Event::PaymentReceived(receipt(8000)),
        ])
    }

    /// The names of what became new.
    fn see(booking: &mut Booking, seen: DisputeSeen) -> Vec<&'static str> {
        let events = decide(booking, Command::SeeDispute(Box::new(seen)), now()).unwrap();
        *booking = events.iter().fold(std::mem::take(booking), evolve);
        events.iter().map(Event::name).collect()
    }

    #[test]
    fn a_dispute_is_told_once_however_often_it_is_seen() {
        let mut b = paid();
        let open = seen(moved(8000, 2000), Moved::default(), None);
        assert_eq!(
            see(&mut b, open.clone()),
            ["PaymentDisputed", "DisputeFundsWithdrawn"]
        );
        assert_eq!(b.payment.shown(), PaymentState::Disputed);
        assert_eq!(see(&mut b, open), [""; 0]);
        let won = seen(
            moved(8000, 2000),
            moved(8000, 2000),
            Some(DisputeOutcome::Won),
        );
        assert_eq!(
            see(&mut b, won.clone()),
            ["DisputeFundsReinstated", "DisputeClosed"]
        );
        assert_eq!(see(&mut b, won), [""; 0]);
        assert_eq!(b.payment.shown(), PaymentState::Paid);
    }

    #[test]
    fn a_dispute_that_is_first_seen_when_it_is_over_is_told_whole() {
        let mut b = paid();
        let lost = seen(
            moved(8000, 2000),
            Moved::default(),
            Some(DisputeOutcome::Lost),
        );
        assert_eq!(
            see(&mut b, lost),
            ["PaymentDisputed", "DisputeFundsWithdrawn", "DisputeClosed"]
        );
        assert_eq!(b.payment.shown(), PaymentState::DisputeLost);
        // A look from before it was over adds nothing.
        let older = seen(Moved::default(), Moved::default(), None);
        assert_eq!(see(&mut b, older), [""; 0]);
    }

    #[test]
    fn a_disputed_payment_is_not_refunded_beside_the_bank() {
        let mut b = paid();
        see(&mut b, seen(Moved::default(), Moved::default(), None));
        let refund = Command::RequestRefund(refund_request(1, 8000));
        assert_eq!(decide(&b, refund.clone(), now()), Err(Refusal::Disputed));
        let closed = Some(DisputeOutcome::WarningClosed);
        see(&mut b, seen(Moved::default(), Moved::default(), closed));
        assert_eq!(decide(&b, refund, now()).map(|e| e.len()), Ok(1));
    }

    #[test]
    fn what_was_never_paid_cannot_be_disputed() {
        let b = replay(&[Event::BookingCreated(booking(PaymentMode::CardOnFile))]);
        let open = seen(moved(8000, 2000), Moved::default(), None);
        let told = decide(&b, Command::SeeDispute(Box::new(open)), now());
        assert_eq!(told, Err(Refusal::NotPaid));
    }
}
