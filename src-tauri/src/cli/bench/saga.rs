//! Sagas: five steps with a provider that answers at once, from the start to confirmed with messages owed, beside the same
//! rows written bare in the same three commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::Path;
use axum::routing::post;
use axum::{Json, Router};
use bizing_engine::domain::booking::{self, Booking, Command};
use bizing_engine::domain::event::{BookedResource, BookingCreated, Claim, PaymentMode, Source};
use bizing_engine::domain::ids::*;
use bizing_engine::domain::money::Money;
use bizing_engine::domain::slot::LocalTime;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::ids;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::saga::definition::Policy;
use bizing_engine::saga::executor::{Executor, Handed};
use bizing_engine::saga::start::{Start, book};
use bizing_engine::store::append::{Append, Expected};
use bizing_stripe::{Config, Secret, Stripe};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::ground::Ground;
use super::rounds::{Figure, Writer, compare, drive};
use super::{BenchError, Common};

const UNIT: &str = "sagas/s";
const PRICE: i64 = 8_000;

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let tasks = Tasks::default();
    let url = provider(&tasks).await?;
    make_bare(&ground).await?;
    let desk = BenchDesk::new(&ground, &url).await?;
    for clients in [1, 8, 32] {
        let case = format!("clients-{clients}");
        if !common.wants(&case) {
            continue;
        }
        let mut bare = vec![];
        let mut ours = vec![];
        for _ in 0..clients {
            bare.push(Bare {
                conn: PgConnection::connect_with(&ground.login("worker")).await?,
            });
            ours.push(desk.client(&ground).await?);
        }
        let figure = compare(
            &common,
            "saga",
            &case,
            UNIT,
            async || drive(&mut bare, common.lasting()).await,
            async || drive(&mut ours, common.lasting()).await,
        )
        .await?;
        common.print(&figure);
    }
    if common.wants("commits") {
        common.print(&desk.commits(&ground).await?);
    }
    tasks.shut_down().await;
    Ok(())
}

// ---- a provider that answers at once --------------------------------------------------------------------------------

async fn provider(tasks: &Tasks) -> Result<String, BenchError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = Router::new()
        .route("/v1/payment_intents", post(create))
        .route("/v1/payment_intents/{id}/capture", post(capture));
    let stop = tasks.stopping();
    tasks.once(async move {
        let served = axum::serve(listener, app)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        let _ = served.await;
    });
    Ok(url)
}

async fn create() -> Json<Value> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let id = format!("pi_bench{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Json(intent(&id, "requires_capture", PRICE, 0))
}

async fn capture(Path(id): Path<String>) -> Json<Value> {
    Json(intent(&id, "succeeded", 0, PRICE))
}

fn intent(id: &str, status: &str, capturable: i64, received: i64) -> Value {
    json!({
        "id": id, "object": "payment_intent", "status": status, "amount": PRICE, "amount_capturable": capturable,
        "amount_received": received, "currency": "eur", "latest_charge": "ch_bench", "metadata": {},
    })
}

// ---- ours -----------------------------------------------------------------------------------------------------------

struct BenchDesk {
    executor: Executor,
    installation: String,
}

impl BenchDesk {
    async fn new(ground: &Ground, url: &str) -> Result<BenchDesk, BenchError> {
        // As many as a worker of the desk has.
        let pool = ground.pool("worker", 8).await?;
        let installation: String =
            sqlx::query_scalar("select installation_id from admin.installation")
                .fetch_one(&pool)
                .await?;
        let stripe = Stripe::new(
            reqwest::Client::new(),
            Config {
                base_url: url.to_owned(),
                secret_key: Secret::new("sk_test_bench"),
                timeout: Duration::from_secs(10),
            },
        );
        Ok(BenchDesk {
            executor: Executor {
                pool,
                worker: WorkerId(ids::v7()),
                installation: installation.clone(),
                stripe: Some(Arc::new(stripe)),
                policy: Arc::new(Policy::default()),
                bell: Bell::default(),
                crash: CrashPoints::default(),
                handed: Handed::default(),
                calls: Default::default(),
            },
            installation,
        })
    }

