//! The log as a file: out of one desk and into another, or back into the same one after a disaster.
//!
//! Promises: a file is read to its end and found whole before anything is written; what is imported is the log as it was,
//! byte for byte; an import that was cut off goes on where it stopped; nothing is sent to anybody and no saga starts.
//! What is no part of a log (catalogue, claims, sagas, messages, keys of personal data) is no part of a file.

mod export;
pub mod format;
mod import;
mod reader;

use super::error::database;
use super::wire::{AppError, Code};

pub use export::{Exported, export};
pub use import::{BATCH_EVENTS, Imported, dry_run, import, verify};

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("the log ends at position {upto}: there is nothing after {from}")]
    From { from: i64, upto: i64 },
    #[error("line {line}: {rule}")]
    Refused { line: u64, rule: String },
    #[error("lines {from} to {to}: the database refused one of these events: {why}")]
    Batch { from: u64, to: u64, why: String },
    #[error("the file cannot be read")]
    Read(#[source] std::io::Error),
    #[error("the file cannot be written")]
    Write(#[source] std::io::Error),
    #[error("the database did not answer as it should")]
    Database(#[from] sqlx::Error),
}

impl From<TransferError> for AppError {
    fn from(error: TransferError) -> AppError {
        let invalid = |message: String| AppError::invalid("file", message);
        match error {
            TransferError::From { .. } => AppError::invalid("from", format!("{error}."))
                .hint("Name the position of the last event that is exported already."),
            TransferError::Refused { .. } | TransferError::Batch { .. } => {
                invalid(format!("{error}."))
            }
            TransferError::Read(ref why) => invalid(format!("The file cannot be read: {why}.")),
            TransferError::Write(ref why) => AppError::new(
                Code::Invalid,
                format!("The file cannot be written: {why}."),
            )
            .field("file")
            .hint("Make room or choose another place. What was written so far is no whole export."),
            TransferError::Database(error) => database(error),
        }
    }
}
