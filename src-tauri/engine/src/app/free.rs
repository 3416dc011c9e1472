//! Which times are free: wall-clock rules of the place, elapsed durations, claimed inventory. Pure.

use chrono::{DateTime, NaiveTime, TimeDelta, Timelike, Utc};
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use uuid::Uuid;

use super::wire::Named;
use crate::domain::slot::to_chrono;

/// Starts are offered on this grid of the wall clock.
const GRID_MIN: i32 = 15;

pub struct Search {
    pub zone: TimeZone,
    pub duration: TimeDelta,
    /// Time that the service blocks around itself.
    pub before: TimeDelta,
    pub after: TimeDelta,
    pub staff: Vec<Resource>,
    pub rooms: Vec<Resource>,
    pub needs_room: bool,
}

#[derive(Debug, Clone)]
pub struct Resource {
    pub id: Uuid,
    pub name: String,
    pub capacity: usize,
    pub hours: Vec<Hours>,
    /// Live claims, by their begin.
    pub taken: Vec<Taken>,
}

/// Begin, end, and which of the units.
pub type Taken = (DateTime<Utc>, DateTime<Utc>, i16);

/// Wall time of the place. ISO weekday: 1 is Monday.
#[derive(Debug, Clone, Copy)]
pub struct Hours {
    pub weekday: i8,
    pub opens: Time,
    pub closes: Time,
}

#[derive(Debug)]
pub struct Found<'a> {
    pub starts: DateTime<Utc>,
    pub staff: &'a Resource,
    pub room: Option<&'a Resource>,
}

impl Resource {
    pub fn named(&self) -> Named {
        Named {
            id: self.id,
            name: self.name.clone(),
        }
    }

    fn free(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
        let mut units: Vec<i16> = self
            .taken
            .iter()
            .take_while(|(begins, ..)| *begins < until)
            .filter(|(_, ends, _)| *ends > from)
            .map(|(.., unit)| *unit)
            // What a manager put above the capacity takes no place away.
            .filter(|unit| usize::try_from(*unit).is_ok_and(|unit| unit <= self.capacity))
            .collect();
        // One unit may be taken twice in the span, one after the other: it is still one unit.
        units.sort_unstable();
        units.dedup();
        units.len() < self.capacity
    }
}

impl Search {
    /// Free times of a local day, earliest first; at each, everybody who is free.
    pub fn on(&self, date: Date, now: DateTime<Utc>) -> Vec<Found<'_>> {
        let mut found: Vec<Found<'_>> = self
            .staff
            .iter()
            .flat_map(|staff| self.of(staff, date, now))
            .collect();
        found.sort_by(|a, b| (a.starts, &a.staff.name).cmp(&(b.starts, &b.staff.name)));
        found
    }

    pub fn any_on(&self, date: Date, now: DateTime<Utc>) -> bool {
        self.staff
            .iter()
            .any(|staff| self.of(staff, date, now).next().is_some())
    }

    /// Every instant that a claim must touch to matter for these days.
    pub fn span(&self, first: Date, last: Date) -> (DateTime<Utc>, DateTime<Utc>) {
        let a_day = TimeDelta::days(1);
        let begins = self.instant(first, Time::midnight()).unwrap_or_default();
        let ends = self.instant(last, Time::midnight()).unwrap_or_default();
        (
            begins - self.before - a_day,
            ends + a_day + self.duration + self.after + a_day,
        )
    }

    fn of<'a>(
        &'a self,
        staff: &'a Resource,
        date: Date,
        now: DateTime<Utc>,
    ) -> impl Iterator<Item = Found<'a>> {
        let weekday = date.weekday().to_monday_one_offset();
        staff
            .hours
            .iter()
            .filter(move |h| h.weekday == weekday)
            .flat_map(move |h| self.starts(date, *h))
            .filter(move |starts| *starts > now)
            .filter_map(move |starts| self.fits(staff, starts))
    }

    /// Both instants of an hour that comes twice, none of one that the clock jumps over. A service lasts its elapsed
    /// time, and must be over when the wall clock shows the closing time.
    fn starts(&self, date: Date, hours: Hours) -> Vec<DateTime<Utc>> {
        let Some(closes) = self.instant(date, hours.closes) else {
            return vec![];
        };
        let minute = |t: Time| i32::from(t.hour()) * 60 + i32::from(t.minute());
        let first = (minute(hours.opens) + GRID_MIN - 1) / GRID_MIN * GRID_MIN;
        let mut starts: Vec<DateTime<Utc>> = (first..minute(hours.closes))
            .step_by(GRID_MIN as usize)
            .filter_map(|m| Time::new((m / 60) as i8, (m % 60) as i8, 0, 0).ok())
            .flat_map(|wall| self.instants(date, wall))
            .filter(|at| *at + self.duration <= closes)
            .collect();
        starts.sort_unstable();
        starts
    }

    fn fits<'a>(&'a self, staff: &'a Resource, starts: DateTime<Utc>) -> Option<Found<'a>> {
        let (from, until) = (starts - self.before, starts + self.duration + self.after);
        if !staff.free(from, until) {
            return None;
        }
        let room = self
            .rooms
            .iter()
            .find(|room| self.open(room, starts) && room.free(from, until));
        (room.is_some() || !self.needs_room).then_some(Found {
            starts,
            staff,
            room,
        })
    }

    /// A room without hours of its own is there whenever people are.
    fn open(&self, room: &Resource, starts: DateTime<Utc>) -> bool {
        if room.hours.is_empty() {
            return true;
        }
        let date = crate::domain::slot::to_jiff(starts)
            .to_zoned(self.zone.clone())
            .date();
        let weekday = date.weekday().to_monday_one_offset();
        room.hours.iter().filter(|h| h.weekday == weekday).any(|h| {
            let (opens, closes) = (self.instant(date, h.opens), self.instant(date, h.closes));
            opens.is_some_and(|o| o <= starts)
                && closes.is_some_and(|c| starts + self.duration <= c)
        })
    }

    /// The one instant that a border of working hours means: of two the first, and over a gap the moment after it.
    fn instant(&self, date: Date, wall: Time) -> Option<DateTime<Utc>> {
        let at = self.zone.to_ambiguous_timestamp(date.to_datetime(wall));
        at.compatible().ok().map(to_chrono)
    }

    fn instants(&self, date: Date, wall: Time) -> Vec<DateTime<Utc>> {
        let at = self.zone.to_ambiguous_timestamp(date.to_datetime(wall));
        let both = match at.offset() {
            AmbiguousOffset::Gap { .. } => vec![],
            AmbiguousOffset::Unambiguous { .. } => vec![at.earlier()],
            AmbiguousOffset::Fold { .. } => vec![at.earlier(), at.later()],
        };
        both.into_iter().flatten().map(to_chrono).collect()
    }
}

