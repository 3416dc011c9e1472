//! One function per use case: what the window, HTTP and the command line all call.

pub mod backups;
pub mod bookings;
pub mod catalogue;
pub mod customers;
pub mod deliveries;
pub mod demo;
pub mod desk;
pub mod dispatch;
pub mod doctor;
pub mod endpoints;
pub mod error;
pub mod events;
mod free;
pub mod host;
pub mod inbox;
mod lamps;
pub mod messages;
pub mod metrics;
pub mod people;
pub mod place;
pub mod projections;
pub mod sagas;
pub mod session;
pub mod space;
pub mod transfer;
pub mod typescript;
pub mod wire;
