//! One timeline of a booking: its events, the tries of its saga that left none, the tries at its messages, and what
//! comes next. Pure: rows in, items out.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::saga::{Attempt, Saga};
use crate::app::place::moment;
use crate::app::wire::{AppError, TimelineItem, TimelineKind};

#[derive(Debug, Clone, sqlx::FromRow)]
pub struct EventRow {
    pub position: i64,
    pub event_id: Uuid,
    pub event_name: String,
    pub schema_version: i16,
    pub occurred_at: DateTime<Utc>,
    pub actor: String,
    pub on_behalf_of: Option<String>,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub data: Value,
}

/// A message that is owed, with its tries.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DeliveryRow {
    pub delivery_id: Uuid,
    pub kind: String,
    pub template: String,
    pub event_id: Uuid,
    pub correlation_id: Uuid,
    pub state: String,
    pub attempt: i32,
    pub next_at: DateTime<Utc>,
    pub problem: Option<String>,
    #[sqlx(json)]
    pub attempts: Vec<DeliveryAttempt>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DeliveryAttempt {
    pub no: i32,
    pub worker_id: Option<Uuid>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub result: Option<String>,
    pub error: Option<String>,
    pub response: Option<String>,
}

/// Newest last.
pub fn timeline(
    events: &[EventRow],
    saga: Option<&Saga>,
    deliveries: &[DeliveryRow],
    zone: &str,
    now: DateTime<Utc>,
) -> Result<Vec<TimelineItem>, AppError> {
    let here: HashSet<Uuid> = events.iter().map(|e| e.event_id).collect();
    let mut items = Vec::new();
    for e in events {
        items.push(event(e, &here, zone)?);
    }
    if let Some(saga) = saga {
        for a in saga.attempts.iter().filter(|a| left_no_event(a)) {
            items.push(saga_attempt(saga, a, zone)?);
        }
        items.extend(saga_next(saga, zone, now)?);
    }
    for d in deliveries {
        let cause = here.contains(&d.event_id).then(|| d.event_id.to_string());
        for a in d.attempts.iter().filter(|a| tells_more_than_its_event(a)) {
            items.push(delivery_attempt(d, a, cause.clone(), zone)?);
        }
        if d.state == "scheduled" {
            items.push(TimelineItem {
                at: moment(d.next_at, zone)?,
                data: json!({ "attempt": d.attempt + 1, "template": d.template, "delivery_id": d.delivery_id }),
                correlation_id: Some(d.correlation_id),
                caused_by: cause,
                ..blank(
                    format!("planned:{}", d.delivery_id),
                    TimelineKind::Planned,
                    d.kind.clone(),
                    d.next_at,
                    zone,
                )?
            });
        }
    }
    // The sort keeps the order of the log among events of one instant, and what is planned behind what was.
    items.sort_by_key(|i| (i.kind == TimelineKind::Planned, i.at.utc));
    Ok(items)
}

fn blank(
    id: String,
    kind: TimelineKind,
    what: String,
    at: DateTime<Utc>,
    zone: &str,
) -> Result<TimelineItem, AppError> {
    Ok(TimelineItem {
        id,
        kind,
        at: moment(at, zone)?,
        what,
        schema_version: None,
        position: None,
        actor: None,
        on_behalf_of: None,
        correlation_id: None,
        caused_by: None,
        data: json!({}),
    })
}

fn event(e: &EventRow, here: &HashSet<Uuid>, zone: &str) -> Result<TimelineItem, AppError> {
    Ok(TimelineItem {
        schema_version: Some(e.schema_version.into()),
        position: Some(e.position),
        actor: Some(e.actor.clone()),
        on_behalf_of: e.on_behalf_of.clone(),
        correlation_id: Some(e.correlation_id),
        caused_by: e
            .causation_id
            .filter(|c| here.contains(c))
            .map(|c| c.to_string()),
        data: e.data.clone(),
        ..blank(
            e.event_id.to_string(),
            TimelineKind::Event,
            e.event_name.clone(),
            e.occurred_at,
            zone,
        )?
    })
}

/// What went well shows as its event.
fn left_no_event(a: &Attempt) -> bool {
    !matches!(
        a.result.as_deref(),
        Some("done" | "undone" | "not_needed" | "nothing_to_undo")
    ) || a.kind != "auto"
}

fn saga_attempt(saga: &Saga, a: &Attempt, zone: &str) -> Result<TimelineItem, AppError> {
    Ok(TimelineItem {
        actor: a.worker_id.map(worker),
        correlation_id: Some(saga.correlation_id),
        data: json!({
            "result": a.result, "error": a.message(), "error_class": a.error_class, "attempt": a.no, "kind": a.kind,
            "request_id": a.error.as_ref().and_then(|e| e["request_id"].as_str()),
            "duration_ms": duration_ms(a.started_at, a.ended_at),
        }),
        ..blank(
            format!("saga:{}:{}", saga.saga_id, a.no),
            TimelineKind::SagaAttempt,
            what(&a.step, a.undoing()),
            a.started_at,
            zone,
        )?
    })
}

/// The next try, when one is planned. A saga that looks around by itself every minute plans nothing a person awaits.
fn saga_next(
    saga: &Saga,
    zone: &str,
    now: DateTime<Utc>,
) -> Result<Option<TimelineItem>, AppError> {
    let Some(at) = saga.retry_at(now) else {
        return Ok(None);
    };
    let Some(step) = saga.step() else {
        return Ok(None);
    };
    Ok(Some(TimelineItem {
        correlation_id: Some(saga.correlation_id),
        data: json!({ "attempt": saga.attempt + 1, "error": saga.error_message, "error_class": saga.facts.error_class }),
        ..blank(
            format!("planned:{}", saga.saga_id),
            TimelineKind::Planned,
            what(step, saga.facts.undoing),
            at,
            zone,
        )?
    }))
}

/// A try that decided the message stands on the timeline as its event; one that found nothing to say is no news.
fn tells_more_than_its_event(a: &DeliveryAttempt) -> bool {
    !matches!(
        a.result.as_deref(),
        Some("accepted" | "refused" | "unclear" | "skipped")
    )
}

fn delivery_attempt(
    d: &DeliveryRow,
    a: &DeliveryAttempt,
    caused_by: Option<String>,
    zone: &str,
) -> Result<TimelineItem, AppError> {
    Ok(TimelineItem {
        actor: a.worker_id.map(worker),
        correlation_id: Some(d.correlation_id),
        caused_by,
        data: json!({
            "result": a.result, "error": a.error, "response": a.response, "attempt": a.no, "template": d.template,
            "delivery_id": d.delivery_id, "duration_ms": duration_ms(a.started_at, a.ended_at),
        }),
        ..blank(
            format!("delivery:{}:{}", d.delivery_id, a.no),
            TimelineKind::DeliveryAttempt,
            d.kind.clone(),
            a.started_at,
            zone,
        )?
    })
}

fn what(step: &str, undoing: bool) -> String {
    format!("{step}.{}", if undoing { "undo" } else { "forward" })
}

fn worker(id: Uuid) -> String {
    format!("worker {}", &id.to_string()[..8])
}

fn duration_ms(from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> Option<i64> {
    to.map(|to| (to - from).num_milliseconds())
}
