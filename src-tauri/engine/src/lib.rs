//! The engine of Bizing Desk: everything that is not a window. See docs/ARCHITECTURE.md for the map.

pub mod app;
pub mod connectors;
pub mod delivery;
pub mod domain;
pub mod projection;
pub mod queue;
pub mod runtime;
pub mod saga;
pub mod store;
pub mod webhook;
pub mod worker;
