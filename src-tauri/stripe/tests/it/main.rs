//! bizing-stripe against the sandbox, over real HTTP: the client that ships, a server that shares no code with it.

#![allow(clippy::disallowed_methods, reason = "a test supervises its own tasks")]
#![allow(clippy::unwrap_used)] // In a test an unwrap is an assertion.

mod checkout;
mod disputes;
mod encoding;
mod events;
mod localstripe;
mod lookups;
mod money;
mod support;
mod unknown;
mod webhooks;
