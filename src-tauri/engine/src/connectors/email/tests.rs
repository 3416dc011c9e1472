//! Three kinds: what people read (goldens in full), what others understand (parsers that we did not
//! write), and what is known after each way in which a mail server can let us down (a real server,
//! and one that cheats).

#![allow(clippy::disallowed_methods, reason = "a test supervises its own tasks")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

mod compose;
mod config;
mod ics;
mod peers;
mod render;
mod smtp;
mod treachery;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn facts() -> BookingFacts {
    BookingFacts {
        booking_id: Uuid::parse_str("0198a5f0-0000-7000-8000-000000000001").unwrap(),
        reference: "BZ-7K2M".to_owned(),
        customer_name: "Anna Müller".to_owned(),
        customer_email: Some("anna@example.com".to_owned()),
        service: "Deep tissue massage".to_owned(),
        staff: "Jonas".to_owned(),
        room: Some("Room 2".to_owned()),
        business: "Stillwater Spa".to_owned(),
        location: "Hauptstraße 5\n10827 Berlin".to_owned(),
        starts: at("2026-07-14T12:00:00Z"),
        ends: at("2026-07-14T13:00:00Z"),
        zone: "Europe/Berlin".to_owned(),
        price: Amount::new(8000, "EUR"),
        paid: Amount::new(8000, "EUR"),
        refunded: Amount::new(0, "EUR"),
        pay_url: None,
        hold_until: None,
        cancel_reason: None,
        sequence: 0,
        organizer_email: "desk@stillwater.example".to_owned(),
    }
}

fn mail(to: &str) -> Mail {
    render(Template::BookingConfirmed, &facts(), "en")
        .unwrap()
        .to(to, "Anna Müller")
}
