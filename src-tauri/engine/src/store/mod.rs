//! The event store: append, read, sealed fields, roles and migrations.
//!
//! Promises: a stream's versions have no gap and no double; a reader of `log::after` up to `safe_position` skips
//! nothing; the same command appends once. It must not know what an event means.

pub mod append;
pub mod browse;
pub mod committer;
pub mod copy;
mod long_page;
pub mod migrate;
pub mod ordering;
pub mod read;
pub mod roles;
pub mod scan;
pub mod schema;
pub mod seal;
pub mod subscription;
mod transaction;
pub mod upcast;
pub mod vault;

pub use transaction::{begin, begin_on, begin_with};
