//! One booking: what it is, what it costs, what happened, what it waits for, and what can be done.
//!
//! Five queries in one snapshot, so that the parts never contradict one another.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::money::{Effect, beside, money_line};
use super::no_show;
use super::row::{COLUMNS, NEWEST_SAGA, booking_row};
use super::saga::{SAGA_COLUMNS, Saga};
use super::timeline::{DeliveryRow, EventRow, timeline};
use crate::app::customers::customer_row;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::sagas::disputes;
use crate::app::wire::*;

const READ_ONLY: &str = "begin isolation level repeatable read read only";

pub async fn page(desk: &Desk, request: GetBooking) -> Result<BookingPage, AppError> {
    let wanted = request.booking.trim();
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let row = booking(&mut tx, wanted).await?;
    let booking_id: Uuid = row.try_get("booking_id")?;
    let mut saga = Saga::read(&row)?;
    let around = around(&mut tx, saga.as_ref().map(|s| s.saga_id)).await?;
    if let Some(saga) = &mut saga {
        saga.attempts = serde_json::from_value(around.attempts).map_err(internal)?;
    }
    let effects: Vec<Effect> = serde_json::from_value(around.effects).map_err(internal)?;
    let events: Vec<EventRow> = sqlx::query_as(
        "select position, event_id, event_name, schema_version, occurred_at, actor, on_behalf_of, correlation_id, causation_id, data
           from read.timeline_v1 where booking_id = $1 order by position",
    )
    .bind(booking_id)
    .fetch_all(&mut *tx)
    .await?;
    let deliveries = deliveries(&mut tx, booking_id).await?;
    let disputes = disputes::of_booking(&mut tx, booking_id).await?;
    let beside = beside(&mut tx, booking_id).await?;
    tx.commit().await?;

    let now = around.now;
    let no_show = no_show::noted(&events);
    let begun = row.try_get::<DateTime<Utc>, _>("starts_at")? <= now;
    let cancelled: Option<Cancelled> = row
        .try_get::<Option<Value>, _>("cancelled")?
        .map(serde_json::from_value)
        .transpose()
        .map_err(internal)?;
    // Oldest first: the last is what the customer was told, or is being told, most recently.
    let message = deliveries.last();
    let zone: &str = row.try_get("zone")?;
    let pay_url: Option<String> = row.try_get("pay_url")?;
    Ok(BookingPage {
        row: booking_row(&row)?,
        customer: customer_row(&row, "c_")?,
        money: money_line(&row, &effects, beside)?,
        disputes,
        saga: saga
            .as_ref()
            .map(|s| s.view(message, cancelled.as_ref(), around.workers, now)),
        message: message.map(message_view),
        timeline: timeline(&events, saga.as_ref(), &deliveries, zone, now)?,
        actions: actions(
            desk,
            row.try_get("state")?,
            begun.then_some(no_show),
            saga.as_ref(),
            pay_url.as_deref(),
        ),
        cancelled,
        no_show,
        pay_url,
        version: row.try_get("version")?,
    })
}

async fn booking(conn: &mut PgConnection, wanted: &str) -> Result<sqlx::postgres::PgRow, AppError> {
    let id: Option<Uuid> = wanted.parse().ok();
    let reference = normal_reference(wanted);
    let mut query = sqlx::QueryBuilder::<sqlx::Postgres>::new("select ");
    query.push(COLUMNS).push(", ").push(SAGA_COLUMNS).push(
        r#", b.authorised_minor, b.captured_minor, b.refunded_minor, b.payment_intent, b.pay_url, b.cancelled, b.version,
           b.customer_id as c_customer_id, coalesce(c.name, b.customer_name) as c_name, c.email as c_email, c.phone as c_phone,
           coalesce(c.bookings, 1) as c_bookings, c.last_booking_at as c_last_booking_at
      from read.bookings_v1 b left join read.customers_v1 c on c.customer_id = b.customer_id "#,
    );
    query.push(NEWEST_SAGA);
    match id {
        Some(id) => query.push(" where b.booking_id = ").push_bind(id),
        None => query
            .push(" where b.reference = ")
            .push_bind(reference.clone()),
    };
    query.build().fetch_optional(conn).await?.ok_or_else(|| {
        let name = if id.is_some() { wanted.to_owned() } else { reference };
        AppError::new(Code::NotFound, format!("There is no booking {name} here."))
            .hint("A reference is BK- and six signs, such as BK-7Q4M2K. It has no letters I, L, O or U.")
            .field("booking")
    })
}

