//! How the booking sagas went, as the events of their bookings tell it: one row a booking, with when each step was
//! reached, how it ended and at which step it turned. Days, percentiles and histograms are views over the rows.
//!
//! `done` means that the customer was told. Where nobody is to be told (no address), the events end with the
//! confirmation, and the row says `confirmed`.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{Batch, local_day, table};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::{BookingCreated, CancelReason, Event};
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "saga_statistics",
    version: 1,
    event_types: Some(&[
        "BookingCreated",
        "InventoryHeld",
        "PaymentAuthorized",
        "PaymentFailed",
        "PaymentReceived",
        "BookingConfirmed",
        "NotificationSent",
        "NotificationFailed",
        "BookingCancelled",
        "BookingExpired",
        "InventoryReleased",
        "InventoryHoldExpired",
        "PaymentRefunded",
        "RefundRequested",
    ]),
    reads: Reads::Said { bare: &[] },
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

/// The message whose arrival ends a saga.
const CONFIRMATION: &str = "booking_confirmed";

table! {
    Run in "saga_runs" by (booking_id) {
        booking_id: Uuid,
        correlation_id: Uuid,
        zone: String,
        state: String,
        started_at: DateTime<Utc>,
        started_day: NaiveDate,
        held_at: Option<DateTime<Utc>>,
        authorised_at: Option<DateTime<Utc>>,
        captured_at: Option<DateTime<Utc>>,
        confirmed_at: Option<DateTime<Utc>>,
        told_at: Option<DateTime<Utc>>,
        turned_at: Option<DateTime<Utc>>,
        released_at: Option<DateTime<Utc>>,
        refund_open: bool,
        undone_at: Option<DateTime<Utc>>,
        turned_because: Option<String>,
        failed_step: Option<String>,
        declines: i32,
        lost_messages: i32,
    }
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let batch = Batch::of(events)?;
    let mut runs = Run::by_booking(&mut *conn, &batch.begun).await?;
    for (id, recorded, event) in &batch.events {
        if let Event::BookingCreated(created) = event
            && !runs.contains_key(id)
        {
            runs.insert(*id, begun(created, recorded)?);
        }
        let run = runs.get_mut(id).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        run.evolve(event, recorded.occurred_at);
    }
    let runs: Vec<Run> = runs.into_values().collect();
    Run::write(conn, &runs).await?;
    Ok(())
}

fn begun(created: &BookingCreated, recorded: &Recorded) -> Result<Run, ApplyError> {
    let zone = created.start.tzid.clone();
    Ok(Run {
        booking_id: created.booking_id.0,
        correlation_id: recorded.correlation_id,
        state: "running".to_owned(),
        started_at: recorded.occurred_at,
        started_day: local_day(recorded.occurred_at, &zone)?,
        zone,
        held_at: None,
        authorised_at: None,
        captured_at: None,
        confirmed_at: None,
        told_at: None,
        turned_at: None,
        released_at: None,
        refund_open: false,
        undone_at: None,
        turned_because: None,
        failed_step: None,
        declines: 0,
        lost_messages: 0,
    })
}

impl Run {
    fn evolve(&mut self, event: &Event, at: DateTime<Utc>) {
        let first = |known: &mut Option<DateTime<Utc>>| {
            known.get_or_insert(at);
        };
        match event {
            Event::InventoryHeld(_) => first(&mut self.held_at),
            Event::PaymentAuthorized(_) => first(&mut self.authorised_at),
            Event::PaymentReceived(_) => first(&mut self.captured_at),
            Event::PaymentFailed(_) => self.declines += 1,
            Event::NotificationFailed(_) => self.lost_messages += 1,
            Event::BookingConfirmed(_) => {
                first(&mut self.confirmed_at);
                self.moves(&["running"], "confirmed");
            }
            Event::NotificationSent(e) if e.template == CONFIRMATION => {
                first(&mut self.told_at);
                self.moves(&["confirmed"], "done");
            }
            Event::BookingCancelled(e) => {
                let (because, step) = turned(e.reason_code);
                self.turns(because, step, at);
            }
            Event::BookingExpired(_) => {
                let (because, step) = turned(CancelReason::HoldExpired);
                self.turns(because, step, at);
            }
            Event::InventoryReleased(_) | Event::InventoryHoldExpired(_) => {
                first(&mut self.released_at);
                self.settles(at);
            }
            // One that fails stays open: the money is still to go back.
            Event::RefundRequested(_) => self.refund_open = true,
            Event::PaymentRefunded(_) => {
                self.refund_open = false;
                self.settles(at);
            }
            _ => {}
        }
    }

