//! One event: what is stored, what today's code reads in it, what each step of reading changed, its place in the chain.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::READ_ONLY;
use super::rows::{Subjects, event_row, zone};
use super::sealed::Erased;
use crate::app::bookings::page::delivery_state;
use crate::app::desk::Desk;
use crate::app::wire::*;
use crate::domain::event::EventType as Kind;
use crate::store::browse::{self, Filter, Way};
use crate::store::read::{self, Recorded};

pub async fn get(desk: &Desk, request: GetEvent) -> Result<EventDetail, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let zone = zone(&mut tx).await?;
    let safe = read::safe_position(&mut tx).await?;
    let at = Way::Before(request.position.saturating_add(1));
    let found = browse::page(&mut tx, &Filter::default(), at, safe, 1).await?;
    let event = found
        .into_iter()
        .next()
        .filter(|e| e.position == request.position)
        .ok_or_else(|| not_found(request.position, safe))?;

    let subjects = Subjects::of(&mut tx, [&event.stream]).await?;
    let erased = Erased::among(&mut tx, [&event]).await?;
    let payload = payload(&event, &erased);
    let metadata = event.metadata.value();
    let around = around(&mut tx, &event).await?;
    let schemas = schemas(&mut tx, &event.name).await?;
    let deliveries = deliveries(&mut tx, &event).await?;
    tx.commit().await?;
    Ok(EventDetail {
        row: event_row(&event, &subjects, &zone)?,
        stream_versions: around.stream_versions,
        cause: around.cause,
        app_version: metadata["app_version"].as_str().map(str::to_owned),
        metadata,
        stored: payload.stored,
        read: payload.read,
        read_version: payload.read_version,
        unreadable: payload.unreadable,
        upcast: payload.upcast,
        sealed: payload.sealed,
        schemas,
        hash: hex(&around.hash),
        hash_before: hex(&around.hash_before),
        hash_matches: around.hash_matches,
        deliveries,
    })
}

fn not_found(position: i64, safe: i64) -> AppError {
    let said = AppError::new(
        Code::NotFound,
        format!("There is no event at position {position}."),
    );
    if position > safe {
        said.hint(format!("The log ends at {safe}."))
    } else {
        said.hint("A refused append leaves a position without an event. Nothing is missing.")
    }
}

struct Payload {
    stored: Value,
    read: Option<Value>,
    read_version: i32,
    unreadable: Option<String>,
    upcast: Vec<UpcastStep>,
    sealed: Vec<SealedField>,
}

fn payload(event: &Recorded, erased: &Erased) -> Payload {
    let mut stored = event.data.value();
    let raw = stored.clone();
    let sealed = erased.cover(&mut stored);
    let mut upcast = vec![];
    let mut read = stored.clone();
    let mut read_version = i32::from(event.schema_version);
    if let Ok(reader) = event.reader() {
        read_version = reader.current().into();
        for mut step in reader.way(&raw) {
            erased.cover(&mut step.data);
            upcast.push(UpcastStep {
                from_version: step.from.into(),
                to_version: step.to.into(),
                changes: changes(&read, &step.data),
            });
            read = step.data;
        }
    }
    let unreadable = event.event().err().map(|error| {
        let cause =
            std::error::Error::source(&error).map_or_else(String::new, |c| format!(": {c}"));
        format!("{}{cause}.", super::capital(&error.to_string()))
    });
    Payload {
        stored,
        read: unreadable.is_none().then_some(read),
        read_version,
        unreadable,
        upcast,
        sealed,
    }
}

/// What differs, field by field, in the order of their names. A list is one thing.
fn changes(before: &Value, after: &Value) -> Vec<PayloadChange> {
    let mut found = vec![];
    compare(before, after, "", &mut found);
    found
}

fn compare(before: &Value, after: &Value, at: &str, found: &mut Vec<PayloadChange>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            found.push(PayloadChange {
                kind: PayloadChangeKind::Changed,
                path: at.to_owned(),
                before: Some(before.clone()),
                after: Some(after.clone()),
            });
        }
        return;
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = if at.is_empty() {
            name.clone()
        } else {
            format!("{at}.{name}")
        };
        match (old.get(name), new.get(name)) {
            (Some(a), Some(b)) => compare(a, b, &path, found),
            (a, b) => found.push(PayloadChange {
                kind: if a.is_none() {
                    PayloadChangeKind::Added
                } else {
                    PayloadChangeKind::Removed
                },
                path,
                before: a.cloned(),
                after: b.cloned(),
            }),
        }
    }
}

