//! From our words to async-stripe's builders, and from those to bytes. The only place that names its types.

use std::collections::BTreeMap;

use stripe::StripeRequest;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionLineItemsPriceData,
    CreateCheckoutSessionPaymentIntentData, CreateCheckoutSessionPaymentIntentDataCaptureMethod,
    ExpireCheckoutSession, ListCheckoutSession, ProductData, RetrieveCheckoutSession,
};
use stripe_client_core::{RequestBuilder, StripeMethod};
use stripe_core::{
    event::ListEvent,
    payment_intent::{
        CancelPaymentIntent, CancelPaymentIntentCancellationReason, CapturePaymentIntent,
        CreatePaymentIntent, CreatePaymentIntentOffSession, ListPaymentIntent,
        RetrievePaymentIntent,
    },
    refund::{CreateRefund, ListRefund, RetrieveRefund},
};
use stripe_shared::{CheckoutSessionMode, PaymentIntentCaptureMethod};
use stripe_types::{Currency, RangeQueryTs};

use crate::operation::{CancelReason, Encoded, Operation};

/// Stripe's largest page.
pub(crate) const PAGE: i64 = 100;

impl Operation {
    /// The bytes of this request. The same operation always gives the same bytes.
    pub fn encode(&self) -> Encoded {
        match self {
            Operation::CreateIntent {
                amount_minor,
                currency,
                payment_method,
                customer,
                description,
                metadata,
            } => {
                let mut request = CreatePaymentIntent::new(*amount_minor, parse_currency(currency))
                    .capture_method(PaymentIntentCaptureMethod::Manual)
                    .confirm(true)
                    .off_session(CreatePaymentIntentOffSession::Bool(true))
                    .payment_method(payment_method)
                    .metadata(owned(metadata))
                    .expand(charge());
                if let Some(customer) = customer {
                    request = request.customer(customer);
                }
                if let Some(description) = description {
                    request = request.description(description);
                }
                encoded(request.build())
            }
            Operation::CreateCheckout {
                amount_minor,
                currency,
                product_name,
                success_url,
                cancel_url,
                customer_email,
                expires_at,
                client_reference_id,
                metadata,
            } => {
                let mut price =
                    CreateCheckoutSessionLineItemsPriceData::new(parse_currency(currency));
                price.unit_amount = Some(*amount_minor);
                price.product_data = Some(ProductData::new(product_name));
                let mut item = CreateCheckoutSessionLineItems::new();
                item.price_data = Some(price);
                item.quantity = Some(1);
                let mut intent = CreateCheckoutSessionPaymentIntentData::new();
                intent.capture_method =
                    Some(CreateCheckoutSessionPaymentIntentDataCaptureMethod::Manual);
                // On both: the intent is what capture and refund look for, and it doesn't exist until the customer pays.
                intent.metadata = Some(owned(metadata));
                let mut request = CreateCheckoutSession::new()
                    .mode(CheckoutSessionMode::Payment)
                    .line_items(vec![item])
                    .payment_intent_data(intent)
                    .success_url(success_url)
                    .cancel_url(cancel_url)
                    .expires_at(*expires_at)
                    .client_reference_id(client_reference_id)
                    .metadata(owned(metadata));
                if let Some(email) = customer_email {
                    request = request.customer_email(email);
                }
                encoded(request.build())
            }
            Operation::Capture {
                payment_intent,
                amount_minor,
            } => {
                let mut request =
                    CapturePaymentIntent::new(payment_intent.as_str()).expand(charge());
                if let Some(amount) = amount_minor {
                    request = request.amount_to_capture(*amount);
                }
                encoded(request.build())
            }
            Operation::CancelIntent {
                payment_intent,
                reason,
            } => encoded(
                CancelPaymentIntent::new(payment_intent.as_str())
                    .cancellation_reason(match reason {
                        CancelReason::RequestedByCustomer => {
                            CancelPaymentIntentCancellationReason::RequestedByCustomer
                        }
                        CancelReason::Abandoned => CancelPaymentIntentCancellationReason::Abandoned,
                        CancelReason::Duplicate => CancelPaymentIntentCancellationReason::Duplicate,
                        CancelReason::Fraudulent => {
                            CancelPaymentIntentCancellationReason::Fraudulent
                        }
                    })
                    .build(),
            ),
            Operation::ExpireCheckout { session } => {
                encoded(ExpireCheckoutSession::new(session.as_str()).build())
            }
            Operation::Refund {
                payment_intent,
                amount_minor,
                metadata,
            } => encoded(
                CreateRefund::new()
                    .payment_intent(payment_intent)
                    .amount(*amount_minor)
                    .metadata(owned(metadata))
                    .build(),
            ),
        }
    }
}

