//! The limit: the rows that a saga leaves, of their size, written bare. Three commits of one statement each, into tables
//! with the same columns, checks and indexes, without triggers, functions and foreign keys.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::super::BenchError;
use super::super::ground::Ground;
use super::super::rounds::Writer;
use super::PRICE;
use bizing_engine::runtime::ids;

/// What each table is like, and what of it a booking writes.
const TABLES: [(&str, &str); 8] = [
    ("instance", "saga.instance"),         // one, changed twice
    ("attempt", "saga.attempt"),           // six
    ("effect", "saga.effect"),             // two, changed once each
    ("booking", "booking.booking"),        // one
    ("claim", "booking.inventory_claim"),  // one, changed once: held, then booked
    ("streams", "core.streams"),           // one, changed twice
    ("events", "core.events_0000"),        // six
    ("deliveries", "delivery.deliveries"), // two
];

pub async fn make(ground: &Ground) -> Result<(), BenchError> {
    let tables: String = TABLES
        .map(|(name, like)| format!("create table bare_saga.{name} (like {like} including all);"))
        .concat();
    let mut conn = PgConnection::connect_with(&ground.superuser()).await?;
    // The text is made of our own names.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create schema bare_saga; {tables}
         create sequence bare_saga.position;
         create sequence bare_saga.slot;
         grant usage on schema bare_saga to public;
         grant usage on all sequences in schema bare_saga to public;
         grant select, insert, update on all tables in schema bare_saga to public;"
    )))
    .execute(&mut conn)
    .await?;
    Ok(conn.close().await?)
}

// $1 is the id of everything, $2 the data of an event, $3 a request. {n} is how many events or tries there are already.
const EVENTS: &str = "insert into bare_saga.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata, data, hash)
    select nextval('bare_saga.position'), ('x' || substr(md5($1::text), 1, 15))::bit(60)::bigint, {n} + n, 1, gen_random_uuid(), $1, $1, now(), now(), 'bench', '{\"app_version\": \"0.1.0\"}', $2, sha256($1::text::bytea)
      from generate_series(1, 2) n";
const STREAM: &str = "insert into bare_saga.streams (stream_no, stream_id, category, version, first_position, last_position, head) overriding system value
    select ('x' || substr(md5($1::text), 1, 15))::bit(60)::bigint, 'booking-' || $1::text, 'booking', 2, 1, 2, sha256($1::text::bytea)";
const STREAM_ON: &str = "update bare_saga.streams set version = version + 2, last_position = last_position + 2, head = sha256(head)
    where stream_id = 'booking-' || $1::text";
const ATTEMPTS: &str = "insert into bare_saga.attempt (saga_id, no, step, direction, effect_id, worker_id, fence, started_at, ended_at, result)
    select $1, {n} + n, 'payment', 'F', $1, $1, 1, now(), now(), 'done' from generate_series(1, {many}) n";
const EFFECT: &str = "insert into bare_saga.effect (effect_id, saga_id, step, direction, provider, operation, idempotency_key, request, request_sha256, first_sent_at, last_sent_at, sends)
    values (gen_random_uuid(), $1, '{step}', 'F', 'stripe', '{step}', 'bz1:bench:' || $1::text || ':{step}:F:0', $3, sha256('x'), now(), now(), 1)";
const EFFECT_DONE: &str = "update bare_saga.effect set outcome = 'confirmed', provider_object = 'pi_bench', provider_status = 'succeeded', resolved_at = now(), resolved_via = 'response'
    where saga_id = $1 and step = '{step}'";
const BOOKING: &str = "insert into bare_saga.booking (booking_id, reference) select $1, 'BK-' || upper(lpad(to_hex(nextval('bare_saga.slot')), 6, '0'))";
const CLAIM: &str = "insert into bare_saga.claim (claim_id, resource_id, unit, during, kind, booking_id, expires_at)
    select $1, $4, 1, tstzrange(timestamptz '2030-01-01' + $5::bigint * interval '1 hour', timestamptz '2030-01-01' + ($5::bigint + 1) * interval '1 hour'), 'hold', $1, now() + interval '15 minutes'";
