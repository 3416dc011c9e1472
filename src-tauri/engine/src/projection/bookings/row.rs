//! A row of the list and how an event changes it.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::words::*;
use crate::domain::booking::{self, Booking, Payment, PaymentState};
use crate::domain::dispute::Contested;
use crate::domain::event::{BookingCreated, CancelReason, Event, Party};
use crate::projection::people::Person;
use crate::store::copy;

/// The table's columns, in its own words.
#[derive(Debug, Clone, Default, PartialEq, sqlx::FromRow)]
pub struct Row {
    pub booking_id: Uuid,
    pub reference: String,
    pub customer_id: Uuid,
    pub customer_name: String,
    pub service_id: Uuid,
    pub service_name: String,
    pub resources: Value,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub zone: String,
    pub state: Cow<'static, str>,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub payment: Cow<'static, str>,
    pub payment_mode: Cow<'static, str>,
    pub price_minor: i64,
    pub currency: String,
    pub authorised_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
    pub payment_intent: Option<String>,
    pub pay_url: Option<String>,
    pub cancelled: Option<Value>,
    pub version: i64,
    pub correlation_id: Uuid,
    pub changed_at: DateTime<Utc>,
    pub search: String,
}

/// In the order in which [`Row::copy`] writes them.
pub const COLUMNS: &str = "booking_id, reference, customer_id, customer_name, service_id, service_name, resources, starts_at, ends_at, zone, state, \
     hold_expires_at, payment, payment_mode, price_minor, currency, authorised_minor, captured_minor, refunded_minor, payment_intent, \
     pay_url, cancelled, version, correlation_id, changed_at, search";

/// A row on its way through the events of its booking.
pub struct Track {
    row: Row,
    state: Booking,
}

/// What of an event's envelope the row keeps.
pub struct Envelope {
    pub version: i64,
    pub correlation_id: Uuid,
    pub occurred_at: DateTime<Utc>,
}

impl Track {
    pub fn begun(created: &BookingCreated) -> Track {
        Track {
            row: Row::begun(created),
            state: Booking::default(),
        }
    }

    /// As much of the booking as `evolve` builds on and the row shows. Rules are decided elsewhere, from the events.
    pub fn of(row: Row) -> Track {
        let contested = match payment_of(&row.payment) {
            PaymentState::Disputed => Some(Contested::Open),
            PaymentState::DisputeLost => Some(Contested::Lost),
            _ => None,
        };
        let state = Booking {
            status: status_of(&row.state),
            hold_expires_at: row.hold_expires_at,
            payment: Payment {
                state: payment_of(&row.payment),
                intent: row.payment_intent.clone(),
                pay_url: row.pay_url.clone(),
                authorised_minor: row.authorised_minor,
                captured_minor: row.captured_minor,
                refunded_minor: row.refunded_minor,
                contested,
                ..Payment::default()
            },
            ..Booking::default()
        };
        Track { row, state }
    }

    /// `None`: of an event that shows in the row by its envelope alone.
    pub fn follow(&mut self, event: Option<&Event>, envelope: &Envelope) {
        if let Some(event) = event {
            self.evolve(event);
        }
        let row = &mut self.row;
        row.version = envelope.version;
        if row.correlation_id.is_nil() {
            row.correlation_id = envelope.correlation_id;
        }
        row.changed_at = row.changed_at.max(envelope.occurred_at);
    }

    fn evolve(&mut self, event: &Event) {
        let row = &mut self.row;
        self.state = booking::evolve(std::mem::take(&mut self.state), event);
        match event {
            // Whatever names one of the provider's ids.
            Event::PaymentRequested(_)
            | Event::PaymentAuthorized(_)
            | Event::PaymentFailed(_)
            | Event::PaymentReceived(_) => {
                let payment = &self.state.payment;
                row.remember(payment.intent.as_deref());
                row.remember(payment.checkout_session.as_deref());
            }
            Event::BookingCancelled(e) => {
                row.cancelled = Some(
                    json!({ "by": party_word(e.cancelled_by), "reason_code": reason_word(e.reason_code), "reason": e.reason }),
                );
            }
            Event::BookingExpired(_) => {
                row.cancelled = Some(
                    json!({ "by": party_word(Party::System), "reason_code": reason_word(CancelReason::HoldExpired), "reason": null }),
                );
            }
            _ => {}
        }
    }

    /// The same, under the name of its customer if that is among these.
    pub fn named(self, names: &HashMap<Uuid, Name>) -> Row {
        let mut row = self.settled();
        if let Some(name) = names.get(&row.customer_id) {
            row.name(name);
        }
        row
    }

    /// The row after the last event.
    pub fn settled(self) -> Row {
        let (mut row, p) = (self.row, self.state.payment);
        row.state = state_word(self.state.status).into();
        row.hold_expires_at = self.state.hold_expires_at;
        row.payment = payment_word(p.shown()).into();
        row.authorised_minor = p.authorised_minor;
        row.captured_minor = p.captured_minor;
        row.refunded_minor = p.refunded_minor;
        row.payment_intent = p.intent;
        row.pay_url = p.pay_url;
        row
    }
}

