//! Sagas: five steps with a provider that answers at once, from the start to confirmed with messages owed, beside the same
//! rows written bare in the same three commits.

mod bare;
mod million;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use bare::Bare;
use bizing_engine::domain::booking::{self, Booking, Command};
use bizing_engine::domain::event::{BookedResource, BookingCreated, Claim, PaymentMode, Source};
use bizing_engine::domain::ids::*;
use bizing_engine::domain::money::Money;
use bizing_engine::domain::slot::LocalTime;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::ids;
use bizing_engine::saga::definition::Policy;
use bizing_engine::saga::executor::{Executor, Handed};
use bizing_engine::saga::start::{Start, book};
use bizing_engine::saga::store;
use bizing_engine::store::append::{Append, Expected};
use bizing_stripe::{Config, Secret, Stripe};
use chrono::{DateTime, TimeDelta, Utc};
use provider::Provider;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::cpu::Cpu;
use super::ground::Ground;
use super::rounds::{Figure, Writer, compare, drive, rounded};
use super::{BenchError, Common};

const UNIT: &str = "sagas/s";
const PRICE: i64 = 8_000;

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let provider = Provider::start()?;
    bare::make(&ground).await?;
    let desk = BenchDesk::new(&ground, &provider.url()).await?;
    for clients in [1, 8, 32] {
        let case = format!("clients-{clients}");
        if !common.wants(&case) {
            continue;
        }
        let mut bare = vec![];
        let mut ours = vec![];
        for _ in 0..clients {
            bare.push(Bare::connect(&ground).await?);
            ours.push(desk.client(&ground).await?);
        }
        let (mut spent, mut done) = (Cpu::default(), 0);
        let figure = compare(
            &common,
            "saga",
            &case,
            UNIT,
            async || drive(&mut bare, common.lasting()).await,
            async || {
                let before = Cpu::now(&desk.executor.pool, &provider.thread).await?;
                let sample = drive(&mut ours, common.lasting()).await?;
                spent += Cpu::now(&desk.executor.pool, &provider.thread).await? - before;
                done += sample.latencies_ms.len();
                Ok(sample)
            },
        )
        .await?;
        let each = |us: u64| rounded(us as f64 / done as f64);
        common.print(
            &figure
                .with("cpu_us_process", each(spent.ours_us))
                .with("cpu_us_postgres", each(spent.postgres_us)),
        );
    }
    if common.wants("commits") {
        for team in [false, true] {
            common.print(&desk.commits(&ground, team).await?);
        }
    }
    if common.wants("list-1m") || common.wants("figures-1m") {
        million::run(&common, &ground).await?;
    }
    Ok(())
}

// ---- ours -----------------------------------------------------------------------------------------------------------

struct BenchDesk {
    executor: Executor,
    installation: String,
}

impl BenchDesk {
    async fn new(ground: &Ground, url: &str) -> Result<BenchDesk, BenchError> {
        // As a worker of the desk has them: up to eight, each made when it is needed. One that rests is colder than one at work.
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .test_before_acquire(false)
            .connect_with(ground.login("worker"))
            .await?;
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

    /// Transactions that wrote anything, from the start until the messages are owed: of a person whose own process works,
    /// and in a team, where a window only starts it and a worker elsewhere takes it up.
    async fn commits(&self, ground: &Ground, team: bool) -> Result<Figure, BenchError> {
        let mut client = self.client(ground).await?;
        // Once to warm up: what is written for the first time may make a partition.
        client.book(false).await?;
        let before = transactions(&self.executor.pool).await?;
        client.book(team).await?;
        let written = transactions(&self.executor.pool).await? - before - 1;
        let (case, mode) = match team {
            true => ("commits-team", "team"),
            false => ("commits", "solo"),
        };
        Ok(Figure::new("saga", case, written as f64, "commits/saga")
            .with("until", "confirmed, messages owed")
            .with("mode", mode))
    }
}

/// The number of the next transaction that writes; asking for it uses one up.
async fn transactions(pool: &PgPool) -> Result<i64, BenchError> {
    Ok(
        sqlx::query_scalar("select pg_current_xact_id()::text::bigint")
            .fetch_one(pool)
            .await?,
    )
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
        self.book(false).await?;
        Ok(1)
    }
}

impl Client {
    /// `elsewhere`: not leased to this process, but claimed, as a team's worker does.
    async fn book(&mut self, elsewhere: bool) -> Result<(), BenchError> {
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
                lease: (!elsewhere).then_some(self.executor.worker),
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
        if elsewhere {
            let (pool, worker) = (&self.executor.pool, self.executor.worker);
            store::claim(pool, worker, 1, self.executor.policy.lease).await?;
        }
        if let Some(world) = started.world(&events, now, &self.installation) {
            self.executor.handed.put(world);
        }
        Box::pin(self.executor.run(saga.0)).await;
        Ok(())
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