const CLAIM_BOOKED: &str =
    "update bare_saga.claim set kind = 'booking', expires_at = null where booking_id = $1";
const START: &str = "insert into bare_saga.instance (saga_id, definition, def_version, dedupe_key, correlation_id, started_by, lease_owner, lease_expires_at, booking_id, customer_id, amount_minor, currency, step, asks, context)
    select $1, 'booking', 1, 'booking:' || $1::text, $1, 'bench', $1, now() + interval '45 s', $1, $1, 8000, 'EUR', 'payment', 'stripe', '{\"reference\": \"BK-000000\", \"provider\": \"stripe\"}'";
const MOVE_ON: &str = "update bare_saga.instance set version = version + 1, \"cursor\" = \"cursor\" + 1, step = 'capture', updated_at = now(), last_token = $1 where saga_id = $1";
const REST: &str = "update bare_saga.instance set version = version + 1, \"cursor\" = \"cursor\" + 2, step = 'notify', asks = null, updated_at = now(), last_token = $1, state = 'waiting',
    wake_at = now() + interval '5 minutes', await_key = 'message:' || $1::text, lease_owner = null, lease_expires_at = null, pivot_passed_at = now() where saga_id = $1";
const DELIVERIES: &str = "insert into bare_saga.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key)
    select $1, 'template_' || n, $1, n, 'booking-' || $1::text, $1, $1::text || n from generate_series(1, 2) n";

/// One connection that writes what a saga writes, with a person of its own to book.
pub struct Bare {
    conn: PgConnection,
    resource: Uuid,
    next: i64,
    commits: [String; 3],
    /// As large as those of a booking's events, on average, and of what is asked of Stripe.
    data: Value,
    request: Value,
}

impl Bare {
    pub async fn connect(ground: &Ground) -> Result<Bare, BenchError> {
        Ok(Bare {
            conn: PgConnection::connect_with(&ground.login("worker")).await?,
            resource: ids::v7(),
            next: 0,
            commits: commits(),
            data: json!({ "payment_id": ids::v7(), "amount": { "amount_minor": PRICE, "currency": "EUR" }, "payment_intent": "pi_bench", "note": "x".repeat(160) }),
            request: json!({ "operation": { "kind": "create_intent", "note": "x".repeat(200) }, "encoded": { "path": "/v1/payment_intents", "form": "x".repeat(200) } }),
        })
    }
}

fn commits() -> [String; 3] {
    let with = |parts: &[String], last: String| {
        let parts: Vec<String> = parts
            .iter()
            .enumerate()
            .map(|(n, part)| format!("p{n} as ({part})"))
            .collect();
        format!("with {} {last}", parts.join(", "))
    };
    let events = |n: i32| EVENTS.replace("{n}", &n.to_string());
    let attempts = |n: i32, many: i32| {
        ATTEMPTS
            .replace("{n}", &n.to_string())
            .replace("{many}", &many.to_string())
    };
    let own = str::to_owned;
    [
        with(
            &[
                own(STREAM),
                events(0),
                attempts(0, 1),
                EFFECT.replace("{step}", "payment"),
                own(BOOKING),
                own(CLAIM),
            ],
            own(START),
        ),
        with(
            &[
                own(STREAM_ON),
                events(2),
                attempts(1, 2),
                EFFECT_DONE.replace("{step}", "payment"),
                EFFECT.replace("{step}", "capture"),
                own(CLAIM_BOOKED),
            ],
            own(MOVE_ON),
        ),
        with(
            &[
                own(STREAM_ON),
                events(4),
                attempts(3, 3),
                EFFECT_DONE.replace("{step}", "capture"),
                own(DELIVERIES),
            ],
            own(REST),
        ),
    ]
}

impl Writer for Bare {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let id = ids::v7();
        self.next += 1;
        for (n, sql) in self.commits.iter().enumerate() {
            // The text is made of our own parts.
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
                .bind(id)
                .bind(&self.data);
            if n < 2 {
                query = query.bind(&self.request);
            }
            if n == 0 {
                query = query.bind(self.resource).bind(self.next);
            }
            query.execute(&mut self.conn).await?;
        }
        Ok(1)
    }
}
