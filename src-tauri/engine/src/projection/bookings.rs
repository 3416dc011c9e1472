//! `bookings`: one row a booking, as the list shows it.
//!
//! The rows of a batch's bookings are loaded at once, evolved by the domain's own `evolve`, and written at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::people::{self, Person};
use super::{ApplyError, Projection, Rows};
use crate::domain::booking::{self, Booking, Payment, PaymentState, Status};
use crate::domain::event::{BookingCreated, CancelReason, Event, Party, PaymentMode, Sealed};
use crate::store::read::Recorded;

pub static PROJECTION: Projection = Projection {
    name: "bookings",
    version: 1,
    event_types: None,
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
};

/// The table's columns, in its own words.
#[derive(Debug, Clone, Default, Serialize, sqlx::FromRow)]
struct Row {
    booking_id: Uuid,
    reference: String,
    customer_id: Uuid,
    customer_name: String,
    service_id: Uuid,
    service_name: String,
    resources: Value,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    zone: String,
    state: String,
    hold_expires_at: Option<DateTime<Utc>>,
    payment: String,
    payment_mode: String,
    price_minor: i64,
    currency: String,
    authorised_minor: i64,
    captured_minor: i64,
    refunded_minor: i64,
    payment_intent: Option<String>,
    pay_url: Option<String>,
    cancelled: Option<Value>,
    version: i64,
    correlation_id: Uuid,
    changed_at: DateTime<Utc>,
    search: String,
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let mut parsed = Vec::with_capacity(events.len());
    let mut sealed: HashMap<Uuid, Sealed> = HashMap::new();
    let mut touched: HashSet<Uuid> = HashSet::new();
    let mut erased: HashSet<Uuid> = HashSet::new();
    for recorded in events {
        let event = recorded.event()?;
        match (&event, recorded.stream.booking()) {
            (Event::CustomerRegistered(e), _) => {
                sealed.insert(e.customer_id.0, e.personal.clone());
            }
            (Event::CustomerErased(e), _) => {
                erased.insert(e.customer_id.0);
            }
            (_, Some(booking)) => {
                touched.insert(booking.0);
                parsed.push((booking.0, *recorded, event));
            }
            _ => {}
        }
    }
    if touched.is_empty() && sealed.is_empty() && erased.is_empty() {
        return Ok(());
    }

    let customers: Vec<Uuid> = sealed.keys().chain(&erased).copied().collect();
    let mut rows = load(conn, &touched, &customers).await?;
    let mut new_customers: HashSet<Uuid> = HashSet::new();
    for (booking, recorded, event) in &parsed {
        if let Event::BookingCreated(created) = event {
            new_customers.insert(created.customer_id.0);
            rows.entry(*booking).or_insert_with(|| begun(created));
        }
        let row = rows.get_mut(booking).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        row.evolve(event, recorded);
    }

    // Customers that this batch registers, and those whom its new bookings name.
    let unknown: Vec<Uuid> = new_customers
        .into_iter()
        .filter(|c| !sealed.contains_key(c))
        .collect();
    sealed.extend(people::registered(conn, &unknown).await?);
    let mut people = people::open(conn, sealed).await?;
    people.extend(erased.into_iter().map(|id| (id, Person::erased())));
    for row in rows.values_mut() {
        if let Some(person) = people.get(&row.customer_id) {
            row.name(person);
        }
    }
    write(conn, rows.into_values().collect()).await
}

/// The rows of the batch's bookings, and of the customers whom it registers (anew) or erases.
async fn load(
    conn: &mut PgConnection,
    bookings: &HashSet<Uuid>,
    customers: &[Uuid],
) -> Result<BTreeMap<Uuid, Row>, ApplyError> {
    let rows: Vec<Row> = sqlx::query_as(
        "select * from bookings where booking_id = any($1) or customer_id = any($2)",
    )
    .bind(bookings.iter().copied().collect::<Vec<_>>())
    .bind(customers)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.booking_id, r)).collect())
}

async fn write(conn: &mut PgConnection, rows: Vec<Row>) -> Result<(), ApplyError> {
    let rows = serde_json::to_value(rows).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    sqlx::query(
        "insert into bookings
         select * from jsonb_populate_recordset(null::bookings, $1)
         on conflict (booking_id) do update set
           customer_name = excluded.customer_name, state = excluded.state, hold_expires_at = excluded.hold_expires_at,
           payment = excluded.payment, authorised_minor = excluded.authorised_minor, captured_minor = excluded.captured_minor,
           refunded_minor = excluded.refunded_minor, payment_intent = excluded.payment_intent, pay_url = excluded.pay_url,
           cancelled = excluded.cancelled, version = excluded.version, changed_at = excluded.changed_at, search = excluded.search",
    )
    .bind(rows)
    .execute(conn)
    .await?;
    Ok(())
}

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
        payment_mode: match created.payment_mode {
            PaymentMode::Link => "link",
            PaymentMode::CardOnFile => "card_on_file",
            PaymentMode::Venue => "venue",
        }
        .to_owned(),
        price_minor: created.price.amount_minor,
        currency: created.price.currency.as_str().to_owned(),
        search: format!("{}\n\n\n", created.reference.0.to_lowercase()),
        ..Row::default()
    }
}

