//! What is known when an attempt didn't succeed.

use std::time::Duration;

use serde_json::Value;

use crate::{
    object::{Intent, View},
    transport::Reply,
};

/// Classified by what we know about the effect, because that alone decides what may be done next.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Not a byte of the request left: no connection, or refused here. Send again whenever.
    #[error("the request was not sent: {cause}")]
    NotSent { cause: String },
    /// The bank said no, and Stripe will keep saying so under this key.
    #[error("the payment was declined ({}): {message}", decline_code.as_deref().unwrap_or(code))]
    Declined {
        code: String,
        decline_code: Option<String>,
        message: String,
        /// The intent the decline left behind: it exists and can be paid with another card, or cancelled.
        intent: Option<Box<Intent>>,
        request_id: Option<String>,
    },
    /// Stripe refuses the request as it stands. `code` is Stripe's, or its error type where it gives no code
    /// (`idempotency_error`). `payment_intent_unexpected_state` brings the intent: it may already be where we want it.
    #[error("Stripe refused the request ({code}, HTTP {status}): {message}")]
    Refused {
        code: String,
        message: String,
        status: u16,
        intent: Option<Box<Intent>>,
        request_id: Option<String>,
    },
    /// The key is wrong, revoked or lacks a permission: a matter for settings, not for this saga.
    #[error("Stripe does not accept the API key: {message}")]
    Unauthorized { message: String },
    /// Not executed now: too many requests, the same key is being worked on, or Stripe is away. Same key, same bytes,
    /// later. `same_key`: only this request is held up.
    #[error("Stripe is busy")]
    Busy {
        retry_after: Option<Duration>,
        same_key: bool,
    },
    /// It may have happened. `stored` says that Stripe keeps this very answer under the key, so that sending again
    /// can only repeat it and a look-up has to decide; otherwise the same key and bytes may be sent again.
    #[error("the outcome is unknown: {cause}")]
    Unknown {
        cause: String,
        status: Option<u16>,
        request_id: Option<String>,
        stored: bool,
    },
}

impl Failure {
    /// The request cannot have had an effect: it needs no look-up.
    pub fn had_no_effect(&self) -> bool {
        matches!(self, Failure::NotSent { .. } | Failure::Unauthorized { .. })
    }

    /// A reply that isn't 2xx. `writes`: the request was a POST under a key.
    pub(crate) fn of(reply: &Reply, writes: bool) -> Failure {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        let error = &body["error"];
        let request_id = reply.request_id.clone();
        let field = |name: &str| error[name].as_str().map(str::to_owned);
        let message = field("message")
            .unwrap_or_else(|| format!("HTTP {} without an explanation", reply.status));
        // Stripe answers in this shape. Anything else comes from something in between (a proxy, a hotel's login page)
        // and says nothing about what Stripe did.
        let from_stripe = error.is_object();
        let code = || field("code").or_else(|| field("type")).unwrap_or_default();
        let busy = |same_key| Failure::Busy {
            retry_after: reply.retry_after,
            same_key,
        };
        let intent = || Intent::view(&error["payment_intent"]).ok().map(Box::new);

        match reply.status {
            401 | 403 => Failure::Unauthorized { message },
            429 => busy(false),
            503 if !reply.replayed => busy(false),
            402 if from_stripe => Failure::Declined {
                code: code(),
                decline_code: field("decline_code"),
                message,
                intent: intent(),
                request_id,
            },
            409 if from_stripe => busy(true),
            status @ 400..=499 if from_stripe && status != 408 && status != 424 => {
                Failure::Refused {
                    code: code(),
                    message,
                    status,
                    intent: intent(),
                    request_id,
                }
            }
            status => Failure::Unknown {
                cause: message,
                status: Some(status),
                request_id,
                // Stripe keeps the result of every request it began to execute, its own 500s included. It can say
                // otherwise; a gateway that answers in its stead has stored nothing.
                stored: writes
                    && (reply.replayed || (from_stripe && reply.should_retry != Some(true))),
            },
        }
    }
}