    /// One front desk with a person of its own to book, so that no two wait for one slot.
    async fn client(&self, ground: &Ground) -> Result<Client, BenchError> {
        let mut conn = PgConnection::connect_with(&ground.login("admin")).await?;
        let (location, resource) = (ids::v7(), ids::v7());
        sqlx::query("select api.put_catalogue($1)")
            .bind(json!({
                "locations": [{ "location_id": location, "business_name": "Bench", "name": "Bench", "zone": "UTC", "currency": "EUR" }],
                "resources": [{ "resource_id": resource, "location_id": location, "kind": "staff", "name": "Ana" }],
                "services": [], "service_resources": [], "working_hours": [],
            }))
            .execute(&mut conn)
            .await?;
        Ok(Client {
            conn,
            executor: self.executor.clone(),
            installation: self.installation.clone(),
            resource,
            next: 0,
        })
    }

    /// Transactions that wrote events, from the start until the messages are owed.
    async fn commits(&self, ground: &Ground) -> Result<Figure, BenchError> {
        let mut client = self.client(ground).await?;
        let id = client.book().await?;
        let commits: i64 = sqlx::query_scalar(
            "select count(distinct e.xmin::text) from core.events e join core.streams s using (stream_no) where s.stream_id = $1",
        )
        .bind(format!("booking-{id}"))
        .fetch_one(&self.executor.pool)
        .await?;
        Ok(
            Figure::new("saga", "commits", commits as f64, "commits/saga")
                .with("until", "confirmed, messages owed")
                .with("mode", "solo"),
        )
    }
}

struct Client {
    conn: PgConnection,
    executor: Executor,
    installation: String,
    resource: Uuid,
    next: i64,
}

impl Writer for Client {
    async fn write(&mut self) -> Result<u64, BenchError> {
        self.book().await?;
        Ok(1)
    }
}

impl Client {
    async fn book(&mut self) -> Result<Uuid, BenchError> {
        self.next += 1;
        let begins =
            DateTime::from_timestamp(1_900_000_000 + self.next * 3_600, 0).ok_or("no such time")?;
        let created = created(self.resource, begins)?;
        let claims = vec![Claim {
            claim_id: ClaimId(ids::v7()),
            resource_id: ResourceId(self.resource),
            unit: 1,
            blocked_from: begins,
            blocked_until: created.end_utc,
        }];
        let now = Utc::now();
        let expires = Some(now + TimeDelta::minutes(15));
        let mut events = booking::decide(
            &Booking::default(),
            Command::Create(Box::new(created.clone())),
            now,
        )?;
        let state = booking::replay(&events);
        events.extend(booking::decide(
            &state,
            Command::Hold {
                claims: claims.clone(),
                expires_at: expires,
            },
            now,
        )?);
        let started = book(
            &mut self.conn,
            Start {
                saga: SagaId(ids::v7()),
                created: &created,
                claims: &claims,
                hold_expires_at: expires,
                correlation: CorrelationId(ids::v7()),
                causation: created.booking_id.0,
                installation: &self.installation,
                policy: &self.executor.policy,
                lease: Some(self.executor.worker),
                now,
            },
            vec![Append::new(
                created.booking_id,
                Expected::Version(0),
                events.clone(),
                now,
            )],
        )
        .await?;
        let saga = started.saga;
        if let Some(world) = started.world(&events, now, &self.installation) {
            self.executor.handed.put(world);
        }
        Box::pin(self.executor.run(saga.0)).await;
        Ok(created.booking_id.0)
    }
}

fn created(resource: Uuid, begins: DateTime<Utc>) -> Result<BookingCreated, BenchError> {
    Ok(BookingCreated {
        booking_id: BookingId(ids::v7()),
        reference: Reference::from_bits(ids::reference_bits()),
        customer_id: CustomerId(ids::v7()),
        service_id: ServiceId(ids::v7()),
        service_version: 1,
        service_name: "Deep tissue 60".to_owned(),
        source: Source::Staff,
        start: LocalTime {
            wall: begins.format("%Y-%m-%dT%H:%M").to_string(),
            tzid: "UTC".to_owned(),
            offset_s: 0,
            tzdb: "2026a".to_owned(),
        },
        start_utc: begins,
        end_utc: begins + TimeDelta::hours(1),
        duration_min: 60,
        buffer_before_min: 0,
        buffer_after_min: 0,
        resources: vec![BookedResource {
            resource_id: ResourceId(resource),
            unit: 1,
            role: "staff".to_owned(),
            name: "Ana".to_owned(),
        }],
        price: Money::new(PRICE, "EUR".parse()?),
        payment_mode: PaymentMode::CardOnFile,
        payment_method: Some("pm_card_visa".to_owned()),
    })
}

