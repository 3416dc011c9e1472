//! What a mail or a calendar entry may say about a booking.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use uuid::Uuid;

use super::address::one_line;
use super::render::RenderError;

/// In minor units of the currency (ISO 4217): 8000 EUR is €80.00, 8000 JPY is ¥8,000.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    pub minor: i64,
    pub currency: String,
}

impl Amount {
    pub fn new(minor: i64, currency: &str) -> Amount {
        Amount {
            minor,
            currency: currency.to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookingFacts {
    /// Stays the same for the life of the booking: it is the calendar entry's UID.
    pub booking_id: Uuid,
    /// What people say on the telephone.
    pub reference: String,
    pub customer_name: String,
    /// Needed for an invitation: calendars ignore one that does not name its reader.
    pub customer_email: Option<String>,
    pub service: String,
    pub staff: String,
    pub room: Option<String>,
    pub business: String,
    pub location: String,
    pub starts: Timestamp,
    pub ends: Timestamp,
    /// IANA name of the place's zone. Times are shown in it, wherever the reader is.
    pub zone: String,
    pub price: Amount,
    pub paid: Amount,
    pub refunded: Amount,
    pub pay_url: Option<String>,
    pub hold_until: Option<Timestamp>,
    pub cancel_reason: Option<String>,
    /// Grows with each change of time or place, and once more with the cancellation; calendars
    /// ignore what is not newer.
    pub sequence: u32,
    /// Answers to an invitation go there, and calendars compare it with the sender: a real address,
    /// the sender's.
    pub organizer_email: String,
}

impl BookingFacts {
    /// The same facts with every text on one line. Customers type some of them.
    pub(super) fn cleaned(&self) -> BookingFacts {
        let clean = |text: &Option<String>| {
            text.as_deref()
                .map(one_line)
                .filter(|text| !text.is_empty())
        };
        BookingFacts {
            reference: one_line(&self.reference),
            customer_name: one_line(&self.customer_name),
            customer_email: clean(&self.customer_email),
            service: one_line(&self.service),
            staff: one_line(&self.staff),
            room: clean(&self.room),
            business: one_line(&self.business),
            location: address_line(&self.location),
            cancel_reason: clean(&self.cancel_reason),
            organizer_email: one_line(&self.organizer_email),
            ..self.clone()
        }
    }

    pub(super) fn time_zone(&self) -> Result<TimeZone, RenderError> {
        // The bundled rules, the same on every computer: the customer's mail must not depend on how
        // old the operating system under some worker is.
        TimeZoneDatabase::bundled()
            .get(&self.zone)
            .map_err(|_| RenderError::UnknownZone(one_line(&self.zone)))
    }

    pub(super) fn checked_times(&self) -> Result<(), RenderError> {
        if self.starts < self.ends {
            Ok(())
        } else {
            Err(RenderError::EndsBeforeStart)
        }
    }
}

/// A postal address as it is typed, in lines, on one line.
fn address_line(text: &str) -> String {
    let lines = text
        .split(['\n', '\r', '\u{2028}'])
        .map(one_line)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(", ")
}
