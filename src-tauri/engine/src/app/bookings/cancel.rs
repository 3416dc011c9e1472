//! Taking back a booking whose saga still runs: the saga stops and undoes what it did, in reverse.

use sqlx::Row;
use uuid::Uuid;

use crate::app::desk::Desk;
use crate::app::error;
use crate::app::wire::{AppError, CancelAsked, CancelBooking, Code};
use crate::domain::ids::BookingId;
use crate::store::read;

const SHORTEST_REASON: usize = 10;
const LONGEST_REASON: usize = 1000;

pub async fn cancel(desk: &Desk, request: CancelBooking) -> Result<CancelAsked, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let reason = request.reason.trim();
    let why = match reason.chars().count() {
        0..SHORTEST_REASON => format!("in at least {SHORTEST_REASON} signs"),
        SHORTEST_REASON..=LONGEST_REASON => String::new(),
        _ => format!("in at most {LONGEST_REASON} signs"),
    };
    if !why.is_empty() {
        return Err(AppError::invalid(
            "reason",
            format!("Say why {why}: it stands in the audit."),
        ));
    }
    let mut tx = crate::store::begin(&desk.people).await?;
    let newer = read::stream(
        &mut tx,
        &BookingId(request.booking_id).into(),
        request.expected_version,
    )
    .await
    .map_err(error::internal)?;
    // A message that went out meanwhile changes nothing about what was asked.
    if let Some(change) = newer.iter().find(|e| !e.name.starts_with("Notification")) {
        return Err(AppError::new(
            Code::Conflict,
            format!(
                "The booking changed while you looked: {}. Nothing was cancelled.",
                change.name
            ),
        )
        .hint("Look at what happened, then decide again."));
    }
    let saga = sqlx::query(
        "select saga_id from read.sagas_v1 where booking_id = $1 order by created_at desc limit 1",
    )
    .bind(request.booking_id)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| AppError::new(Code::NotFound, "No such booking."))?;
    let saga: Uuid = saga.try_get("saga_id")?;
    let answer: String = sqlx::query_scalar("select api.request_cancel($1, $2, $3)")
        .bind(request.command_id)
        .bind(saga)
        .bind(reason)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    desk.bell.ring();
    match answer.as_str() {
        "asked" | "undoing" => Ok(CancelAsked {
            booking_id: request.booking_id,
        }),
        other => Err(refused(other)),
    }
}

/// Why nothing was cancelled, and what to do instead.
fn refused(answer: &str) -> AppError {
    let (code, why, hint) = match answer {
        "reused" => (
            Code::CommandReused,
            "This form was sent before for another booking.",
            Some("Open the form again."),
        ),
        "not_found" => (Code::NotFound, "No such booking.", None),
        "parked" => (
            Code::Refused,
            "The booking stands still until a person decides about it.",
            Some(
                "Open its page under Sagas: \"Undo all\" takes it back, and shows first what it does to the money.",
            ),
        ),
        "given_up" => (
            Code::Refused,
            "The booking is cancelled already, under the terms of the policy.",
            None,
        ),
        "compensated" => (Code::Refused, "The booking is taken back already.", None),
        "resolved" => (
            Code::Refused,
            "A person has ended the booking by hand.",
            Some("Its page under Sagas says who, and with what evidence."),
        ),
        _ => (
            Code::Refused,
            "The booking is confirmed: it is given up under the terms of the policy.",
            Some("Open it again: the dialog then shows fee and refund."),
        ),
    };
    let said = match answer {
        "not_found" => why.to_owned(),
        _ => format!("{why} Nothing was cancelled."),
    };
    let error = AppError::new(code, said);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
