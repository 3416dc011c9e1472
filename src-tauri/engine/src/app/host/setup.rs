//! What a new business starts with.

use chrono::Utc;
use serde_json::json;
use sqlx::PgPool;

use super::choice::Business;
use crate::app::wire::AppError;

/// Fixed ids: two processes that get here at once write the same rows.
const LOCATION: &str = "b1000000-0000-4000-8000-000000000001";
const STAFF: &str = "b1000000-0000-4000-8000-000000000002";
const SERVICE: &str = "b1000000-0000-4000-8000-000000000003";

/// An empty business gets just enough to book with, all of it to be edited: one person, usual hours, one service.
pub(super) async fn own_business(people: &PgPool, business: &Business) -> Result<(), AppError> {
    if has_location(people).await? {
        return Ok(());
    }
    let hours: Vec<_> = (1..=5)
        .map(|day| json!({ "resource_id": STAFF, "weekday": day, "opens": "09:00", "closes": "17:00" }))
        .collect();
    let catalogue = json!({
        "locations": [{ "location_id": LOCATION, "business_name": business.business_name, "name": "Main location",
                        "zone": business.zone, "currency": business.currency }],
        "resources": [{ "resource_id": STAFF, "location_id": LOCATION, "kind": "staff", "name": "You" }],
        "services": [{ "service_id": SERVICE, "name": "Appointment 60 min", "duration_min": 60, "price_minor": 0,
                       "currency": business.currency }],
        "service_resources": [{ "service_id": SERVICE, "resource_id": STAFF }],
        "working_hours": hours,
    });
    sqlx::query("select api.put_setting('default_location', $2), api.put_catalogue($1)")
        .bind(catalogue)
        .bind(json!(LOCATION))
        .execute(people)
        .await?;
    Ok(())
}

/// The demo business, made once. A seeding that was cut short goes on where it stopped.
pub(super) async fn demo(people: &PgPool, worker: &PgPool) -> Result<(), AppError> {
    let report = crate::app::demo::seed(people, worker, Utc::now()).await?;
    tracing::info!(
        bookings = report.bookings,
        customers = report.customers,
        seeded = report.seeded,
        "the demo business is there"
    );
    Ok(())
}

async fn has_location(people: &PgPool) -> Result<bool, AppError> {
    Ok(
        sqlx::query_scalar("select exists (select 1 from read.locations_v1)")
            .fetch_one(people)
            .await?,
    )
}
