//! The zone's rules around one booking, as a VTIMEZONE.
//!
//! Mail programs differ in what they do with it: some look the name up in their own database and
//! ignore the rest, some read the rules, and Outlook understands them best as one STANDARD and one
//! DAYLIGHT part that repeat every year. So that form is written where the zone's own transitions
//! show it to be true for the years around the booking, and the plain transitions where it is not
//! (a zone that gave up summer time, Morocco's Ramadan).

use jiff::civil::{DateTime, Weekday};
use jiff::tz::{Dst, Offset, TimeZone};
use jiff::{Span, Timestamp};

use super::ics::stamp_text;

pub(super) fn vtimezone(
    zone: &TimeZone,
    id: &str,
    starts: Timestamp,
    ends: Timestamp,
) -> Vec<String> {
    let mut lines = vec!["BEGIN:VTIMEZONE".to_owned(), format!("TZID:{id}")];
    match yearly(zone, starts, ends) {
        Some(pair) => pair
            .iter()
            .for_each(|(change, rule)| change.write(&mut lines, Some(rule))),
        None => changes_around(zone, starts, ends)
            .iter()
            .for_each(|change| change.write(&mut lines, None)),
    }
    lines.push("END:VTIMEZONE".to_owned());
    lines
}

/// The clock changing from one offset to another.
struct Change {
    /// On the clock as it was before the change, as RFC 5545 §3.6.5 has it.
    at: DateTime,
    from: Offset,
    to: Offset,
    name: String,
    daylight: bool,
}

impl Change {
    fn at(zone: &TimeZone, instant: Timestamp) -> Option<Change> {
        let before = zone.to_offset_info(instant.checked_sub(Span::new().nanoseconds(1)).ok()?);
        let after = zone.to_offset_info(instant);
        let (from, to) = (before.offset(), after.offset());
        Some(Change {
            at: from.to_datetime(instant),
            from,
            to,
            name: after.abbreviation().to_owned(),
            // The clock going forward into or out of something that is not standard time. Irish law
            // calls winter the exception and summer the standard; calendars only understand it as
            // everybody else's summer time.
            daylight: to > from && (before.dst() == Dst::Yes || after.dst() == Dst::Yes),
        })
    }

    fn write(&self, lines: &mut Vec<String>, rule: Option<&str>) {
        let part = if self.daylight {
            "DAYLIGHT"
        } else {
            "STANDARD"
        };
        lines.push(format!("BEGIN:{part}"));
        lines.push(format!("DTSTART:{}", stamp_text(self.at)));
        lines.extend(rule.map(|rule| format!("RRULE:{rule}")));
        lines.push(format!("TZOFFSETFROM:{}", offset(self.from)));
        lines.push(format!("TZOFFSETTO:{}", offset(self.to)));
        lines.push(format!("TZNAME:{}", self.name));
        lines.push(format!("END:{part}"));
    }
}

/// The two changes that repeat every year, and how, if they do so from the year before the booking
/// to three years after. The first year's dates are the DTSTARTs, so that a booking in January has
/// its winter's beginning.
fn yearly(zone: &TimeZone, starts: Timestamp, ends: Timestamp) -> Option<[(Change, String); 2]> {
    const YEARS: usize = 5;
    let first = zone.to_datetime(starts).year().checked_sub(1)?;
    if zone.to_datetime(ends).year() > first + 2 {
        return None;
    }
    let midnight = jiff::civil::date(first, 1, 1).at(0, 0, 0, 0);
    let from = TimeZone::UTC.to_timestamp(midnight).ok()?;
    let changes: Vec<Change> = zone
        .following(from)
        .take(2 * YEARS)
        .filter_map(|change| Change::at(zone, change.timestamp()))
        .collect();
    let (odd, even): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .enumerate()
        .partition(|(at, _)| at % 2 == 0);
    let one = |changes: Vec<(usize, Change)>| {
        let changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
        let rule = rule(first, YEARS, &changes)?;
        Some((changes.into_iter().next()?, rule))
    };
    let pair = [one(odd)?, one(even)?];
    // Exactly one summer and one winter, each undoing the other.
    let [(a, _), (b, _)] = &pair;
    (a.daylight != b.daylight && a.from == b.to && a.to == b.from).then_some(pair)
}

/// “The last Sunday of March at 02:00”, if all of these changes are that.
fn rule(first_year: i16, years: usize, changes: &[Change]) -> Option<String> {
    let one = changes.first()?;
    let alike = changes.len() == years
        && changes.iter().zip(first_year..).all(|(change, year)| {
            change.at.year() == year
                && change.at.month() == one.at.month()
                && change.at.weekday() == one.at.weekday()
                && change.at.time() == one.at.time()
                && (change.from, change.to) == (one.from, one.to)
                && change.name == one.name
        });
    if !alike {
        return None;
    }
    let is_last = |at: DateTime| at.day() > at.date().days_in_month() - 7;
    let week = |at: DateTime| (at.day() - 1) / 7 + 1;
    let which = if changes.iter().all(|change| is_last(change.at)) {
        -1
    } else if changes.iter().all(|change| week(change.at) == week(one.at)) {
        week(one.at)
    } else {
        return None;
    };
    Some(format!(
        "FREQ=YEARLY;BYMONTH={};BYDAY={which}{}",
        one.at.month(),
        day(one.at.weekday())
    ))
}

/// The last two changes before the booking, those inside it, and one after. A zone without any has
/// always been as it is.
fn changes_around(zone: &TimeZone, starts: Timestamp, ends: Timestamp) -> Vec<Change> {
    // `preceding` leaves out a change at this very instant, and the booking may start with it.
    let just_after = starts
        .checked_add(Span::new().nanoseconds(1))
        .unwrap_or(starts);
    let mut instants: Vec<Timestamp> = zone
        .preceding(just_after)
        .take(2)
        .map(|change| change.timestamp())
        .collect();
    instants.reverse();
    for change in zone.following(starts) {
        instants.push(change.timestamp());
        if change.timestamp() > ends {
            break;
        }
    }
    let mut changes: Vec<Change> = instants
        .into_iter()
        .filter_map(|instant| Change::at(zone, instant))
        .collect();
    if changes
        .first()
        .is_none_or(|first| first.at > zone.to_datetime(starts))
    {
        let now = zone.to_offset_info(starts);
        let always = Change {
            at: jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0),
            from: now.offset(),
            to: now.offset(),
            name: now.abbreviation().to_owned(),
            daylight: false,
        };
        changes.insert(0, always);
    }
    changes
}

fn day(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "MO",
        Weekday::Tuesday => "TU",
        Weekday::Wednesday => "WE",
        Weekday::Thursday => "TH",
        Weekday::Friday => "FR",
        Weekday::Saturday => "SA",
        Weekday::Sunday => "SU",
    }
}

/// `+0200`, with seconds only for the offsets of long ago that have them.
fn offset(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, seconds) = if seconds < 0 {
        ('-', -seconds)
    } else {
        ('+', seconds)
    };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match rest {
        0 => format!("{sign}{hours:02}{minutes:02}"),
        _ => format!("{sign}{hours:02}{minutes:02}{rest:02}"),
    }
}
