//! One pipeline for everything that leaves: event × destination → delivery → attempts.
//!
//! Promises: a delivery is written in its event's transaction; an attempt is written before the call; an outcome that
//! nobody knows is its own state. It knows no destination by name: a kind of destination is a [`Destination`].

pub mod destination;
pub mod source;
pub mod store;

pub use destination::{Destination, Outcome};
