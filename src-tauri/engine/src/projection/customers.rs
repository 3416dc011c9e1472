//! `customers`: who the customers are, and how often and when they last booked.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::people::{self, Person};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::{Event, Sealed};
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "customers",
    version: 1,
    event_types: Some(&["CustomerRegistered", "CustomerErased", "BookingCreated"]),
    reads: Reads::Said { bare: &[] },
    rows: Rows::OfMany(
        "It counts each customer's bookings over all streams, so a part of the log would give wrong counts.",
    ),
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

/// What a batch says about one customer.
#[derive(Default)]
struct Change {
    person: Option<Person>,
    bookings: i64,
    last_booking_at: Option<DateTime<Utc>>,
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let mut changes: BTreeMap<Uuid, Change> = BTreeMap::new();
    let mut sealed: HashMap<Uuid, Sealed> = HashMap::new();
    for recorded in events {
        match recorded.event()? {
            Event::CustomerRegistered(e) => {
                changes.entry(e.customer_id.0).or_default();
                sealed.insert(e.customer_id.0, e.personal.clone());
            }
            Event::CustomerErased(e) => {
                sealed.remove(&e.customer_id.0);
                changes.entry(e.customer_id.0).or_default().person = Some(Person::erased());
            }
            Event::BookingCreated(e) => {
                let change = changes.entry(e.customer_id.0).or_default();
                change.bookings += 1;
                change.last_booking_at = change.last_booking_at.max(Some(recorded.occurred_at));
            }
            _ => {}
        }
    }
    for (id, person) in people::open(conn, sealed).await? {
        changes.entry(id).or_default().person = Some(person);
    }
    write(conn, changes).await
}

async fn write(conn: &mut PgConnection, changes: BTreeMap<Uuid, Change>) -> Result<(), ApplyError> {
    let n = changes.len();
    let (mut ids, mut known) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut names, mut emails, mut phones) = (vec![], vec![], vec![]);
    let (mut erased, mut bookings, mut last, mut search) = (vec![], vec![], vec![], vec![]);
    for (id, change) in changes {
        ids.push(id);
        known.push(change.person.is_some());
        let person = change.person.unwrap_or_default();
        search.push(person.search());
        names.push(person.name);
        emails.push(person.email);
        phones.push(person.phone);
        erased.push(person.erased);
        bookings.push(change.bookings);
        last.push(change.last_booking_at);
    }
    // A booking may come before its customer: both are written in one append, ordered by stream.
    sqlx::query(
        "with batch as (
           select * from unnest($1::uuid[], $2::bool[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::bigint[], $8::timestamptz[], $9::text[])
               as x(customer_id, known, name, email, phone, erased, bookings, last_booking_at, search)
         ), changed as (
           update customers c
              set name = case when b.known then b.name else c.name end, email = case when b.known then b.email else c.email end,
                  phone = case when b.known then b.phone else c.phone end, erased = case when b.known then b.erased else c.erased end,
                  search = case when b.known then b.search else c.search end,
                  bookings = c.bookings + b.bookings, last_booking_at = greatest(c.last_booking_at, b.last_booking_at)
             from batch b where b.customer_id = c.customer_id
           returning c.customer_id
         )
         insert into customers (customer_id, name, email, phone, erased, bookings, last_booking_at, search)
         select customer_id, name, email, phone, erased, bookings, last_booking_at, search from batch
          where customer_id not in (select customer_id from changed)",
    )
    .bind(ids)
    .bind(known)
    .bind(names)
    .bind(emails)
    .bind(phones)
    .bind(erased)
    .bind(bookings)
    .bind(last)
    .bind(search)
    .execute(conn)
    .await?;
    Ok(())
}