pub(crate) fn intent(id: &str) -> Encoded {
    encoded(RetrievePaymentIntent::new(id).expand(charge()).build())
}

/// Apart from [`intent`], which decides about money: a restricted key that may not read the account's books is refused the
/// whole answer.
pub(crate) fn fee(intent: &str) -> Encoded {
    let books = vec!["latest_charge.balance_transaction".to_owned()];
    encoded(RetrievePaymentIntent::new(intent).expand(books).build())
}

pub(crate) fn checkout(id: &str) -> Encoded {
    encoded(RetrieveCheckoutSession::new(id).build())
}

/// By hand: the path is all there is to it, and the crate's disputes would be compiled for nothing else.
pub(crate) fn dispute(id: &str) -> Encoded {
    Encoded {
        method: "GET".to_owned(),
        path: format!("/v1/disputes/{}", id.replace('?', "%3F")),
        body: String::new(),
    }
}

pub(crate) fn refund(id: &str) -> Encoded {
    encoded(RetrieveRefund::new(id).build())
}

pub(crate) fn refunds_of(payment_intent: &str, after: Option<&str>) -> Encoded {
    let mut request = ListRefund::new().payment_intent(payment_intent).limit(PAGE);
    if let Some(after) = after {
        request = request.starting_after(after);
    }
    encoded(request.build())
}

pub(crate) fn refunds_since(created: i64, after: Option<&str>) -> Encoded {
    let mut request = ListRefund::new()
        .created(RangeQueryTs::gte(created))
        .limit(PAGE);
    if let Some(after) = after {
        request = request.starting_after(after);
    }
    encoded(request.build())
}

pub(crate) fn intents_since(created: i64, after: Option<&str>) -> Encoded {
    let mut request = ListPaymentIntent::new()
        .created(RangeQueryTs::gte(created))
        .limit(PAGE);
    if let Some(after) = after {
        request = request.starting_after(after);
    }
    encoded(request.build())
}

pub(crate) fn checkouts_since(created: i64, after: Option<&str>) -> Encoded {
    let mut request = ListCheckoutSession::new()
        .created(RangeQueryTs::gte(created))
        .limit(PAGE);
    if let Some(after) = after {
        request = request.starting_after(after);
    }
    encoded(request.build())
}

pub(crate) fn events_before(cursor: Option<&str>, types: &[&str], limit: u8) -> Encoded {
    let mut request = typed(ListEvent::new(), types).limit(i64::from(limit.clamp(1, 100)));
    if let Some(cursor) = cursor {
        request = request.ending_before(cursor);
    }
    encoded(request.build())
}

pub(crate) fn events_since(created: i64, types: &[&str], after: Option<&str>) -> Encoded {
    let mut request = typed(ListEvent::new(), types)
        .created(RangeQueryTs::gte(created))
        .limit(PAGE);
    if let Some(after) = after {
        request = request.starting_after(after);
    }
    encoded(request.build())
}

fn typed(request: ListEvent, types: &[&str]) -> ListEvent {
    if types.is_empty() {
        request
    } else {
        request.types(types.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
    }
}

/// The charge inside the intent carries `capture_before`, the one truth about how long an authorisation lasts.
fn charge() -> Vec<String> {
    vec!["latest_charge".to_owned()]
}

fn parse_currency(code: &str) -> Currency {
    let code = code.to_ascii_lowercase();
    // Codes newer than the crate go through as they are; Stripe is the judge.
    code.parse().unwrap_or(Currency::Unknown(code))
}

fn owned(metadata: &BTreeMap<String, String>) -> std::collections::HashMap<String, String> {
    metadata
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn encoded(request: RequestBuilder) -> Encoded {
    let method = match request.method {
        StripeMethod::Get => "GET",
        StripeMethod::Post => "POST",
        StripeMethod::Delete => "DELETE",
    };
    // An id with a question mark in it would ask for something else. Escaped, the transport sees and refuses it.
    let endpoint = request.path.replace('?', "%3F");
    let path = match request.query.filter(|query| !query.is_empty()) {
        Some(query) => format!("/v1{endpoint}?{query}"),
        None => format!("/v1{endpoint}"),
    };
    Encoded {
        method: method.to_owned(),
        path,
        body: ordered(&request.body.unwrap_or_default()),
    }
}

/// The builders keep metadata in a hash map, whose order differs from run to run. Sorted, the same operation gives the
/// same bytes everywhere; array members carry their index, so their order isn't lost.
fn ordered(form: &str) -> String {
    let mut pairs: Vec<&str> = form.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    pairs.join("&")
}
