//! Sagas: five steps with a provider that answers at once, from the start to confirmed with messages owed, beside the same
//! commits issued bare (`clients-*`), and beside no more than their rows in as many commits (`rows-*`).

mod bare;
mod million;
mod provider;
mod same;

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
use same::{Same, Script};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::cpu::Cpu;
use super::ground::Ground;
use super::rounds::{Figure, Sample, Writer, compare, drive, rounded};
use super::{BenchError, Common};

const UNIT: &str = "sagas/s";
const PRICE: i64 = 8_000;

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    bare::make(&ground).await?;
    let desk = BenchDesk::new(&ground, &Arc::new(Provider::start()?)).await?;
    for clients in [1, 8, 32] {
        let case = format!("clients-{clients}");
        if common.wants(&case) {
            // Now, since a hold of the script ends a quarter of an hour after it.
            let script = Arc::new(Script::of(&desk, &ground).await?);
            let workers = same::workers(&ground).await?;
            let mut bare = vec![];
            for _ in 0..clients {
                bare.push(Same::connect(&desk, &ground, &script, &workers).await?);
            }
            desk.beside(&common, &ground, &case, bare).await?;
        }
        let case = format!("rows-{clients}");
        if common.wants(&case) {
            let mut bare = vec![];
            for _ in 0..clients {
                bare.push(Bare::connect(&ground).await?);
            }
            desk.beside(&common, &ground, &case, bare).await?;
        }
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

/// Processor time over all rounds.
#[derive(Default)]
struct Spent {
    cpu: Cpu,
    sagas: usize,
}

impl Spent {
    fn add(&mut self, sample: &Sample, cpu: Cpu) {
        self.cpu += cpu;
        self.sagas += sample.latencies_ms.len();
    }

    /// A saga, in microseconds.
    fn process(&self) -> Value {
        rounded(self.cpu.ours_us as f64 / self.sagas as f64)
    }

    fn postgres(&self) -> Value {
        rounded(self.cpu.postgres_us as f64 / self.sagas as f64)
    }
}

// ---- ours -----------------------------------------------------------------------------------------------------------

struct BenchDesk {
    executor: Executor,
    installation: String,
    provider: Arc<Provider>,
}

impl BenchDesk {
    async fn new(ground: &Ground, provider: &Arc<Provider>) -> Result<BenchDesk, BenchError> {
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
                base_url: provider.url(),
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
            provider: provider.clone(),
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

    /// As many clients of the desk as there are bare ones, in turns.
    async fn beside<W: Writer>(
        &self,
        common: &Common,
        ground: &Ground,
        case: &str,
        mut bare: Vec<W>,
    ) -> Result<(), BenchError> {
        let mut ours = vec![];
        for _ in 0..bare.len() {
            ours.push(self.client(ground).await?);
        }
        let (pool, provider) = (&self.executor.pool, &self.provider.thread);
        let (mut of_bare, mut of_ours) = (Spent::default(), Spent::default());
        let figure = compare(
            common,
            "saga",
            case,
            UNIT,
            async || {
                let before = Cpu::now(pool, provider).await?;
                let sample = drive(&mut bare, common.lasting()).await?;
                of_bare.add(&sample, Cpu::now(pool, provider).await? - before);
                Ok(sample)
            },
            async || {
                let before = Cpu::now(pool, provider).await?;
                let sample = drive(&mut ours, common.lasting()).await?;
                of_ours.add(&sample, Cpu::now(pool, provider).await? - before);
                Ok(sample)
            },
        )
        .await?;
        common.print(
            &figure
                .with("cpu_us_process", of_ours.process())
                .with("cpu_us_postgres", of_ours.postgres())
                .with("limit_cpu_us_process", of_bare.process())
                .with("limit_cpu_us_postgres", of_bare.postgres()),
        );
        Ok(())
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
    async fn book(&mut self, elsewhere: bool) -> Result<BookingCreated, BenchError> {
        self.next += 1;
        let begins = begins(self.next)?;
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
        Ok(created)
    }
}

/// The hours of one person, one after the other.
fn begins(hour: i64) -> Result<DateTime<Utc>, BenchError> {
    DateTime::from_timestamp(1_900_000_000 + hour * 3_600, 0).ok_or_else(|| "no such time".into())
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
