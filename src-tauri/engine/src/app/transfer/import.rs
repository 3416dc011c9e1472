//! Reads a file of the log back in: once to its end, to know that it is whole, and then batch by batch into the log.
//!
//! What the log holds already is compared event by event, so the same call goes on where an import was cut off.

use std::io::BufRead;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::TransferError;
use super::export::{bodies, place};
use super::format::{EventLine, Footer, Header};
use super::reader::Reader;
use crate::store::schema;

/// What goes into the log in one transaction.
pub const BATCH_EVENTS: usize = 2_000;
/// Whatever the number of events.
const BATCH_BYTES: usize = 8 << 20;
const PAYLOAD_MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Put into the log now; in a dry run, found fit for it.
    pub events: u64,
    /// The log held them already.
    pub there_before: u64,
    pub last_position: i64,
}

type File<'f> = &'f mut (dyn BufRead + Send);
type Progress<'p> = &'p mut (dyn FnMut(u64, u64) + Send);

/// Reads to the end: every digest, the order, every payload. Touches no database.
pub fn verify(file: File<'_>, progress: Progress<'_>) -> Result<(Header, Footer), TransferError> {
    let mut reader = Reader::open(file)?;
    while let Some((event, _)) = reader.event()? {
        let checked = readable(&event);
        let line = reader.line;
        checked.map_err(|rule| TransferError::Refused { line, rule })?;
        if reader.events % BATCH_EVENTS as u64 == 0 {
            progress(reader.events, reader.header.events);
        }
    }
    progress(reader.events, reader.header.events);
    let footer = reader.footer.take().ok_or(TransferError::Refused {
        line: reader.line,
        rule: "there is no footer".to_owned(),
    })?;
    Ok((reader.header, footer))
}

/// Whether its payload is what its type and version say, and this program can read it.
fn readable(event: &EventLine<'_>) -> Result<(), String> {
    let size = event.data.get().len();
    if size > PAYLOAD_MAX_BYTES {
        return Err(format!(
            "its payload has {size} bytes; at most {PAYLOAD_MAX_BYTES} are taken"
        ));
    }
    event.hash_bytes()?;
    // It says whether this program can read the event, and where it is wrong if not.
    schema::validate(&event.name, event.schema_version, &event.payload()?)
        .map_err(|invalid| invalid.to_string())
}

/// Puts into the log what it does not hold yet. Each `at_once` events are committed; cut off, the same call goes on. The file
/// is one that [`verify`] has read. `conn` is an admin's.
pub async fn import(
    conn: &mut PgConnection,
    file: File<'_>,
    at_once: usize,
    progress: Progress<'_>,
) -> Result<Imported, TransferError> {
    settle(conn).await?;
    run(conn, file, at_once, progress, true).await
}

/// The same to the end, and then takes it back: what would be refused is refused.
pub async fn dry_run(
    conn: &mut PgConnection,
    file: File<'_>,
    progress: Progress<'_>,
) -> Result<Imported, TransferError> {
    let mut tx = conn.begin().await?;
    let found = run(&mut tx, file, BATCH_EVENTS, progress, false).await;
    tx.rollback().await?;
    found
}

async fn run(
    conn: &mut PgConnection,
    file: File<'_>,
    at_once: usize,
    progress: Progress<'_>,
    settled: bool,
) -> Result<Imported, TransferError> {
    let mut reader = Reader::open(file)?;
    let log = place(conn, i64::MAX).await?;
    continues(conn, &reader.header, log.position).await?;
    let mut done = Imported {
        events: 0,
        there_before: 0,
        last_position: log.position,
    };
    let mut after = reader.header.after.position;
    let mut batch = Batch::read(&mut reader, log.position, at_once).await?;
    while let Some(first) = batch.lines.first().copied() {
        let next = if batch.held {
            compare(conn, after, &batch).await?;
            done.there_before += batch.lines.len() as u64;
            Batch::read(&mut reader, log.position, at_once).await?
        } else {
            if done.events == 0 && after != log.position {
                return Err(TransferError::Refused {
                    line: first,
                    rule: format!(
                        "the log has events up to position {} that the file does not have",
                        log.position
                    ),
                });
            }
            // The next batch is read while the database takes this one.
            let (taken, next) = tokio::join!(
                batch.send(conn, after),
                Batch::read(&mut reader, log.position, at_once)
            );
            taken?;
            if settled {
                settle(conn).await?;
            }
            done.events += batch.lines.len() as u64;
            next?
        };
        after = batch.position.last().copied().unwrap_or(after);
        done.last_position = done.last_position.max(after);
        progress(done.events + done.there_before, reader.header.events);
        batch = next;
    }
    Ok(done)
}

/// The file must begin where the log has an end or a past.
async fn continues(
    conn: &mut PgConnection,
    header: &Header,
    log_ends_at: i64,
) -> Result<(), TransferError> {
    let after = &header.after;
    let refused = |rule: String| Err(TransferError::Refused { line: 1, rule });
    if after.position > log_ends_at {
        return refused(format!(
            "the file begins after position {}, and the log ends at {log_ends_at}: import the file before it first",
            after.position
        ));
    }
    if after.position > 0 && place(conn, after.position).await? != *after {
        return refused(format!(
            "the file continues another log: at position {} stands another event",
            after.position
        ));
    }
    Ok(())
}

