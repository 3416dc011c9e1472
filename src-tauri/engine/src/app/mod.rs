//! One function per use case: what the window, HTTP and the command line all call.

pub mod bookings;
pub mod catalogue;
pub mod customers;
pub mod desk;
pub mod dispatch;
pub mod error;
pub mod host;
pub mod messages;
pub mod session;
pub mod typescript;
pub mod wire;
