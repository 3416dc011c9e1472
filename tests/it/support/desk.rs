//! A desk with everything real: database, sandbox, mail catch-all, worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bizing_engine::app::desk::{Connections, Desk, DeskParts, GoOn};
use bizing_engine::app::wire::{
    Booked, CreateBooking, ForCustomer, Group, PaymentMode, ProfileKind,
};
use bizing_engine::connectors::email::{Mailer, SmtpConfig};
use bizing_engine::delivery::http::{Names, Resolve};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::saga::definition::Policy;
use bizing_engine::store::vault::Vault;
use bizing_engine::worker::{Kind, MailParts, Pace, Worker, WorkerParts};
use bizing_sandbox::{Options, Sandbox};
use bizing_stripe::{Config, Secret, Stripe};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::db::TestDb;
use super::wait_until;

pub const LOCATION: Uuid = Uuid::from_u128(1);
pub const ANA: Uuid = Uuid::from_u128(10);
pub const ROOM: Uuid = Uuid::from_u128(20);
pub const MASSAGE: Uuid = Uuid::from_u128(30);

pub struct TestDesk {
    pub db: TestDb,
    pub sandbox: Sandbox,
    pub people: PgPool,
    pub worker_pool: PgPool,
    pub policy: Policy,
    pub bell: Bell,
    pub hints: Hints,
    pub vault: Vault,
    /// Who looks up the names of endpoints.
    pub names: Arc<dyn Resolve>,
}

/// How the server sees the connections of workers that a test may kill.
pub const DYING: &str = "worker under test";

/// One process that works.
pub struct TestWorker {
    pub worker: Arc<Worker>,
    pub tasks: Tasks,
}

impl TestDesk {
    pub async fn new() -> TestDesk {
        TestDesk::with(quick_policy()).await
    }

    pub async fn with(policy: Policy) -> TestDesk {
        TestDesk::on(TestDb::new().await, policy).await
    }

    pub async fn on(db: TestDb, policy: Policy) -> TestDesk {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let sandbox = Sandbox::start(Options {
            smtp: Some(loopback),
            ..Options::default()
        })
        .await
        .expect("the sandbox starts");
        let people = db.pool("admin").await;
        let worker_pool = db.pool("worker").await;
        sqlx::query("select api.put_catalogue($1)")
            .bind(catalogue())
            .execute(&people)
            .await
            .expect("catalogue");
        TestDesk {
            db,
            sandbox,
            people,
            worker_pool,
            policy,
            bell: Bell::default(),
            hints: Hints::default(),
            vault: Vault::default(),
            names: Arc::new(Names),
        }
    }

    /// Starts a worker as one more process would.
    pub async fn work(&self) -> TestWorker {
        self.work_with(CrashPoints::default()).await
    }

    pub async fn work_with(&self, crash: CrashPoints) -> TestWorker {
        self.work_as(crash, |_| {}).await
    }

    /// One that has no mail server: what is owed waits.
    pub async fn work_without_mail(&self, crash: CrashPoints) -> TestWorker {
        self.work_as(crash, |parts| parts.mail = None).await
    }

    /// One that may not ask Stripe.
    pub async fn work_without_stripe(&self, crash: CrashPoints) -> TestWorker {
        self.work_as(crash, |parts| parts.stripe = None).await
    }

    /// One that asks for no events: what nobody tells it, it finds out when it looks.
    pub async fn work_without_news(&self, crash: CrashPoints) -> TestWorker {
        self.work_as(crash, |parts| parts.pace.polls = false).await
    }

    async fn work_as(
        &self,
        crash: CrashPoints,
        change: impl FnOnce(&mut WorkerParts),
    ) -> TestWorker {
        let tasks = Tasks::default();
        let pool = self.db.pool_named("worker", DYING).await;
        let mut parts = self.parts(pool, tasks.clone(), crash);
        change(&mut parts);
        let worker = Worker::start(parts).await.expect("the worker starts");
        TestWorker { worker, tasks }
    }

    /// What the server notices when a process dies: its connections break, its open transactions are rolled back.
    pub async fn break_connections(&self) {
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = $1").bind(DYING).execute(&self.db.superuser_pool().await).await.expect("terminate");
    }

    pub fn parts(&self, pool: PgPool, tasks: Tasks, crash: CrashPoints) -> WorkerParts {
        let smtp = self.sandbox.smtp_addr().expect("the sandbox takes mail");
        let mail = SmtpConfig::parse(
            &format!("smtp://{smtp}?tls=none"),
            "desk@halcyon.example",
            "Halcyon",
        )
        .expect("a valid address");
        WorkerParts {
            pool,
            installation: self.db.installation.id.clone(),
            kind: Kind::Headless,
            stripe: Some(Arc::new(self.stripe())),
            mail: Some(MailParts {
                mailer: Arc::new(Mailer::new(&mail).expect("mailer")),
                from: "desk@halcyon.example".to_owned(),
            }),
            policy: self.policy.clone(),
            pace: Pace {
                idle: Duration::from_millis(200),
                polls: true,
                poll_awaited: Duration::from_millis(100),
                poll_quiet: Duration::from_millis(500),
                poll_alone: Duration::from_millis(500),
            },
            vault: self.vault.clone(),
            names: self.names.clone(),
            bell: self.bell.clone(),
            hints: self.hints.clone(),
            tasks,
            crash,
        }
    }

