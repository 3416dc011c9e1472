//! A log as a busy desk writes it: lives of bookings side by side, a part of which end in a refund much later.
//!
//! Written by COPY and not by the append, since what is measured is reading. Types, data and sealed fields are real;
//! hashes are not.

use std::collections::VecDeque;

use bizing_engine::domain::customer::Personal;
use bizing_engine::domain::ids::{CustomerId, Reference};
use bizing_engine::runtime::ids;
use bizing_engine::store::copy::Rows;
use bizing_engine::store::seal;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::cli::bench::BenchError;
use crate::cli::bench::ground::Ground;

/// Bookings that are being made at the same time.
const AT_ONCE: usize = 40;
/// Bookings made between one and its refund.
const LATER: usize = 3_000;
const FLUSH: usize = 20_000;

const LIFE: [&str; 9] = [
    "BookingCreated",
    "InventoryHeld",
    "PaymentRequested",
    "PaymentAuthorized",
    "PaymentReceived",
    "BookingConfirmed",
    "CalendarSynced",
    "NotificationSent",
    "NotificationSent",
];
const REFUND: [&str; 4] = [
    "BookingCancelled",
    "RefundRequested",
    "PaymentRefunded",
    "InventoryReleased",
];

struct Life {
    stream_no: i64,
    booking: Uuid,
    customer: Uuid,
    correlation: Uuid,
    version: i64,
    late: usize,
    first_position: i64,
}

/// Repeats itself: each run reads the same log.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

pub async fn fill(ground: &Ground, wanted: usize) -> Result<i64, BenchError> {
    let mut conn = PgConnection::connect_with(&ground.superuser()).await?;
    sqlx::query("select core.ensure_partition($1)")
        .bind(wanted as i64)
        .execute(&mut conn)
        .await?;
    let types: Vec<(String, i32)> =
        sqlx::query_as("select name, type_no from core.event_types where schema_version = 1")
            .fetch_all(&mut conn)
            .await?;
    let type_no = |name: &str| {
        types
            .iter()
            .find(|(n, _)| n == name)
            .map_or(0, |(_, no)| *no)
    };
    let customers = customers(&mut conn, (wanted / 50).max(10)).await?;

    let (mut dice, mut position, mut stream_no) = (Dice(7), 0_i64, 0_i64);
    let mut clock: DateTime<Utc> = "2026-01-01T08:00:00Z".parse()?;
    let (mut events, mut streams, mut held) = (Rows::new(), Rows::new(), 0);
    let mut unregistered = customers.iter();
    let (mut open, mut waiting): (Vec<Life>, VecDeque<Life>) = (vec![], VecDeque::new());
    while (position as usize) < wanted || !open.is_empty() {
        let more = (position as usize) < wanted;
        while more && open.len() < AT_ONCE {
            stream_no += 1;
            if stream_no % 6 == 0
                && let Some((customer, data)) = unregistered.next()
            {
                position += 1;
                event(
                    &mut events,
                    position,
                    stream_no,
                    1,
                    type_no("CustomerRegistered"),
                    *customer,
                    clock,
                    data,
                );
                stream(
                    &mut streams,
                    stream_no,
                    &format!("customer-{customer}"),
                    1,
                    position,
                    position,
                );
                continue;
            }
            // Those who are registered by now, and the first ones twice as often.
            let known = customers.len() - unregistered.len();
            let nth = dice.below(known.max(1)).min(dice.below(known.max(1)));
            open.push(Life {
                stream_no,
                booking: ids::v7(),
                customer: customers[nth].0,
                correlation: ids::v7(),
                version: 0,
                late: 0,
                first_position: position + 1,
            });
            if waiting.len() > LATER
                && let Some(mut late) = waiting.pop_front()
            {
                late.late = 1;
                open.push(late);
            }
        }
        if open.is_empty() {
            break;
        }
        let at = dice.below(open.len());
        let life = &mut open[at];
        position += 1;
        life.version += 1;
        clock += TimeDelta::milliseconds(dice.below(4_000) as i64);
        let name = if life.late > 0 {
            REFUND[life.late - 1]
        } else {
            LIFE[(life.version - 1) as usize]
        };
        let data = data(name, life, clock).to_string();
        event(
            &mut events,
            position,
            life.stream_no,
            life.version,
            type_no(name),
            life.correlation,
            clock,
            &data,
        );
        let over = if life.late > 0 {
            life.late += 1;
            life.late > REFUND.len()
        } else {
            life.version as usize == LIFE.len()
        };
        if over {
            let life = open.swap_remove(at);
            if life.late == 0 && dice.below(6) == 0 && more {
                waiting.push_back(life);
            } else {
                stream(
                    &mut streams,
                    life.stream_no,
                    &format!("booking-{}", life.booking),
                    life.version,
                    life.first_position,
                    position,
                );
            }
        }
        held += 1;
        if held == FLUSH {
            held = 0;
            send(
                &mut conn,
                std::mem::replace(&mut events, Rows::new()),
                EVENTS,
            )
            .await?;
        }
    }
    for life in waiting {
        stream(
            &mut streams,
            life.stream_no,
            &format!("booking-{}", life.booking),
            life.version,
            life.first_position,
            position,
        );
    }
    send(&mut conn, events, EVENTS).await?;
    send(
        &mut conn,
        streams,
        "core.streams (stream_no, stream_id, version, first_position, last_position)",
    )
    .await?;
    sqlx::query("select setval('core.position', $1), setval('core.streams_stream_no_seq', $2)")
        .bind(position)
        .bind(stream_no)
        .execute(&mut conn)
        .await?;
    for sql in [
        "vacuum (freeze, analyze) core.events",
        "vacuum (freeze, analyze) core.streams",
        "checkpoint",
    ] {
        sqlx::query(sql).execute(&mut conn).await?;
    }
    conn.close().await?;
    Ok(position)
}

