//! Bookings: the list, one page, making one, taking one back.

pub mod cancel;
pub mod create;
mod cursor;
pub mod list;
mod money;
pub mod page;
mod row;
mod saga;
pub mod steps;
mod timeline;