/// Lets the next append draw its position above what is there.
async fn settle(conn: &mut PgConnection) -> Result<(), TransferError> {
    sqlx::query("select api.import_settled()")
        .execute(conn)
        .await?;
    Ok(())
}

/// Events that the log holds already: they must be these very ones, with none between.
async fn compare(conn: &mut PgConnection, after: i64, batch: &Batch) -> Result<(), TransferError> {
    let upto = batch.position.last().copied().unwrap_or(after);
    let held = bodies(conn, after, upto, batch.lines.len() as i64 + 1).await?;
    for (i, (line, body)) in batch.lines.iter().zip(&batch.bodies).enumerate() {
        let same = held.get(i).is_some_and(|(_, there)| there == body);
        if !same {
            let at = held.get(i).map_or(upto, |(position, _)| *position);
            return Err(TransferError::Refused {
                line: *line,
                rule: format!(
                    "the log holds another event at position {at}: it is not the beginning of this file"
                ),
            });
        }
    }
    Ok(())
}

/// Columns of events that go in at once, or bodies of events that are compared.
#[derive(Default)]
struct Batch {
    held: bool,
    bodies: Vec<String>,
    lines: Vec<u64>,
    position: Vec<i64>,
    stream: Vec<String>,
    version: Vec<i64>,
    name: Vec<String>,
    schema: Vec<i16>,
    id: Vec<Uuid>,
    correlation: Vec<Uuid>,
    causation: Vec<Option<Uuid>>,
    occurred: Vec<DateTime<Utc>>,
    recorded: Vec<DateTime<Utc>>,
    actor: Vec<String>,
    metadata: Vec<String>,
    data: Vec<String>,
    hash: Vec<Vec<u8>>,
}

impl Batch {
    /// Empty at the end of the file. A batch lies on one side of the log's end.
    async fn read(
        reader: &mut Reader<'_>,
        log_ends_at: i64,
        at_once: usize,
    ) -> Result<Batch, TransferError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while batch.lines.len() < at_once && bytes < BATCH_BYTES {
            if batch.lines.len() % 64 == 63 {
                tokio::task::yield_now().await;
            }
            let line = reader.line + 1;
            let Some((event, body)) = reader.event()? else {
                break;
            };
            bytes += body.len();
            let held = event.position <= log_ends_at;
            if batch.held && !held {
                return Err(TransferError::Refused {
                    line,
                    rule: format!(
                        "the log has an event at position {log_ends_at} that the file does not have"
                    ),
                });
            }
            batch.held = held;
            batch.lines.push(line);
            batch.position.push(event.position);
            if batch.held {
                batch.bodies.push(body.to_owned());
                if event.position == log_ends_at {
                    break;
                }
            } else {
                batch
                    .push(&event)
                    .map_err(|rule| TransferError::Refused { line, rule })?;
            }
        }
        Ok(batch)
    }

    fn push(&mut self, event: &EventLine<'_>) -> Result<(), String> {
        self.stream.push(event.stream.clone().into_owned());
        self.version.push(event.version);
        self.name.push(event.name.clone().into_owned());
        self.schema.push(event.schema_version);
        self.id.push(event.event_id);
        self.correlation.push(event.correlation_id);
        self.causation.push(event.causation_id);
        self.occurred.push(event.occurred_at);
        self.recorded.push(event.recorded_at);
        self.actor.push(event.actor.clone().into_owned());
        self.metadata.push(event.metadata.get().to_owned());
        self.data.push(event.data.get().to_owned());
        self.hash.push(event.hash_bytes()?);
        Ok(())
    }

    async fn send(&self, conn: &mut PgConnection, after: i64) -> Result<(), TransferError> {
        let (from, to) = (
            self.lines.first().copied().unwrap_or_default(),
            self.lines.last().copied().unwrap_or_default(),
        );
        let broken: Option<(i32, String)> = sqlx::query_as(
            "select at, rule from api.import_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text[]::jsonb[], $14::text[]::jsonb[], $15)",
        )
        .bind(after)
        .bind(&self.position)
        .bind(&self.stream)
        .bind(&self.version)
        .bind(&self.name)
        .bind(&self.schema)
        .bind(&self.id)
        .bind(&self.correlation)
        .bind(&self.causation)
        .bind(&self.occurred)
        .bind(&self.recorded)
        .bind(&self.actor)
        .bind(&self.metadata)
        .bind(&self.data)
        .bind(&self.hash)
        .fetch_optional(conn)
        .await
        .map_err(|error| refused(error, from, to))?;
        match broken {
            None => Ok(()),
            Some((at, rule)) => Err(TransferError::Refused {
                line: self.lines.get(at as usize - 1).copied().unwrap_or(from),
                rule,
            }),
        }
    }
}

/// What a constraint or a data type says to a batch is about the file.
fn refused(error: sqlx::Error, from: u64, to: u64) -> TransferError {
    match error.as_database_error() {
        Some(d)
            if d.code()
                .is_some_and(|c| c.starts_with("22") || c.starts_with("23")) =>
        {
            TransferError::Batch {
                from,
                to,
                why: d.message().to_owned(),
            }
        }
        _ => TransferError::Database(error),
    }
}
