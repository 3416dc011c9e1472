//! Who books what, when, and how it goes. Pure: the same clock gives the same bookings.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use jiff::civil;

use super::business::{ROOMS, SERVICES, STAFF, ZONE};
use super::dice::Dice;
use crate::domain::slot;

const DAYS_BACK: i64 = 14;
const DAYS_AHEAD: i64 = 14;

/// How a booking goes. Only ends, and the one that waits for a person: what is open is for the sandbox to know about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Story {
    PaidCard,
    PaidLink,
    /// The saved card was refused; the customer paid by link with another one.
    PaidAfterDecline,
    Venue,
    /// Nobody paid before the hold ran out.
    Expired,
    /// A person took it back before it was paid.
    TakenBack,
    /// Paid, but nobody could be told: cancelled and refunded.
    NotTold,
    /// The same, and the refund failed: a person must decide.
    RefundFailed,
}

#[derive(Debug, Clone)]
pub struct Planned {
    pub n: usize,
    pub story: Story,
    pub customer: usize,
    pub service: usize,
    pub staff: usize,
    pub room: usize,
    pub start: slot::LocalTime,
    pub start_utc: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

impl Planned {
    pub fn end_utc(&self) -> DateTime<Utc> {
        self.start_utc + TimeDelta::minutes(SERVICES[self.service].minutes.into())
    }

    /// Service time and buffers.
    pub fn blocked(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let after = SERVICES[self.service].after_min;
        (
            self.start_utc,
            self.end_utc() + TimeDelta::minutes(after.into()),
        )
    }
}

/// When each room is taken.
type Rooms = HashMap<usize, Vec<(DateTime<Utc>, DateTime<Utc>)>>;

pub fn plan(now: DateTime<Utc>) -> Vec<Planned> {
    let now = now.with_nanosecond(0).unwrap_or(now);
    let mut dice = Dice::new(0x48_61_6c_63_79_6f_6e);
    let mut rooms = Rooms::new();
    let mut bookings: Vec<Planned> = vec![];
    let today = slot::time_zone(ZONE)
        .map(|tz| slot::to_jiff(now).to_zoned(tz).date())
        .unwrap_or_default();
    for offset in -DAYS_BACK..=DAYS_AHEAD {
        let Ok(date) = today.checked_add(jiff::Span::new().days(offset)) else {
            continue;
        };
        let weekday = date.weekday().to_monday_one_offset();
        for (staff, person) in STAFF.iter().enumerate() {
            if !person.days.contains(&weekday) {
                continue;
            }
            for (opens, closes) in person.shifts {
                let mut minute = wall_minute(opens);
                loop {
                    // Days that lie ahead fill up as they come nearer.
                    let gap = 15 * dice.roll(if offset > 3 { 13 } else { 7 }) as i32;
                    minute += gap;
                    let Some(next) = book(
                        &mut dice,
                        &mut rooms,
                        &mut bookings,
                        now,
                        date,
                        minute,
                        wall_minute(closes),
                        staff,
                    ) else {
                        break;
                    };
                    minute = next;
                }
            }
        }
    }
    bookings
}

/// One booking from `minute` on, or nothing once the shift is too short for any. Returns when the next may begin.
#[allow(
    clippy::too_many_arguments,
    reason = "one caller; the state of its loop"
)]
fn book(
    dice: &mut Dice,
    rooms: &mut Rooms,
    bookings: &mut Vec<Planned>,
    now: DateTime<Utc>,
    date: civil::Date,
    minute: i32,
    closes: i32,
    staff: usize,
) -> Option<i32> {
    let fitting: Vec<usize> = (0..SERVICES.len())
        .filter(|s| {
            STAFF[staff].performs.contains(&SERVICES[*s].category)
                && minute + SERVICES[*s].minutes <= closes
        })
        .collect();
    let service = *fitting.get(dice.roll(fitting.len()))?;
    let s = &SERVICES[service];
    let next = minute + (s.minutes + s.after_min + 14) / 15 * 15;
    let wall = format!("{date}T{:02}:{:02}", minute / 60, minute % 60);
    // An hour that the clock skips or repeats is left free.
    let Ok((start, start_utc)) = slot::resolve(&wall, ZONE, None) else {
        return Some(next);
    };
    let until = start_utc + TimeDelta::minutes((s.minutes + s.after_min).into());
    let room = (0..ROOMS.len()).find(|r| {
        ROOMS[*r].1.contains(&s.category)
            && rooms
                .get(r)
                .is_none_or(|taken| taken.iter().all(|(a, b)| *b <= start_utc || until <= *a))
    });
    let Some(room) = room else {
        return Some(minute + 15);
    };
    rooms.entry(room).or_default().push((start_utc, until));
    let n = bookings.len();
    // Everything that a booking went through lies in the past, the longest hold included.
    let latest = now - TimeDelta::hours(30);
    let created_at = (start_utc - dice.minutes(26 * 60, 12 * 24 * 60))
        .min(latest - dice.minutes(0, 5 * 24 * 60));
    bookings.push(Planned {
        n,
        story: story(dice, n, start_utc > now),
        customer: customer(dice),
        service,
        staff,
        room,
        start,
        start_utc,
        created_at,
    });
    Some(next)
}

