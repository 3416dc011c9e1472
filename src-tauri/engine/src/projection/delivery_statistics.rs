//! What became of messages to customers: one row for each outcome that an event tells. Days and rates are views.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{Batch, local_day, table};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::Event;
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "delivery_statistics",
    version: 1,
    event_types: Some(&["BookingCreated", "NotificationSent", "NotificationFailed"]),
    reads: Reads::Said { bare: &[] },
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

table! {
    /// The place of a booking: a day is a day there.
    Place in "delivery_places" by (booking_id) {
        booking_id: Uuid,
        zone: String,
    }
}

table! {
    Outcome in "delivery_outcomes" by (position) {
        position: i64,
        delivery_id: Uuid,
        booking_id: Uuid,
        template: String,
        channel: String,
        outcome: String,
        attempts: i32,
        occurred_at: DateTime<Utc>,
        day: NaiveDate,
    }
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let batch = Batch::of(events)?;
    let mut created = vec![];
    let mut zones: HashMap<Uuid, String> = HashMap::new();
    for (id, _, event) in &batch.events {
        if let Event::BookingCreated(e) = event {
            zones.insert(*id, e.start.tzid.clone());
            created.push(Place {
                booking_id: *id,
                zone: e.start.tzid.clone(),
            });
        }
    }
    for place in Place::load(&mut *conn, &batch.begun).await? {
        zones.insert(place.booking_id, place.zone);
    }

    let mut outcomes = vec![];
    for (id, recorded, event) in &batch.events {
        let (delivery_id, template, channel, outcome, attempts) = match event {
            Event::NotificationSent(e) => {
                (e.delivery_id, &e.template, &e.channel, "sent", e.attempt)
            }
            Event::NotificationFailed(e) => {
                (e.delivery_id, &e.template, &e.channel, "failed", e.attempt)
            }
            _ => continue,
        };
        let zone = zones.get(id).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        outcomes.push(Outcome {
            position: recorded.position,
            delivery_id: delivery_id.0,
            booking_id: *id,
            template: template.clone(),
            channel: channel.clone(),
            outcome: outcome.to_owned(),
            attempts,
            occurred_at: recorded.occurred_at,
            day: local_day(recorded.occurred_at, zone)?,
        });
    }
    Place::write(&mut *conn, &created).await?;
    Outcome::write(conn, &outcomes).await?;
    Ok(())
}
