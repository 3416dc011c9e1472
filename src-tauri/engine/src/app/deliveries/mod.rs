//! What left the desk: the log of deliveries, one with its tries, and sending again.

mod act;
pub(crate) mod bulk;
mod detail;
mod list;

pub use act::{cancel, redeliver};
pub use bulk::{change, preview, redeliveries, start};
pub use detail::get;
pub use list::list;

use super::desk::Desk;
use super::wire::*;

fn may_write(desk: &Desk) -> Result<(), AppError> {
    match &desk.read_only {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason.clone())),
        None => Ok(()),
    }
}

/// Why the person may not send again or cancel.
fn managers_only(desk: &Desk) -> Option<String> {
    desk.read_only.clone().or_else(|| {
        (desk.group < Group::Manager).then(|| "A manager sends again and cancels.".to_owned())
    })
}

fn unknown() -> AppError {
    AppError::new(Code::NotFound, "There is no such delivery here.")
}

/// Why one delivery is not sent again, from the database's word.
fn refusal(word: &str) -> String {
    match word {
        "leaves_once" => "A message to a customer leaves once: it could arrive twice.",
        "deleted" => "Its endpoint was deleted.",
        "sending" => "It is being sent at this moment.",
        "test" => "It was a test: send another one from the endpoint.",
        "not_a_webhook" => "It belongs to a booking's steps: decide there.",
        "delivered" => "It was delivered already.",
        "gave_up" => "It is over already: no more tries are made.",
        "cancelled" => "It was cancelled already.",
        "unclear" | "skipped" => "It is over already.",
        _ => "There is no such delivery any more.",
    }
    .to_owned()
}

fn rung(desk: &Desk) {
    desk.bell.ring();
    for topic in ["deliveries", "endpoints", "status"] {
        desk.hints.changed(topic);
    }
}
