//! Bookings: the list, one page, making one, taking one back.

pub mod cancel;
pub mod create;
mod cursor;
pub mod list;
pub(in crate::app) mod money;
pub mod no_show;
pub mod page;
pub(in crate::app) mod row;
pub(in crate::app) mod saga;
pub mod steps;
pub(in crate::app) mod timeline;
mod wanted;
