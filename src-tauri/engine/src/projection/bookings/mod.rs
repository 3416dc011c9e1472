//! `bookings`: one row a booking, as the list shows it.
//!
//! The rows of a batch's bookings are loaded at once, evolved by the domain's own `evolve`, and written at once: new
//! ones by COPY, changed ones by one update. A rebuild folds whole streams, with the same code.

mod row;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

pub use self::words::{payment_word, state_word};

use self::row::{COLUMNS, Envelope, Name, Row, Track};
use super::people::{self, Person};
use super::{ApplyError, Load, Part, People, Projection, Rows};
use crate::domain::event::{Event, Sealed};
use crate::store::copy;
use crate::store::read::Recorded;
use crate::store::scan::{Scan, Scanned, scan_bare};

pub static PROJECTION: Projection = Projection {
    name: "bookings",
    version: 1,
    event_types: None,
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Fold(|conn, part, people| Box::pin(load(conn, part, people))),
};

/// Of these a row shows that they happened, and nothing of what they say.
const BARE: [&str; 5] = [
    "NotificationSent",
    "NotificationFailed",
    "CalendarSynced",
    "InventoryReleased",
    "InventoryHoldExpired",
];

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let mut parsed = Vec::with_capacity(events.len());
    let mut sealed: HashMap<Uuid, Sealed> = HashMap::new();
    let mut erased: HashSet<Uuid> = HashSet::new();
    let (mut old, mut new) = (HashSet::new(), HashSet::new());
    for recorded in events {
        let event = match recorded.reader() {
            Ok(_) if BARE.contains(&recorded.name.as_str()) => None,
            _ => Some(recorded.event()?),
        };
        match (event, recorded.stream.booking()) {
            (Some(Event::CustomerRegistered(e)), _) => {
                sealed.insert(e.customer_id.0, e.personal.clone());
            }
            (Some(Event::CustomerErased(e)), _) => {
                erased.insert(e.customer_id.0);
            }
            (_, Some(booking)) => {
                if recorded.version == 1 {
                    new.insert(booking.0);
                } else if !new.contains(&booking.0) {
                    old.insert(booking.0);
                }
                parsed.push((booking.0, *recorded, event));
            }
            _ => {}
        }
    }
    let customers: Vec<Uuid> = sealed.keys().chain(&erased).copied().collect();
    let mut tracks = stored(conn, &old, &customers).await?;
    let mut new_customers: HashSet<Uuid> = HashSet::new();
    for (booking, recorded, event) in &parsed {
        if let Some(Event::BookingCreated(created)) = event {
            new_customers.insert(created.customer_id.0);
            tracks
                .entry(*booking)
                .or_insert_with(|| Track::begun(created));
        }
        let track = tracks.get_mut(booking).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        track.follow(
            *event,
            &Envelope {
                version: recorded.version,
                correlation_id: recorded.correlation_id,
                occurred_at: recorded.occurred_at,
            },
        );
    }

    // Customers that this batch registers, and those whom its new bookings name.
    new_customers.retain(|c| !sealed.contains_key(c) && !erased.contains(c));
    let known = named(conn, &new_customers).await?;
    new_customers.retain(|c| !known.contains_key(c));
    let unknown: Vec<Uuid> = new_customers.into_iter().collect();
    sealed.extend(people::registered(conn, &unknown).await?);
    let people = people::open(conn, sealed).await?;
    let mut names: HashMap<Uuid, Name> = people.iter().map(|(id, p)| (*id, p.into())).collect();
    names.extend(known);
    names.extend(
        erased
            .into_iter()
            .map(|id| (id, (&Person::erased()).into())),
    );
    let (mut made, mut changed) = (copy::Rows::new(), vec![]);
    let mut any_made = false;
    for (booking, track) in tracks {
        let mut row = track.settled();
        if let Some(name) = names.get(&row.customer_id) {
            row.name(name);
        }
        if new.contains(&booking) {
            row.copy(&mut made);
            any_made = true;
        } else {
            changed.push(row);
        }
    }
    if any_made {
        insert(conn, made).await?;
    }
    if !changed.is_empty() {
        update(conn, changed).await?;
    }
    Ok(())
}

/// The rows of the batch's bookings that are there, and of the customers whom it registers (anew) or erases.
async fn stored(
    conn: &mut PgConnection,
    bookings: &HashSet<Uuid>,
    customers: &[Uuid],
) -> Result<BTreeMap<Uuid, Track>, ApplyError> {
    let mut rows: Vec<Row> = vec![];
    if !bookings.is_empty() {
        rows = sqlx::query_as("select * from bookings where booking_id = any($1)")
            .bind(bookings.iter().copied().collect::<Vec<_>>())
            .fetch_all(&mut *conn)
            .await?;
    }
    if !customers.is_empty() {
        rows.extend(
            sqlx::query_as::<_, Row>("select * from bookings where customer_id = any($1)")
                .bind(customers)
                .fetch_all(conn)
                .await?,
        );
    }
    Ok(rows
        .into_iter()
        .map(|r| (r.booking_id, Track::of(r)))
        .collect())
}

