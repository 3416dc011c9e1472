//! Customer e-mail as a destination: from an event owed to a message sent.

use sqlx::{PgPool, Row};

use super::email::{
    Amount, BookingFacts, Calendar, CalendarMethod, SendFailure, Template, calendar, render,
};
use crate::delivery::destination::{Delivery, Destination, Fut, Outcome};
use crate::domain::booking::{self, Booking, Status};
use crate::domain::customer::Personal;
use crate::domain::event::Event;
use crate::domain::ids::{BookingId, CustomerId};
use crate::domain::slot::to_jiff;
use crate::store::{read, seal};
use crate::worker::MailParts;

pub struct BookingMail {
    pub pool: PgPool,
    /// `None`: no mail server is set up. What is owed waits.
    pub mail: Option<MailParts>,
}

/// Why nothing was sent to a customer who may still be told otherwise.
pub const NO_ADDRESS: &str = "the customer has no e-mail address";

impl Destination for BookingMail {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Fut<'a, Outcome> {
        Box::pin(async move {
            match self.send(delivery).await {
                Ok(outcome) => outcome,
                // Our own database or data: nothing was sent.
                Err(error) => Outcome::NotSent {
                    cause: error.to_string(),
                },
            }
        })
    }
}

impl BookingMail {
    async fn send(
        &self,
        delivery: &Delivery,
    ) -> Result<Outcome, Box<dyn std::error::Error + Send + Sync>> {
        let Some(booking_id) = delivery.stream.booking() else {
            return Ok(Outcome::Skipped {
                reason: "not about a booking".to_owned(),
            });
        };
        let mut conn = self.pool.acquire().await?;
        let mut booking = Booking::default();
        let mut cause = None;
        for recorded in read::stream(&mut conn, &booking_id.into(), 0).await? {
            let event = recorded.event()?;
            booking = booking::evolve(booking, event);
            if recorded.event_id == delivery.event_id {
                cause = Some(event.clone());
            }
        }
        // Looked up at sending time: what is no longer true is not told.
        if let Some(reason) = pointless(&booking, cause.as_ref(), &delivery.template) {
            return Ok(Outcome::Skipped {
                reason: reason.to_owned(),
            });
        }
        let Some(created) = &booking.created else {
            return Ok(Outcome::Skipped {
                reason: "the booking has no events".to_owned(),
            });
        };
        let Some(person) = personal(&mut conn, created.customer_id).await? else {
            return Ok(Outcome::Skipped {
                reason: "the customer was erased".to_owned(),
            });
        };
        let Some(address) = person.email.clone() else {
            return Ok(Outcome::Skipped {
                reason: NO_ADDRESS.to_owned(),
            });
        };
        let Some(mail) = &self.mail else {
            return Ok(Outcome::NotSent {
                cause: "no mail server is set up (BIZING_SMTP_URL)".to_owned(),
            });
        };
        let place = sqlx::query("select business_name, name from booking.location where active order by location_id limit 1").fetch_optional(&mut *conn).await?;
        let (business, location) = match place {
            Some(row) => (row.try_get("business_name")?, row.try_get("name")?),
            None => (String::new(), String::new()),
        };
        drop(conn); // no database connection is held while a mail server thinks

        let facts = facts(
            booking_id, &booking, &person, business, location, &mail.from,
        );
        let Some(facts) = facts else {
            return Ok(Outcome::Skipped {
                reason: "the booking has no events".to_owned(),
            });
        };
        let template = match delivery.template.as_str() {
            "payment_link" => Template::PaymentLink,
            "booking_cancelled" => Template::BookingCancelled,
            _ => Template::BookingConfirmed,
        };
        let mut message = render(template, &facts, "en")?.to(&address, &person.name);
        let method = match template {
            Template::BookingConfirmed => Some(CalendarMethod::Request),
            Template::BookingCancelled if booking.notified => Some(CalendarMethod::Cancel),
            _ => None,
        };
        if let Some(method) = method {
            message.calendar = Some(Calendar {
                ics: calendar(&facts, method, to_jiff(delivery.created_at), "en")?,
                method,
            });
        }
        let id = format!("<{}@bizing.desk>", delivery.delivery_id);
        Ok(match mail.mailer.send(&message, &id).await {
            Ok(accepted) => Outcome::Accepted {
                response: without(&accepted.response, &address),
                provider_message_id: id,
            },
            Err(failure) => outcome(failure, &address),
        })
    }
}

