//! What the read models share: a batch by booking, the local day of an instant, and tables that are loaded and written
//! whole. A batch costs a projection one query to load and one to write for each table, whatever its size.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::ApplyError;
use crate::domain::event::Event;
use crate::domain::slot;
use crate::store::read::Recorded;

/// The events of a batch that belong to bookings, in order, each with its booking.
pub struct Batch<'a> {
    pub events: Vec<(Uuid, &'a Recorded, &'a Event)>,
    /// The bookings that began before this batch: only of these are there rows.
    pub begun: Vec<Uuid>,
}

impl<'a> Batch<'a> {
    pub fn of(events: &[&'a Recorded]) -> Result<Batch<'a>, ApplyError> {
        let mut parsed = Vec::with_capacity(events.len());
        for recorded in events {
            if let Some(booking) = recorded.stream.booking() {
                parsed.push((booking.0, *recorded, recorded.event()?));
            }
        }
        let mut begun: BTreeSet<Uuid> = parsed.iter().map(|(id, _, _)| *id).collect();
        for (id, _, _) in parsed.iter().filter(|(_, e, _)| e.version == 1) {
            begun.remove(id);
        }
        Ok(Batch {
            events: parsed,
            begun: begun.into_iter().collect(),
        })
    }
}

/// The day of a place on which an instant falls.
pub fn local_day(at: DateTime<Utc>, zone: &str) -> Result<NaiveDate, ApplyError> {
    let date = slot::to_jiff(at).to_zoned(slot::time_zone(zone)?).date();
    Ok(chrono_date(date))
}

/// The days of a place that `[from, until)` touches.
pub fn local_days(
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    zone: &str,
) -> Result<Vec<NaiveDate>, ApplyError> {
    let last = until - chrono::TimeDelta::microseconds(1);
    let (mut day, last) = (local_day(from, zone)?, local_day(last.max(from), zone)?);
    let mut days = vec![day];
    while day < last
        && let Some(next) = day.succ_opt()
    {
        day = next;
        days.push(day);
    }
    Ok(days)
}

fn chrono_date(date: jiff::civil::Date) -> NaiveDate {
    NaiveDate::from_ymd_opt(
        i32::from(date.year()),
        date.month().unsigned_abs().into(),
        date.day().unsigned_abs().into(),
    )
    .unwrap_or_default()
}

/// What Postgres calls an array of a column's type.
pub trait Column {
    const ARRAY: &'static str;
}

macro_rules! columns {
    ($($type:ty => $array:literal),+ $(,)?) => { $(
        impl Column for $type { const ARRAY: &'static str = $array; }
        impl Column for Option<$type> { const ARRAY: &'static str = $array; }
    )+ };
}

columns! {
    Uuid => "uuid[]", String => "text[]", bool => "bool[]", i16 => "int2[]", i32 => "int4[]", i64 => "int8[]",
    DateTime<Utc> => "timestamptz[]", NaiveDate => "date[]", Value => "jsonb[]",
}

/// `insert … on conflict do update` of many rows that come as one array a column.
pub fn upsert(table: &str, columns: &[(&str, &str)], key: &[&str]) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    let names = join(columns.iter().map(|(name, _)| (*name).to_owned()).collect());
    let arrays = columns.iter().enumerate();
    let arrays = join(
        arrays
            .map(|(i, (_, a))| format!("${}::{a}", i + 1))
            .collect(),
    );
    let set: Vec<String> = columns
        .iter()
        .filter(|(name, _)| !key.contains(name))
        .map(|(name, _)| format!("{name} = excluded.{name}"))
        .collect();
    let on_conflict = match set.is_empty() {
        true => "nothing".to_owned(),
        false => format!("update set {}", join(set)),
    };
    format!(
        "insert into {table} ({names}) select * from unnest({arrays}) on conflict ({}) do {on_conflict}",
        key.join(", ")
    )
}

/// A table of a generation as a struct: `load` reads the rows of bookings, `write` inserts or replaces rows. Tables are
/// named without their schema, which is the generation's and stands in the search path.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident in $table:literal by ($($key:ident),+) { $($column:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
        struct $name { $($column: $type),+ }

        #[allow(dead_code, reason = "not every table is both loaded and written")]
        impl $name {
            async fn load(conn: &mut sqlx::PgConnection, bookings: &[uuid::Uuid]) -> sqlx::Result<Vec<$name>> {
                sqlx::query_as(concat!("select * from ", $table, " where booking_id = any($1)"))
                    .bind(bookings)
                    .fetch_all(conn)
                    .await
            }

            /// Where a booking has one row.
            async fn by_booking(conn: &mut sqlx::PgConnection, bookings: &[uuid::Uuid]) -> sqlx::Result<std::collections::HashMap<uuid::Uuid, $name>> {
                if bookings.is_empty() {
                    return Ok(std::collections::HashMap::new());
                }
                let rows = Self::load(conn, bookings).await?;
                Ok(rows.into_iter().map(|row| (row.booking_id, row)).collect())
            }

            async fn write(conn: &mut sqlx::PgConnection, rows: &[$name]) -> sqlx::Result<()> {
                use crate::projection::rows::{Column, upsert};
                static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
                    upsert($table, &[$((stringify!($column), <$type as Column>::ARRAY)),+], &[$(stringify!($key)),+])
                });
                if rows.is_empty() {
                    return Ok(());
                }
                // The text is made of the names that stand in the source.
                sqlx::query(sqlx::AssertSqlSafe(SQL.as_str()))
                    $(.bind(rows.iter().map(|r| r.$column.clone()).collect::<Vec<$type>>()))+
                    .execute(conn)
                    .await
                    .map(|_| ())
            }
        }
    };
}
pub(super) use table;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_the_places_and_not_greenwichs() {
        let late = at("2026-11-25T23:30:00Z");
        let day = |zone| local_day(late, zone).unwrap().to_string();
        assert_eq!(day("Europe/Lisbon"), "2026-11-25");
        assert_eq!(day("Europe/Berlin"), "2026-11-26");
        assert_eq!(day("America/Los_Angeles"), "2026-11-25");
        assert!(local_day(late, "Europe/Atlantis").is_err());
    }

    #[test]
    fn an_interval_that_ends_at_midnight_does_not_touch_the_next_day() {
        let days = |from, until| {
            let days = local_days(at(from), at(until), "Europe/Berlin").unwrap();
            days.iter().map(NaiveDate::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            days("2026-11-25T21:00:00Z", "2026-11-25T23:00:00Z"),
            ["2026-11-25"]
        );
        assert_eq!(
            days("2026-11-25T21:00:00Z", "2026-11-25T23:00:01Z"),
            ["2026-11-25", "2026-11-26"]
        );
    }

    #[test]
    fn a_table_of_keys_only_is_never_updated() {
        assert_eq!(
            upsert("t", &[("a", "uuid[]"), ("b", "int8[]")], &["a"]),
            "insert into t (a, b) select * from unnest($1::uuid[], $2::int8[]) on conflict (a) do update set b = excluded.b"
        );
        assert!(upsert("t", &[("a", "uuid[]")], &["a"]).ends_with("on conflict (a) do nothing"));
    }
}
