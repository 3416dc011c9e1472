//! Events as JSON, to be pasted elsewhere. What is sealed stays sealed.

use serde_json::{Value, json};

use super::READ_ONLY;
use super::sealed::Erased;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;
use crate::store::browse::{self, Filter, Way};
use crate::store::read::{self, Recorded};

/// Events in one answer.
const MOST: i64 = 1_000;

pub async fn copy(desk: &Desk, request: CopyEvents) -> Result<EventsCopied, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let safe = read::safe_position(&mut tx).await?;
    let (filter, way, limit) = match request {
        CopyEvents::Event { position } => (
            Filter::default(),
            Way::Before(position.saturating_add(1)),
            1,
        ),
        CopyEvents::Correlation { correlation_id } => {
            let filter = Filter {
                correlation: Some(correlation_id),
                ..Filter::default()
            };
            (filter, Way::OLDEST, MOST)
        }
    };
    let mut events = browse::page(&mut tx, &filter, way, safe, limit).await?;
    let all = browse::count(&mut tx, &filter, safe).await?;
    events.truncate(limit as usize);
    if let CopyEvents::Event { position } = request {
        events.retain(|e| e.position == position);
    }
    let erased = Erased::among(&mut tx, &events).await?;
    tx.commit().await?;
    if events.is_empty() {
        return Err(AppError::new(Code::NotFound, "There is no such event."));
    }
    let mut objects: Vec<Value> = events.iter().map(|e| object(e, &erased)).collect();
    let count = objects.len();
    let json = match request {
        CopyEvents::Event { .. } => objects.remove(0),
        CopyEvents::Correlation { .. } => json!(objects),
    };
    let left_out = all.map_or(0, |all| all - count as i64);
    Ok(EventsCopied {
        json: serde_json::to_string_pretty(&json).map_err(internal)?,
        events: u32::try_from(count).unwrap_or(u32::MAX),
        left_out: u32::try_from(left_out).unwrap_or(0),
    })
}

pub(super) fn object(e: &Recorded, erased: &Erased) -> Value {
    let mut data = e.data.value();
    erased.cover(&mut data);
    json!({
        "position": e.position, "event_id": e.event_id, "stream": e.stream.0, "version": e.version, "type": e.name,
        "schema_version": e.schema_version, "correlation_id": e.correlation_id, "causation_id": e.causation_id,
        "occurred_at": e.occurred_at, "recorded_at": e.recorded_at, "actor": e.actor, "metadata": e.metadata.value(), "data": data,
    })
}
