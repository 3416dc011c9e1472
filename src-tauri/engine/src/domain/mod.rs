//! The business rules: pure functions over facts. No IO, no clock, no SQL, no `async`.

pub mod booking;
pub mod customer;
pub mod dispute;
pub mod event;
pub mod ids;
pub mod money;
pub mod slot;
pub mod upcasters;
