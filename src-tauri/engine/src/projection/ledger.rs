//! The payments ledger: double entry. A transfer moves an amount from one account to another, so that what an event
//! posts sums to zero by its very shape; the table's checks allow no other.
//!
//! | event | debit | credit |
//! |---|---|---|
//! | `BookingConfirmed` | customer_receivable | revenue: the price, which the customer now owes |
//! | `PaymentReceived` | provider_clearing | customer_receivable |
//! | `ProviderFeeCharged` | fees | provider_clearing |
//! | `BookingCancelled` of a confirmed booking | revenue | customer_receivable: the price is owed no more, and what was paid is owed back; a fee that its terms keep stays revenue |
//! | `PaymentRefunded` while the booking stands | refunds | provider_clearing: a part of the price is given up |
//! | `PaymentRefunded` otherwise | customer_receivable | provider_clearing |
//! | `DisputeFundsWithdrawn` | as `PaymentRefunded`; and fees | provider_clearing: while the bank has it, it is given up |
//! | `DisputeFundsReinstated` | provider_clearing | what the withdrawal had debited, with the fee where that comes back |
//! | `RemainderKept` once the booking does not stand | customer_receivable | revenue: what is kept by decision is owed back no more; with less kept than before, the reverse |
//! | `RefundReturned` | provider_clearing | what the refund had debited: the money is here, and owed, again |
//!
//! What was given up before a cancellation comes off what is owed back then. An authorisation moves no money. Money paid at the venue leaves no event either: it stays receivable.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::{Batch, local_day, table};
use super::{ApplyError, Load, Projection, Rows};
use crate::domain::event::{BookingCancelled, BookingCreated, Event, RemainderKept};
use crate::domain::money::Money;
use crate::store::read::{Reads, Recorded};

pub static PROJECTION: Projection = Projection {
    name: "ledger",
    version: 1,
    event_types: Some(&[
        "BookingCreated",
        "PaymentReceived",
        "ProviderFeeCharged",
        "PaymentRefunded",
        "RefundReturned",
        "RemainderKept",
        "DisputeFundsWithdrawn",
        "DisputeFundsReinstated",
        "BookingConfirmed",
        "BookingCancelled",
        "BookingExpired",
    ]),
    reads: Reads::Said { bare: &[] },
    rows: Rows::OfBooking,
    apply: |conn, events| Box::pin(apply(conn, events)),
    load: Load::Apply,
};

const RECEIVABLE: &str = "customer_receivable";
const CLEARING: &str = "provider_clearing";
const REVENUE: &str = "revenue";
const REFUNDS: &str = "refunds";
const FEES: &str = "fees";

table! {
    Booking in "ledger_bookings" by (booking_id) {
        booking_id: Uuid,
        customer_id: Uuid,
        zone: String,
        currency: String,
        price_minor: i64,
        confirmed: bool,
        ended: bool,
        captured_minor: i64,
        refunded_minor: i64,
        given_up_minor: i64,
    }
}

table! {
    Transfer in "ledger_transfers" by (position, line) {
        position: i64,
        line: i16,
        booking_id: Uuid,
        event_id: Uuid,
        event_name: String,
        provider_ref: Option<String>,
        occurred_at: DateTime<Utc>,
        day: NaiveDate,
        debit: String,
        credit: String,
        currency: String,
        amount_minor: i64,
    }
}