    pub fn stripe(&self) -> Stripe {
        let config = Config {
            base_url: self.sandbox.url(),
            secret_key: Secret::new("sk_test_sandbox"),
            timeout: self.policy.call_timeout,
        };
        Stripe::new(reqwest::Client::new(), config)
    }

    /// The desk of a window. With a worker, bookings go straight on in this process.
    pub fn desk(&self, works_here: Option<Arc<dyn GoOn>>) -> Desk {
        Desk(Arc::new(DeskParts {
            people: self.people.clone(),
            installation: self.db.installation.clone(),
            profile: ProfileKind::Demo,
            group: Group::Admin,
            read_only: None,
            bell: self.bell.clone(),
            hints: self.hints.clone(),
            works_here,
            examiner: Default::default(),
            log_change: None,
            log_id: None,
            sandbox_url: Some(self.sandbox.url()),
            connections: Connections {
                stripe_set: true,
                mail_set: true,
            },
            backups: None,
            maker: None,
            vault: self.vault.clone(),
            policy: self.policy.clone(),
            silent: Default::default(),
        }))
    }

    pub async fn book(&self, desk: &Desk, request: CreateBooking) -> Booked {
        bizing_engine::app::bookings::create::create(desk, request)
            .await
            .expect("the booking is taken")
    }

    pub async fn saga_state(&self, booking: Uuid) -> String {
        sqlx::query_scalar("select state from saga.instance where booking_id = $1 and definition <> 'cancellation'")
            .bind(booking)
            .fetch_one(&self.worker_pool)
            .await
            .expect("the saga")
    }

    /// Names of the booking's events in order.
    pub async fn events(&self, booking: Uuid) -> Vec<String> {
        sqlx::query_scalar("select name from api.read_stream($1, 0)")
            .bind(format!("booking-{booking}"))
            .fetch_all(&self.worker_pool)
            .await
            .expect("the stream")
    }

    pub async fn wait_for_saga(&self, booking: Uuid, state: &str) {
        wait_until(
            &format!("saga of {booking} is {state}"),
            Duration::from_secs(20),
            || async { self.saga_state(booking).await == state },
        )
        .await;
    }

    pub async fn wait_for_event(&self, booking: Uuid, name: &str) {
        wait_until(
            &format!("{booking} has {name}"),
            Duration::from_secs(20),
            || async { self.events(booking).await.iter().any(|e| e == name) },
        )
        .await;
    }

    pub async fn live_claims(&self, booking: Uuid) -> i64 {
        sqlx::query_scalar("select count(*) from booking.inventory_claim where booking_id = $1 and released_at is null").bind(booking).fetch_one(&self.worker_pool).await.expect("claims")
    }
}

impl TestWorker {
    /// Ends as a closed window does: leases are given back.
    pub async fn close(self) {
        self.tasks.shut_down().await;
        self.worker.release().await;
    }
}

pub fn quick_policy() -> Policy {
    Policy {
        lease: Duration::from_secs(2),
        call_timeout: Duration::from_secs(1),
        look_every: Duration::from_millis(500),
        backoff_base: Duration::from_millis(20),
        backoff_cap: Duration::from_millis(200),
        quarantine: Duration::from_millis(300),
        ..Policy::default()
    }
}

/// Books Ana at `starts` on the saved card that the sandbox accepts.
pub fn booking(starts: &str) -> CreateBooking {
    CreateBooking {
        command_id: Uuid::now_v7(),
        customer: ForCustomer::New {
            name: "Inês Carvalho".to_owned(),
            email: Some("ines@example.com".to_owned()),
            phone: None,
        },
        service_id: MASSAGE,
        staff_id: ANA,
        room_id: Some(ROOM),
        starts: starts.to_owned(),
        fold: None,
        payment_mode: PaymentMode::CardOnFile,
        payment_method: Some("pm_card_visa".to_owned()),
    }
}

/// The `n`-th free slot of a far-away season: two bookings never meet by accident.
pub fn slot(n: u32) -> String {
    format!("2030-06-{:02}T{:02}:00", 1 + n / 5, 9 + (n % 5) * 2)
}

fn catalogue() -> serde_json::Value {
    let hours: Vec<_> = (1..=7).flat_map(|day| [ANA, ROOM].map(|r| json!({ "resource_id": r, "weekday": day, "opens": "08:00", "closes": "20:00" }))).collect();
    json!({
        "locations": [{ "location_id": LOCATION, "business_name": "Halcyon Lisboa", "name": "Chiado", "zone": "Europe/Lisbon", "currency": "EUR" }],
        "resources": [
            { "resource_id": ANA, "location_id": LOCATION, "kind": "staff", "name": "Ana Beltrão" },
            { "resource_id": ROOM, "location_id": LOCATION, "kind": "room", "name": "Quiet room" }],
        "services": [{ "service_id": MASSAGE, "name": "Deep tissue 60", "duration_min": 60, "buffer_after_min": 15, "price_minor": 8000, "currency": "EUR" }],
        "service_resources": [{ "service_id": MASSAGE, "resource_id": ANA }, { "service_id": MASSAGE, "resource_id": ROOM }],
        "working_hours": hours,
    })
}
