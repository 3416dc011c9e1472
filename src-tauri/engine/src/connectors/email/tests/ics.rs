use jiff::tz::TimeZoneDatabase;
use jiff::{Span, Timestamp};

use super::super::{BookingFacts, CalendarMethod, RenderError, calendar};
use super::peers::read_calendars;
use super::{at, facts};

fn entry(facts: &BookingFacts, method: CalendarMethod) -> String {
    calendar(facts, method, at("2026-07-01T08:00:00Z"), "en").unwrap()
}

#[test]
fn an_invitation_in_full() {
    assert_eq!(
        entry(&facts(), CalendarMethod::Request).replace("\r\n", "\n"),
        "\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Bizing Desk//Booking//EN
CALSCALE:GREGORIAN
METHOD:REQUEST
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
DTSTART:20250330T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:CEST
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20251026T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:CET
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:0198a5f0-0000-7000-8000-000000000001
SEQUENCE:0
DTSTAMP:20260701T080000Z
DTSTART;TZID=Europe/Berlin:20260714T140000
DTEND;TZID=Europe/Berlin:20260714T150000
SUMMARY:Deep tissue massage\\, Stillwater Spa
DESCRIPTION:With Jonas\\, Room 2\\nReference BZ-7K2M
LOCATION:Hauptstraße 5\\, 10827 Berlin
ORGANIZER;CN=\"Stillwater Spa\":mailto:desk@stillwater.example
ATTENDEE;CN=\"Anna Müller\";ROLE=REQ-PARTICIPANT;PARTSTAT=ACCEPTED;RSVP=FALS
 E:mailto:anna@example.com
STATUS:CONFIRMED
TRANSP:OPAQUE
END:VEVENT
END:VCALENDAR
"
    );
}

#[test]
fn a_cancellation_takes_back_the_same_entry() {
    let mut facts = facts();
    facts.sequence = 3;
    let read = &read_calendars(&[entry(&facts, CalendarMethod::Cancel)])[0];
    assert_eq!(read["method"], "CANCEL");
    assert_eq!(read["status"], "CANCELLED");
    assert_eq!(read["uid"], "0198a5f0-0000-7000-8000-000000000001");
    assert_eq!(read["sequence"], "3");
    assert_eq!(read["organizer"], "mailto:desk@stillwater.example");
    facts.customer_email = None;
    let error = calendar(&facts, CalendarMethod::Cancel, facts.starts, "en").unwrap_err();
    assert!(matches!(error, RenderError::NoCustomerEmail));
    assert!(!entry(&facts, CalendarMethod::Publish).contains("ATTENDEE"));
}

