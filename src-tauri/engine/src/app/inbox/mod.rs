//! What came in, as a person looks at it, and what they can do: have it processed again, and have the provider asked at once.

mod list;
mod many;
mod page;
mod secrets;

pub use list::list;
pub use many::{preview, start};
pub use page::get;
pub use secrets::{add_secret, end_secret, list_secrets};

use super::desk::Desk;
use super::wire::*;

const MOST_AT_ONCE: usize = 500;

pub async fn reprocess(desk: &Desk, request: Reprocess) -> Result<Reprocessed, AppError> {
    writable(desk)?;
    if !(1..=MOST_AT_ONCE).contains(&request.arrival_ids.len()) {
        return Err(AppError::invalid("arrival_ids", "Choose 1 to 500 of them."));
    }
    let reason = request.reason.trim();
    if reason.is_empty() || reason.chars().count() > 500 {
        return Err(AppError::invalid(
            "reason",
            "Say in 1 to 500 signs why it is processed again.",
        ));
    }
    let count: i32 = sqlx::query_scalar("select api.reprocess_inbox($1, $2)")
        .bind(&request.arrival_ids)
        .bind(reason)
        .fetch_one(&desk.people)
        .await?;
    if count == 0 {
        return Err(AppError::new(Code::Refused, "Nothing of that was taken in, so there is nothing to process again.")
            .hint("What was refused is not kept. If it is missing, ask Stripe now: its list of events brings it."));
    }
    told(desk);
    Ok(Reprocessed {
        count: count.unsigned_abs(),
    })
}

pub async fn poll_now(desk: &Desk, _: Empty) -> Result<Empty, AppError> {
    writable(desk)?;
    let asked: bool = sqlx::query_scalar("select api.ask_source('stripe')")
        .fetch_one(&desk.people)
        .await?;
    if !asked {
        return Err(AppError::new(Code::Refused, "No computer of this desk reads Stripe's list of events.")
            .hint("Start the desk on a computer that has Stripe's key, or `bizing-desk serve`, and try again."));
    }
    desk.bell.ring();
    Ok(Empty {})
}

fn writable(desk: &Desk) -> Result<(), AppError> {
    match &desk.read_only {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason.clone())),
        None => Ok(()),
    }
}

/// Why the person may not have events processed again.
fn managers_only(desk: &Desk) -> Option<String> {
    desk.read_only.clone().or_else(|| {
        (desk.group < Group::Manager)
            .then(|| "Managers and admins have events processed again.".to_owned())
    })
}

fn told(desk: &Desk) {
    desk.bell.ring();
    desk.hints.changed("inbox");
}