const EVENTS: &str = "core.events (position, stream_no, version, type_no, event_id, correlation_id, occurred_at, recorded_at, actor, metadata, data, hash)";

async fn send(conn: &mut PgConnection, rows: Rows, to: &str) -> Result<(), BenchError> {
    let mut copy = conn
        .copy_in_raw(&format!("copy {to} from stdin (format binary)"))
        .await?;
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "a row has that many columns")]
fn event(
    rows: &mut Rows,
    position: i64,
    stream_no: i64,
    version: i64,
    type_no: i32,
    correlation: Uuid,
    at: DateTime<Utc>,
    data: &str,
) {
    rows.row(12);
    rows.bigint(position);
    rows.bigint(stream_no);
    rows.bigint(version);
    rows.int(type_no);
    rows.uuid(ids::v7());
    rows.uuid(correlation);
    rows.time(at);
    rows.time(at);
    rows.text("bench_worker");
    rows.json("{\"app_version\": \"0.1.0\", \"on_behalf_of\": \"sofia.marcal\", \"trace_id\": \"4bf92f3577b34da6a3ce929d0e0e4736\"}");
    rows.json(data);
    rows.bytes(&[7; 32]);
}

fn stream(rows: &mut Rows, no: i64, id: &str, version: i64, first: i64, last: i64) {
    rows.row(5);
    rows.bigint(no);
    rows.text(id);
    rows.bigint(version);
    rows.bigint(first);
    rows.bigint(last);
}

/// Each with the data of its registration, sealed with a key of its own.
async fn customers(
    conn: &mut PgConnection,
    many: usize,
) -> Result<Vec<(Uuid, String)>, BenchError> {
    let mut customers = Vec::with_capacity(many);
    let mut tx = conn.begin().await?;
    for n in 0..many {
        let id = ids::v7();
        let personal = Personal {
            name: format!("Inês Costa {n}"),
            email: Some(format!("ines.costa.{n}@example.com")),
            phone: Some(format!("+351 912 {n:06}")),
        };
        let sealed = seal::seal(&mut tx, CustomerId(id), &personal).await?;
        customers.push((
            id,
            json!({ "customer_id": id, "personal": sealed }).to_string(),
        ));
    }
    tx.commit().await?;
    Ok(customers)
}