fn story(dice: &mut Dice, n: usize, ahead: bool) -> Story {
    // One refund that failed and a few of the other rare ends, wherever chance would put them.
    match n {
        170 => return Story::RefundFailed,
        60 | 131 | 205 => return Story::NotTold,
        48 | 150 | 190 => return Story::PaidAfterDecline,
        _ => {}
    }
    match dice.roll(100) {
        0..34 => Story::PaidCard,
        34..62 => Story::PaidLink,
        62..88 => Story::Venue,
        88..93 => Story::Expired,
        93..96 => Story::TakenBack,
        96..98 => Story::PaidAfterDecline,
        _ if ahead => Story::PaidLink,
        _ => Story::Venue,
    }
}

/// Some come often.
fn customer(dice: &mut Dice) -> usize {
    if dice.percent(45) {
        dice.roll(14)
    } else {
        dice.roll(super::business::CUSTOMERS.len())
    }
}

fn wall_minute(time: &str) -> i32 {
    time.split_once(':')
        .and_then(|(h, m)| Some(h.parse::<i32>().ok()? * 60 + m.parse::<i32>().ok()?))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-24T10:07:13Z".parse().unwrap()
    }

    #[test]
    fn the_same_clock_gives_the_same_bookings() {
        let (a, b) = (plan(now()), plan(now()));
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }

    #[test]
    fn there_are_enough_of_each_kind() {
        for now in [
            now(),
            "2027-03-20T23:30:00Z".parse().unwrap(),
            "2026-10-20T05:00:00Z".parse().unwrap(),
        ] {
            let all = plan(now);
            assert!((250..=420).contains(&all.len()), "{}", all.len());
            let stories: HashSet<Story> = all.iter().map(|b| b.story).collect();
            assert_eq!(stories.len(), 8);
            assert_eq!(
                all.iter()
                    .filter(|b| b.story == Story::RefundFailed)
                    .count(),
                1
            );
            assert!(
                all.iter().all(
                    |b| b.created_at < now - TimeDelta::hours(29) && b.created_at < b.start_utc
                )
            );
        }
    }

    #[test]
    fn nobody_and_no_room_is_booked_twice_at_a_time() {
        let all = plan(now());
        for a in &all {
            for b in all
                .iter()
                .filter(|b| b.n > a.n && (b.staff == a.staff || b.room == a.room))
            {
                let ((a1, a2), (b1, b2)) = (a.blocked(), b.blocked());
                assert!(a2 <= b1 || b2 <= a1, "{a:?} {b:?}");
            }
        }
    }
}
