//! What the daily report counts: one row a booking with the days on which things happened to it, in its place's zone,
//! and one row for each movement of money. The report itself is a view over the days.
//!
//! Opening hours are in no event. Utilisation is therefore computed when it is read (`read.utilisation_v1`), from these
//! rows and from the working hours as they stand then; the rows stay a function of the log.

use std::collections::BTreeSet;

use chrono::{NaiveDate, TimeDelta};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{Batch, local_day, table};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::{BookingCreated, Event, Party};
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "daily_report",
    version: 1,
    event_types: Some(&[
        "BookingCreated",
        "PaymentReceived",
        "PaymentRefunded",
        "RefundReturned",
        "BookingConfirmed",
        "BookingCancelled",
        "BookingExpired",
        "NoShowRecorded",
        "NoShowWithdrawn",
    ]),
    reads: Reads::Said { bare: &[] },
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

table! {
    Booking in "report_bookings" by (booking_id) {
        booking_id: Uuid,
        zone: String,
        currency: String,
        price_minor: i64,
        service_id: Uuid,
        booked_day: NaiveDate,
        starts_day: NaiveDate,
        duration_min: i32,
        lead_min: i64,
        confirmed_day: Option<NaiveDate>,
        cancelled_day: Option<NaiveDate>,
        cancelled_by: Option<String>,
        expired_day: Option<NaiveDate>,
        no_show: bool,
    }
}

table! {
    /// Who and what a booking takes up.
    Resource in "report_resources" by (booking_id, resource_id) {
        booking_id: Uuid,
        resource_id: Uuid,
        role: String,
        starts_day: NaiveDate,
        duration_min: i32,
    }
}

table! {
    Movement in "report_money" by (position) {
        position: i64,
        booking_id: Uuid,
        day: NaiveDate,
        zone: String,
        currency: String,
        captured_minor: i64,
        refunded_minor: i64,
    }
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let batch = Batch::of(events)?;
    let mut bookings = Booking::by_booking(&mut *conn, &batch.begun).await?;
    let mut resources = vec![];
    let mut movements = vec![];
    for (id, recorded, event) in &batch.events {
        if let Event::BookingCreated(created) = event
            && !bookings.contains_key(id)
        {
            let booking = begun(created, recorded)?;
            resources.extend(booking.resources(created));
            bookings.insert(*id, booking);
        }
        let booking = bookings.get_mut(id).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        let day = local_day(recorded.occurred_at, &booking.zone)?;
        booking.evolve(event, day);
        movements.extend(booking.movement(event, recorded.position, day));
    }
    let bookings: Vec<Booking> = bookings.into_values().collect();
    Booking::write(&mut *conn, &bookings).await?;
    Resource::write(&mut *conn, &resources).await?;
    Movement::write(conn, &movements).await?;
    Ok(())
}

fn begun(created: &BookingCreated, recorded: &Recorded) -> Result<Booking, ApplyError> {
    let zone = created.start.tzid.clone();
    // Whoever is written down after they came in was booked with no lead at all.
    let lead = (created.start_utc - recorded.occurred_at).max(TimeDelta::zero());
    Ok(Booking {
        booking_id: created.booking_id.0,
        currency: created.price.currency.as_str().to_owned(),
        price_minor: created.price.amount_minor,
        service_id: created.service_id.0,
        booked_day: local_day(recorded.occurred_at, &zone)?,
        starts_day: local_day(created.start_utc, &zone)?,
        duration_min: created.duration_min,
        lead_min: lead.num_minutes(),
        confirmed_day: None,
        cancelled_day: None,
        cancelled_by: None,
        expired_day: None,
        no_show: false,
        zone,
    })
}

impl Booking {
    fn evolve(&mut self, event: &Event, day: NaiveDate) {
        match event {
            Event::BookingConfirmed(_) => {
                self.confirmed_day.get_or_insert(day);
            }
            Event::BookingCancelled(e) => {
                self.cancelled_day.get_or_insert(day);
                let by = match e.cancelled_by {
                    Party::Customer => "customer",
                    Party::Staff => "staff",
                    Party::System => "system",
                };
                self.cancelled_by.get_or_insert(by.to_owned());
            }
            Event::BookingExpired(_) => {
                self.expired_day.get_or_insert(day);
            }
            Event::NoShowRecorded(_) => self.no_show = true,
            Event::NoShowWithdrawn(_) => self.no_show = false,
            _ => {}
        }
    }

    fn movement(&self, event: &Event, position: i64, day: NaiveDate) -> Option<Movement> {
        let (captured_minor, refunded_minor, currency) = match event {
            Event::PaymentReceived(e) => {
                let amount = &e.amount_received;
                (amount.amount_minor, 0, amount.currency)
            }
            Event::PaymentRefunded(e) => (0, e.amount.amount_minor, e.amount.currency),
            Event::RefundReturned(e) => (0, -e.amount.amount_minor, e.amount.currency),
            _ => return None,
        };
        Some(Movement {
            position,
            booking_id: self.booking_id,
            day,
            zone: self.zone.clone(),
            currency: currency.as_str().to_owned(),
            captured_minor,
            refunded_minor,
        })
    }

    fn resources(&self, created: &BookingCreated) -> Vec<Resource> {
        let mut seen = BTreeSet::new();
        let mut all = vec![];
        for resource in &created.resources {
            if seen.insert(resource.resource_id.0) {
                all.push(Resource {
                    booking_id: self.booking_id,
                    resource_id: resource.resource_id.0,
                    role: resource.role.clone(),
                    starts_day: self.starts_day,
                    duration_min: self.duration_min,
                });
            }
        }
        all
    }
}