/// A time of day as the database has it, in whole minutes.
pub fn civil(time: NaiveTime) -> Time {
    Time::new(time.hour() as i8, time.minute() as i8, 0, 0).unwrap_or(Time::midnight())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::slot::time_zone;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn resource(n: u128, name: &str, hours: &[(&str, &str)]) -> Resource {
        let hours = (1..=7)
            .flat_map(|weekday| {
                hours.iter().map(move |(opens, closes)| Hours {
                    weekday,
                    opens: time(opens),
                    closes: time(closes),
                })
            })
            .collect();
        Resource {
            id: Uuid::from_u128(n),
            name: name.into(),
            capacity: 1,
            hours,
            taken: vec![],
        }
    }

    fn search(zone: &str, minutes: i64, staff: Vec<Resource>) -> Search {
        Search {
            zone: time_zone(zone).unwrap(),
            duration: TimeDelta::minutes(minutes),
            before: TimeDelta::zero(),
            after: TimeDelta::zero(),
            staff,
            rooms: vec![],
            needs_room: false,
        }
    }

    fn times(search: &Search, date: &str) -> Vec<String> {
        search
            .on(date.parse().unwrap(), at("2020-01-01T00:00:00Z"))
            .iter()
            .map(|f| f.starts.format("%H:%M").to_string())
            .collect()
    }

    #[test]
    fn a_service_is_over_when_the_shift_ends() {
        let s = search("UTC", 60, vec![resource(1, "Ana", &[("09:05", "11:00")])]);
        assert_eq!(
            times(&s, "2026-11-24"),
            ["09:15", "09:30", "09:45", "10:00"]
        );
    }

    #[test]
    fn buffers_of_both_neighbours_keep_apart() {
        let mut s = search("UTC", 30, vec![resource(1, "Ana", &[("09:00", "11:00")])]);
        s.after = TimeDelta::minutes(15);
        s.staff[0].taken = vec![(at("2026-11-24T09:45:00Z"), at("2026-11-24T10:15:00Z"), 1)];
        assert_eq!(times(&s, "2026-11-24"), ["09:00", "10:15", "10:30"]);
    }

    #[test]
    fn the_first_free_room_is_taken_and_without_one_nothing_is_offered() {
        let mut s = search("UTC", 60, vec![resource(1, "Ana", &[("09:00", "10:30")])]);
        s.needs_room = true;
        s.rooms = vec![resource(2, "Room 1", &[]), resource(3, "Room 2", &[])];
        s.rooms[0].taken = vec![(at("2026-11-24T08:00:00Z"), at("2026-11-24T09:10:00Z"), 1)];
        s.rooms[1].taken = vec![(at("2026-11-24T10:05:00Z"), at("2026-11-24T11:00:00Z"), 1)];
        let found = s.on("2026-11-24".parse().unwrap(), at("2020-01-01T00:00:00Z"));
        let rooms: Vec<_> = found
            .iter()
            .map(|f| {
                (
                    f.starts.format("%H:%M").to_string(),
                    f.room.unwrap().name.as_str(),
                )
            })
            .collect();
        assert_eq!(
            rooms,
            [
                ("09:00".to_owned(), "Room 2"),
                ("09:15".to_owned(), "Room 1"),
                ("09:30".to_owned(), "Room 1")
            ]
        );
    }

    #[test]
    fn the_past_is_not_offered_and_people_come_in_order() {
        let s = search(
            "UTC",
            30,
            vec![
                resource(1, "Zoé", &[("09:00", "10:00")]),
                resource(2, "Ana", &[("09:30", "10:00")]),
            ],
        );
        let found = s.on("2026-11-24".parse().unwrap(), at("2026-11-24T09:10:00Z"));
        let who: Vec<_> = found
            .iter()
            .map(|f| (f.starts.format("%H:%M").to_string(), f.staff.name.as_str()))
            .collect();
        assert_eq!(
            who,
            [
                ("09:15".to_owned(), "Zoé"),
                ("09:30".to_owned(), "Ana"),
                ("09:30".to_owned(), "Zoé")
            ]
        );
    }

    #[test]
    fn a_day_of_23_hours_skips_the_hour_that_does_not_exist() {
        // Lisbon: 01:00 WET becomes 02:00 WEST on 28 March 2027.
        let s = search(
            "Europe/Lisbon",
            15,
            vec![resource(1, "Ana", &[("00:30", "02:30")])],
        );
        assert_eq!(
            times(&s, "2027-03-28"),
            ["00:30", "00:45", "01:00", "01:15"]
        );
    }

    #[test]
    fn a_day_of_25_hours_offers_the_hour_that_comes_twice_twice() {
        // Lisbon: 02:00 WEST becomes 01:00 WET on 25 October 2026.
        let s = search(
            "Europe/Lisbon",
            30,
            vec![resource(1, "Ana", &[("01:00", "02:00")])],
        );
        assert_eq!(
            times(&s, "2026-10-25"),
            [
                "00:00", "00:15", "00:30", "00:45", "01:00", "01:15", "01:30"
            ]
        );
    }

    #[test]
    fn a_wall_hour_keeps_its_place_across_the_change_of_the_clock() {
        let s = search(
            "Europe/Lisbon",
            60,
            vec![resource(1, "Ana", &[("09:00", "10:00")])],
        );
        assert_eq!(times(&s, "2026-10-24"), ["08:00"]);
        assert_eq!(times(&s, "2026-10-25"), ["09:00"]);
    }

    #[test]
    fn claims_of_the_whole_span_are_asked_for() {
        let s = search("Europe/Lisbon", 60, vec![]);
        let (from, until) = s.span("2026-11-24".parse().unwrap(), "2026-12-08".parse().unwrap());
        assert!(from < at("2026-11-24T00:00:00Z") && until > at("2026-12-09T00:00:00Z"));
    }

    #[test]
    fn as_many_at_once_as_there_are_places() {
        let mut s = search("UTC", 60, vec![resource(1, "Class", &[("09:00", "10:00")])]);
        s.staff[0].capacity = 2;
        s.staff[0].taken = vec![(at("2026-11-24T09:00:00Z"), at("2026-11-24T10:00:00Z"), 1)];
        assert_eq!(times(&s, "2026-11-24"), ["09:00"]);
        s.staff[0]
            .taken
            .push((at("2026-11-24T09:00:00Z"), at("2026-11-24T10:00:00Z"), 2));
        assert!(times(&s, "2026-11-24").is_empty());
    }

    #[test]
    fn a_unit_that_is_free_all_the_time_is_offered_however_often_the_other_one_is_taken() {
        let mut s = search("UTC", 60, vec![resource(1, "Class", &[("09:00", "10:00")])]);
        s.staff[0].capacity = 2;
        s.staff[0].taken = vec![
            (at("2026-11-24T09:00:00Z"), at("2026-11-24T09:30:00Z"), 1),
            (at("2026-11-24T09:30:00Z"), at("2026-11-24T10:00:00Z"), 1),
            (at("2026-11-24T09:00:00Z"), at("2026-11-24T10:00:00Z"), 3),
        ];
        assert_eq!(times(&s, "2026-11-24"), ["09:00"]);
    }
}