    /// A booking that is cancelled after its saga was done is another story.
    fn turns(&mut self, because: &str, step: Option<&str>, at: DateTime<Utc>) {
        if self.moves(&["running", "confirmed"], "undoing") {
            self.turned_at = Some(at);
            self.turned_because = Some(because.to_owned());
            self.failed_step = step.map(str::to_owned);
        }
    }

    /// Undone is what has given the slot back, and the money that was to go back.
    fn settles(&mut self, at: DateTime<Utc>) {
        if self.released_at.is_some() && !self.refund_open && self.moves(&["undoing"], "undone") {
            self.undone_at = Some(at);
        }
    }

    fn moves(&mut self, from: &[&str], to: &str) -> bool {
        let moves = from.contains(&self.state.as_str());
        if moves {
            self.state = to.to_owned();
        }
        moves
    }
}

/// Why it turned, and at which step. Whoever is asked to stop has not failed.
fn turned(reason: CancelReason) -> (&'static str, Option<&'static str>) {
    match reason {
        CancelReason::Asked => ("asked", None),
        CancelReason::HoldExpired => ("hold_expired", Some("payment")),
        CancelReason::PaymentFailed => ("payment_failed", Some("payment")),
        CancelReason::NotTold => ("not_told", Some("notify")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::booking::tests::samples::*;
    use crate::domain::event::*;

    fn run(events: &[Event]) -> Run {
        let mut run = Run {
            booking_id: Uuid::nil(),
            correlation_id: Uuid::nil(),
            zone: "Europe/Lisbon".to_owned(),
            state: "running".to_owned(),
            started_at: now(),
            started_day: NaiveDate::default(),
            held_at: None,
            authorised_at: None,
            captured_at: None,
            confirmed_at: None,
            told_at: None,
            turned_at: None,
            released_at: None,
            refund_open: false,
            undone_at: None,
            turned_because: None,
            failed_step: None,
            declines: 0,
            lost_messages: 0,
        };
        for event in events {
            run.evolve(event, now());
        }
        run
    }

    fn confirmed() -> Event {
        Event::BookingConfirmed(BookingConfirmed {
            confirmed_at: now(),
            sequence: 0,
        })
    }

    fn cancelled(reason_code: CancelReason) -> Event {
        Event::BookingCancelled(BookingCancelled {
            cancelled_by: Party::System,
            reason_code,
            reason: None,
            refund_due: None,
            sequence: 1,
            notice_min: None,
            was_confirmed: None,
        })
    }

    #[test]
    fn only_the_confirmation_that_arrived_ends_a_saga() {
        let told = |template: &str| {
            Event::NotificationSent(NotificationSent {
                template: template.to_owned(),
                ..notification()
            })
        };
        assert_eq!(run(&[confirmed(), told("payment_link")]).state, "confirmed");
        assert_eq!(run(&[confirmed(), told(CONFIRMATION)]).state, "done");
    }

    #[test]
    fn a_saga_turns_at_the_step_that_failed_and_is_undone_once_the_slot_is_free() {
        let gone = Event::InventoryReleased(released());
        let check = |events: &[Event], state: &str, step: Option<&str>| {
            let run = run(events);
            assert_eq!(
                (run.state.as_str(), run.failed_step.as_deref()),
                (state, step)
            );
        };
        let not_told = cancelled(CancelReason::NotTold);
        check(&[confirmed(), not_told.clone()], "undoing", Some("notify"));
        check(
            &[confirmed(), not_told, gone.clone()],
            "undone",
            Some("notify"),
        );
        let declined = cancelled(CancelReason::PaymentFailed);
        check(&[declined, gone.clone()], "undone", Some("payment"));
        check(&[cancelled(CancelReason::Asked), gone], "undone", None);
    }

    #[test]
    fn a_saga_whose_refund_open_is_not_undone_before_the_money_went_back() {
        let mut events = vec![
            confirmed(),
            cancelled(CancelReason::NotTold),
            Event::RefundRequested(refund_request(1, 8000)),
            Event::InventoryReleased(released()),
            Event::RefundFailed(refund_failure(1)),
        ];
        assert_eq!(run(&events).state, "undoing");
        events.push(Event::PaymentRefunded(refunded(2, 8000)));
        assert_eq!(run(&events).state, "undone");
    }

    #[test]
    fn a_cancellation_after_the_end_does_not_change_how_the_saga_went() {
        let told = Event::NotificationSent(notification());
        let asked = cancelled(CancelReason::Asked);
        let run = run(&[
            confirmed(),
            told,
            asked,
            Event::InventoryReleased(released()),
        ]);
        assert_eq!((run.state.as_str(), run.turned_at), ("done", None));
    }
}