/// Mail servers like to repeat the address that they refuse. What they say is kept for good, in an event that nobody can
/// change, so the address must not stand in it.
fn without(text: &str, address: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    // ASCII only, so that both texts keep their lengths.
    let needle = address.to_ascii_lowercase();
    while let Some(at) = rest.to_ascii_lowercase().find(&needle) {
        out.push_str(&rest[..at]);
        out.push_str("(address)");
        rest = &rest[at + needle.len()..];
    }
    out + rest
}

fn outcome(failure: SendFailure, address: &str) -> Outcome {
    let cause = without(&failure.to_string(), address);
    match failure {
        SendFailure::NotSent { .. } | SendFailure::Unauthorized { .. } => {
            Outcome::NotSent { cause }
        }
        SendFailure::Later { .. } => Outcome::Later { cause },
        SendFailure::Refused { .. } | SendFailure::Unsendable { .. } => Outcome::Refused { cause },
        SendFailure::Unknown { .. } => Outcome::Unclear { cause },
    }
}

fn pointless(booking: &Booking, cause: Option<&Event>, template: &str) -> Option<&'static str> {
    let over = matches!(booking.status, Status::Cancelled | Status::Expired);
    match template {
        // The link that replaced a declined card has an event, and a message, of its own.
        "payment_link" if !matches!(cause, Some(Event::PaymentRequested(p)) if p.pay_url.is_some()) => {
            Some("a saved card was charged: no link was made")
        }
        "payment_link" if booking.payment.pay_url.is_none() => {
            Some("there is no open payment page")
        }
        "booking_confirmed" if over => Some("the booking was cancelled meanwhile"),
        _ => None,
    }
}

async fn personal(
    conn: &mut sqlx::PgConnection,
    customer: CustomerId,
) -> Result<Option<Personal>, Box<dyn std::error::Error + Send + Sync>> {
    // The newest one counts: an address may have been corrected.
    let mut newest = None;
    for recorded in read::stream(conn, &customer.into(), 0).await? {
        if let Event::CustomerRegistered(registered) = recorded.event()? {
            newest = Some(registered.personal.clone());
        }
    }
    match newest {
        Some(sealed) => Ok(seal::unseal(conn, customer, &sealed).await?),
        None => Ok(None),
    }
}

fn facts(
    id: BookingId,
    booking: &Booking,
    person: &Personal,
    business: String,
    location: String,
    from: &str,
) -> Option<BookingFacts> {
    let created = booking.created.as_ref()?;
    let currency = created.price.currency.as_str();
    let named = |role: &str| {
        created
            .resources
            .iter()
            .find(|r| r.role == role)
            .map(|r| r.name.clone())
    };
    let payment = &booking.payment;
    Some(BookingFacts {
        booking_id: id.0,
        reference: created.reference.0.clone(),
        customer_name: person.name.clone(),
        customer_email: person.email.clone(),
        service: created.service_name.clone(),
        staff: named("staff").unwrap_or_default(),
        room: named("room"),
        business,
        location,
        starts: to_jiff(created.start_utc),
        ends: to_jiff(created.end_utc),
        zone: created.start.tzid.clone(),
        price: Amount::new(created.price.amount_minor, currency),
        paid: Amount::new(payment.captured_minor, currency),
        refunded: Amount::new(
            payment.refunded_minor + payment.refund_pending_minor,
            currency,
        ),
        pay_url: payment.pay_url.clone(),
        hold_until: booking.hold_expires_at.map(to_jiff),
        cancel_reason: booking.cancelled.as_ref().and_then(|c| c.reason.clone()),
        sequence: u32::try_from(booking.sequence).unwrap_or(0),
        organizer_email: from.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn what_a_mail_server_says_is_kept_without_the_address() {
        let said = "550 5.1.1 <Ines@Example.COM>: no such user ines@example.com (ü)";
        assert_eq!(
            without(said, "ines@example.com"),
            "550 5.1.1 <(address)>: no such user (address) (ü)"
        );
        assert_eq!(without("250 ok", "ines@example.com"), "250 ok");
    }
}
