//! The log, read: the backend of the Events page.

use super::desk::Desk;
use super::wire::*;

pub async fn list(_: &Desk, _: ListEvents) -> Result<EventPage, AppError> {
    Err(not_yet())
}

pub async fn get(_: &Desk, _: GetEvent) -> Result<EventDetail, AppError> {
    Err(not_yet())
}

pub async fn causes(_: &Desk, _: EventCauses) -> Result<CauseGraph, AppError> {
    Err(not_yet())
}

pub async fn state_as_of(_: &Desk, _: StateAsOf) -> Result<StreamState, AppError> {
    Err(not_yet())
}

pub async fn catalogue(_: &Desk, _: Empty) -> Result<EventCatalogue, AppError> {
    Err(not_yet())
}

pub async fn copy(_: &Desk, _: CopyEvents) -> Result<EventsCopied, AppError> {
    Err(not_yet())
}

fn not_yet() -> AppError {
    AppError::new(
        Code::Invalid,
        "The log cannot be shown by this version yet.",
    )
    .hint("A newer version of the app can.")
}
