//! Real processes, killed; a database that is stopped and started; a provider that loses a third of its answers after the
//! work is done. At the end a referee that is not the code under test holds provider, events and inventory together.
//!
//! `make chaos`, with `CHAOS_SAGAS=n` and `CHAOS_SEED=n`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bizing_engine::app::bookings::create::create;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::{
    Code, CreateBooking, ForCustomer, PaymentMode, PreviewSaga, SagaParams,
};
use bizing_engine::connectors::email::{Mailer, SmtpConfig};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::saga::definition::Policy;
use bizing_engine::worker::{Kind, MailParts, Pace, Worker, WorkerParts};
use bizing_postgres::Cluster;
use bizing_sandbox::{Fault, Rule};
use bizing_stripe::{Config, Secret, Stripe};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use super::hands::ask;
use super::referee;
use crate::support::db::{PASSWORD, own_server, server};
use crate::support::desk::{TestDesk, booking, quick_policy};

const WORKERS: usize = 3;
const KILL_EVERY: Duration = Duration::from_secs(2);
const RESTART_EVERY: Duration = Duration::from_secs(15);

pub fn policy() -> Policy {
    Policy {
        lease: Duration::from_secs(3),
        call_timeout: Duration::from_millis(1500),
        ..quick_policy()
    }
}

