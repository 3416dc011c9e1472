//! A booking as an iCalendar object (RFC 5545), to be mailed as an invitation (RFC 5546).
//!
//! Written by hand: the crate at hand writes no VTIMEZONE, and without one mail programs show a
//! customer's appointment in GMT or an hour off. UTC times would avoid the zone but lose it: an
//! entry's zone is what a person sees when they travel, and what a calendar uses when the customer
//! drags or copies the entry.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::address::one_line;
use super::facts::BookingFacts;
use super::render::{RenderError, phrase};
use super::texts::texts;
use super::vtimezone::vtimezone;
use super::words::Words;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarMethod {
    /// “For your information”: can never be taken back, so only for feeds and downloads.
    Publish,
    /// A new entry, or a change to one.
    Request,
    Cancel,
}

impl CalendarMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            CalendarMethod::Publish => "PUBLISH",
            CalendarMethod::Request => "REQUEST",
            CalendarMethod::Cancel => "CANCEL",
        }
    }
}

/// `stamp` is when this object is made (DTSTAMP); with the same stamp the same facts give the same
/// bytes.
pub fn calendar(
    facts: &BookingFacts,
    method: CalendarMethod,
    stamp: Timestamp,
    locale: &str,
) -> Result<String, RenderError> {
    let texts = texts(locale);
    let words = Words::of(facts, texts)?;
    let facts = facts.cleaned();
    let zone = facts.time_zone()?;
    let cancelled = method == CalendarMethod::Cancel;

    let mut out = Lines::default();
    out.line("BEGIN:VCALENDAR");
    out.line("VERSION:2.0");
    out.line("PRODID:-//Bizing Desk//Booking//EN");
    out.line("CALSCALE:GREGORIAN");
    out.line(&format!("METHOD:{}", method.as_str()));
    let times = match Local::of(&facts, &zone) {
        Some(local) => {
            vtimezone(&zone, local.id, facts.starts, facts.ends)
                .iter()
                .for_each(|line| out.line(line));
            [
                format!("DTSTART;TZID={}:{}", local.id, stamp_text(local.starts)),
                format!("DTEND;TZID={}:{}", local.id, stamp_text(local.ends)),
            ]
        }
        None => [
            format!("DTSTART:{}", utc(facts.starts)),
            format!("DTEND:{}", utc(facts.ends)),
        ],
    };
    out.line("BEGIN:VEVENT");
    out.line(&format!("UID:{}", facts.booking_id));
    out.line(&format!("SEQUENCE:{}", facts.sequence));
    out.line(&format!("DTSTAMP:{}", utc(stamp)));
    times.iter().for_each(|line| out.line(line));
    out.text("SUMMARY", &phrase(&texts.calendar.summary, words.value())?);
    out.text(
        "DESCRIPTION",
        &phrase(&texts.calendar.description, words.value())?,
    );
    if !facts.location.is_empty() {
        out.text("LOCATION", &facts.location);
    }
    out.line(&format!(
        "ORGANIZER;CN={}:mailto:{}",
        quoted(&facts.business),
        mailto(&facts.organizer_email)
    ));
    match (&facts.customer_email, method) {
        // A published entry has no participants (RFC 5546 §3.2.1).
        (_, CalendarMethod::Publish) => {}
        // The customer asked for this appointment: they are already coming, and nobody waits for
        // their answer.
        (Some(email), _) => out.line(&format!(
            "ATTENDEE;CN={};ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=FALSE:mailto:{}",
            quoted(&facts.customer_name),
            mailto(email)
        )),
        (None, _) => return Err(RenderError::NoCustomerEmail),
    }
    out.line(if cancelled {
        "STATUS:CANCELLED"
    } else {
        "STATUS:CONFIRMED"
    });
    out.line(if cancelled {
        "TRANSP:TRANSPARENT"
    } else {
        "TRANSP:OPAQUE"
    });
    out.line("END:VEVENT");
    out.line("END:VCALENDAR");
    Ok(out.0)
}

/// Both ends on the place's clock, if that clock can say them.
struct Local<'a> {
    id: &'a str,
    starts: DateTime,
    ends: DateTime,
}

impl<'a> Local<'a> {
    /// `None` for UTC itself, and for the hour that a clock shows twice in autumn: a local time in
    /// it means the first (RFC 5545 §3.3.5), so the second can only be said in UTC.
    fn of(facts: &BookingFacts, zone: &'a TimeZone) -> Option<Local<'a>> {
        let id = zone.iana_name().filter(|id| {
            !matches!(
                *id,
                "UTC" | "Etc/UTC" | "Etc/UCT" | "Etc/Zulu" | "Zulu" | "UCT"
            )
        })?;
        let local = |at: Timestamp| {
            let clock = zone.to_datetime(at);
            (zone.to_ambiguous_timestamp(clock).compatible().ok() == Some(at)).then_some(clock)
        };
        // A fraction of a second has no place in iCalendar; the check above would fail for it only
        // through rounding.
        Some(Local {
            id,
            starts: local(facts.starts)?,
            ends: local(facts.ends)?,
        })
    }
}

pub(super) fn stamp_text(at: DateTime) -> String {
    at.strftime("%Y%m%dT%H%M%S").to_string()
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A parameter value in quotes. They cannot be escaped inside, so they become the other kind.
fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text).replace('"', "'"))
}

/// Only what may stand in an address as a URI; the rest is percent-encoded (RFC 6068).
fn mailto(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    for byte in address.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'@'
            | b'.'
            | b'-'
            | b'_'
            | b'+'
            | b'~'
            | b'!'
            | b'$'
            | b'\''
            | b'*' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    /// Ends with CRLF and is folded at 75 octets, never inside a character (RFC 5545 §3.1).
    fn line(&mut self, line: &str) {
        let mut room = 75;
        for c in line.chars() {
            if c.len_utf8() > room {
                self.0.push_str("\r\n ");
                // The space that marks a continuation counts.
                room = 74;
            }
            room -= c.len_utf8();
            self.0.push(c);
        }
        self.0.push_str("\r\n");
    }

    fn text(&mut self, name: &str, value: &str) {
        let mut escaped = String::with_capacity(value.len());
        for c in value.chars() {
            match c {
                '\\' | ';' | ',' => escaped.extend(['\\', c]),
                '\n' => escaped.push_str("\\n"),
                c if c.is_control() => {}
                c => escaped.push(c),
            }
        }
        self.line(&format!("{name}:{escaped}"));
    }
}
