//! One delivery: once more, or not at all.

use uuid::Uuid;

use super::{may_write, refusal, rung, unknown};
use crate::app::desk::Desk;
use crate::app::wire::*;

/// What is over is sent again with the same message id, what is open is tried now: whatever its endpoint's state.
pub async fn redeliver(desk: &Desk, request: Redeliver) -> Result<DeliveryRef, AppError> {
    may_write(desk)?;
    let (made, refused): (Option<Uuid>, Option<String>) =
        sqlx::query_as("select made, refusal from api.redeliver($1, $2)")
            .bind(request.delivery_id)
            .bind(&request.reason)
            .fetch_one(&desk.people)
            .await?;
    match (made, refused.as_deref()) {
        (Some(delivery_id), _) => {
            rung(desk);
            Ok(DeliveryRef { delivery_id })
        }
        (None, Some("not_found") | None) => Err(unknown()),
        (None, Some(word)) => Err(AppError::new(
            Code::Refused,
            format!("It is not sent again. {}", refusal(word)),
        )),
    }
}

pub async fn cancel(desk: &Desk, request: CancelDelivery) -> Result<DeliveryRef, AppError> {
    may_write(desk)?;
    let refused: Option<String> = sqlx::query_scalar("select api.cancel_delivery($1, $2)")
        .bind(request.delivery_id)
        .bind(&request.reason)
        .fetch_one(&desk.people)
        .await?;
    match refused.as_deref() {
        None => {
            rung(desk);
            Ok(DeliveryRef {
                delivery_id: request.delivery_id,
            })
        }
        Some("not_found") => Err(unknown()),
        Some(word) => Err(AppError::new(
            Code::Refused,
            format!("It cannot be cancelled. {}", refusal(word)),
        )),
    }
}
