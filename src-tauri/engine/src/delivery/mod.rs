//! One pipeline for everything that leaves: event × destination → delivery → attempts.
//!
//! Promises: a delivery is written in its event's transaction; an attempt is written before the call; an outcome that
//! nobody knows is its own state. It knows no destination by name: a kind of destination is a [`Destination`].
//!
//! Two ways through it: what leaves at most once and takes part in a saga ([`source`]), and what leaves at least once and
//! in great numbers ([`webhook`]). Rows, states, attempts and figures are the same.

pub mod destination;
pub mod http;
pub mod source;
pub mod store;
pub mod webhook;

pub use destination::{Destination, Outcome};
