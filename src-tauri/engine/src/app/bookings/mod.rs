//! Bookings: the list, one page, making one, taking one back.

pub mod cancel;
pub mod create;
pub mod list;
pub mod page;
