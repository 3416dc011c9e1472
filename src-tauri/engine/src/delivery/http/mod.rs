//! How a webhook is sent: one POST to an address that was checked, on a connection that is pinned to it.
//!
//! Promises: only addresses that [`Guard`] lets through are ever connected to, whatever a name resolves to at that moment; no
//! redirect is followed, no proxy of the environment is used, nothing is unpacked; an answer costs at most 16 KiB of
//! memory and the time that was given to the whole; what happened, and where the time went, is told truthfully.
//!
//! It stands on hyper and not on reqwest, because it needs what reqwest keeps to itself: the connection (to pin it to the
//! checked address, and to look at its peer before each use) and the time of each of its steps.

pub mod address;
mod connect;
pub mod guard;
mod pool;
mod send;

pub use connect::{Names, Resolve};
pub use guard::{AllowList, Blocked, Guard, Target, TargetHost};
pub use send::{Answer, Client, Failure, FailureClass, LARGEST, Post, Sent, Timings};

#[cfg(test)]
mod tls_tests;