/// What customers who booked before are called: their rows say it, and a registration or an erasure changes those.
async fn named(
    conn: &mut PgConnection,
    customers: &HashSet<Uuid>,
) -> Result<HashMap<Uuid, Name>, ApplyError> {
    if customers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, String)> = sqlx::query_as(
        "select c.customer_id, b.customer_name, b.search from unnest($1::uuid[]) as c(customer_id)
          cross join lateral (select customer_name, search from bookings b where b.customer_id = c.customer_id limit 1) b
          where b.customer_name <> ''",
    )
    .bind(customers.iter().copied().collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, name, search)| (id, Name::shown(name, &search)))
        .collect())
}

async fn insert(conn: &mut PgConnection, rows: copy::Rows) -> Result<(), ApplyError> {
    // The names are constants.
    let mut copy = conn
        .copy_in_raw(&format!(
            "copy bookings ({COLUMNS}) from stdin (format binary)"
        ))
        .await?;
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}

async fn update(conn: &mut PgConnection, rows: Vec<Row>) -> Result<(), ApplyError> {
    macro_rules! column {
        ($name:ident) => {
            rows.iter().map(|r| r.$name.clone()).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "update bookings b set
           customer_name = x.customer_name, state = x.state, hold_expires_at = x.hold_expires_at,
           payment = x.payment, authorised_minor = x.authorised_minor, captured_minor = x.captured_minor,
           refunded_minor = x.refunded_minor, payment_intent = x.payment_intent, pay_url = x.pay_url,
           cancelled = x.cancelled, version = x.version, changed_at = x.changed_at, search = x.search
          from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
                      $9::text[], $10::text[], $11::jsonb[], $12::bigint[], $13::timestamptz[], $14::text[])
            as x(booking_id, customer_name, state, hold_expires_at, payment, authorised_minor, captured_minor, refunded_minor,
                 payment_intent, pay_url, cancelled, version, changed_at, search)
         where b.booking_id = x.booking_id",
    )
    .bind(column!(booking_id))
    .bind(column!(customer_name))
    .bind(column!(state))
    .bind(column!(hold_expires_at))
    .bind(column!(payment))
    .bind(column!(authorised_minor))
    .bind(column!(captured_minor))
    .bind(column!(refunded_minor))
    .bind(column!(payment_intent))
    .bind(column!(pay_url))
    .bind(column!(cancelled))
    .bind(column!(version))
    .bind(column!(changed_at))
    .bind(column!(search))
    .execute(conn)
    .await?;
    Ok(())
}

/// Folds the streams of a part, one after the other, and writes their rows at once.
async fn load(conn: &mut PgConnection, part: &Part, people: &People) -> Result<(), ApplyError> {
    let mut rows: Vec<Row> = vec![];
    let mut open: Option<(i64, Track)> = None;
    let what = Scan::Streams {
        lo: part.lo,
        hi: part.hi,
        upto: part.upto,
    };
    scan_bare(conn, what, &BARE, |seen: Scanned<'_>| {
        if part.skips.contains(&seen.position) {
            return Ok(());
        }
        let event = match seen.is_bare() {
            true => None,
            false => Some(seen.event()?),
        };
        if open.as_ref().is_some_and(|(no, _)| *no != seen.stream_no) {
            rows.extend(open.take().map(|(_, track)| track.settled()));
        }
        let track = match (&mut open, &event) {
            (Some((_, track)), _) => track,
            (None, Some(Event::BookingCreated(created))) => {
                &mut open.insert((seen.stream_no, Track::begun(created))).1
            }
            // Customers' streams lie between those of bookings.
            (None, Some(Event::CustomerRegistered(_) | Event::CustomerErased(_))) => return Ok(()),
            (None, _) => {
                return Err(ApplyError::NotCreated {
                    position: seen.position,
                });
            }
        };
        track.follow(
            event.as_ref(),
            &Envelope {
                version: seen.version,
                correlation_id: seen.correlation_id,
                occurred_at: seen.occurred_at,
            },
        );
        Ok(())
    })
    .await?;
    rows.extend(open.take().map(|(_, track)| track.settled()));

    let customers: HashSet<Uuid> = rows.iter().map(|r| r.customer_id).collect();
    let people = people.of(conn, &customers, part.upto).await?;
    let names: HashMap<Uuid, Name> = people.iter().map(|(id, p)| (*id, p.into())).collect();
    let mut made = copy::Rows::new();
    for row in &mut rows {
        if let Some(name) = names.get(&row.customer_id) {
            row.name(name);
        }
        row.copy(&mut made);
    }
    insert(conn, made).await
}
