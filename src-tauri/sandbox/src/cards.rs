//! The test payment methods we know, and what a bank says to each.

/// (code, decline_code, message)
pub type Decline = (&'static str, &'static str, &'static str);

pub enum Card {
    Pays,
    Declines(Decline),
    /// The bank wants the customer, who isn't there when the payment is off-session.
    WantsCustomer,
}

pub const DECLINED: Decline = (
    "card_declined",
    "generic_decline",
    "Your card was declined.",
);
pub const AUTHENTICATION_REQUIRED: Decline = (
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
);
pub const AUTHENTICATION_FAILED: (&str, &str) = (
    "payment_intent_authentication_failure",
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
);

/// `None`: no such payment method.
pub fn card(payment_method: &str) -> Option<Card> {
    let declines =
        |code, decline_code, message| Some(Card::Declines((code, decline_code, message)));
    // Stripe has each decline twice, with the brand in the name and without.
    match payment_method
        .replace("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined")
        .as_str()
    {
        "pm_card_visa" | "pm_card_mastercard" | "pm_card_amex" | PENDING_REFUND
        | FAILING_REFUND | RETURNING_REFUND => Some(Card::Pays),
        "pm_card_authenticationRequired" | "pm_card_threeDSecure2Required" => {
            Some(Card::WantsCustomer)
        }
        "pm_card_chargeDeclined" => Some(Card::Declines(DECLINED)),
        "pm_card_chargeDeclinedInsufficientFunds" => declines(
            "card_declined",
            "insufficient_funds",
            "Your card has insufficient funds.",
        ),
        "pm_card_chargeDeclinedLostCard" => {
            declines("card_declined", "lost_card", "Your card was declined.")
        }
        "pm_card_chargeDeclinedStolenCard" => {
            declines("card_declined", "stolen_card", "Your card was declined.")
        }
        "pm_card_chargeDeclinedFraudulent" => {
            declines("card_declined", "fraudulent", "Your card was declined.")
        }
        "pm_card_chargeDeclinedExpiredCard" => {
            declines("expired_card", "expired_card", "Your card has expired.")
        }
        "pm_card_chargeDeclinedIncorrectCvc" => declines(
            "incorrect_cvc",
            "incorrect_cvc",
            "Your card's security code is incorrect.",
        ),
        "pm_card_chargeDeclinedProcessingError" => declines(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        _ => None,
    }
}

/// A refund of these begins as pending and is settled a little later, the second one badly.
pub const PENDING_REFUND: &str = "pm_card_pendingRefund";
pub const FAILING_REFUND: &str = "pm_card_refundFail";
/// And of this one succeeds at once and comes back a little later: the customer's bank would not take it.
pub const RETURNING_REFUND: &str = "pm_card_refundReturns";
pub const REFUND_SETTLES_AFTER_S: i64 = 5;

/// A customer-initiated card payment is held for seven days, a merchant-initiated Visa for four days and eighteen hours.
/// The sandbox gives everybody seven, as its users expect; the desk reads `capture_before` and doesn't care.
pub const AUTHORISATION_LASTS_S: i64 = 7 * 86_400;
