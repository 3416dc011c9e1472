//! What each customer did here: how often they booked and how that ended, and what they paid, by currency.
//!
//! Nothing personal stands here.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{Batch, table};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::{BookingCreated, Event};
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "customer_history",
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
    rows: Rows::OfMany("A customer's row adds up what all their bookings say."),
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

table! {
    /// Whose a booking is, and how far it came.
    Booking in "history_bookings" by (booking_id) {
        booking_id: Uuid,
        customer_id: Uuid,
        starts_at: DateTime<Utc>,
        confirmed: bool,
        ended: bool,
    }
}

/// What a batch adds to a customer. Sums, least and greatest: it does not matter how the log is cut into batches.
#[derive(Default)]
struct Change {
    bookings: i64,
    confirmed: i64,
    cancelled: i64,
    expired: i64,
    no_shows: i64,
    first_booking_at: Option<DateTime<Utc>>,
    last_booking_at: Option<DateTime<Utc>>,
    last_start_at: Option<DateTime<Utc>>,
}

/// Captured and refunded, in minor units.
type Spent = (i64, i64);

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let batch = Batch::of(events)?;
    let mut bookings = Booking::by_booking(&mut *conn, &batch.begun).await?;
    // Sorted, so that two who write at once take the rows in one order.
    let mut changes: BTreeMap<Uuid, Change> = BTreeMap::new();
    let mut spent: BTreeMap<(Uuid, String), Spent> = BTreeMap::new();

    for (id, recorded, event) in &batch.events {
        if let Event::BookingCreated(created) = event {
            bookings.entry(*id).or_insert_with(|| begun(created));
        }
        let booking = bookings.get_mut(id).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        let customer = booking.customer_id;
        changes
            .entry(customer)
            .or_default()
            .add(booking, event, recorded.occurred_at);
        let (captured, refunded, currency) = match event {
            Event::PaymentReceived(e) => {
                let a = &e.amount_received;
                (a.amount_minor, 0, a.currency)
            }
            Event::PaymentRefunded(e) => (0, e.amount.amount_minor, e.amount.currency),
            Event::RefundReturned(e) => (0, -e.amount.amount_minor, e.amount.currency),
            _ => continue,
        };
        let sums = spent
            .entry((customer, currency.as_str().to_owned()))
            .or_default();
        *sums = (sums.0 + captured, sums.1 + refunded);
    }

    let bookings: Vec<Booking> = bookings.into_values().collect();
    Booking::write(&mut *conn, &bookings).await?;
    write_changes(&mut *conn, &changes).await?;
    write_spent(conn, &spent).await?;
    Ok(())
}

fn begun(created: &BookingCreated) -> Booking {
    Booking {
        booking_id: created.booking_id.0,
        customer_id: created.customer_id.0,
        starts_at: created.start_utc,
        confirmed: false,
        ended: false,
    }
}

impl Change {
    fn add(&mut self, booking: &mut Booking, event: &Event, at: DateTime<Utc>) {
        match event {
            Event::BookingCreated(_) => {
                self.bookings += 1;
                self.first_booking_at =
                    Some(self.first_booking_at.map_or(at, |first| first.min(at)));
                self.last_booking_at = self.last_booking_at.max(Some(at));
            }
            Event::BookingConfirmed(_) if !booking.confirmed => {
                booking.confirmed = true;
                self.confirmed += 1;
                self.last_start_at = self.last_start_at.max(Some(booking.starts_at));
            }
            Event::BookingCancelled(_) if !booking.ended => {
                booking.ended = true;
                self.cancelled += 1;
            }
            Event::BookingExpired(_) if !booking.ended => {
                booking.ended = true;
                self.expired += 1;
            }
            // Each is written only where the other, or none, was before it.
            Event::NoShowRecorded(_) => self.no_shows += 1,
            Event::NoShowWithdrawn(_) => self.no_shows -= 1,
            _ => {}
        }
    }
}

async fn write_changes(
    conn: &mut PgConnection,
    changes: &BTreeMap<Uuid, Change>,
) -> sqlx::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let column = |of: fn(&Change) -> i64| changes.values().map(of).collect::<Vec<_>>();
    let time =
        |of: fn(&Change) -> Option<DateTime<Utc>>| changes.values().map(of).collect::<Vec<_>>();
    // `least` and `greatest` pass over nulls.
    sqlx::query(
        "insert into customer_history as h (customer_id, bookings, confirmed, cancelled, expired, no_shows, first_booking_at, last_booking_at, last_start_at)
         select * from unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[])
         on conflict (customer_id) do update set
           bookings = h.bookings + excluded.bookings, confirmed = h.confirmed + excluded.confirmed,
           cancelled = h.cancelled + excluded.cancelled, expired = h.expired + excluded.expired,
           no_shows = h.no_shows + excluded.no_shows,
           first_booking_at = least(h.first_booking_at, excluded.first_booking_at),
           last_booking_at = greatest(h.last_booking_at, excluded.last_booking_at),
           last_start_at = greatest(h.last_start_at, excluded.last_start_at)",
    )
    .bind(changes.keys().copied().collect::<Vec<_>>())
    .bind(column(|c| c.bookings))
    .bind(column(|c| c.confirmed))
    .bind(column(|c| c.cancelled))
    .bind(column(|c| c.expired))
    .bind(column(|c| c.no_shows))
    .bind(time(|c| c.first_booking_at))
    .bind(time(|c| c.last_booking_at))
    .bind(time(|c| c.last_start_at))
    .execute(conn)
    .await
    .map(|_| ())
}

async fn write_spent(
    conn: &mut PgConnection,
    spent: &BTreeMap<(Uuid, String), Spent>,
) -> sqlx::Result<()> {
    if spent.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into customer_spend as s (customer_id, currency, captured_minor, refunded_minor)
         select * from unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[])
         on conflict (customer_id, currency) do update set
           captured_minor = s.captured_minor + excluded.captured_minor, refunded_minor = s.refunded_minor + excluded.refunded_minor",
    )
    .bind(spent.keys().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(spent.keys().map(|(_, currency)| currency.clone()).collect::<Vec<_>>())
    .bind(spent.values().map(|s| s.0).collect::<Vec<_>>())
    .bind(spent.values().map(|s| s.1).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(|_| ())
}
