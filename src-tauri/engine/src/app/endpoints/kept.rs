//! How long deliveries are kept. Each change is a new version with its reason; the newest counts.

use sqlx::Row;

use super::{admins_only, may_write};
use crate::app::desk::Desk;
use crate::app::wire::*;

pub async fn delivery_retention(desk: &Desk, _: Empty) -> Result<DeliveryRetention, AppError> {
    let mut conn = desk.people.acquire().await?;
    let row = sqlx::query("select * from read.delivery_retention_v1 order by version desc limit 1")
        .fetch_one(&mut *conn)
        .await?;
    let version: i32 = row.try_get("version")?;
    let by_person = version > 0;
    let changed_by: String = row.try_get("changed_by")?;
    Ok(DeliveryRetention {
        version,
        deliveries_days: u32::try_from(row.try_get::<i32, _>("deliveries_days")?).unwrap_or(0),
        changed_by: by_person.then_some(changed_by),
        changed_at: row.try_get("changed_at")?,
        reason: row.try_get("reason")?,
        refused: admins_only(desk),
    })
}

pub async fn put_delivery_retention(
    desk: &Desk,
    request: PutDeliveryRetention,
) -> Result<DeliveryRetention, AppError> {
    may_write(desk)?;
    let told: String = sqlx::query_scalar("select api.put_delivery_retention($1, $2, $3)")
        .bind(request.version)
        .bind(i32::try_from(request.deliveries_days).unwrap_or(i32::MAX))
        .bind(&request.reason)
        .fetch_one(&desk.people)
        .await?;
    match told.as_str() {
        "done" => {}
        "days" => {
            return Err(AppError::invalid(
                "deliveries_days",
                "Between 90 and 3650 days: for 90 their tries are kept.",
            ));
        }
        "reason" => {
            return Err(AppError::invalid(
                "reason",
                "Say why, in ten letters or more.",
            ));
        }
        _ => {
            return Err(AppError::new(
                Code::Conflict,
                "Somebody else changed this while you looked. Nothing was changed by you.",
            )
            .hint("Look at it as it is now, then decide again."));
        }
    }
    desk.hints.changed("endpoints");
    delivery_retention(desk, Empty {}).await
}
