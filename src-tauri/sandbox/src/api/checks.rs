//! What a request about money has to get right before anything is done, and how it is told.

use crate::{cards, error::ApiError, model::Intent, params::Params, wire};

pub fn expands_charge(params: &mut Params) -> Result<bool, Box<ApiError>> {
    Ok(params
        .texts("expand")?
        .iter()
        .any(|path| path.ends_with("latest_charge")))
}

pub fn amount(params: &mut Params) -> Result<i64, Box<ApiError>> {
    let refuse = |code, message: &str| Err(ApiError::invalid(Some(code), "amount", message));
    match params.integer("amount")? {
        None => refuse("parameter_missing", "Missing required param: amount."),
        Some(..1) => refuse(
            "parameter_invalid_integer",
            "This value must be greater than or equal to 1.",
        ),
        // Half a dollar, or thereabouts in other currencies.
        Some(1..50) => refuse(
            "amount_too_small",
            "Amount must be at least 50 in the smallest unit of the currency",
        ),
        Some(100_000_000..) => refuse("amount_too_large", "Amount must be no more than 99999999"),
        Some(amount) => Ok(amount),
    }
}

pub fn currency(params: &mut Params) -> Result<String, Box<ApiError>> {
    let currency = params.required("currency")?.to_ascii_lowercase();
    if currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_lowercase()) {
        return Ok(currency);
    }
    Err(ApiError::invalid(
        None,
        "currency",
        format!("Invalid currency: {currency}."),
    ))
}

pub fn known_card(payment_method: Option<&str>) -> Result<(), Box<ApiError>> {
    match payment_method {
        Some(id) if cards::card(id).is_none() => Err(ApiError::missing(
            "PaymentMethod",
            id,
            "payment_method",
            400,
        )),
        _ => Ok(()),
    }
}

pub fn without_payment_method(intent: &Intent) -> Box<ApiError> {
    let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
    ApiError::invalid(
        Some("payment_intent_unexpected_state"),
        "payment_method",
        message,
    )
    .with_intent(wire::intent(intent, false))
}

pub fn unexpected_state(intent: &Intent, doing: &str, allowed: &str) -> Box<ApiError> {
    let status = intent.status.as_str();
    let message = format!(
        "You cannot {doing} this PaymentIntent because it has a status of {status}. Only a PaymentIntent with one of the following statuses may be used here: {allowed}."
    );
    ApiError::refused(Some("payment_intent_unexpected_state"), message)
        .with_intent(wire::intent(intent, false))
}