// ---- the limit: the same rows, bare ---------------------------------------------------------------------------------

/// Tables with the same columns, checks and indexes, without triggers, functions and foreign keys.
async fn make_bare(ground: &Ground) -> Result<(), BenchError> {
    let mut conn = PgConnection::connect_with(&ground.superuser()).await?;
    sqlx::raw_sql(
        "create schema bare_saga;
         create table bare_saga.instance (like saga.instance including all);
         create table bare_saga.attempt (like saga.attempt including all);
         create table bare_saga.effect (like saga.effect including all);
         create table bare_saga.events (like core.events_0000 including all);
         create table bare_saga.deliveries (like delivery.deliveries including all);
         create sequence bare_saga.position;
         grant usage on schema bare_saga to public;
         grant usage on sequence bare_saga.position to public;
         grant select, insert, update on all tables in schema bare_saga to public;",
    )
    .execute(&mut conn)
    .await?;
    Ok(conn.close().await?)
}

const EVENTS: &str = "insert into bare_saga.events (position, stream_no, version, type_no, event_id, correlation_id, occurred_at, recorded_at, actor, metadata, data, hash)
    select nextval('bare_saga.position'), ('x' || substr(md5($1::text), 1, 15))::bit(60)::bigint, $2 + n, 1, gen_random_uuid(), $1, now(), now(), 'bench', '{}', $3, sha256($1::text::bytea)
      from generate_series(1, 2) n";
const ATTEMPTS: &str = "insert into bare_saga.attempt (saga_id, no, step, direction, fence, started_at, ended_at, result)
    select $1, $2 + n, 'payment', 'F', 1, now(), now(), 'done' from generate_series(1, 2) n";
const EFFECT: &str = "insert into bare_saga.effect (effect_id, saga_id, step, direction, provider, operation, idempotency_key, request, request_sha256, first_sent_at, last_sent_at, sends)
    values (gen_random_uuid(), $1, $2::text, 'F', 'stripe', $2, $1::text || ':' || $2, $3, sha256('x'), now(), now(), 1)";

/// One connection that writes what a saga writes, in three commits of one statement each.
struct Bare {
    conn: PgConnection,
}

impl Writer for Bare {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let id = ids::v7();
        let data = json!({ "payment_id": id, "amount": { "amount_minor": PRICE, "currency": "EUR" }, "payment_intent": "pi_bench", "note": "x".repeat(160) });
        let with = |parts: [&str; 3], last: &str| {
            format!(
                "with a as ({}), b as ({}), c as ({}) {last}",
                parts[0], parts[1], parts[2]
            )
        };
        let effect = |step: &str| {
            EFFECT
                .replace("$2::text", &format!("'{step}'"))
                .replace("$2", &format!("'{step}'"))
        };
        let first = with(
            [EVENTS, ATTEMPTS, &effect("payment")],
            "insert into bare_saga.instance (saga_id, definition, def_version, dedupe_key, correlation_id, started_by, lease_owner, lease_expires_at, booking_id, customer_id, context)
             select $1, 'booking', 1, $1::text, $1, 'bench', $1, now() + interval '45 s', $1, $1, $3",
        );
        let move_on = |last: &str| {
            format!(
                "update bare_saga.instance set version = version + 1, \"cursor\" = \"cursor\" + 1, updated_at = now(), last_token = $1{last} where saga_id = $1"
            )
        };
        let second = with([EVENTS, ATTEMPTS, &effect("capture")], &move_on(""));
        let third = with(
            [EVENTS, ATTEMPTS, "insert into bare_saga.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key)
                values ($1, 'booking_confirmed', $1, 1, 'booking-' || $1::text, $1, $1::text)"],
            &move_on(", state = 'waiting', lease_owner = null, lease_expires_at = null, pivot_passed_at = now()"),
        );
        for (n, sql) in [first, second, third].into_iter().enumerate() {
            // The text is made of our own parts.
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(id)
                .bind((n * 2) as i32)
                .bind(&data)
                .execute(&mut self.conn)
                .await?;
        }
        Ok(1)
    }
}
