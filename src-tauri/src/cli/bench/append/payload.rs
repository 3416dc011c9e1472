//! What is written: a booking's life of ten events, one of which owes the customer a message.

use bizing_engine::domain::event::{BookingConfirmed, Event, NotificationSent};
use bizing_engine::domain::ids::DeliveryId;
use bizing_engine::runtime::ids;
use chrono::Utc;

/// Events of a stream before its writer goes on to the next.
pub const LIFE: i64 = 10;

/// The event at this version of a stream: about 250 bytes of data, as in a booking's stream.
pub fn event(version: i64) -> Event {
    if version % LIFE == 5 {
        return Event::BookingConfirmed(BookingConfirmed {
            confirmed_at: Utc::now(),
            sequence: 1,
        });
    }
    Event::NotificationSent(NotificationSent {
        delivery_id: DeliveryId(ids::v7()),
        template: "booking_confirmed".to_owned(),
        channel: "email".to_owned(),
        provider_message_id:
            "<20261122T101530.4f7d2c9a8b3e4d15a6c1-halcyon.lisboa.chiado@mail.example.com> \
             queued as 7C9A1F2E44 by the relay at the first try"
                .to_owned(),
        attempt: 1,
    })
}