async fn apply(conn: &mut PgConnection, events: &[&Recorded]) -> Result<(), ApplyError> {
    let batch = Batch::of(events)?;
    let mut bookings = Booking::by_booking(&mut *conn, &batch.begun).await?;
    let mut transfers = vec![];
    for (id, recorded, event) in &batch.events {
        if let Event::BookingCreated(created) = event {
            bookings.entry(*id).or_insert_with(|| begun(created));
        }
        let booking = bookings.get_mut(id).ok_or(ApplyError::NotCreated {
            position: recorded.position,
        })?;
        let day = local_day(recorded.occurred_at, &booking.zone)?;
        for (line, post) in booking.post(event).into_iter().enumerate() {
            transfers.push(Transfer {
                position: recorded.position,
                line: line as i16 + 1,
                booking_id: *id,
                event_id: recorded.event_id,
                event_name: recorded.name.clone(),
                provider_ref: provider_ref(event),
                occurred_at: recorded.occurred_at,
                day,
                debit: post.debit.to_owned(),
                credit: post.credit.to_owned(),
                currency: post.currency,
                amount_minor: post.amount_minor,
            });
        }
    }
    let bookings: Vec<Booking> = bookings.into_values().collect();
    Booking::write(&mut *conn, &bookings).await?;
    Transfer::write(conn, &transfers).await?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Post {
    debit: &'static str,
    credit: &'static str,
    currency: String,
    amount_minor: i64,
}

fn begun(created: &BookingCreated) -> Booking {
    Booking {
        booking_id: created.booking_id.0,
        customer_id: created.customer_id.0,
        zone: created.start.tzid.clone(),
        currency: created.price.currency.as_str().to_owned(),
        price_minor: created.price.amount_minor,
        confirmed: false,
        ended: false,
        captured_minor: 0,
        refunded_minor: 0,
        given_up_minor: 0,
    }
}

impl Booking {
    /// What an event moves. Nothing is moved twice, whatever the events repeat.
    fn post(&mut self, event: &Event) -> Vec<Post> {
        match event {
            Event::BookingConfirmed(_) if !self.confirmed && !self.ended => {
                self.confirmed = true;
                self.price(RECEIVABLE, REVENUE, self.price_minor)
            }
            Event::PaymentReceived(e) => {
                self.captured_minor += e.amount_received.amount_minor;
                money(CLEARING, RECEIVABLE, &e.amount_received)
            }
            Event::ProviderFeeCharged(e) => money(FEES, CLEARING, &e.fee),
            Event::BookingCancelled(_) | Event::BookingExpired(_) if !self.ended => {
                self.ended = true;
                let fee = self.fee(event);
                if !self.confirmed {
                    return vec![];
                }
                let given_up = self.given_up_minor.min(self.price_minor);
                let mut posts = self.price(REVENUE, REFUNDS, given_up);
                posts.extend(self.price(REVENUE, RECEIVABLE, self.price_minor - given_up - fee));
                posts
            }
            Event::PaymentRefunded(e) => self.out(&e.amount),
            Event::RefundReturned(e) => self.back(&e.amount),
            Event::RemainderKept(e) => self.kept(e),
            Event::DisputeFundsWithdrawn(e) => {
                let mut posts = self.out(&e.amount);
                posts.extend(money(FEES, CLEARING, &e.fee));
                posts
            }
            Event::DisputeFundsReinstated(e) => {
                let mut posts = self.back(&e.amount);
                posts.extend(money(CLEARING, FEES, &e.fee));
                posts
            }
            _ => vec![],
        }
    }

    /// While the booking stands its price is revenue, and the cancellation that follows gives up no more than is due.
    fn kept(&self, e: &RemainderKept) -> Vec<Post> {
        let more = e.amount.amount_minor - e.before.amount_minor;
        if self.stands() {
            vec![]
        } else if more < 0 {
            self.price(REVENUE, RECEIVABLE, -more)
        } else {
            self.price(RECEIVABLE, REVENUE, more)
        }
    }

    fn stands(&self) -> bool {
        self.confirmed && !self.ended
    }

    /// Money that left for the customer, asked for by us or taken by their bank.
    fn out(&mut self, amount: &Money) -> Vec<Post> {
        self.refunded_minor += amount.amount_minor;
        let stands = self.stands();
        if stands {
            self.given_up_minor += amount.amount_minor;
        }
        money(if stands { REFUNDS } else { RECEIVABLE }, CLEARING, amount)
    }

    /// And that came back from there.
    fn back(&mut self, amount: &Money) -> Vec<Post> {
        self.refunded_minor -= amount.amount_minor;
        let stands = self.stands();
        if stands {
            self.given_up_minor -= amount.amount_minor;
        }
        money(CLEARING, if stands { REFUNDS } else { RECEIVABLE }, amount)
    }

    /// What stays of the money when the terms of a cancellation give back less than all.
    fn fee(&self, event: &Event) -> i64 {
        match event {
            Event::BookingCancelled(BookingCancelled {
                refund_due: Some(due),
                ..
            }) => (self.captured_minor - self.refunded_minor - due.amount_minor).clamp(
                0,
                self.price_minor - self.given_up_minor.min(self.price_minor),
            ),
            _ => 0,
        }
    }

    fn price(&self, debit: &'static str, credit: &'static str, amount_minor: i64) -> Vec<Post> {
        if amount_minor == 0 {
            return vec![];
        }
        vec![Post {
            debit,
            credit,
            currency: self.currency.clone(),
            amount_minor,
        }]
    }
}

fn money(debit: &'static str, credit: &'static str, amount: &Money) -> Vec<Post> {
    if amount.is_zero() {
        return vec![];
    }
    vec![Post {
        debit,
        credit,
        currency: amount.currency.as_str().to_owned(),
        amount_minor: amount.amount_minor,
    }]
}

fn provider_ref(event: &Event) -> Option<String> {
    match event {
        Event::PaymentReceived(e) => e.charge_id.clone().or(Some(e.payment_intent.clone())),
        Event::ProviderFeeCharged(e) => Some(e.balance_transaction.clone()),
        Event::PaymentRefunded(e) => Some(e.provider_refund.clone()),
        Event::RefundReturned(e) => Some(e.provider_refund.clone()),
        Event::DisputeFundsWithdrawn(e) | Event::DisputeFundsReinstated(e) => {
            Some(e.dispute_id.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