impl Row {
    /// What never changes after the booking was made.
    fn begun(created: &BookingCreated) -> Row {
        let mut resources: Vec<_> = created.resources.iter().collect();
        resources.sort_by_key(|r| r.role != "staff");
        Row {
            booking_id: created.booking_id.0,
            reference: created.reference.0.clone(),
            customer_id: created.customer_id.0,
            service_id: created.service_id.0,
            service_name: created.service_name.clone(),
            resources: resources
                .iter()
                .map(|r| json!({ "id": r.resource_id, "name": r.name }))
                .collect(),
            starts_at: created.start_utc,
            ends_at: created.end_utc,
            zone: created.start.tzid.clone(),
            payment_mode: mode_word(created.payment_mode).into(),
            price_minor: created.price.amount_minor,
            currency: created.price.currency.as_str().to_owned(),
            search: format!("{}\n\n\n", created.reference.0.to_lowercase()),
            ..Row::default()
        }
    }

    /// The search text has a fact a line: reference, name, e-mail, phone, then the provider's ids as they came.
    pub fn name(&mut self, name: &Name) {
        self.customer_name.clone_from(&name.name);
        let mut parts = self.search.splitn(5, '\n');
        let reference = parts.next().unwrap_or_default();
        let ids = parts.nth(3);
        let mut search = String::with_capacity(self.search.len() + name.search.len());
        search.push_str(reference);
        search.push('\n');
        search.push_str(&name.search);
        if let Some(ids) = ids {
            search.push('\n');
            search.push_str(ids);
        }
        self.search = search;
    }

    fn remember(&mut self, id: Option<&str>) {
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return;
        };
        let id = id.to_lowercase();
        if !self.search.split('\n').skip(4).any(|known| known == id) {
            self.search.push('\n');
            self.search.push_str(&id.replace('\n', " "));
        }
    }

    pub fn copy(&self, rows: &mut copy::Rows) {
        rows.row(26);
        rows.uuid(self.booking_id);
        rows.text(&self.reference);
        rows.uuid(self.customer_id);
        rows.text(&self.customer_name);
        rows.uuid(self.service_id);
        rows.text(&self.service_name);
        rows.json(&self.resources.to_string());
        rows.time(self.starts_at);
        rows.time(self.ends_at);
        rows.text(&self.zone);
        rows.text(&self.state);
        rows.or_null(self.hold_expires_at, copy::Rows::time);
        rows.text(&self.payment);
        rows.text(&self.payment_mode);
        rows.bigint(self.price_minor);
        rows.text(&self.currency);
        rows.bigint(self.authorised_minor);
        rows.bigint(self.captured_minor);
        rows.bigint(self.refunded_minor);
        rows.or_null(self.payment_intent.as_deref(), copy::Rows::text);
        rows.or_null(self.pay_url.as_deref(), copy::Rows::text);
        rows.or_null(self.cancelled.as_ref(), |rows, v| rows.json(&v.to_string()));
        rows.bigint(self.version);
        rows.uuid(self.correlation_id);
        rows.time(self.changed_at);
        rows.text(&self.search);
    }
}

/// What a customer is called, and the three lines by which their bookings are found.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    name: String,
    search: String,
}

impl From<&Person> for Name {
    fn from(person: &Person) -> Name {
        Name {
            name: person.name.clone(),
            search: person.search(),
        }
    }
}

impl Name {
    /// As another of their bookings shows it.
    pub fn shown(name: String, search: &str) -> Name {
        let lines: Vec<&str> = search.split('\n').skip(1).take(3).collect();
        Name {
            name,
            search: lines.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventType;

    #[test]
    fn a_new_name_keeps_the_ids_that_were_found_by() {
        let mut row = Row {
            search: "bk-7q4m2k\n\n\n".into(),
            ..Row::default()
        };
        row.remember(Some("cs_test_A1"));
        row.remember(Some("pi_1"));
        row.remember(Some("pi_1"));
        let person = |name: &str| Person {
            name: name.into(),
            email: Some("a@b.pt".into()),
            ..Person::default()
        };
        row.name(&(&person("Ana")).into());
        row.name(&(&person("Ana Rosa")).into());
        assert_eq!(
            row.search,
            "bk-7q4m2k\nana rosa\na@b.pt\n\ncs_test_a1\npi_1"
        );
        assert_eq!(row.customer_name, "Ana Rosa");
        let shown = Name::shown(row.customer_name.clone(), &row.search);
        assert_eq!(shown, Name::from(&person("Ana Rosa")));
    }

    /// What [`super::super::BARE`] rests on.
    #[test]
    fn an_event_that_is_followed_bare_says_nothing_that_a_row_shows() {
        for name in crate::projection::bookings::BARE {
            let kind = EventType::named(name).unwrap();
            for shape in kind.versions {
                let file = format!("src/domain/fixtures/{name}.v{}.json", shape.version);
                let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                let stored: Value =
                    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
                let reader = crate::store::upcast::reader(name, shape.version).unwrap();
                let event = reader.read_value(stored["data"].clone()).unwrap();
                for (state, payment) in [
                    ("held", "requested"),
                    ("confirmed", "paid"),
                    ("cancelled", "refunded"),
                ] {
                    let row = Row {
                        state: state.into(),
                        payment: payment.into(),
                        hold_expires_at: Some(DateTime::UNIX_EPOCH),
                        payment_intent: Some("pi_1".into()),
                        pay_url: Some("https://pay.example".into()),
                        search: "bk-1\n\n\n\npi_1".into(),
                        ..Row::default()
                    };
                    let mut track = Track::of(row.clone());
                    track.evolve(&event);
                    assert_eq!(track.settled(), row, "{name} v{}", shape.version);
                }
            }
        }
    }
}
