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
        "asked" | "undoing" => Ok(CancelAsked { booking_id: request.booking_id }),
        "reused" => Err(AppError::new(Code::CommandReused, "This form was sent before for another booking. Nothing was cancelled.").hint("Open the form again.")),
        "not_found" => Err(AppError::new(Code::NotFound, "No such booking.")),
        _ => Err(AppError::new(Code::Refused, "The booking is confirmed: it is given up under the terms of the policy. Nothing was cancelled.")
            .hint("Open it again: the dialog then shows fee and refund.")),
    }
}
