//! The engine of Bizing Desk: everything that is not a window. See docs/ARCHITECTURE.md for the map.

pub mod app;
pub mod domain;
pub mod projection;
pub mod runtime;
pub mod store;
