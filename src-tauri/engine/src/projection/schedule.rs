//! The schedule: what occupies each resource on each day of its place, buffers included.
//!
//! A claim has a row for each local day that it touches, so that a day of a resource is one look into one index. What
//! the window draws is the state of the booking, which stands once in `schedule_bookings`.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{Batch, local_days, table};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::{BookingCreated, Claim, Event};
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "schedule",
    version: 1,
    event_types: Some(&[
        "BookingCreated",
        "InventoryHeld",
        "HoldExtended",
        "PaymentRequested",
        "PaymentReceived",
        "BookingConfirmed",
        "BookingCancelled",
        "BookingExpired",
        "InventoryReleased",
        "InventoryHoldExpired",
    ]),
    reads: Reads::Said { bare: &[] },
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

table! {
    Booking in "schedule_bookings" by (booking_id) {
        booking_id: Uuid,
        reference: String,
        customer_id: Uuid,
        service_id: Uuid,
        service_name: String,
        resources: Value,
        zone: String,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
        state: String,
        hold_expires_at: Option<DateTime<Utc>>,
    }
}

table! {
    Slot in "schedule_slots" by (claim_id, day) {
        claim_id: Uuid,
        day: NaiveDate,
        resource_id: Uuid,
        unit: i16,
        resource_name: String,
        role: String,
        booking_id: Uuid,
        blocked_from: DateTime<Utc>,
        blocked_until: DateTime<Utc>,
        released_at: Option<DateTime<Utc>>,
    }
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let batch = Batch::of(events)?;
    let mut bookings = Booking::by_booking(&mut *conn, &batch.begun).await?;
    let mut slots: HashMap<Uuid, Vec<Slot>> = HashMap::new();
    // Only what is given back has rows from before.
    let releasing: Vec<Uuid> = batch
        .events
        .iter()
        .filter(|(_, _, e)| {
            matches!(
                e,
                Event::InventoryReleased(_) | Event::InventoryHoldExpired(_)
            )
        })
        .map(|(booking, _, _)| *booking)
        .collect();
    if !releasing.is_empty() {
        for slot in Slot::load(&mut *conn, &releasing).await? {
            slots.entry(slot.claim_id).or_default().push(slot);
        }
    }

    for (id, recorded, event) in &batch.events {
        if let Event::BookingCreated(created) = event {
            bookings.entry(*id).or_insert_with(|| begun(created));
        }
        let booking = bookings.get_mut(id).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        booking.evolve(event);
        match event {
            Event::InventoryHeld(held) => {
                for claim in &held.claims {
                    slots.insert(claim.claim_id.0, booking.slots(claim)?);
                }
            }
            Event::InventoryReleased(released) | Event::InventoryHoldExpired(released) => {
                for claim in &released.claims {
                    for slot in slots.get_mut(&claim.0).into_iter().flatten() {
                        slot.released_at = Some(recorded.occurred_at);
                    }
                }
            }
            _ => {}
        }
    }

    let bookings: Vec<Booking> = bookings.into_values().collect();
    Booking::write(&mut *conn, &bookings).await?;
    let slots: Vec<Slot> = slots.into_values().flatten().collect();
    Slot::write(conn, &slots).await?;
    Ok(())
}

fn begun(created: &BookingCreated) -> Booking {
    let resources: Vec<Value> = created
        .resources
        .iter()
        .map(|r| json!({ "id": r.resource_id, "name": r.name, "role": r.role }))
        .collect();
    Booking {
        booking_id: created.booking_id.0,
        reference: created.reference.0.clone(),
        customer_id: created.customer_id.0,
        service_id: created.service_id.0,
        service_name: created.service_name.clone(),
        resources: Value::Array(resources),
        zone: created.start.tzid.clone(),
        starts_at: created.start_utc,
        ends_at: created.end_utc,
        state: "held".to_owned(),
        hold_expires_at: None,
    }
}

impl Booking {
    fn evolve(&mut self, event: &Event) {
        let state = match event {
            Event::InventoryHeld(e) => {
                self.hold_expires_at = e.expires_at;
                "held"
            }
            Event::HoldExtended(e) => {
                self.hold_expires_at = Some(e.expires_at);
                return;
            }
            Event::PaymentRequested(_) => "awaiting_payment",
            Event::PaymentReceived(_) => {
                self.hold_expires_at = None;
                return;
            }
            Event::BookingConfirmed(_) => {
                self.hold_expires_at = None;
                "confirmed"
            }
            Event::BookingCancelled(_) => "cancelled",
            Event::BookingExpired(_) => "expired",
            _ => return,
        };
        self.state = state.to_owned();
    }

    /// One for each day that the claim touches.
    fn slots(&self, claim: &Claim) -> Result<Vec<Slot>, ApplyError> {
        let id = claim.resource_id.to_string();
        let known = self.resources.as_array().into_iter().flatten();
        let resource = known.clone().find(|r| r["id"] == id.as_str());
        let word = |field: &str| {
            let word = resource.and_then(|r| r[field].as_str());
            word.unwrap_or_default().to_owned()
        };
        let days = local_days(claim.blocked_from, claim.blocked_until, &self.zone)?;
        Ok(days
            .into_iter()
            .map(|day| Slot {
                claim_id: claim.claim_id.0,
                day,
                resource_id: claim.resource_id.0,
                unit: claim.unit,
                resource_name: word("name"),
                role: word("role"),
                booking_id: self.booking_id,
                blocked_from: claim.blocked_from,
                blocked_until: claim.blocked_until,
                released_at: None,
            })
            .collect())
    }
}
