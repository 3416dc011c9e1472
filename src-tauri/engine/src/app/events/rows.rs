//! A recorded event as a row, with what people call the thing it is about.

use std::collections::{BTreeSet, HashMap};

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::app::bookings::page::normal_reference;
use crate::app::place::{self, moment};
use crate::app::wire::{AppError, Code, EventRow};
use crate::domain::ids::StreamId;
use crate::store::read::Recorded;

/// What people call the streams of a page: a booking's reference, a customer's name.
pub struct Subjects(HashMap<StreamId, String>);

impl Subjects {
    pub async fn of<'a>(
        conn: &mut PgConnection,
        streams: impl IntoIterator<Item = &'a StreamId>,
    ) -> Result<Subjects, AppError> {
        let streams: BTreeSet<&StreamId> = streams.into_iter().collect();
        let ids = |category: &str| -> Vec<Uuid> {
            let of = streams
                .iter()
                .filter_map(|s| s.0.strip_prefix(category)?.parse().ok());
            of.collect()
        };
        let rows = sqlx::query(
            "select 'booking-' || booking_id, reference from read.bookings_v1 where booking_id = any($1)
             union all select 'customer-' || customer_id, name from read.customers_v1 where customer_id = any($2) and not erased",
        )
        .bind(ids("booking-"))
        .bind(ids("customer-"))
        .fetch_all(conn)
        .await?;
        let mut subjects = HashMap::new();
        for row in rows {
            subjects.insert(StreamId(row.try_get(0)?), row.try_get(1)?);
        }
        Ok(Subjects(subjects))
    }

    pub fn get(&self, stream: &StreamId) -> Option<String> {
        self.0.get(stream).cloned()
    }
}

pub fn event_row(e: &Recorded, subjects: &Subjects, zone: &str) -> Result<EventRow, AppError> {
    Ok(EventRow {
        position: e.position,
        event_id: e.event_id,
        name: e.name.clone(),
        schema_version: e.schema_version.into(),
        stream_id: e.stream.0.clone(),
        category: category(&e.stream).to_owned(),
        subject: subjects.get(&e.stream),
        version: e.version,
        correlation_id: e.correlation_id,
        causation_id: e.causation_id,
        occurred: moment(e.occurred_at, zone)?,
        recorded_at: e.recorded_at,
        actor: e.actor.clone(),
        on_behalf_of: e.on_behalf_of(),
    })
}

pub fn category(stream: &StreamId) -> &str {
    stream.0.split('-').next().unwrap_or_default()
}

/// The zone of the place; before there is one, UTC.
pub async fn zone(conn: &mut PgConnection) -> Result<String, AppError> {
    let place = place::find(conn).await?;
    Ok(place.map_or_else(|| "UTC".to_owned(), |p| p.zone))
}

/// A stream by its id, or a booking's by its reference as people type it.
pub async fn stream_named(
    conn: &mut PgConnection,
    text: &str,
    field: &str,
) -> Result<StreamId, AppError> {
    let text = text.trim();
    let lower = text.to_lowercase();
    let known = lower.split_once('-').is_some_and(|(category, id)| {
        category.chars().all(|c| c.is_ascii_lowercase()) && id.parse::<Uuid>().is_ok()
    });
    if known {
        return Ok(StreamId(lower));
    }
    let reference = normal_reference(text);
    let booking: Option<Uuid> =
        sqlx::query_scalar("select booking_id from read.bookings_v1 where reference = $1")
            .bind(&reference)
            .fetch_optional(conn)
            .await?;
    booking
        .map(|id| StreamId(format!("booking-{id}")))
        .ok_or_else(|| {
            AppError::new(Code::NotFound, format!("There is no stream `{text}` here."))
                .hint("Write a booking's reference, such as BK-7Q4M2K, or a stream's id, such as booking-0193….")
                .field(field)
        })
}
