//! Writes the demo: few statements over many rows.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::business::{self, CUSTOMERS};
use super::dice::{bits, id};
use super::history::{Happened, History};
use crate::app::error::internal;
use crate::app::wire::AppError;
use crate::domain::customer::Personal;
use crate::domain::event::{CustomerRegistered, Event};
use crate::domain::ids::{CustomerId, StreamId};
use crate::saga::definition::BOOKING;
use crate::store::append::data_of;
use crate::store::seal;

/// The registry key of an append covers this many streams at most.
const STREAMS_AT_ONCE: usize = 100;

/// What the person at the desk does: catalogue, customers, bookings and their holds.
pub async fn open(
    conn: &mut PgConnection,
    histories: &[History],
    now: DateTime<Utc>,
) -> Result<(), AppError> {
    sqlx::query("select api.put_catalogue($1)")
        .bind(business::catalogue())
        .execute(&mut *conn)
        .await?;
    let mut streams = vec![];
    for (n, (name, mailbox)) in CUSTOMERS.iter().enumerate() {
        let customer = CustomerId(business::customer_id(n));
        let personal = Personal {
            name: (*name).to_owned(),
            email: Some(format!("{mailbox}@example.com")),
            phone: (n % 4 != 3).then(|| {
                format!(
                    "+351 9{:02} {:03} {:03}",
                    bits("phone", n) % 100,
                    bits("phone", n) / 100 % 1000,
                    bits("phone", n) / 100_000 % 1000
                )
            }),
        };
        let personal = seal::seal(conn, customer, &personal)
            .await
            .map_err(internal)?;
        streams.push(Stream {
            id: customer.into(),
            expected: 0,
            correlation: id("registered", n),
            events: vec![Happened {
                id: id("customer event", n),
                event: Event::CustomerRegistered(CustomerRegistered {
                    customer_id: customer,
                    personal,
                }),
                at: now - TimeDelta::days(40),
                cause: None,
            }],
        });
    }
    streams.extend(histories.iter().map(|h| Stream {
        id: h.booking.into(),
        expected: 0,
        correlation: h.correlation,
        events: h.opening.clone(),
    }));
    hold(conn, histories).await?;
    append(conn, streams, now).await
}

/// What follows by itself: payments, confirmations, messages, and the sagas that did it.
pub async fn rest(
    conn: &mut PgConnection,
    histories: &[History],
    now: DateTime<Utc>,
) -> Result<(), AppError> {
    sagas(conn, histories).await?;
    release(conn, histories).await?;
    let streams = histories
        .iter()
        .map(|h| Stream {
            id: h.booking.into(),
            expected: h.opening.len() as i64,
            correlation: h.correlation,
            events: h.rest.clone(),
        })
        .collect();
    append(conn, streams, now).await?;
    messages(conn, histories).await
}

async fn hold(conn: &mut PgConnection, histories: &[History]) -> Result<(), AppError> {
    let claims: Vec<Value> = histories
        .iter()
        .map(|h| {
            let claims = |f: fn(&crate::domain::event::Claim) -> Value| h.claims.iter().map(f).collect::<Vec<_>>();
            json!({
                "booking": h.booking, "reference": h.reference, "claim": claims(|c| json!(c.claim_id)), "resource": claims(|c| json!(c.resource_id)),
                "unit": claims(|c| json!(c.unit)), "begins": claims(|c| json!(c.blocked_from)), "ends": claims(|c| json!(c.blocked_until)),
            })
        })
        .collect();
    let taken = sqlx::query(
        "select x.reference from jsonb_to_recordset($1) as x(booking uuid, reference text, claim uuid[], resource uuid[], unit smallint[],
                                                               begins timestamptz[], ends timestamptz[]),
                lateral api.hold_inventory(x.booking, x.reference, null, x.claim, x.resource, x.unit,
                  array(select tstzrange(b, e) from unnest(x.begins, x.ends) with ordinality as u(b, e, o) order by o))",
    )
    .bind(json!(claims))
    .fetch_optional(conn)
    .await?;
    match taken {
        None => Ok(()),
        Some(row) => Err(AppError::invalid(
            "demo",
            format!(
                "The demo cannot be put here: {} meets a booking that is there already.",
                row.try_get::<String, _>(0)?
            ),
        )),
    }
}

