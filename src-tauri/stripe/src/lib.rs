//! Stripe, in the desk's words.
//!
//! async-stripe knows the parameters (240,000 generated lines of them) and builds the requests; the transport, the
//! idempotency keys and the meaning of an answer are ours. Its own client opens a connection per request, retries a
//! POST without a key and drops the body it could not read; none of that may happen to money. Its types stay inside
//! this crate, so the rest of the desk neither compiles nor learns them.
//!
//! What this crate promises:
//! - [`Operation::encode`] gives the exact bytes to send. The saga stores them before anything leaves, so that a resend
//!   is byte-identical and the key never meets other parameters.
//! - [`Stripe::send`] makes one attempt. Retrying is the saga's decision, because only the saga knows the lease, the
//!   age of the key and the hold behind it.
//! - [`Failure`] says what is *known*: not sent, refused, busy, or unknown. An unknown outcome is looked up.
//!
//! What it must not do: retry, sleep, log a body or a key, or guess.

mod client;
mod encode;
mod failure;
mod object;
mod operation;
mod secret;
mod transport;
pub mod webhook;

pub use client::{Config, EventPage, Stripe};
pub use failure::Failure;
pub use object::{
    Answer, Checkout, CheckoutStatus, Decline, Dispute, DisputeMove, DisputeStatus, EventRecord,
    Fee, Intent, IntentStatus, Marked, Object, PaymentStatus, Refund, RefundStatus,
};
pub use operation::{CancelReason, Encoded, Operation};
pub use secret::Secret;

/// The version every request names, so that an upgrade of the account's default changes nothing here. It is the one
/// async-stripe was generated from; a unit test keeps the two together.
pub const API_VERSION: &str = "2026-09-30.endive";

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_the_requests_were_generated_from() {
        assert_eq!(
            super::API_VERSION,
            stripe_shared::version::VERSION.to_string()
        );
    }
}
