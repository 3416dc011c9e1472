//! Appending. One round trip to one function.
//!
//! Two doors: [`append_in`] within the caller's transaction, for use cases that also hold, move a saga or owe a
//! message; and [`super::committer`], which carries everybody's pure appends in one commit. Both end in `api.append`.

mod columns;
mod limits;
mod refusal;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

pub(super) use columns::{Columns, Wait};
pub use columns::{Plain, data_of};
pub use limits::{MAX_DATA_BYTES, MAX_EVENTS, MAX_REQUESTS};
pub(super) use limits::{check, payload};
pub(crate) use refusal::refusal;

use crate::domain::event::Event;
use crate::domain::ids::{CommandId, CorrelationId, EventId, StreamId};
use crate::runtime::ids;

/// What the writer believes about the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    Exists,
    /// 0: the stream must not exist yet.
    Version(i64),
}

/// Events for one stream, to be written whole or not at all.
#[derive(Debug, Clone)]
pub struct Append {
    pub stream: StreamId,
    pub expected: Expected,
    /// Makes the append idempotent for 90 days.
    pub command: Option<CommandId>,
    pub events: Vec<NewEvent>,
}

#[derive(Debug, Clone)]
pub struct NewEvent {
    pub id: EventId,
    pub event: Event,
    pub occurred_at: DateTime<Utc>,
}

/// What an append belongs to and came from.
#[derive(Debug, Clone)]
pub struct Context {
    pub correlation: CorrelationId,
    pub causation: Option<Uuid>,
    /// The person for whom a worker acts. Ignored by the database for anybody else.
    pub on_behalf_of: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The stream's version after the append.
    pub version: i64,
    pub first_position: Option<i64>,
    pub last_position: Option<i64>,
    /// The command had been carried out before; this is its first result.
    pub repeated: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(
        "stream {stream} is at version {actual}, not where the writer expected it ({expected:?})"
    )]
    Conflict {
        stream: String,
        expected: Expected,
        actual: i64,
    },
    #[error("command {command} was used before for other content, on stream {first}")]
    CommandReused { command: Uuid, first: String },
    /// What was to be appended breaks a rule of the store. Nothing was written.
    #[error("{field}: {rule}")]
    Invalid { field: String, rule: String },
    #[error("event {event} is in the log already")]
    DuplicateEvent { event: Uuid },
    #[error("this login may not write that event")]
    Forbidden(#[source] sqlx::Error),
    /// Somebody else kept the stream locked for longer than an append waits. Nothing was written.
    #[error("stream {stream} is held by another transaction")]
    Busy { stream: String },
    /// The process is about to end and takes no more appends. Nothing was written.
    #[error("the desk is closing and takes no more appends")]
    Closing,
    /// The connection was lost during the commit, and the database has not answered since. Sending the same command
    /// again is safe, and so is asking for the events by their ids.
    #[error("it is not known yet whether the append was committed: the database stopped answering")]
    Unknown(#[source] sqlx::Error),
    #[error("the append did not reach the database, or its answer did not come back")]
    Database(#[from] sqlx::Error),
}

impl Append {
    pub fn new(
        stream: impl Into<StreamId>,
        expected: Expected,
        events: Vec<Event>,
        now: DateTime<Utc>,
    ) -> Append {
        let events = events
            .into_iter()
            .map(|event| NewEvent {
                id: EventId(ids::v7()),
                event,
                occurred_at: now,
            })
            .collect();
        Append {
            stream: stream.into(),
            expected,
            command: None,
            events,
        }
    }

    pub fn with_command(mut self, command: CommandId) -> Append {
        self.command = Some(command);
        self
    }
}

/// Appends to every stream named, or fails as a whole: on an error the caller rolls back.
pub async fn append_in(
    conn: &mut PgConnection,
    context: &Context,
    mut appends: Vec<Append>,
) -> Result<Vec<Appended>, AppendError> {
    appends.retain(|a| !a.events.is_empty());
    if appends.is_empty() {
        return Ok(vec![]);
    }
    // Everybody locks streams in one order.
    appends.sort_by(|a, b| a.stream.cmp(&b.stream));

    limits::check(&appends)?;
    let mut columns = Columns::default();
    for append in &appends {
        columns.push(append, context, &limits::payload(append)?);
    }
    let rows = columns.send(conn, Wait::Yes).await.map_err(refusal)?;
    appends
        .iter()
        .zip(rows)
        .map(|(append, row)| verdict(append, &row))
        .collect()
}

/// The events of one append, checked, for a function of the database that appends among other things.
pub(crate) fn plain(append: &Append, context: &Context) -> Result<Plain, AppendError> {
    Ok(Plain::of(append, context, limits::payload(append)?))
}

pub(super) fn verdict(
    append: &Append,
    row: &sqlx::postgres::PgRow,
) -> Result<Appended, AppendError> {
    let version: Option<i64> = row.try_get("version")?;
    match row.try_get::<&str, _>("status")? {
        status @ ("appended" | "repeated") => Ok(Appended {
            version: version.unwrap_or(0),
            first_position: row.try_get("first_position")?,
            last_position: row.try_get("last_position")?,
            repeated: status == "repeated",
        }),
        "reused" => Err(AppendError::CommandReused {
            command: append.command.map(|c| c.0).unwrap_or_default(),
            first: row
                .try_get::<Option<String>, _>("detail")?
                .unwrap_or_default(),
        }),
        "busy" => Err(AppendError::Busy {
            stream: append.stream.0.clone(),
        }),
        _ => Err(AppendError::Conflict {
            stream: append.stream.0.clone(),
            expected: append.expected,
            actual: version.unwrap_or(0),
        }),
    }
}
