//! Whether the customer came. Staff note it once the appointment has begun, and take it back where they were wrong; each is an
//! event of the booking, which customers' histories and the daily report count.

use chrono::Utc;

use super::timeline::EventRow;
use crate::app::desk::Desk;
use crate::app::error;
use crate::app::wire::{AppError, Code, NoShowSet, SetNoShow};
use crate::domain::booking::{Command, Refusal, decide};
use crate::domain::ids::{BookingId, CommandId, CorrelationId};
use crate::store::append::{Append, Context, Expected, append_in};
use crate::store::read;

pub async fn set(desk: &Desk, request: SetNoShow) -> Result<NoShowSet, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let id = BookingId(request.booking_id);
    let now = Utc::now();
    let mut tx = crate::store::begin(&desk.people).await?;
    let events = read::stream(&mut tx, &id.into(), 0)
        .await
        .map_err(error::internal)?;
    let Some(first) = events.first() else {
        return Err(AppError::new(Code::NotFound, "No such booking."));
    };
    let state = read::fold(&events).map_err(error::internal)?;
    let command = match request.no_show {
        true => Command::RecordNoShow,
        false => Command::WithdrawNoShow,
    };
    let decided = decide(&state, command, now).map_err(refused)?;
    // It is so already, whoever noted it.
    if !decided.is_empty() {
        let version = events.last().map_or(0, |e| e.version);
        let context = Context {
            correlation: CorrelationId(first.correlation_id),
            causation: Some(request.command_id),
            on_behalf_of: None,
        };
        let append = Append::new(id, Expected::Version(version), decided, now)
            .with_command(CommandId(request.command_id));
        append_in(&mut tx, &context, vec![append])
            .await
            .map_err(error::append)?;
    }
    tx.commit().await?;
    desk.bell.ring();
    Ok(NoShowSet {
        booking_id: request.booking_id,
        no_show: request.no_show,
    })
}

fn refused(refusal: Refusal) -> AppError {
    match refusal {
        Refusal::NotBegun(_) => AppError::new(
            Code::Refused,
            "The appointment has not begun: nobody can have failed to come yet.",
        )
        .hint("A customer who says so before is a cancellation."),
        _ => AppError::new(
            Code::Refused,
            "Only a confirmed booking can have been missed. Nothing was noted.",
        ),
    }
}

/// What the newest word of it says.
pub(super) fn noted(events: &[EventRow]) -> bool {
    let mut said = events.iter().rev().map(|e| e.event_name.as_str());
    said.find(|name| name.starts_with("NoShow")) == Some("NoShowRecorded")
}