/// Claims of what was taken back, as their bookings tell it.
async fn release(conn: &mut PgConnection, histories: &[History]) -> Result<(), AppError> {
    let released: Vec<_> = histories
        .iter()
        .filter_map(|h| h.released.map(|(at, reason)| (h.booking.0, at, reason)))
        .collect();
    sqlx::query(
        "update booking.inventory_claim c set released_at = x.at, release_reason = x.reason
           from unnest($1::uuid[], $2::timestamptz[], $3::text[]) as x(booking, at, reason) where c.booking_id = x.booking and c.released_at is null",
    )
    .bind(released.iter().map(|r| r.0).collect::<Vec<_>>())
    .bind(released.iter().map(|r| r.1).collect::<Vec<_>>())
    .bind(released.iter().map(|r| r.2).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

// ---- events ----------------------------------------------------------------------------------------------------------

struct Stream {
    id: StreamId,
    expected: i64,
    correlation: Uuid,
    events: Vec<Happened>,
}

/// `store::append` writes one conversation; here each stream is one of its own, and there are hundreds.
async fn append(
    conn: &mut PgConnection,
    mut streams: Vec<Stream>,
    now: DateTime<Utc>,
) -> Result<(), AppError> {
    // As it happened: a log whose times jump to and fro is no story.
    streams.retain(|s| !s.events.is_empty());
    streams.sort_by(|a, b| (a.events[0].at, &a.id).cmp(&(b.events[0].at, &b.id)));
    for streams in streams.chunks(STREAMS_AT_ONCE) {
        let shapes: Vec<(i16, Value)> = streams
            .iter()
            .flat_map(|s| s.events.iter().map(|e| as_written(e, now)))
            .collect();
        let events: Vec<(i32, Uuid, &Happened)> = streams
            .iter()
            .enumerate()
            .flat_map(|(i, s)| {
                s.events
                    .iter()
                    .map(move |e| (i as i32 + 1, s.correlation, e))
            })
            .collect();
        let metadata = json!({ "app_version": env!("CARGO_PKG_VERSION"), "seed": true });
        let refused = sqlx::query(
            "select status, detail from api.append($1, $2, array_fill(null::uuid, array[cardinality($1)]), array_fill(null::bytea, array[cardinality($1)]),
                                                   $3, $4, $5, $6, $7, $8, $9, $10, $11) where status <> 'appended'",
        )
        .bind(streams.iter().map(|s| s.id.0.clone()).collect::<Vec<_>>())
        .bind(streams.iter().map(|s| s.expected).collect::<Vec<_>>())
        .bind(events.iter().map(|(r, _, _)| *r).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, _, e)| e.id).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, _, e)| e.event.name()).collect::<Vec<_>>())
        .bind(shapes.iter().map(|(version, _)| *version).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, _, e)| e.at).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, c, _)| *c).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, _, e)| e.cause).collect::<Vec<_>>())
        .bind(vec![metadata; events.len()])
        .bind(shapes.into_iter().map(|(_, data)| data).collect::<Vec<_>>())
        .fetch_optional(&mut *conn)
        .await?;
        if refused.is_some() {
            return Err(AppError::invalid(
                "demo",
                "The demo cannot be put here: some of its bookings are there already in another form.",
            ));
        }
    }
    Ok(())
}

/// The demo business updated its app a week ago: what it cancelled before then stands in the log as the version before
/// wrote it, so that there is something to see of how old events are read.
fn as_written(happened: &Happened, now: DateTime<Utc>) -> (i16, Value) {
    let mut data = data_of(&happened.event);
    if !matches!(happened.event, Event::BookingCancelled(_))
        || happened.at > now - TimeDelta::days(7)
    {
        return (happened.event.schema_version(), data);
    }
    if let Value::Object(fields) = &mut data {
        fields.remove("notice_min");
        fields.remove("was_confirmed");
    }
    (1, data)
}

/// The append wrote what is owed; here it gets its outcome, in the same transaction, so that no mail goes out.
async fn messages(conn: &mut PgConnection, histories: &[History]) -> Result<(), AppError> {
    let all: Vec<Value> = histories
        .iter()
        .flat_map(|h| &h.messages)
        .map(|m| {
            json!({ "event_id": m.event_id, "delivery_id": m.delivery_id, "state": m.state, "result": m.result, "problem": m.problem,
                    "response": m.response, "begun_at": m.begun_at, "ended_at": m.ended_at })
        })
        .collect();
    sqlx::query(
        "with m as (
           select * from jsonb_to_recordset($1) as x(event_id uuid, delivery_id uuid, state text, result text, problem text, response text,
                                                     begun_at timestamptz, ended_at timestamptz)
         )
         update delivery.deliveries d
            set delivery_id = m.delivery_id, state = m.state, attempt = 1, fence = 1, created_at = m.begun_at, next_at = m.begun_at,
                give_up_at = m.begun_at + interval '30 minutes', finished_at = m.ended_at, changed_at = m.ended_at,
                outcome = jsonb_build_object('result', m.result, 'problem', m.problem, 'response', m.response)
           from m where d.event_id = m.event_id",
    )
    .bind(json!(all))
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "insert into delivery.attempts (delivery_id, no, fence, worker_id, started_at, ended_at, result, error, response)
         select delivery_id, 1, 1, $2, begun_at, ended_at, result, problem, response
           from jsonb_to_recordset($1) as x(delivery_id uuid, result text, problem text, response text, begun_at timestamptz, ended_at timestamptz)",
    )
    .bind(json!(all))
    .bind(id("worker", 0))
    .execute(conn)
    .await?;
    Ok(())
}

// ---- sagas -----------------------------------------------------------------------------------------------------------

