//! Appending. One round trip to one function, in the caller's transaction.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

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
    #[error("this login may not write that event")]
    Forbidden(#[source] sqlx::Error),
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

    let mut columns = Columns::default();
    for (index, append) in appends.iter().enumerate() {
        columns.push(index as i32 + 1, append, context);
    }
    let rows = columns.send(conn).await.map_err(|e| match &e {
        sqlx::Error::Database(d) if d.code().as_deref() == Some("42501") => {
            AppendError::Forbidden(e)
        }
        _ => AppendError::Database(e),
    })?;

    appends
        .iter()
        .zip(rows)
        .map(|(append, row)| verdict(append, &row))
        .collect()
}

fn verdict(append: &Append, row: &sqlx::postgres::PgRow) -> Result<Appended, AppendError> {
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
        _ => Err(AppendError::Conflict {
            stream: append.stream.0.clone(),
            expected: append.expected,
            actual: version.unwrap_or(0),
        }),
    }
}

/// The function takes columns: requests (r_) and events (e_), each event naming its request.
#[derive(Default)]
struct Columns {
    r_stream: Vec<String>,
    r_expected: Vec<Option<i64>>,
    r_command: Vec<Option<Uuid>>,
    r_content: Vec<Option<Vec<u8>>>,
    e_req: Vec<i32>,
    e_id: Vec<Uuid>,
    e_name: Vec<&'static str>,
    e_schema: Vec<i16>,
    e_occurred: Vec<DateTime<Utc>>,
    e_correlation: Vec<Uuid>,
    e_causation: Vec<Option<Uuid>>,
    e_metadata: Vec<Value>,
    e_data: Vec<Value>,
}

impl Columns {
    fn push(&mut self, request: i32, append: &Append, context: &Context) {
        self.r_stream.push(append.stream.0.clone());
        self.r_expected.push(match append.expected {
            Expected::Any => None,
            Expected::Exists => Some(-1),
            Expected::Version(n) => Some(n),
        });
        self.r_command.push(append.command.map(|c| c.0));
        self.r_content
            .push(append.command.map(|_| content_hash(append)));
        let mut metadata = json!({ "app_version": env!("CARGO_PKG_VERSION") });
        if let Some(person) = &context.on_behalf_of {
            metadata["on_behalf_of"] = json!(person);
        }
        for new in &append.events {
            self.e_req.push(request);
            self.e_id.push(new.id.0);
            self.e_name.push(new.event.name());
            self.e_schema.push(new.event.schema_version());
            self.e_occurred.push(new.occurred_at);
            self.e_correlation.push(context.correlation.0);
            self.e_causation.push(context.causation);
            self.e_metadata.push(metadata.clone());
            self.e_data.push(data_of(&new.event));
        }
    }

    async fn send(self, conn: &mut PgConnection) -> sqlx::Result<Vec<sqlx::postgres::PgRow>> {
        sqlx::query("select status, version, first_position, last_position, detail from api.append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) order by req")
            .bind(self.r_stream)
            .bind(self.r_expected)
            .bind(self.r_command)
            .bind(self.r_content)
            .bind(self.e_req)
            .bind(self.e_id)
            .bind(self.e_name)
            .bind(self.e_schema)
            .bind(self.e_occurred)
            .bind(self.e_correlation)
            .bind(self.e_causation)
            .bind(self.e_metadata)
            .bind(self.e_data)
            .fetch_all(conn)
            .await
    }
}

/// Payload without the tag that names the type.
pub fn data_of(event: &Event) -> Value {
    match serde_json::to_value(event) {
        Ok(Value::Object(mut whole)) => whole.remove("data").unwrap_or_else(|| json!({})),
        _ => unreachable!("an event is a tagged struct of plain data"),
    }
}

/// What was asked, without what differs between two sendings of the same command: ids and times.
fn content_hash(append: &Append) -> Vec<u8> {
    let mut hash = Sha256::new();
    for new in &append.events {
        hash.update(new.event.name());
        hash.update(data_of(&new.event).to_string());
    }
    hash.finalize().to_vec()
}
