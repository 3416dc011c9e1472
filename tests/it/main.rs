//! One integration binary: each further one would be another link.
#![allow(clippy::disallowed_methods, reason = "a test supervises its own tasks")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod backups;
mod backups_asked;
mod backups_killed;
mod doctor;
mod erasure;
mod events;
mod fuzz;
mod guarantees;
mod hooks;
mod host;
mod http;
mod inbox;
mod people;
mod projection;
mod proxy;
mod read_models;
mod reading;
mod rebuild;
mod reports;
mod restored;
mod roles;
mod saga;
mod saga_checks;
mod served;
mod silence;
mod store;
mod support;
mod transfer;
#[cfg(feature = "desktop")]
mod window;