async fn sagas(conn: &mut PgConnection, histories: &[History]) -> Result<(), AppError> {
    let installation: String =
        sqlx::query_scalar("select installation_id from read.installation_v1")
            .fetch_one(&mut *conn)
            .await?;
    // Whoever made the bookings started their sagas.
    let first = histories
        .iter()
        .flat_map(|h| &h.opening)
        .map(|e| e.id)
        .next();
    let by: String = sqlx::query_scalar("select actor from core.events where event_id = $1")
        .bind(first)
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query(
        r#"insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, direction, "cursor", pivot_passed_at, version, fence, wake_at,
                                     attempt, hold_expires_at, cancel_requested_at, cancel_requested_by, park_reason, parked_at, park_code, outcome, booking_id, customer_id, amount_minor, currency, context, correlation_id, started_by, created_at, updated_at,
                                     finished_at)
           select saga_id, $2, $3, 'booking:' || booking_id || ':1', state, direction::"char", "cursor", pivot_passed_at, tries, 1, ended_at,
                  0, hold_expires_at, case when cancel_requested then ended_at end, case when cancel_requested then $4 end, park_reason,
                  case when state = 'parked' then ended_at end, case when state = 'parked' then 'refund_failed' end,
                  case when state <> 'parked' then state end, booking_id, customer_id, amount_minor, currency, context, correlation_id, $4, begun_at,
                  ended_at, case when state <> 'parked' then ended_at end
             from jsonb_to_recordset($1) as x(saga_id uuid, booking_id uuid, customer_id uuid, state text, direction text, "cursor" smallint,
                    pivot_passed_at timestamptz, tries int, hold_expires_at timestamptz, cancel_requested bool, park_reason text, amount_minor bigint,
                    currency text, context jsonb, correlation_id uuid, begun_at timestamptz, ended_at timestamptz)"#,
    )
    .bind(json!(histories.iter().map(saga_row).collect::<Vec<_>>()))
    .bind(BOOKING.name)
    .bind(BOOKING.version)
    .bind(by)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        r#"insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256,
                                   intended_at, first_sent_at, last_sent_at, sends, outcome, provider_object, provider_status, resolved_at, resolved_via)
           select effect_id, saga_id, step, direction::"char", generation, 'stripe', operation, 'bz1:' || $2 || ':' || saga_id || ':' || step || ':' || direction || ':' || generation,
                  request, decode(sha256, 'hex'), at, at, at, 1, outcome, object, status, at, 'response'
             from jsonb_to_recordset($1) as x(effect_id uuid, saga_id uuid, step text, direction text, generation smallint, operation text, request jsonb,
                    sha256 text, at timestamptz, outcome text, object text, status text)"#,
    )
    .bind(json!(histories.iter().flat_map(effect_rows).collect::<Vec<_>>()))
    .bind(installation)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        r#"insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, worker_id, fence, started_at, ended_at, result, error_class, error)
           select saga_id, no, step, direction::"char", 'auto', effect_id, $2, 1, at, at + interval '2 milliseconds', result, error_class, error
             from jsonb_to_recordset($1) as x(saga_id uuid, no int, step text, direction text, effect_id uuid, at timestamptz, result text,
                    error_class text, error jsonb)"#,
    )
    .bind(json!(histories.iter().flat_map(attempt_rows).collect::<Vec<_>>()))
    .bind(id("worker", 0))
    .execute(conn)
    .await?;
    Ok(())
}

fn saga_row(h: &History) -> Value {
    json!({
        "saga_id": h.saga, "booking_id": h.booking, "customer_id": h.customer, "state": h.state, "direction": if h.undoing { "C" } else { "F" },
        "cursor": h.cursor, "pivot_passed_at": h.pivot_passed_at, "tries": h.tries.len(), "hold_expires_at": h.hold_expires_at,
        "cancel_requested": h.cancel_requested, "park_reason": h.park_reason, "amount_minor": h.price.amount_minor, "currency": h.price.currency,
        "context": h.context, "correlation_id": h.correlation, "begun_at": h.begun_at, "ended_at": h.ended_at,
    })
}

fn effect_rows(h: &History) -> impl Iterator<Item = Value> {
    h.calls.iter().map(|c| {
        let encoded = c.operation.encode();
        let sha256: String = encoded.sha256().iter().map(|b| format!("{b:02x}")).collect();
        json!({
            "effect_id": c.effect_id, "saga_id": h.saga, "step": c.step, "direction": c.direction, "generation": c.generation,
            "operation": c.operation.name(), "request": { "operation": c.operation, "encoded": encoded }, "sha256": sha256, "at": c.at,
            "outcome": c.outcome, "object": c.object, "status": c.status,
        })
    })
}

fn attempt_rows(h: &History) -> impl Iterator<Item = Value> {
    h.tries.iter().enumerate().map(|(i, t)| {
        json!({
            "saga_id": h.saga, "no": i + 1, "step": t.step, "direction": t.direction, "effect_id": t.effect_id, "at": t.at, "result": t.result,
            "error_class": t.error_class, "error": t.error,
        })
    })
}
