//! What a payment asks of the provider: computed from the booking, never from what somebody wrote into a row.

use std::collections::BTreeMap;

use bizing_stripe::Operation;
use chrono::{DateTime, TimeDelta, Utc};

use super::super::definition::Policy;
use super::super::world::World;
use crate::domain::event::{BookingCreated, PaymentMode};

/// Computed from the booking, never from what somebody wrote into a row. `metadata.effect_id` is added when the effect
/// gets its id.
pub fn payment_operation(world: &World, policy: &Policy, mode: PaymentMode) -> Option<Operation> {
    let created = world.booking.created.as_ref()?;
    Some(payment_operation_for(
        created,
        world.instance.saga_id,
        world.instance.hold_expires_at,
        world.now(),
        policy,
        mode,
    ))
}

pub fn payment_operation_for(
    created: &BookingCreated,
    saga: uuid::Uuid,
    hold_expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    policy: &Policy,
    mode: PaymentMode,
) -> Operation {
    let metadata = BTreeMap::from([
        ("saga_id".to_owned(), saga.to_string()),
        ("booking_id".to_owned(), created.booking_id.to_string()),
        ("booking".to_owned(), created.reference.0.clone()),
    ]);
    let currency = created.price.currency.as_str().to_lowercase();
    let amount_minor = created.price.amount_minor;
    let description = format!("{} {}", created.reference, created.service_name);
    match mode {
        PaymentMode::CardOnFile => Operation::CreateIntent {
            amount_minor,
            currency,
            payment_method: created.payment_method.clone().unwrap_or_default(),
            customer: None,
            description: Some(description),
            metadata,
        },
        PaymentMode::Link | PaymentMode::Venue => {
            // Stripe wants at least 30 minutes; a page that outlives the hold is expired by the undo.
            let soonest = now + TimeDelta::minutes(31);
            let latest = now + TimeDelta::hours(24) - TimeDelta::minutes(1);
            let expires = hold_expires_at.unwrap_or(latest).clamp(soonest, latest);
            let page = |end: &str| format!("{}/{}/{end}", policy.return_url, created.reference);
            Operation::CreateCheckout {
                amount_minor,
                currency,
                product_name: description,
                success_url: page("paid"),
                cancel_url: page("open"),
                customer_email: None,
                expires_at: expires.timestamp(),
                client_reference_id: created.booking_id.to_string(),
                metadata,
            }
        }
    }
}
