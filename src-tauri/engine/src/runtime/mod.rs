//! What every room may use but `domain`: ids, configuration, hints, background tasks.

pub mod bell;
pub mod clock;
pub mod computer;
pub mod config;
pub mod crash;
pub mod files;
pub mod hints;
pub mod ids;
pub mod metrics;
pub mod tasks;
