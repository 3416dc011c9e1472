//! What a receiver gets. Made from the stored event at every try, and the same bytes each time: an event never changes.
//!
//! Personal data does not leave: what is sealed in an event is the word `"sealed"` here, before and after an erasure.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::event::EventType;

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct Stored<'a> {
    pub event_id: Uuid,
    pub name: &'a str,
    pub schema_version: i16,
    pub stream: &'a str,
    pub stream_version: i64,
    pub position: i64,
    pub occurred_at: DateTime<Utc>,
    pub correlation_id: Uuid,
    /// JSON as the database writes it.
    pub data: &'a str,
}

/// The same for every try and every replay: a receiver that has it already answers 2xx and does nothing.
pub fn message_id(event_id: Uuid, test: bool) -> String {
    let id = event_id.simple();
    if test {
        format!("msg_test_{id}")
    } else {
        format!("msg_{id}")
    }
}

/// Format 1. A later format gets a number of its own; what is owed in an older one is sent in that.
pub fn render(event: &Stored<'_>) -> String {
    let covered;
    let data = if event.data.contains("\"cipher\"") {
        covered = cover(event.data);
        covered.as_str()
    } else {
        event.data
    };
    let mut out = String::with_capacity(data.len() + 320);
    // Names of types and streams hold nothing that JSON would escape.
    let _ = write!(
        out,
        "{{\"id\":\"{}\",\"type\":\"{}\",\"timestamp\":\"{}\",\"schema_version\":{},\"stream\":\"{}\",\"stream_version\":{},\"position\":{},\"correlation_id\":\"{}\",\"data\":{data}}}",
        event.event_id,
        event.name,
        event
            .occurred_at
            .to_rfc3339_opts(SecondsFormat::Micros, true),
        event.schema_version,
        event.stream,
        event.stream_version,
        event.position,
        event.correlation_id,
    );
    out
}

fn cover(data: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(data) else {
        // The database holds JSON only; should it not, nothing leaves.
        return "null".to_owned();
    };
    cover_within(&mut value);
    value.to_string()
}

fn cover_within(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("cipher") && fields.contains_key("text") {
                *value = json!("sealed");
            } else {
                fields.values_mut().for_each(cover_within);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(cover_within),
        _ => {}
    }
}

/// The data of a type's example, in its newest version.
pub fn example(kind: &EventType) -> Option<Value> {
    let shape = kind.shape(kind.current())?;
    let mut example: Value = serde_json::from_str(shape.example).ok()?;
    Some(example["data"].take())
}

/// As a test sends it: no event is behind it, so its ids are the delivery's.
pub fn render_example(name: &str, delivery_id: Uuid, at: DateTime<Utc>) -> Option<String> {
    let kind = EventType::named(name)?;
    Some(render(&Stored {
        event_id: delivery_id,
        name: kind.name,
        schema_version: kind.current(),
        stream: "booking-00000000-0000-4000-8000-000000000000",
        stream_version: 1,
        position: 0,
        occurred_at: at,
        correlation_id: delivery_id,
        data: &example(kind)?.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::TYPES;

    #[test]
    fn every_type_has_an_example_that_is_json_and_gives_no_sealed_field_away() {
        for kind in TYPES {
            let body = render_example(kind.name, Uuid::nil(), DateTime::UNIX_EPOCH).unwrap();
            let read: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(read["type"], kind.name);
            assert!(!body.contains("cipher"), "{body}");
        }
        let body = render_example("CustomerRegistered", Uuid::nil(), DateTime::UNIX_EPOCH);
        assert!(body.unwrap().contains(r#""personal":"sealed""#));
    }

    #[test]
    fn the_bytes_of_a_body_are_those_of_every_release() {
        let stored = Stored {
            event_id: Uuid::from_u128(1),
            name: "BookingConfirmed",
            schema_version: 1,
            stream: "booking-00000000-0000-0000-0000-000000000002",
            stream_version: 5,
            position: 77,
            occurred_at: DateTime::from_timestamp_micros(1_795_520_515_000_001).unwrap(),
            correlation_id: Uuid::from_u128(3),
            data: r#"{"sequence": 0, "note": "Ç"}"#,
        };
        assert_eq!(
            render(&stored),
            r#"{"id":"00000000-0000-0000-0000-000000000001","type":"BookingConfirmed","timestamp":"2026-11-24T11:41:55.000001Z","schema_version":1,"stream":"booking-00000000-0000-0000-0000-000000000002","stream_version":5,"position":77,"correlation_id":"00000000-0000-0000-0000-000000000003","data":{"sequence": 0, "note": "Ç"}}"#
        );
    }
}