fn data(name: &str, life: &Life, at: DateTime<Utc>) -> Value {
    let n = life.stream_no;
    let id = |k: u128| Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 | k);
    let price = json!({ "amount_minor": 4_000 + n % 60 * 100, "currency": "EUR" });
    let start = at + TimeDelta::hours(24 + n % 700);
    match name {
        "BookingCreated" => json!({
            "booking_id": life.booking, "reference": Reference::from_bits((n as u32).wrapping_mul(2_654_435_761) & 0x3fff_ffff),
            "customer_id": life.customer, "service_id": id((n % 12) as u128), "service_version": 4, "service_name": format!("Deep tissue {}", 30 + n % 12 * 5),
            "source": "staff", "start": { "wall": start.format("%Y-%m-%dT%H:%M").to_string(), "tzid": "Europe/Lisbon", "offset_s": 0, "tzdb": "2026a" },
            "start_utc": start, "end_utc": start + TimeDelta::minutes(60), "duration_min": 60, "buffer_before_min": 0, "buffer_after_min": 15,
            "resources": [{ "resource_id": id(100 + (n % 20) as u128), "unit": 1, "role": "staff", "name": "Ana Beltrão" },
                          { "resource_id": id(200 + (n % 8) as u128), "unit": 1, "role": "room", "name": "Quiet room" }],
            "price": price, "payment_mode": "card_on_file", "payment_method": "pm_card_visa" }),
        "InventoryHeld" => json!({ "claims": [
            { "claim_id": id(n as u128 * 2), "resource_id": id(100 + (n % 20) as u128), "unit": 1, "blocked_from": start, "blocked_until": start + TimeDelta::minutes(75) },
            { "claim_id": id(n as u128 * 2 + 1), "resource_id": id(200 + (n % 8) as u128), "unit": 1, "blocked_from": start, "blocked_until": start + TimeDelta::minutes(75) }],
            "expires_at": at + TimeDelta::minutes(15) }),
        "PaymentRequested" => {
            json!({ "payment_id": life.correlation, "amount": price, "mode": "card_on_file", "payment_intent": format!("pi_3Q{n:020}"),
            "checkout_session": null, "pay_url": null, "link_expires_at": null, "idempotency_key": format!("bz1:k3j9x2aa:{}:payment:F:0", life.correlation) })
        }
        "PaymentAuthorized" => {
            json!({ "payment_id": life.correlation, "payment_intent": format!("pi_3Q{n:020}"), "amount_capturable": price, "capture_before": at + TimeDelta::days(7) })
        }
        "PaymentReceived" => {
            json!({ "payment_id": life.correlation, "payment_intent": format!("pi_3Q{n:020}"), "amount_received": price, "charge_id": format!("ch_3Q{n:020}") })
        }
        "BookingConfirmed" => json!({ "confirmed_at": at, "sequence": 0 }),
        "CalendarSynced" => {
            json!({ "provider": "google", "operation": "create", "external_id": format!("evt_{n:020}"), "sequence": 0 })
        }
        "BookingCancelled" => {
            json!({ "cancelled_by": "customer", "reason_code": "asked", "reason": "The customer rang: she has a cold and wants to come in spring.",
            "refund_due": price, "sequence": 1 })
        }
        "RefundRequested" => {
            json!({ "refund_id": id(n as u128), "payment_id": life.correlation, "amount": price, "reason": "asked" })
        }
        "PaymentRefunded" => {
            json!({ "refund_id": id(n as u128), "payment_id": life.correlation, "provider_refund": format!("re_3Q{n:020}"), "amount": price })
        }
        "InventoryReleased" => {
            json!({ "claims": [id(n as u128 * 2), id(n as u128 * 2 + 1)], "reason": "compensated" })
        }
        _ => {
            json!({ "delivery_id": id(n as u128), "template": "booking_confirmed", "channel": "email",
            "provider_message_id": format!("<20261122T101530.{n:020}-halcyon.lisboa.chiado@mail.example.com>"), "attempt": 1 })
        }
    }
}
