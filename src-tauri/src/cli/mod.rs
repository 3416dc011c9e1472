//! The commands that do one thing and end.

pub mod backup;
pub mod bench;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod migrate;
pub mod once;
pub mod people;
pub mod replay;
pub mod sagas;
pub mod sandbox;
pub mod transfer;
pub mod types;
pub mod upgrade;

use bizing_engine::app::wire::AppError;

use crate::Failed;

/// An error as the terminal shows it: what happened, then what to do.
pub fn failed(error: AppError) -> Failed {
    match error.hint {
        Some(hint) => Failed::Run(format!("{}\n{hint}", error.message)),
        None => Failed::Run(error.message),
    }
}