struct Around {
    stream_versions: i64,
    cause: Option<EventRef>,
    hash: Vec<u8>,
    hash_before: Vec<u8>,
    hash_matches: bool,
}

async fn around(conn: &mut PgConnection, event: &Recorded) -> Result<Around, AppError> {
    let row = sqlx::query(
        "select s.version, p.hash, p.hash_before, p.matches, c.position as cause_position, c.name as cause_name
           from read.streams_v1 s
           cross join api.event_proof($2) p
           left join (select e.position, t.name, e.event_id from read.log_v1 e join read.event_types_v1 t using (type_no)) c
             on c.event_id = $3
          where s.stream_id = $1",
    )
    .bind(&event.stream.0)
    .bind(event.position)
    .bind(event.causation_id)
    .fetch_one(conn)
    .await?;
    let cause: Option<i64> = row.try_get("cause_position")?;
    let cause = match cause {
        Some(position) => Some(EventRef {
            position,
            name: row.try_get("cause_name")?,
        }),
        None => None,
    };
    Ok(Around {
        stream_versions: row.try_get("version")?,
        cause,
        hash: row.try_get("hash")?,
        hash_before: row
            .try_get::<Option<_>, _>("hash_before")?
            .unwrap_or_default(),
        hash_matches: row.try_get::<Option<_>, _>("matches")?.unwrap_or(false),
    })
}

async fn schemas(conn: &mut PgConnection, name: &str) -> Result<Vec<EventSchema>, AppError> {
    let rows = sqlx::query(
        "select schema_version, json_schema, registered_at from read.event_types_v1 where name = $1 order by schema_version",
    )
    .bind(name)
    .fetch_all(conn)
    .await?;
    let written = Kind::named(name).map(Kind::current);
    rows.iter()
        .map(|row| {
            let version: i16 = row.try_get(0)?;
            Ok(EventSchema {
                version: version.into(),
                current: written == Some(version),
                registered_at: row.try_get(2)?,
                schema: row.try_get(1)?,
            })
        })
        .collect()
}

async fn deliveries(
    conn: &mut PgConnection,
    event: &Recorded,
) -> Result<Vec<EventDelivery>, AppError> {
    let rows = sqlx::query(
        "select delivery_id, kind, destination, template, state, attempt, next_at, finished_at from read.deliveries_v1
          where event_id = $1 order by created_at, delivery_id",
    )
    .bind(event.event_id)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let (state, attempt): (&str, i32) = (row.try_get("state")?, row.try_get("attempt")?);
            let state = delivery_state(state, attempt);
            let waits = matches!(state, DeliveryState::Scheduled | DeliveryState::Retrying);
            Ok(EventDelivery {
                delivery_id: row.try_get("delivery_id")?,
                kind: row.try_get("kind")?,
                destination: row.try_get("destination")?,
                template: row.try_get("template")?,
                state,
                attempts: u32::try_from(attempt).unwrap_or(0),
                next_try_at: if waits { row.try_get("next_at")? } else { None },
                finished_at: row.try_get("finished_at")?,
            })
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_named_by_their_path_and_what_stayed_is_not_named() {
        let before = json!({ "a": 1, "price": { "minor": 1, "currency": "EUR" }, "gone": true, "list": [1] });
        let after = json!({ "a": 1, "price": { "minor": 2, "currency": "EUR" }, "new": null, "list": [1, 2] });
        let said: Vec<_> = changes(&before, &after)
            .into_iter()
            .map(|c| (c.kind, c.path))
            .collect();
        assert_eq!(
            said,
            [
                (PayloadChangeKind::Removed, "gone".to_owned()),
                (PayloadChangeKind::Changed, "list".to_owned()),
                (PayloadChangeKind::Added, "new".to_owned()),
                (PayloadChangeKind::Changed, "price.minor".to_owned()),
            ]
        );
    }
}
