//! The log, read: the backend of the Events page. Everything here reads through views and functions that any viewer
//! may use, and writes nothing. What is sealed is shown as sealed or erased, never opened and never as ciphertext.

mod causes;
mod copy;
mod detail;
mod graph;
mod lines;
mod list;
mod past;
mod rows;
mod sealed;

pub use causes::causes;
pub use copy::copy;
pub use detail::get;
pub use lines::lines;
pub(super) use list::total;
pub use list::{catalogue, list};
pub use past::state_as_of;
pub(super) use rows::zone;

use super::wire::{AppError, Code};
use crate::store::browse::BrowseError;
use crate::store::read::ReadError;

/// Each statement sees what is committed when it begins: the safe position must be older than the rows below it.
const READ_ONLY: &str = "begin isolation level read committed read only";

impl From<BrowseError> for AppError {
    fn from(error: BrowseError) -> AppError {
        match error {
            BrowseError::Path { path, why } => AppError::invalid(
                "filter.json_path",
                format!("`{path}` is not an SQL/JSON path: {why}."),
            )
            .hint("Write a condition such as $.price.amount_minor > 10000, or $.mode == \"link\"."),
            BrowseError::TooSlow(after) => AppError::new(
                Code::Invalid,
                format!(
                    "Looking through the log took longer than {} seconds and was stopped.",
                    after.as_secs()
                ),
            )
            .hint("Say more: a type, a stream, a conversation or a shorter time is found by an index.")
            .field("filter"),
            BrowseError::Read(error) => unreadable(error),
            BrowseError::Database(error) => error.into(),
        }
    }
}

/// An event that this program cannot read, where a state has to be told from it.
fn unreadable(error: ReadError) -> AppError {
    match error {
        ReadError::Database(error) => error.into(),
        ReadError::Unreplayable { ref source, .. } => AppError::new(
            Code::SchemaNewer,
            format!("{}: {source}.", capital(&error.to_string())),
        )
        .hint(
            "Update the app on this computer. The event itself can be looked at as it is stored.",
        ),
        ReadError::Unreadable { ref source, .. } => AppError::new(
            Code::SchemaNewer,
            format!("{}: {source}.", capital(&error.to_string())),
        )
        .hint("Look at the event as it is stored, and tell whoever looks after this desk."),
    }
}

fn capital(text: &str) -> String {
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(signs).collect()
    })
}