/// As people type it: small letters, without `BK-`, with the letters that are easily misread.
pub(in crate::app) fn normal_reference(text: &str) -> String {
    let upper = text.to_uppercase();
    let signs: String = upper
        .strip_prefix("BK")
        .unwrap_or(&upper)
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| match c {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .take(40)
        .collect();
    format!("BK-{signs}")
}

struct Around {
    attempts: Value,
    effects: Value,
    workers: i64,
    now: DateTime<Utc>,
}

/// The saga's tries and calls, and whether anybody works at all.
async fn around(conn: &mut PgConnection, saga: Option<Uuid>) -> Result<Around, AppError> {
    let row = sqlx::query(
        "select coalesce((select jsonb_agg(a order by a.no) from read.saga_attempts_v1 a where a.saga_id = $1), '[]') as attempts,
                coalesce((select jsonb_agg(e order by e.intended_at) from read.effects_v1 e where e.saga_id = $1), '[]') as effects,
                (select count(*) from read.workers_v1 where heartbeat_at > now() - interval '60 seconds' and not draining) as workers,
                now() as now",
    )
    .bind(saga)
    .fetch_one(conn)
    .await?;
    Ok(Around {
        attempts: row.try_get("attempts")?,
        effects: row.try_get("effects")?,
        workers: row.try_get("workers")?,
        now: row.try_get("now")?,
    })
}

pub(in crate::app) async fn deliveries(
    conn: &mut PgConnection,
    booking: Uuid,
) -> Result<Vec<DeliveryRow>, AppError> {
    Ok(sqlx::query_as(
        "select d.delivery_id, d.kind, d.template, d.event_id, d.correlation_id, d.state, d.attempt, d.next_at,
                coalesce(d.outcome->>'problem', (select a.error from read.delivery_attempts_v1 a where a.delivery_id = d.delivery_id
                                                  order by a.no desc limit 1)) as problem,
                coalesce((select jsonb_agg(a order by a.no) from read.delivery_attempts_v1 a where a.delivery_id = d.delivery_id), '[]') as attempts
           from read.deliveries_v1 d where d.stream_id = $1 and d.kind <> 'webhook' order by d.position",
    )
    .bind(format!("booking-{booking}"))
    .fetch_all(conn)
    .await?)
}

/// A delivery's state in the window's words: one that waits for its second try is being retried.
pub(in crate::app) fn delivery_state(state: &str, attempt: i32) -> DeliveryState {
    match state {
        "scheduled" if attempt > 0 => DeliveryState::Retrying,
        "scheduled" => DeliveryState::Scheduled,
        "sending" => DeliveryState::Sending,
        "delivered" => DeliveryState::Delivered,
        "gave_up" => DeliveryState::GaveUp,
        "skipped" => DeliveryState::Skipped,
        "held" => DeliveryState::Held,
        "cancelled" => DeliveryState::Cancelled,
        _ => DeliveryState::Unclear,
    }
}

fn message_view(d: &DeliveryRow) -> MessageView {
    let state = delivery_state(&d.state, d.attempt);
    MessageView {
        delivery_id: d.delivery_id,
        channel: d.kind.clone(),
        template: d.template.clone(),
        state,
        attempts: d.attempt.max(0) as u32,
        next_try_at: (d.state == "scheduled").then_some(d.next_at),
        problem: d
            .problem
            .clone()
            .filter(|_| state != DeliveryState::Delivered),
    }
}

/// `no_show`: whether it was noted; `None` while it cannot be, since nobody is expected yet.
fn actions(
    desk: &Desk,
    state: &str,
    no_show: Option<bool>,
    saga: Option<&Saga>,
    pay_url: Option<&str>,
) -> Vec<Action> {
    // What the customer counts on is given up under terms; what is not confirmed is only taken back.
    let confirmed = state == "confirmed";
    let action = |name: &str, refused: Option<String>| Action {
        name: name.to_owned(),
        refused,
    };
    let mut actions = vec![];
    if pay_url.is_some() {
        actions.push(action("open_payment_page", None));
    }
    let may_not = match &desk.read_only {
        Some(why) => Some(why.clone()),
        None if desk.group < Group::Staff => Some("Your login may look, not change.".to_owned()),
        None => None,
    };
    match no_show {
        Some(true) => actions.push(action("withdraw_no_show", may_not.clone())),
        Some(false) if confirmed => actions.push(action("record_no_show", may_not.clone())),
        _ => {}
    }
    let refused = match saga {
        _ if may_not.is_some() => may_not,
        None => {
            Some("No background work runs this booking, so there is nothing to stop.".to_owned())
        }
        Some(saga) if confirmed => saga.give_up_refused(),
        Some(saga) => saga.cancel_refused(),
    };
    let name = if confirmed {
        "give_up_booking"
    } else {
        "cancel_booking"
    };
    actions.push(action(name, refused));
    actions
}

#[cfg(test)]
mod tests {
    use super::normal_reference;

    #[test]
    fn a_reference_is_found_however_it_was_typed() {
        for typed in [
            "BK-7Q4M2K",
            "bk-7q4m2k",
            "7q4m2k",
            " BK 7Q4 M2K ",
            "bk7q4m2k",
        ] {
            assert_eq!(normal_reference(typed.trim()), "BK-7Q4M2K", "{typed}");
        }
        assert_eq!(normal_reference("bk-ol0i00"), "BK-010100");
    }
}
