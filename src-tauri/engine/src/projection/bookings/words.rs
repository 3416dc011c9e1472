//! Words of the columns, as the wire spells them.

use crate::domain::booking::{PaymentState, Status};
use crate::domain::event::{CancelReason, Party, PaymentMode};

const STATES: [(Status, &str); 6] = [
    // A booking without its hold is seen for no longer than its append takes.
    (Status::None, "held"),
    (Status::Held, "held"),
    (Status::AwaitingPayment, "awaiting_payment"),
    (Status::Confirmed, "confirmed"),
    (Status::Cancelled, "cancelled"),
    (Status::Expired, "expired"),
];

const PAYMENTS: [(PaymentState, &str); 15] = [
    (PaymentState::NotAsked, "not_asked"),
    (PaymentState::AtVenue, "at_venue"),
    (PaymentState::Requested, "requested"),
    (PaymentState::LinkSent, "link_sent"),
    (PaymentState::ActionRequired, "action_required"),
    (PaymentState::Authorised, "authorised"),
    (PaymentState::Declined, "declined"),
    (PaymentState::Paid, "paid"),
    (PaymentState::Voided, "voided"),
    (PaymentState::RefundPending, "refund_pending"),
    (PaymentState::PartRefunded, "part_refunded"),
    (PaymentState::Refunded, "refunded"),
    (PaymentState::RefundFailed, "refund_failed"),
    (PaymentState::Disputed, "disputed"),
    (PaymentState::DisputeLost, "dispute_lost"),
];

pub fn state_word(status: Status) -> &'static str {
    STATES
        .iter()
        .find(|(s, _)| *s == status)
        .map_or("held", |(_, word)| word)
}

pub fn status_of(word: &str) -> Status {
    STATES
        .iter()
        .skip(1)
        .find(|(_, w)| *w == word)
        .map_or(Status::None, |(s, _)| *s)
}

pub fn payment_word(state: PaymentState) -> &'static str {
    PAYMENTS
        .iter()
        .find(|(s, _)| *s == state)
        .map_or("not_asked", |(_, word)| word)
}

pub fn payment_of(word: &str) -> PaymentState {
    PAYMENTS
        .iter()
        .find(|(_, w)| *w == word)
        .map_or(PaymentState::NotAsked, |(s, _)| *s)
}

pub fn party_word(party: Party) -> &'static str {
    match party {
        Party::Customer => "customer",
        Party::Staff => "staff",
        Party::System => "system",
    }
}

pub fn reason_word(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Asked => "asked",
        CancelReason::HoldExpired => "hold_expired",
        CancelReason::PaymentFailed => "payment_failed",
        CancelReason::NotTold => "not_told",
    }
}

pub fn mode_word(mode: PaymentMode) -> &'static str {
    match mode {
        PaymentMode::Link => "link",
        PaymentMode::CardOnFile => "card_on_file",
        PaymentMode::Venue => "venue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_of_the_wire_and_comes_back() {
        use crate::app::wire;
        for (state, word) in STATES.iter().skip(1) {
            assert_eq!(status_of(word), *state);
            serde_json::from_value::<wire::BookingState>((*word).into()).unwrap();
        }
        for (state, word) in PAYMENTS {
            assert_eq!(payment_of(word), state);
            serde_json::from_value::<wire::PaymentState>(word.into()).unwrap();
        }
    }
}