impl Row {
    fn evolve(&mut self, event: &Event, recorded: &Recorded) {
        let after = booking::evolve(self.state_before(), event);
        self.state = state_word(after.status).to_owned();
        self.hold_expires_at = after.hold_expires_at;
        let p = after.payment;
        self.payment = payment_word(p.state).to_owned();
        self.authorised_minor = p.authorised_minor;
        self.captured_minor = p.captured_minor;
        self.refunded_minor = p.refunded_minor;
        self.remember(p.intent.as_deref());
        self.remember(p.checkout_session.as_deref());
        self.payment_intent = p.intent;
        self.pay_url = p.pay_url;
        match event {
            Event::BookingCancelled(e) => {
                self.cancelled = Some(
                    json!({ "by": party_word(e.cancelled_by), "reason_code": reason_word(e.reason_code), "reason": e.reason }),
                );
            }
            Event::BookingExpired(_) => {
                self.cancelled = Some(
                    json!({ "by": party_word(Party::System), "reason_code": reason_word(CancelReason::HoldExpired), "reason": null }),
                );
            }
            _ => {}
        }
        self.version = recorded.version;
        if self.correlation_id.is_nil() {
            self.correlation_id = recorded.correlation_id;
        }
        self.changed_at = self.changed_at.max(recorded.occurred_at);
    }

    /// As much of the booking as `evolve` builds on and the row shows. Rules are decided elsewhere, from the events.
    fn state_before(&self) -> Booking {
        Booking {
            status: status_of(&self.state),
            hold_expires_at: self.hold_expires_at,
            payment: Payment {
                state: payment_of(&self.payment),
                intent: self.payment_intent.clone(),
                pay_url: self.pay_url.clone(),
                authorised_minor: self.authorised_minor,
                captured_minor: self.captured_minor,
                refunded_minor: self.refunded_minor,
                ..Payment::default()
            },
            ..Booking::default()
        }
    }

    /// The search text has a fact a line: reference, name, e-mail, phone, then the provider's ids as they came.
    fn name(&mut self, person: &Person) {
        self.customer_name = person.name.clone();
        let mut lines = self.search.split('\n');
        let reference = lines.next().unwrap_or_default();
        let ids: Vec<&str> = lines.skip(3).collect();
        let mut search = format!("{reference}\n{}", person.search());
        for id in ids {
            search.push('\n');
            search.push_str(id);
        }
        self.search = search;
    }

    fn remember(&mut self, id: Option<&str>) {
        let Some(id) = id.map(str::to_lowercase).filter(|id| !id.is_empty()) else {
            return;
        };
        if !self.search.split('\n').skip(4).any(|known| known == id) {
            self.search.push('\n');
            self.search.push_str(&id.replace('\n', " "));
        }
    }
}

// ---- words, as the wire spells them ----------------------------------------------------------------------------------

const STATES: [(Status, &str); 6] = [
    // A booking without its hold is seen for no longer than its append takes.
    (Status::None, "held"),
    (Status::Held, "held"),
    (Status::AwaitingPayment, "awaiting_payment"),
    (Status::Confirmed, "confirmed"),
    (Status::Cancelled, "cancelled"),
    (Status::Expired, "expired"),
];

const PAYMENTS: [(PaymentState, &str); 13] = [
    (PaymentState::NotAsked, "not_asked"),
    (PaymentState::AtVenue, "at_venue"),
    (PaymentState::Requested, "requested"),
    (PaymentState::LinkSent, "link_sent"),
    (PaymentState::ActionRequired, "action_required"),
    (PaymentState::Authorised, "authorised"),
    (PaymentState::Declined, "declined"),
    (PaymentState::Paid, "paid"),
    (PaymentState::Voided, "voided"),
    (PaymentState::RefundPending, "refund_pending"),
    (PaymentState::PartRefunded, "part_refunded"),
    (PaymentState::Refunded, "refunded"),
    (PaymentState::RefundFailed, "refund_failed"),
];

pub fn state_word(status: Status) -> &'static str {
    STATES
        .iter()
        .find(|(s, _)| *s == status)
        .map_or("held", |(_, word)| word)
}

fn status_of(word: &str) -> Status {
    STATES
        .iter()
        .skip(1)
        .find(|(_, w)| *w == word)
        .map_or(Status::None, |(s, _)| *s)
}

pub fn payment_word(state: PaymentState) -> &'static str {
    PAYMENTS
        .iter()
        .find(|(s, _)| *s == state)
        .map_or("not_asked", |(_, word)| word)
}

fn payment_of(word: &str) -> PaymentState {
    PAYMENTS
        .iter()
        .find(|(_, w)| *w == word)
        .map_or(PaymentState::NotAsked, |(s, _)| *s)
}

fn party_word(party: Party) -> &'static str {
    match party {
        Party::Customer => "customer",
        Party::Staff => "staff",
        Party::System => "system",
    }
}

fn reason_word(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Asked => "asked",
        CancelReason::HoldExpired => "hold_expired",
        CancelReason::PaymentFailed => "payment_failed",
        CancelReason::NotTold => "not_told",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_of_the_wire_and_comes_back() {
        use crate::app::wire;
        for (state, word) in STATES.iter().skip(1) {
            assert_eq!(status_of(word), *state);
            serde_json::from_value::<wire::BookingState>(json!(word)).unwrap();
        }
        for (state, word) in PAYMENTS {
            assert_eq!(payment_of(word), state);
            serde_json::from_value::<wire::PaymentState>(json!(word)).unwrap();
        }
    }

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
        row.name(&person("Ana"));
        row.name(&person("Ana Rosa"));
        assert_eq!(
            row.search,
            "bk-7q4m2k\nana rosa\na@b.pt\n\ncs_test_a1\npi_1"
        );
        assert_eq!(row.customer_name, "Ana Rosa");
    }
}
