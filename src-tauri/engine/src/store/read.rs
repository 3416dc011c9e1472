//! Reading streams and the log.

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::long_page;
use super::upcast::{self, Payload, Reader, Unreplayable};

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
    pub metadata: Payload,
    pub data: Payload,
    pub(super) reader: Result<Reader, Unreplayable>,
    pub(super) event: OnceLock<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("event {position} is {name} version {version}, which this program cannot read")]
    Unreplayable {
        position: i64,
        name: String,
        version: i16,
        #[source]
        source: Unreplayable,
    },
    #[error("event {position} is not what {name} version {version} should be")]
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
    /// Whether only its envelope was read.
    pub fn is_bare(&self) -> bool {
        self.data.text().is_empty()
    }

    /// The event in today's shape: decoded for the first that asks, and shared by all projections that read the page.
    pub fn event(&self) -> Result<&Event, ReadError> {
        if let Some(event) = self.event.get() {
            return Ok(event);
        }
        let event = self
            .reader()?
            .read(&self.data)
            .map_err(|source| ReadError::Unreadable {
                position: self.position,
                name: self.name.clone(),
                version: self.schema_version,
                source,
            })?;
        Ok(self.event.get_or_init(|| event))
    }

    /// How it is read, or why it cannot be.
    pub fn reader(&self) -> Result<Reader, ReadError> {
        self.reader.map_err(|source| ReadError::Unreplayable {
            position: self.position,
            name: self.name.clone(),
            version: self.schema_version,
            source,
        })
    }

    /// The person for whom a worker wrote it.
    pub fn on_behalf_of(&self) -> Option<String> {
        // Most events say nothing of it.
        if !self.metadata.text().contains("on_behalf_of") {
            return None;
        }
        Some(self.metadata.value()["on_behalf_of"].as_str()?.to_owned())
    }
}

/// Readers of the types that a page has shown so far: names are compared once per type, not per event.
#[derive(Default)]
struct Readers(Vec<(i32, Result<Reader, Unreplayable>)>);

impl Readers {
    fn of(&mut self, type_no: i32, name: &str, version: i16) -> Result<Reader, Unreplayable> {
        if let Some((_, reader)) = self.0.iter().find(|(no, _)| *no == type_no) {
            return *reader;
        }
        let reader = upcast::reader(name, version);
        self.0.push((type_no, reader));
        reader
    }
}

/// From rows with the columns that [`log`] selects, in its order: looking each up by its name would take as long as decoding it.
pub(super) fn all_recorded(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<Recorded>, ReadError> {
    let mut readers = Readers::default();
    Ok(rows
        .iter()
        .map(|row| recorded(row, &mut readers))
        .collect::<sqlx::Result<_>>()?)
}

fn recorded(row: &sqlx::postgres::PgRow, readers: &mut Readers) -> sqlx::Result<Recorded> {
    let name: String = row.try_get(4)?;
    let schema_version = row.try_get(5)?;
    let reader = readers.of(row.try_get(3)?, &name, schema_version);
    Ok(Recorded {
        stream: StreamId(row.try_get(0)?),
        position: row.try_get(1)?,
        version: row.try_get(2)?,
        name,
        schema_version,
        event_id: row.try_get(6)?,
        correlation_id: row.try_get(7)?,
        causation_id: row.try_get(8)?,
        occurred_at: row.try_get(9)?,
        recorded_at: row.try_get(10)?,
        actor: row.try_get(11)?,
        metadata: payload(row, 12)?,
        data: payload(row, 13)?,
        reader,
        event: OnceLock::new(),
    })
}

/// The text of a `jsonb` column, which is not parsed once more to see that it is JSON.
fn payload(row: &sqlx::postgres::PgRow, column: usize) -> sqlx::Result<Payload> {
    let raw = row.try_get_raw(column)?;
    let text = raw.as_str().map_err(|source| sqlx::Error::ColumnDecode {
        index: column.to_string(),
        source,
    })?;
    // Over the wire the format's number stands before it.
    Ok(text.strip_prefix('\u{1}').unwrap_or(text).into())
}

/// Events of a stream after `version`, in order.
pub async fn stream(
    conn: &mut PgConnection,
    stream: &StreamId,
    after_version: i64,
) -> Result<Vec<Recorded>, ReadError> {
    let rows = sqlx::query("select * from api.read_stream_v2($1, $2)")
        .bind(&stream.0)
        .bind(after_version)
        .fetch_all(conn)
        .await?;
    all_recorded(&rows)
}

/// A booking as its events tell it, and its stream's version.
pub async fn booking(conn: &mut PgConnection, id: BookingId) -> Result<(Booking, i64), ReadError> {
    booking_as_of(conn, id, AsOf::Latest).await
}

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    Latest,
    /// Of the stream; 0 is before its first event.
    Version(i64),
    /// Of the log.
    Position(i64),
    /// Recorded at or before it: what the desk knew then.
    Time(DateTime<Utc>),
}

