//! What `api.append` takes: columns of requests (r_) and of events (e_), each event naming its request.

use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Append, Context, Expected};
use crate::domain::event::Event;
use crate::runtime::metrics;

pub type Text = Json<Box<RawValue>>;

/// Whether a stream that somebody else holds is waited for or answered with `busy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Yes,
    No,
}

#[derive(Default)]
pub struct Columns {
    requests: i32,
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
    e_metadata: Vec<Text>,
    e_data: Vec<Text>,
}

impl Columns {
    /// `payload` is the data of the append's events, as `append::payload` made it.
    pub fn push(&mut self, append: &Append, context: &Context, payload: &[Box<RawValue>]) {
        self.requests += 1;
        self.r_stream.push(append.stream.0.clone());
        self.r_expected.push(match append.expected {
            Expected::Any => None,
            Expected::Exists => Some(-1),
            Expected::Version(n) => Some(n),
        });
        self.r_command.push(append.command.map(|c| c.0));
        self.r_content
            .push(append.command.map(|_| content_hash(append)));
        let metadata = metadata(context);
        for (new, data) in append.events.iter().zip(payload) {
            self.e_req.push(self.requests);
            self.e_id.push(new.id.0);
            self.e_name.push(new.event.name());
            self.e_schema.push(new.event.schema_version());
            self.e_occurred.push(new.occurred_at);
            self.e_correlation.push(context.correlation.0);
            self.e_causation.push(context.causation);
            self.e_metadata.push(Json(metadata.clone()));
            self.e_data.push(Json(data.clone()));
        }
    }

    /// A row a request, in their order: status, version, first_position, last_position, detail.
    pub async fn send(self, conn: &mut PgConnection, wait: Wait) -> sqlx::Result<Vec<PgRow>> {
        let (begun, events) = (Instant::now(), self.e_id.len());
        let answer = if self.is_one_event() {
            self.send_one(conn, wait).await
        } else if wait == Wait::No && self.is_one_event_each() {
            self.send_each(conn).await
        } else {
            self.send_many(conn, wait).await
        };
        metrics::APPENDS.took(begun.elapsed(), events);
        answer
    }

    /// What most appends are. It has a function of its own, because plain arguments are so much cheaper than columns of one.
    fn is_one_event(&self) -> bool {
        self.r_stream.len() == 1 && self.e_id.len() == 1 && self.r_command == [None]
    }

    /// What committers mostly gather, in the order of the streams' names: carried out in one pass instead of one by one.
    fn is_one_event_each(&self) -> bool {
        self.e_id.len() == self.r_stream.len()
            && self.e_req.iter().zip(1..).all(|(req, n)| *req == n)
            && self.r_command.iter().all(Option::is_none)
            && self.r_stream.is_sorted_by(|a, b| a < b)
    }

    async fn send_each(self, conn: &mut PgConnection) -> sqlx::Result<Vec<PgRow>> {
        sqlx::query("select status, version, first_position, last_position, detail from api.append_each($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)")
            .bind(self.r_stream)
            .bind(self.r_expected)
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

    async fn send_one(self, conn: &mut PgConnection, wait: Wait) -> sqlx::Result<Vec<PgRow>> {
        sqlx::query(
            "select status, version, position as first_position, position as last_position, null::text as detail
               from api.append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(the(self.r_stream))
        .bind(the(self.r_expected))
        .bind(the(self.e_id))
        .bind(the(self.e_name))
        .bind(the(self.e_schema))
        .bind(the(self.e_occurred))
        .bind(the(self.e_correlation))
        .bind(the(self.e_causation))
        .bind(the(self.e_metadata))
        .bind(the(self.e_data))
        .bind(wait == Wait::Yes)
        .fetch_all(conn)
        .await
    }

    async fn send_many(self, conn: &mut PgConnection, wait: Wait) -> sqlx::Result<Vec<PgRow>> {
        sqlx::query("select status, version, first_position, last_position, detail from api.append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)")
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
            .bind(wait == Wait::Yes)
            .fetch_all(conn)
            .await
    }
}

/// Events as arguments, for a function that appends among other things.
#[derive(Default)]
pub struct Plain {
    pub ids: Vec<Uuid>,
    pub names: Vec<&'static str>,
    pub schemas: Vec<i16>,
    /// The same for all.
    pub metadata: Option<Text>,
    pub data: Vec<Text>,
}

impl Plain {
    /// `payload` is the data of the append's events, as `append::payload` made it.
    pub fn of(append: &Append, context: &Context, payload: Vec<Box<RawValue>>) -> Plain {
        Plain {
            ids: append.events.iter().map(|e| e.id.0).collect(),
            names: append.events.iter().map(|e| e.event.name()).collect(),
            schemas: append
                .events
                .iter()
                .map(|e| e.event.schema_version())
                .collect(),
            metadata: Some(Json(metadata(context))),
            data: payload.into_iter().map(Json).collect(),
        }
    }

    pub fn extend(&mut self, more: Plain) {
        self.ids.extend(more.ids);
        self.names.extend(more.names);
        self.schemas.extend(more.schemas);
        self.metadata = more.metadata;
        self.data.extend(more.data);
    }
}

/// The element of a column of one.
fn the<T>(column: Vec<T>) -> Option<T> {
    column.into_iter().next()
}

fn metadata(context: &Context) -> Box<RawValue> {
    let mut metadata = json!({ "app_version": env!("CARGO_PKG_VERSION") });
    if let Some(person) = &context.on_behalf_of {
        metadata["on_behalf_of"] = json!(person);
    }
    to_raw_value(&metadata).expect("an object of texts is JSON")
}

/// Payload without the tag that names the type.
pub fn data_of(event: &Event) -> Value {
    serde_json::from_str(data_text(event).get()).expect("what was just written is JSON")
}

/// The same as text, which is what goes over the wire: no tree of values is built for it.
pub fn data_text(event: &Event) -> Box<RawValue> {
    let whole = serde_json::to_string(event).expect("an event is a struct of plain data");
    let text = whole
        .find("\"data\":")
        .and_then(|at| whole.get(at + 7..whole.len() - 1))
        .unwrap_or("{}");
    RawValue::from_string(text.to_owned()).expect("a part of JSON that is JSON")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{BookingConfirmed, BookingExpired, NotificationFailed};
    use crate::domain::ids::DeliveryId;

    #[test]
    fn data_stands_without_the_name_of_its_type_whatever_it_says() {
        let events = [
            Event::BookingConfirmed(BookingConfirmed {
                confirmed_at: DateTime::UNIX_EPOCH,
                sequence: 3,
            }),
            Event::BookingExpired(BookingExpired {
                expired_at: DateTime::UNIX_EPOCH,
            }),
            Event::NotificationFailed(NotificationFailed {
                delivery_id: DeliveryId(Uuid::nil()),
                template: "\"data\":{\"x\":1}}".to_owned(),
                channel: "e\\\"mail".to_owned(),
                attempt: 1,
                error: "ö\n".to_owned(),
            }),
        ];
        for event in events {
            let whole = serde_json::to_value(&event).unwrap();
            assert_eq!(data_of(&event), whole["data"]);
        }
    }
}