/// One process of the run: this test program started again, as a worker, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the chaos run, not a test"]
async fn a_worker_process() {
    let Ok(database) = std::env::var("CHAOS_DATABASE") else {
        return;
    };
    let told = |name: &str| std::env::var(name).expect("the run tells its workers");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let login = PgConnectOptions::from_str(&database).expect("an address");
    let smtp = SmtpConfig::parse(&told("CHAOS_SMTP"), "desk@halcyon.example", "Halcyon")
        .expect("an address");
    loop {
        let Ok(pool) = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(login.clone())
            .await
        else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let parts = WorkerParts {
            pool,
            installation: told("CHAOS_INSTALLATION"),
            kind: Kind::Headless,
            stripe: Some(Arc::new(Stripe::new(
                reqwest::Client::new(),
                Config {
                    base_url: told("CHAOS_STRIPE"),
                    secret_key: Secret::new("sk_test_sandbox"),
                    timeout: policy().call_timeout,
                },
            ))),
            mail: Some(MailParts {
                mailer: Arc::new(Mailer::new(&smtp).expect("mailer")),
                from: "desk@halcyon.example".to_owned(),
            }),
            policy: policy(),
            pace: Pace {
                idle: Duration::from_millis(200),
                polls: false,
                poll_awaited: Duration::from_secs(1),
                poll_quiet: Duration::from_secs(1),
                poll_alone: Duration::from_secs(1),
            },
            vault: Default::default(),
            names: Arc::new(bizing_engine::delivery::http::Names),
            hints: Default::default(),
            bell: Bell::default(),
            tasks: Tasks::default(),
            crash: CrashPoints::default(),
        };
        if Worker::start(parts).await.is_ok() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Which process dies next: the same seed, the same order.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

pub struct Processes {
    environment: Vec<(&'static str, String)>,
    pub running: Vec<Child>,
    killed: usize,
}

impl Processes {
    /// None yet, for this desk.
    pub fn of(t: &TestDesk) -> Processes {
        let login = t.db.login("worker");
        let socket = login.get_socket().expect("a socket").display().to_string();
        Processes {
            environment: vec![
                (
                    "CHAOS_DATABASE",
                    format!(
                        "postgres://{}:{PASSWORD}@localhost:{}/{}?host={socket}",
                        login.get_username(),
                        login.get_port(),
                        t.db.name
                    ),
                ),
                ("CHAOS_INSTALLATION", t.db.installation.id.clone()),
                ("CHAOS_STRIPE", t.sandbox.url()),
                (
                    "CHAOS_SMTP",
                    format!("smtp://{}?tls=none", t.sandbox.smtp_addr().expect("mail")),
                ),
            ],
            running: vec![],
            killed: 0,
        }
    }

    pub fn start(&mut self) {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "saga::chaos::a_worker_process"])
            .envs(self.environment.iter().map(|(k, v)| (*k, v)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a worker process");
        self.running.push(child);
    }

    pub fn kill(&mut self, n: usize) {
        let mut child = self.running.swap_remove(n);
        child.kill().expect("SIGKILL");
        child.wait().expect("it is gone");
        self.killed += 1;
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Every fifth reaches nobody, and is taken back.
fn request(n: usize) -> CreateBooking {
    let day =
        chrono::NaiveDate::from_ymd_opt(2030, 1, 1).unwrap() + chrono::Days::new((n / 5) as u64);
    let starts = format!("{day}T{:02}:00", 9 + (n % 5) * 2);
    let email = if n.is_multiple_of(5) {
        format!("bounce{n}@example.com")
    } else {
        format!("c{n}@example.com")
    };
    CreateBooking {
        customer: ForCustomer::New {
            name: format!("Customer {n}"),
            email: Some(email),
            phone: None,
        },
        // Every seventh asks nothing of the provider.
        payment_mode: match n % 7 {
            3 => PaymentMode::Venue,
            _ => PaymentMode::CardOnFile,
        },
        payment_method: (n % 7 != 3).then(|| "pm_card_visa".to_owned()),
        ..booking(&starts)
    }
}

async fn restart(cluster: Cluster, root: &Path) -> Cluster {
    cluster.stop().await.expect("the server stops");
    Cluster::start(server(root))
        .await
        .expect("the server starts again")
}

/// Somebody cancels it as soon as it is confirmed, and sends a form that got no answer again as it is. `None`: it was never
/// confirmed, or taken back by itself.
async fn give_up(t: &TestDesk, booking: Uuid) -> Option<Uuid> {
    let desk = t.desk(None);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let own: Result<(Uuid, String), _> = sqlx::query_as("select saga_id, state from saga.instance where booking_id = $1 and definition <> 'cancellation'")
            .bind(booking)
            .fetch_one(&t.worker_pool)
            .await;
        let Ok((saga, state)) = own else { continue };
        if state == "compensated" {
            return None;
        }
        let looked = PreviewSaga {
            saga_id: saga,
            action: "cancel".to_owned(),
            params: SagaParams::default(),
        };
        let Ok(plan) = sagas::preview(&desk, looked).await else {
            continue;
        };
        if plan.refused.is_some() {
            continue;
        }
        let form = ask(saga, "cancel", &plan);
        loop {
            match sagas::command(&desk, form.clone()).await {
                Ok(_) => return Some(form.command_id),
                Err(e) if matches!(e.code, Code::Conflict | Code::Refused) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// How many a person decided about while it went on.
#[derive(Default)]
struct ByHand {
    /// A booking may be given up just before its own message is known to have reached nobody. Then nobody is told of the end
    /// either: that waits for a person by right, who calls and says so.
    called: usize,
    /// On a slow computer a saga may meet one death after the other with nothing written between them, and be set aside as one
    /// that ends its workers. A person lets it go on.
    let_go_on: usize,
}

/// What the desk leaves to a person, decided as one would.
async fn decide_by_hand(t: &TestDesk, by_hand: &mut ByHand) {
    let parked: Vec<(Uuid, String, String)> = sqlx::query_as("select saga_id, definition, park_code from saga.instance where state = 'parked' and park_code in ('not_told', 'poison')")
        .fetch_all(&t.worker_pool)
        .await
        .unwrap_or_default();
    let desk = t.desk(None);
    for (saga, definition, code) in parked {
        let (actions, count): (&[&str], _) = match (code.as_str(), definition.as_str()) {
            // A message that may have arrived is not sent again: the customer is called.
            ("poison", _) => (&["retry", "skip"], &mut by_hand.let_go_on),
            (_, "cancellation") => (&["skip"], &mut by_hand.called),
            // It was in a person's hands, who ends it as the desk would have.
            _ => (&["compensate"], &mut by_hand.called),
        };
        for action in actions {
            let looked = PreviewSaga {
                saga_id: saga,
                action: (*action).to_owned(),
                params: SagaParams::default(),
            };
            let Ok(plan) = sagas::preview(&desk, looked).await else {
                continue;
            };
            if plan.refused.is_none()
                && sagas::command(&desk, ask(saga, action, &plan))
                    .await
                    .is_ok()
            {
                *count += 1;
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make chaos"]
async fn nothing_is_lost_stuck_doubled_or_leaked_whatever_dies() {
    let number = |name: &str| std::env::var(name).ok().and_then(|t| t.parse::<u64>().ok());
    let sagas = number("CHAOS_SAGAS").unwrap_or(2000) as usize;
    let seed = number("CHAOS_SEED").unwrap_or_else(|| Uuid::now_v7().as_u128() as u64);
    println!("chaos: {sagas} sagas, {WORKERS} workers, CHAOS_SEED={seed}");
    let mut dice = Dice(seed);

    let (mut cluster, root, db) = own_server().await;
    let t = Arc::new(TestDesk::on(db, policy()).await);
    sqlx::query("insert into saga.policy (version, value, reason) select version + 1, value || '{\"blast_sagas\": 1000, \"blast_minutes\": 1}', 'an outage is meant here' from saga.policy order by version desc limit 1")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    for (n, operation) in ["create_intent", "capture", "refund", "cancel_intent"]
        .into_iter()
        .enumerate()
    {
        t.sandbox.faults().add(Rule::rate(
            operation,
            0.33,
            seed.wrapping_add(n as u64),
            Fault::LostAfterEffect,
        ));
    }
    let mut processes = Processes::of(&t);
    for _ in 0..WORKERS {
        processes.start();
    }

    // People go on booking whatever dies; a form that got no answer is sent again as it is.
    let booking = {
        let t = t.clone();
        tokio::spawn(async move {
            let mut at_once = tokio::task::JoinSet::new();
            let mut ids: Vec<(Uuid, Option<Uuid>)> = vec![];
            for n in 0..sagas {
                while at_once.len() >= 8 {
                    ids.push(at_once.join_next().await.unwrap().unwrap());
                }
                let t = t.clone();
                at_once.spawn(async move {
                    let (desk, request) = (t.desk(None), request(n));
                    loop {
                        match create(&desk, request.clone()).await {
                            Ok(booked) => {
                                let given_up = match n % 9 {
                                    0 => give_up(&t, booked.booking_id).await,
                                    _ => None,
                                };
                                return (booked.booking_id, given_up);
                            }
                            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                        }
                    }
                });
            }
            while let Some(id) = at_once.join_next().await {
                ids.push(id.unwrap());
            }
            ids
        })
    };

    let began = Instant::now();
    let longest = Duration::from_secs(120 + sagas as u64);
    let (mut next_restart, mut restarts, mut by_hand) = (RESTART_EVERY, 0, ByHand::default());
    loop {
        tokio::time::sleep(KILL_EVERY).await;
        let victim = dice.below(processes.running.len());
        processes.kill(victim);
        processes.start();
        if began.elapsed() > next_restart {
            cluster = restart(cluster, &root).await;
            restarts += 1;
            next_restart = began.elapsed() + RESTART_EVERY;
        }
        decide_by_hand(&t, &mut by_hand).await;
        let over: Result<i64, _> =
            sqlx::query_scalar("select count(*) from saga.instance where finished_at is not null")
                .fetch_one(&t.worker_pool)
                .await;
        let all: Result<i64, _> = sqlx::query_scalar("select count(*) from saga.instance")
            .fetch_one(&t.worker_pool)
            .await;
        if let (true, Ok(over), Ok(all)) = (booking.is_finished(), over, all)
            && over == all
        {
            break;
        }
        if began.elapsed() > longest {
            let stuck: Vec<String> = sqlx::query_scalar("select row_to_json(i)::text from saga.instance i where finished_at is null limit 5").fetch_all(&t.worker_pool).await.unwrap_or_default();
            panic!("CHAOS_SEED={seed}: not all sagas ended within {longest:?}: {stuck:#?}");
        }
    }
    let ids = booking.await.unwrap();
    let killed = processes.killed;
    drop(processes);

    assert_eq!(ids.len(), sagas, "CHAOS_SEED={seed}");
    let mut given_up = 0;
    for (booking, cancellation) in &ids {
        match cancellation {
            Some(saga) => {
                given_up += 1;
                referee::check_of(&t, *saga, *booking).await;
            }
            None => referee::check(&t, *booking).await,
        }
    }
    // What the provider has and nobody here knows of.
    let ledger = t.sandbox.ledger();
    let orphans: Vec<_> = ledger
        .payments
        .iter()
        .filter(|p| p.held > 0)
        .map(|p| p.payment_intent.clone())
        .collect();
    assert!(
        orphans.is_empty(),
        "CHAOS_SEED={seed}: still authorised at the provider: {orphans:?}"
    );
    let doubled: i64 = sqlx::query_scalar("select count(*) from booking.inventory_claim a join booking.inventory_claim b on a.resource_id = b.resource_id and a.unit = b.unit and a.claim_id < b.claim_id and a.during && b.during where a.released_at is null and b.released_at is null").fetch_one(&t.worker_pool).await.unwrap();
    assert_eq!(doubled, 0);
    let (completed, compensated, lost): (i64, i64, i64) = sqlx::query_as("select count(*) filter (where state = 'completed'), count(*) filter (where state = 'compensated'), (select count(*) from saga.attempt where result = 'unknown') from saga.instance where definition <> 'cancellation'").fetch_one(&t.worker_pool).await.unwrap();
    println!(
        "chaos: {sagas} sagas in {:.0} s: {completed} completed, {compensated} taken back, {given_up} given up later ({} customers called, {} let go on by hand), {killed} kills, {restarts} restarts of the database, {lost} answers lost; nothing lost, stuck, doubled or leaked",
        began.elapsed().as_secs_f64(),
        by_hand.called,
        by_hand.let_go_on
    );
    drop(t);
    cluster.stop().await.expect("the server stops");
    let _ = std::fs::remove_dir_all(root);
}