#[test]
fn any_text_survives_and_no_line_is_longer_than_75_octets() {
    let mut facts = facts();
    facts.service = "Schnitt; Farbe, \\n \"und\" mehr: 日本語テキスト🎉".repeat(12);
    facts.business = "Ann \"B\"; C, D: 50%".to_owned();
    facts.location = "Hof 3\r\nEND:VEVENT\nBEGIN:VALARM".to_owned();
    facts.organizer_email = "o'desk+a,b?c@stillwater.example".to_owned();
    let text = entry(&facts, CalendarMethod::Request);
    assert!(text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']));
    assert!(text.split("\r\n").all(|line| line.len() <= 75));
    let read = &read_calendars(&[text])[0];
    assert_eq!(
        read["summary"],
        format!("{}, {}", facts.service, facts.business)
    );
    assert_eq!(read["location"], "Hof 3, END:VEVENT, BEGIN:VALARM");
    assert_eq!(read["organizer_name"], "Ann 'B'; C, D: 50%");
    assert_eq!(
        read["organizer"],
        "mailto:o'desk+a%2Cb%3Fc@stillwater.example"
    );
    assert_eq!(read["errors"], serde_json::json!([]));
}

/// The reader knows only the rules inside the entry. It must come to our instants in every zone
/// with rules that somebody ever got wrong, around each change of the clock, and to the second hour
/// of a repeated one.
#[test]
fn another_program_reads_the_same_instants_in_every_kind_of_zone() {
    let zones = [
        "Europe/Berlin",
        "Europe/London",
        "Europe/Dublin",
        "Europe/Lisbon",
        "Europe/Istanbul",
        "Europe/Moscow",
        "America/New_York",
        "America/Los_Angeles",
        "America/Phoenix",
        "America/Sao_Paulo",
        "America/Mexico_City",
        "America/St_Johns",
        "America/Santiago",
        "America/Nuuk",
        "America/Asuncion",
        "America/Havana",
        "Africa/Casablanca",
        "Africa/Cairo",
        "Africa/Johannesburg",
        "Africa/Juba",
        "Asia/Tokyo",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Asia/Gaza",
        "Asia/Jerusalem",
        "Asia/Beirut",
        "Asia/Almaty",
        "Australia/Sydney",
        "Australia/Adelaide",
        "Australia/Lord_Howe",
        "Pacific/Auckland",
        "Pacific/Chatham",
        "Pacific/Apia",
        "Pacific/Kiritimati",
        "Atlantic/Azores",
        "Antarctica/Troll",
        "Etc/GMT+5",
        "UTC",
    ];
    assert_same_instants(&around_changes(&zones, at("2028-01-01T00:00:00Z")));
}

#[test]
#[ignore = "half a minute: every zone there is, each change of its clock in four years"]
fn another_program_reads_the_same_instants_in_every_zone() {
    let zones: Vec<String> = TimeZoneDatabase::bundled()
        .available()
        .map(|name| name.to_string())
        .collect();
    assert!(zones.len() > 500);
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    assert_same_instants(&around_changes(&zones, at("2030-01-01T00:00:00Z")));
}

fn assert_same_instants(wanted: &[BookingFacts]) {
    let entries: Vec<String> = wanted
        .iter()
        .map(|facts| entry(facts, CalendarMethod::Request))
        .collect();
    for ((facts, text), read) in wanted.iter().zip(&entries).zip(read_calendars(&entries)) {
        for (instant, field) in [(facts.starts, "starts"), (facts.ends, "ends")] {
            let found: Timestamp = read[field].as_str().unwrap().parse().unwrap();
            assert_eq!(found, instant, "{} {field}\n{text}", facts.zone);
        }
    }
}

#[test]
fn a_zone_without_yearly_rules_lists_its_changes() {
    let mut facts = facts();
    facts.zone = "Africa/Casablanca".to_owned();
    let text = entry(&facts, CalendarMethod::Request);
    assert!(
        !text.contains("RRULE") && text.matches("DTSTART:").count() >= 2,
        "{text}"
    );
    facts.zone = "Asia/Kolkata".to_owned();
    assert!(entry(&facts, CalendarMethod::Request).contains("TZOFFSETTO:+0530"));
    facts.zone = "UTC".to_owned();
    assert!(!entry(&facts, CalendarMethod::Request).contains("VTIMEZONE"));
}

fn around_changes(zones: &[&str], until: Timestamp) -> Vec<BookingFacts> {
    let mut wanted = Vec::new();
    for zone in zones.iter().copied() {
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let mut starts: Vec<Timestamp> = [
            "2026-01-01T10:00:00Z",
            "2026-07-14T12:00:00Z",
            "2027-12-31T22:30:00Z",
        ]
        .map(at)
        .to_vec();
        for change in rules
            .following(at("2026-01-01T00:00:00Z"))
            .take_while(|c| c.timestamp() < until)
        {
            for minutes in [-90, -45, 0, 15, 61, 150] {
                starts.push(
                    change
                        .timestamp()
                        .checked_add(Span::new().minutes(minutes))
                        .unwrap(),
                );
            }
        }
        for start in starts {
            let mut facts = facts();
            facts.zone = zone.to_owned();
            (facts.starts, facts.ends) =
                (start, start.checked_add(Span::new().minutes(45)).unwrap());
            wanted.push(facts);
        }
    }
    wanted
}
