//! What a receiver can get, and what a filter would let through.

use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;
use crate::delivery::webhook::body;
use crate::domain::event::TYPES;

const LAST: i32 = 20;

/// Each type with the schema of its newest version and an example as it would be sent.
pub async fn catalogue(_: &Desk, _: Empty) -> Result<Vec<HookEvent>, AppError> {
    let at = chrono::DateTime::UNIX_EPOCH;
    TYPES
        .iter()
        .filter_map(|kind| {
            let shape = kind.shape(kind.current())?;
            let example = body::render_example(kind.name, Uuid::nil(), at)?;
            Some((kind, shape, example))
        })
        .map(|(kind, shape, example)| {
            Ok(HookEvent {
                name: kind.name.to_owned(),
                version: u32::try_from(shape.version).unwrap_or(1),
                schema: serde_json::from_str(shape.json_schema).map_err(internal)?,
                example: serde_json::from_str(&example).map_err(internal)?,
            })
        })
        .collect()
}

pub async fn try_filter(desk: &Desk, request: TryFilter) -> Result<FilterTried, AppError> {
    if request.events.is_empty() {
        return Err(AppError::invalid(
            "events",
            "Name at least one type of event.",
        ));
    }
    let filter = request.filter.filter(|f| *f != Value::Null);
    let mut conn = desk.people.acquire().await?;
    let rows = sqlx::query("select * from api.try_filter($1, $2, $3)")
        .bind(&request.events)
        .bind(&filter)
        .bind(LAST)
        .fetch_all(&mut *conn)
        .await
        .map_err(unusable)?;
    let types_today: Vec<String> = TYPES
        .iter()
        .map(|t| t.name)
        .filter(|name| request.events.iter().any(|p| fits(p, name)))
        .map(str::to_owned)
        .collect();
    Ok(FilterTried {
        events: rows
            .iter()
            .map(|r| {
                Ok(TriedEvent {
                    position: r.try_get("position")?,
                    event_id: r.try_get("event_id")?,
                    name: r.try_get("name")?,
                    at: r.try_get("recorded_at")?,
                    matches: r.try_get("matches")?,
                })
            })
            .collect::<sqlx::Result<_>>()?,
        types_today,
    })
}

/// `BookingConfirmed`, `Payment*`, `*`
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn unusable(error: sqlx::Error) -> AppError {
    let wrong = error
        .as_database_error()
        .filter(|d| d.code().as_deref() == Some("22023"))
        .map(|d| d.message().to_owned());
    match wrong {
        Some(problem) => {
            AppError::invalid("filter", format!("That filter cannot be used: {problem}."))
        }
        None => error.into(),
    }
}