impl AsOf {
    pub fn includes(self, event: &Recorded) -> bool {
        match self {
            AsOf::Latest => true,
            AsOf::Version(version) => event.version <= version,
            AsOf::Position(position) => event.position <= position,
            AsOf::Time(time) => event.recorded_at <= time,
        }
    }
}

/// A booking as it was, and its version then.
pub async fn booking_as_of(
    conn: &mut PgConnection,
    id: BookingId,
    at: AsOf,
) -> Result<(Booking, i64), ReadError> {
    let mut events = stream(conn, &id.into(), 0).await?;
    // From the first that was not there yet: a clock that was set back makes no hole in the past.
    let then = events.iter().position(|e| !at.includes(e));
    events.truncate(then.unwrap_or(events.len()));
    let version = events.last().map_or(0, |e| e.version);
    Ok((fold(&events)?, version))
}

/// What the events of one booking's stream make of it.
pub fn fold<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Result<Booking, ReadError> {
    let mut state = Booking::default();
    for recorded in events {
        state = booking::evolve(state, recorded.event()?);
    }
    Ok(state)
}

/// At most `limit` events of a stream: forward after a version, or backward from below it.
pub async fn stream_page(
    conn: &mut PgConnection,
    stream: &StreamId,
    way: StreamWay,
    limit: i64,
) -> Result<Vec<Recorded>, ReadError> {
    // The function is one query that is inlined no further; a stream is short, and its rows lie side by side.
    let rows = match way {
        StreamWay::After(version) => {
            sqlx::query("select * from api.read_stream_v2($1, $2) order by version limit $3")
                .bind(&stream.0)
                .bind(version)
        }
        StreamWay::Before(version) => {
            sqlx::query("select * from api.read_stream_v2($1, 0) where version < $2 order by version desc limit $3")
                .bind(&stream.0)
                .bind(version)
        }
    };
    all_recorded(&rows.bind(limit).fetch_all(conn).await?)
}

/// Which way a stream is read. The version itself is not part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamWay {
    After(i64),
    Before(i64),
}

/// Everything at or below it is decided. Must be read in a statement of its own, before the events: the proof
/// in docs/ARCHITECTURE.md needs the three steps apart.
pub async fn safe_position(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select api.safe_position()")
        .fetch_one(conn)
        .await
}

/// More than this are read by COPY.
const FEW: i64 = 500;

/// Events of all streams with `after < position <= upto`, in order. `upto` comes from [`safe_position`].
pub async fn log(
    conn: &mut PgConnection,
    after: i64,
    upto: i64,
    limit: i64,
) -> Result<Vec<Recorded>, ReadError> {
    if limit.min(upto - after) > FEW {
        return Ok(long_page::log(conn, after, upto, None, Reads::Whole, limit).await?);
    }
    let rows = sqlx::query(
        "select s.stream_id, e.position, e.version, e.type_no, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id,
                e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data
           from core.events e join core.streams s using (stream_no) join core.event_types t using (type_no)
          where e.position > $1 and e.position <= $2 order by e.position limit $3",
    )
    .bind(after)
    .bind(upto)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    all_recorded(&rows)
}

/// Which events of which streams, for whoever reads many of them in turn.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// The stream by number, and the version in it, after which to go on.
    pub from: i64,
    pub after_version: i64,
    pub before: i64,
    pub upto: i64,
    /// Only those that this rebuild names.
    pub only_of: Option<Uuid>,
}

/// Events stream by stream, each in its order, with the stream's number; of these types, or of all.
pub async fn streams(
    conn: &mut PgConnection,
    which: Streams,
    types: Option<&[&str]>,
    limit: i64,
) -> Result<Vec<(i64, Recorded)>, ReadError> {
    Ok(long_page::streams(conn, which, types, limit).await?)
}

/// How much of an event somebody looks at who follows the log.
#[derive(Debug, Clone, Copy)]
pub enum Reads<'a> {
    Whole,
    /// Not who wrote it and why (actor, metadata, cause), and of these types nothing that they say.
    Said {
        bare: &'a [&'a str],
    },
}

/// As [`log`], but of these types (`None`: of all), and no more of them than is looked at: whoever needs little reads the
/// rest of the log at the speed of the disk.
pub async fn log_of(
    conn: &mut PgConnection,
    after: i64,
    upto: i64,
    types: Option<&[&str]>,
    reads: Reads<'_>,
    limit: i64,
) -> Result<Vec<Recorded>, ReadError> {
    Ok(long_page::log(conn, after, upto, types, reads, limit).await?)
}
