//! A booking as the list and the page show it, read from the projection and the saga's own row.

use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::steps::{SagaFacts, saga_state, steps};
use crate::app::error::internal;
use crate::app::place::{moment, money, word};
use crate::app::wire::{AppError, BookingRow, Named, PaymentState};
use crate::saga::definition::{BOOKING, Definition};

/// What [`booking_row`] reads; `b` is the booking, `s` its newest saga.
pub const COLUMNS: &str = r#"b.booking_id, b.reference, b.customer_id, b.customer_name, b.service_id, b.service_name, b.resources,
    b.starts_at, b.ends_at, b.zone, b.state, case when b.hold_expires_at is not null then coalesce(s.hold_expires_at, b.hold_expires_at) end as hold_expires_at, b.payment, b.payment_mode, b.price_minor, b.currency, b.changed_at,
    s.saga_id, s.definition as saga_name, s.def_version as saga_def_version, s.state as saga_state, s.direction::text as saga_direction, s."cursor" as saga_cursor, s.error_class as saga_error_class,
    s.outcome as saga_outcome, s.cancel_requested_at is not null as saga_cancel_requested, s.paused_at is not null as saga_paused,
    s.await_key as saga_await_key, s.wake_at as saga_wake_at, s.context as saga_context"#;

/// Joins the newest saga of each booking. A cancellation that was called off in time says nothing of it.
pub const NEWEST_SAGA: &str =
    "left join lateral (select * from read.sagas_v1 x where x.booking_id = b.booking_id and not (x.definition = 'cancellation' and x.state = 'compensated')
    order by x.created_at desc, x.saga_id desc limit 1) s on true";

/// `None`: no saga runs this booking.
pub fn saga_facts(row: &PgRow) -> Result<Option<SagaFacts>, AppError> {
    let Some(state) = row.try_get::<Option<String>, _>("saga_state")? else {
        return Ok(None);
    };
    // Of a newer program's saga only the booking's own steps can be told.
    let name: &str = row.try_get("saga_name")?;
    let definition = Definition::named(name, row.try_get("saga_def_version")?);
    let mut facts = SagaFacts {
        definition: definition.unwrap_or(&BOOKING),
        state,
        undoing: row.try_get::<&str, _>("saga_direction")? == "C",
        cursor: row.try_get("saga_cursor")?,
        error_class: row.try_get("saga_error_class")?,
        outcome: row.try_get("saga_outcome")?,
        cancel_requested: row.try_get("saga_cancel_requested")?,
        paused: row.try_get("saga_paused")?,
        await_key: row.try_get("saga_await_key")?,
        wake_at: row.try_get("saga_wake_at")?,
        ..SagaFacts::default()
    };
    facts.read_context(&row.try_get::<Value, _>("saga_context")?);
    Ok(Some(facts))
}

pub fn booking_row(row: &PgRow) -> Result<BookingRow, AppError> {
    let zone: &str = row.try_get("zone")?;
    let saga = saga_facts(row)?;
    let recorded: PaymentState = word(row.try_get("payment")?)?;
    Ok(BookingRow {
        booking_id: row.try_get("booking_id")?,
        reference: row.try_get("reference")?,
        customer: Named {
            id: row.try_get("customer_id")?,
            name: row.try_get("customer_name")?,
        },
        service: Named {
            id: row.try_get("service_id")?,
            name: row.try_get("service_name")?,
        },
        resources: serde_json::from_value(row.try_get("resources")?).map_err(internal)?,
        starts: moment(row.try_get("starts_at")?, zone)?,
        ends: moment(row.try_get("ends_at")?, zone)?,
        state: word(row.try_get("state")?)?,
        hold_expires_at: row.try_get("hold_expires_at")?,
        // What the events know is not the whole truth while the provider owes an answer.
        payment: match &saga {
            Some(s) if s.outcome_unknown() => PaymentState::Unknown,
            _ => recorded,
        },
        payment_mode: word(row.try_get("payment_mode")?)?,
        price: money(row.try_get("price_minor")?, row.try_get("currency")?),
        saga_state: saga.as_ref().map(saga_state),
        saga: saga.as_ref().map(|s| s.definition.name.to_owned()),
        steps: saga.as_ref().map(steps).unwrap_or_default(),
        changed_at: row.try_get("changed_at")?,
    })
}
