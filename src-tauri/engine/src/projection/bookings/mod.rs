//! `bookings`: one row a booking, as the list shows it.
//!
//! The rows of a batch's bookings are loaded at once, evolved by the domain's own `evolve`, and written at once: new
//! ones by COPY, changed ones by one update. A rebuild folds whole streams, with the same code.

mod row;
mod words;

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;
use uuid::Uuid;

pub use self::words::{payment_word, state_word};

use self::row::{COLUMNS, Envelope, Name, Row, Track};
use super::people::{self, Person};
use super::{ApplyError, Load, Part, People, Projection, Rows};
use crate::domain::event::{Event, Sealed};
use crate::store::copy;
use crate::store::read::{Reads, Recorded};
use crate::store::scan::{Scan, Scanned, scan_bare};

pub static PROJECTION: Projection = Projection {
    name: "bookings",
    version: 1,
    event_types: None,
    reads: Reads::Said { bare: &BARE },
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

/// Bytes of rows that are sent to the server at once: it works while the next are folded.
const SENT: usize = 64 * 1024;

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let mut parsed = Vec::with_capacity(events.len());
    let mut sealed: HashMap<Uuid, Sealed> = HashMap::new();
    let mut erased: HashSet<Uuid> = HashSet::new();
    let mut customers: HashSet<Uuid> = HashSet::new();
    // Bookings that begin here; the others, each with its first event here; and how many events of each are still to come.
    let mut new: HashSet<Uuid> = HashSet::new();
    let mut old: HashMap<Uuid, i64> = HashMap::new();
    let mut left: HashMap<Uuid, usize> = HashMap::new();
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
            (event, Some(booking)) => {
                let booking = booking.0;
                match event {
                    Some(Event::BookingCreated(created)) if recorded.version == 1 => {
                        customers.insert(created.customer_id.0);
                        new.insert(booking);
                    }
                    _ if new.contains(&booking) => {}
                    _ => {
                        old.entry(booking).or_insert(recorded.position);
                    }
                }
                *left.entry(booking).or_default() += 1;
                parsed.push((booking, *recorded, event));
            }
            _ => {}
        }
    }

    let touched: Vec<Uuid> = sealed.keys().chain(&erased).copied().collect();
    let mut tracks = stored(conn, old.keys().copied().collect(), touched).await?;
    let lost = old.iter().filter(|(id, _)| !tracks.contains_key(id));
    if let Some(position) = lost.map(|(_, position)| *position).min() {
        return Err(ApplyError::NotCreated { position });
    }
    let names = names(conn, sealed, erased, customers).await?;

    let mut changed = fold(conn, parsed, left, &new, &mut tracks, &names).await?;
    // Of these only the customer's name changed.
    changed.extend(tracks.into_values().map(|track| track.named(&names)));
    if !changed.is_empty() {
        // Two runs, or one after the other, take their rows in one order.
        changed.sort_unstable_by_key(|row| row.booking_id);
        update(conn, changed).await?;
    }
    Ok(())
}

/// Follows the events. A booking's row is done with its last one: new rows are on their way to the server while the next
/// are folded; gives the changed ones.
async fn fold(
    conn: &mut PgConnection,
    parsed: Vec<(Uuid, &Recorded, Option<&Event>)>,
    mut left: HashMap<Uuid, usize>,
    new: &HashSet<Uuid>,
    tracks: &mut HashMap<Uuid, Track>,
    names: &HashMap<Uuid, Name>,
) -> Result<Vec<Row>, ApplyError> {
    // Nothing can be wrong with an event any more, so what is being sent is sent to its end.
    let (mut changed, mut made) = (vec![], copy::Rows::new());
    let mut sending = match new.is_empty() {
        true => None,
        false => Some(begin_copy(conn).await?),
    };
    for (booking, recorded, event) in parsed {
        if let Some(Event::BookingCreated(created)) = event {
            tracks
                .entry(booking)
                .or_insert_with(|| Track::begun(created));
        }
        if let Some(track) = tracks.get_mut(&booking) {
            track.follow(
                event,
                &Envelope {
                    version: recorded.version,
                    correlation_id: recorded.correlation_id,
                    occurred_at: recorded.occurred_at,
                },
            );
        }
        let Some(more) = left.get_mut(&booking) else {
            continue;
        };
        *more -= 1;
        if *more > 0 {
            continue;
        }
        let Some(track) = tracks.remove(&booking) else {
            continue;
        };
        let row = track.named(names);
        match &mut sending {
            Some(sending) if new.contains(&booking) => {
                row.copy(&mut made);
                if let Some(some) = made.take(SENT) {
                    sending.send(some).await?;
                }
            }
            _ => changed.push(row),
        }
    }
    if let Some(mut sending) = sending {
        sending.send(made.finish()).await?;
        sending.finish().await?;
    }
    Ok(changed)
}

/// What the customers are called whom a batch registers (anew), erases, or names in its new bookings.
async fn names(
    conn: &mut PgConnection,
    mut sealed: HashMap<Uuid, Sealed>,
    erased: HashSet<Uuid>,
    mut booked: HashSet<Uuid>,
) -> Result<HashMap<Uuid, Name>, ApplyError> {
    booked.retain(|c| !sealed.contains_key(c) && !erased.contains(c));
    let known = known(conn, &booked).await?;
    booked.retain(|c| !known.contains_key(c));
    let unknown: Vec<Uuid> = booked.into_iter().collect();
    sealed.extend(people::registered(conn, &unknown).await?);
    let people = people::open(conn, sealed).await?;
    let mut names: HashMap<Uuid, Name> = people.iter().map(|(id, p)| (*id, p.into())).collect();
    names.extend(known);
    let gone = Name::from(&Person::erased());
    names.extend(erased.into_iter().map(|id| (id, gone.clone())));
    Ok(names)
}

/// The rows of the batch's bookings that are there, and of the customers whom it registers (anew) or erases.
async fn stored(
    conn: &mut PgConnection,
    bookings: Vec<Uuid>,
    customers: Vec<Uuid>,
) -> Result<HashMap<Uuid, Track>, ApplyError> {
    let mut rows: Vec<Row> = vec![];
    if !bookings.is_empty() {
        rows = sqlx::query_as("select * from bookings where booking_id = any($1)")
            .bind(bookings)
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
async fn known(
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

async fn begin_copy(conn: &mut PgConnection) -> sqlx::Result<PgCopyIn<&mut PgConnection>> {
    // The names are constants.
    conn.copy_in_raw(&format!(
        "copy bookings ({COLUMNS}) from stdin (format binary)"
    ))
    .await
}

async fn insert(conn: &mut PgConnection, rows: copy::Rows) -> Result<(), ApplyError> {
    let mut copy = begin_copy(conn).await?;
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
