//! Reading streams and the log.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::domain::booking::{self, Booking};
use crate::domain::event::Event;
use crate::domain::ids::{BookingId, StreamId};

#[derive(Debug, Clone)]
pub struct Recorded {
    pub stream: StreamId,
    pub position: i64,
    pub version: i64,
    pub name: String,
    pub schema_version: i16,
    pub event_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub actor: String,
    pub metadata: Value,
    pub data: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("event {position} ({name} version {version}) cannot be read by this program")]
    Unreadable {
        position: i64,
        name: String,
        version: i16,
        #[source]
        source: serde_json::Error,
    },
    #[error("the events could not be read")]
    Database(#[from] sqlx::Error),
}

impl Recorded {
    /// The event in today's shape. Upcasters of later schema versions belong here.
    pub fn event(&self) -> Result<Event, ReadError> {
        serde_json::from_value(json!({ "type": self.name, "data": self.data })).map_err(|source| {
            ReadError::Unreadable {
                position: self.position,
                name: self.name.clone(),
                version: self.schema_version,
                source,
            }
        })
    }

    pub fn on_behalf_of(&self) -> Option<&str> {
        self.metadata.get("on_behalf_of").and_then(Value::as_str)
    }
}

fn recorded(row: &sqlx::postgres::PgRow) -> sqlx::Result<Recorded> {
    Ok(Recorded {
        stream: StreamId(row.try_get("stream_id")?),
        position: row.try_get("position")?,
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        schema_version: row.try_get("schema_version")?,
        event_id: row.try_get("event_id")?,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: row.try_get("causation_id")?,
        occurred_at: row.try_get("occurred_at")?,
        recorded_at: row.try_get("recorded_at")?,
        actor: row.try_get("actor")?,
        metadata: row.try_get("metadata")?,
        data: row.try_get("data")?,
    })
}

/// Events of a stream after `version`, in order.
pub async fn stream(
    conn: &mut PgConnection,
    stream: &StreamId,
    after_version: i64,
) -> Result<Vec<Recorded>, ReadError> {
    let rows = sqlx::query("select * from api.read_stream($1, $2)")
        .bind(&stream.0)
        .bind(after_version)
        .fetch_all(conn)
        .await?;
    Ok(rows.iter().map(recorded).collect::<sqlx::Result<_>>()?)
}

/// A booking as its events tell it, and its stream's version.
pub async fn booking(conn: &mut PgConnection, id: BookingId) -> Result<(Booking, i64), ReadError> {
    let events = stream(conn, &id.into(), 0).await?;
    let version = events.last().map_or(0, |e| e.version);
    let mut state = Booking::default();
    for recorded in &events {
        state = booking::evolve(state, &recorded.event()?);
    }
    Ok((state, version))
}

/// Everything at or below it is decided. Must be read in a statement of its own, before the events: the proof
/// in docs/ARCHITECTURE.md needs the three steps apart.
pub async fn safe_position(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select api.safe_position()")
        .fetch_one(conn)
        .await
}

/// Events of all streams with `after < position <= upto`, in order. `upto` comes from [`safe_position`].
pub async fn log(
    conn: &mut PgConnection,
    after: i64,
    upto: i64,
    limit: i64,
) -> Result<Vec<Recorded>, ReadError> {
    let rows = sqlx::query(
        "select s.stream_id, e.position, e.version, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id,
                e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data
           from core.events e join core.streams s using (stream_no) join core.event_types t using (type_no)
          where e.position > $1 and e.position <= $2 order by e.position limit $3",
    )
    .bind(after)
    .bind(upto)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(rows.iter().map(recorded).collect::<sqlx::Result<_>>()?)
}
