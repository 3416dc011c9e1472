//! The worker of a process: sagas, deliveries and the inbox, each as a work source, under one worker's login.
//!
//! A process is a worker if it has a worker's login. Any number of them may work on one database; closing one gives its
//! leases back at once, and what a killed one held goes on when its lease ends.

mod consequence;
mod inbox;
mod notices;
pub mod presence;
mod provider;
mod rounds;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::Stripe;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::app::desk::GoOn;
use crate::connectors::booking_mail::BookingMail;
use crate::connectors::email::Mailer;
use crate::delivery::Destination;
use crate::delivery::http::Resolve;
use crate::delivery::source::Deliveries;
use crate::delivery::webhook::{self, Webhooks};
use crate::domain::ids::{SagaId, WorkerId};
use crate::queue::Runner;
use crate::runtime::bell::Bell;
use crate::runtime::crash::CrashPoints;
use crate::runtime::hints::Hints;
use crate::runtime::ids;
use crate::runtime::tasks::Tasks;
use crate::saga::definition::Policy;
use crate::saga::executor::{Executor, Handed};
use crate::saga::gate::{self, Calls};
use crate::saga::source::Sagas;
use crate::saga::store;
use crate::saga::world::World;
use crate::store::vault::Vault;
use notices::Notices;
use rounds::{Pulse, keep};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Desktop,
    Headless,
}

pub struct WorkerParts {
    /// Logs in as a worker.
    pub pool: PgPool,
    pub installation: String,
    pub kind: Kind,
    pub stripe: Option<Arc<Stripe>>,
    pub mail: Option<MailParts>,
    pub policy: Policy,
    pub pace: Pace,
    /// Opens the secrets of endpoints.
    pub vault: Vault,
    /// Who looks up the names of endpoints.
    pub names: Arc<dyn Resolve>,
    pub bell: Bell,
    pub hints: Hints,
    pub tasks: Tasks,
    pub crash: CrashPoints,
}

impl WorkerParts {
    fn pulse(&self, pause: Duration) -> Pulse {
        Pulse {
            idle: self.pace.idle,
            pause,
        }
    }
}

#[derive(Clone)]
pub struct MailParts {
    pub mailer: Arc<Mailer>,
    /// Address that calendars compare with the sender.
    pub from: String,
}

/// How often to look when nobody rings.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub idle: Duration,
    /// Whether Stripe's list of events is read at all.
    pub polls: bool,
    /// Ask Stripe this often while a payment is awaited,
    pub poll_awaited: Duration,
    /// while somebody has a window of this process open,
    pub poll_quiet: Duration,
    /// and while nobody has.
    pub poll_alone: Duration,
}

impl Pace {
    pub const LIVE: Pace = Pace {
        idle: Duration::from_secs(2),
        polls: true,
        poll_awaited: Duration::from_secs(5),
        poll_quiet: Duration::from_secs(30),
        poll_alone: Duration::from_secs(300),
    };
    /// The sandbox is on this machine and asks for no mercy.
    pub const SANDBOX: Pace = Pace {
        idle: Duration::from_secs(2),
        polls: true,
        poll_awaited: Duration::from_secs(1),
        poll_quiet: Duration::from_secs(10),
        poll_alone: Duration::from_secs(10),
    };
}

/// Positions in one partition; the next one is always there.
const PARTITION: i64 = 10_000_000;
/// Ids of commands at once, each minute: more than a busy desk makes.
const FORGOTTEN: i32 = 100_000;
/// Often enough for any rate: ten million events take longer than this to append.
const ROOM_CHECK_EVERY: Duration = Duration::from_secs(60);
const NOTICES_LOOKED_FOR_EVERY: Duration = Duration::from_secs(30);
/// A busy desk rings often, and no endpoint turns itself off twice in this time.
const NOTICES_PAUSE: Duration = Duration::from_secs(2);
/// A day that is not summed yet is counted anew, by each who asks.
const SUMS_EVERY: Duration = Duration::from_secs(300);
const MAIL_CHECK_EVERY: Duration = Duration::from_secs(300);

pub struct Worker {
    id: WorkerId,
    pool: PgPool,
    sagas: Runner<Sagas>,
    handed: Handed,
    tasks: Tasks,
}

impl Worker {
    /// Registers, takes back what a dead process of this machine still holds, and begins to work.
    pub async fn start(parts: WorkerParts) -> sqlx::Result<Arc<Worker>> {
        let id = WorkerId(ids::v7());
        let asks: &[&str] = match parts.stripe {
            Some(_) => &[gate::STRIPE],
            None => &[],
        };
        presence::register(&parts.pool, id, parts.kind, asks).await?;

        let handed = Handed::default();
        let calls = Calls::default();
        let executor = Executor {
            pool: parts.pool.clone(),
            worker: id,
            installation: parts.installation.clone(),
            stripe: parts.stripe.clone(),
            policy: Arc::new(parts.policy.clone()),
            bell: parts.bell.clone(),
            crash: parts.crash.clone(),
            handed: handed.clone(),
            calls: calls.clone(),
        };
        let sagas = Runner::new(
            Sagas { executor },
            parts.bell.clone(),
            8,
            parts.policy.lease,
            parts.pace.idle,
        );
        let worker = Arc::new(Worker {
            id,
            pool: parts.pool.clone(),
            sagas: sagas.clone(),
            handed,
            tasks: parts.tasks.clone(),
        });

        let stop = parts.tasks.stopping();
        {
            let (sagas, stop) = (sagas.clone(), stop.clone());
            parts.tasks.forever("sagas", move || {
                let (sagas, stop) = (sagas.clone(), stop.clone());
                async move { sagas.run(stop).await }
            });
        }
        worker.start_deliveries(&parts);
        worker.start_webhooks(&parts);
        worker.start_notices(&parts);
        inbox::start(&parts);
        provider::start(&parts, id);
        worker.start_batches(&parts);
        keep_sums(&parts);
        worker.look_after_the_log(&parts);
        worker.start_mail_check(&parts);
        let (pool, every) = (parts.pool.clone(), Duration::from_secs(10));
        parts.tasks.forever("worker presence", move || {
            let (pool, calls, stop) = (pool.clone(), calls.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = presence::beat(pool, id, every, calls) => {}
                }
            }
        });
        Ok(worker)
    }

    fn start_deliveries(&self, parts: &WorkerParts) {
        let mut destinations: HashMap<&'static str, Arc<dyn Destination>> = HashMap::new();
        destinations.insert(
            "email",
            Arc::new(BookingMail {
                pool: parts.pool.clone(),
                mail: parts.mail.clone(),
            }),
        );
        let deliveries = Runner::new(
            Deliveries {
                pool: parts.pool.clone(),
                worker: self.id,
                destinations,
                consequence: Arc::new(consequence::BookingConsequence { worker: self.id }),
                // Longer than a mail server may take to answer.
                lease: parts.policy.lease.max(Duration::from_secs(1)),
                per_destination: 8,
                bell: parts.bell.clone(),
                crash: parts.crash.clone(),
            },
            parts.bell.clone(),
            8,
            parts.policy.lease,
            parts.pace.idle,
        );
        let stop = parts.tasks.stopping();
        parts.tasks.forever("deliveries", move || {
            let (deliveries, stop) = (deliveries.clone(), stop.clone());
            async move { deliveries.run(stop).await }
        });
    }

    fn start_webhooks(&self, parts: &WorkerParts) {
        let webhooks = Webhooks::new(webhook::Parts {
            connections: webhook::Connections::to(&parts.pool.connect_options()),
            worker: self.id,
            vault: parts.vault.clone(),
            names: parts.names.clone(),
            bell: parts.bell.clone(),
            hints: parts.hints.clone(),
            crash: parts.crash.clone(),
        });
        {
            let (webhooks, stop) = (webhooks.clone(), parts.tasks.stopping());
            parts.tasks.forever("webhooks", move || {
                let (webhooks, stop) = (webhooks.clone(), stop.clone());
                async move { webhooks.run(stop).await }
            });
        }
        let (pool, stop) = (parts.pool.clone(), parts.tasks.stopping());
        parts.tasks.forever("webhooks, upkeep", move || {
            let (webhooks, pool, stop) = (webhooks.clone(), pool.clone(), stop.clone());
            async move { webhooks.keep_up(stop, pool).await }
        });
    }

    /// Tells people of endpoints that need them.
    fn start_notices(&self, parts: &WorkerParts) {
        let notices = Notices::new(
            parts.pool.clone(),
            parts.mail.clone(),
            parts.names.clone(),
            parts.installation.clone(),
        );
        let pulse = Pulse {
            idle: NOTICES_LOOKED_FOR_EVERY,
            pause: NOTICES_PAUSE,
        };
        let what = "notices about endpoints could not be sent";
        keep(parts, "notices", what, pulse, notices, |n| async move {
            n.round().await
        });
    }

    /// Carries out what was decided for many, a few at a time.
    fn start_batches(&self, parts: &WorkerParts) {
        let (pool, bell, idle, stop) = (
            parts.pool.clone(),
            parts.bell.clone(),
            parts.pace.idle,
            parts.tasks.stopping(),
        );
        parts.tasks.forever("saga batches", move || {
            work_batches(pool.clone(), bell.clone(), idle, stop.clone())
        });
    }

    /// Makes the next partition of the log before it is needed: an append must never wait for one. And forgets the ids of
    /// commands whose 90 days are over.
    fn look_after_the_log(&self, parts: &WorkerParts) {
        let (pool, stop) = (parts.pool.clone(), parts.tasks.stopping());
        parts.tasks.forever("partitions", move || {
            let (pool, stop) = (pool.clone(), stop.clone());
            async move {
                loop {
                    let made = sqlx::query(
                        // This one as well: should it be missing, nothing can be appended until it is there.
                        "select core.ensure_partition(last_value + 1), core.ensure_partition(last_value + $1) from core.position",
                    )
                    .bind(PARTITION)
                    .execute(&pool)
                    .await;
                    if let Err(error) = made {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the next partition of the log could not be made"
                        );
                    }
                    let forgotten = sqlx::query("select core.forget_commands($1)")
                        .bind(FORGOTTEN)
                        .execute(&pool)
                        .await;
                    if let Err(error) = forgotten {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "ids of old commands could not be forgotten"
                        );
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(ROOM_CHECK_EVERY) => {}
                    }
                }
            }
        });
    }

    /// Looks whether the mail server lets us in, so that the status bar is green for a reason.
    fn start_mail_check(&self, parts: &WorkerParts) {
        let Some(mail) = parts.mail.clone() else {
            return;
        };
        let (pool, stop) = (parts.pool.clone(), parts.tasks.stopping());
        parts.tasks.forever("mail check", move || {
            let (pool, mail, stop) = (pool.clone(), mail.clone(), stop.clone());
            async move {
                loop {
                    let problem = mail.mailer.check().await.err().map(|e| e.to_string());
                    let _ = sqlx::query(
                        "insert into delivery.poll_cursor (source, checked_at, problem) values ('email', now(), $1)
                         on conflict (source) do update set checked_at = now(), problem = excluded.problem",
                    )
                    .bind(problem)
                    .execute(&pool)
                    .await;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(MAIL_CHECK_EVERY) => {}
                    }
                }
            }
        });
    }

    /// Gives every lease back, so that others go on at once.
    pub async fn release(&self) {
        self.release_over(&self.pool).await;
    }

    /// The same, when its own connections answer no more.
    pub async fn release_over(&self, pool: &PgPool) {
        if let Err(error) = store::release_all(pool, self.id).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leases were not given back; they end by themselves"
            );
        }
        presence::leave(pool, self.id).await;
    }
}

impl GoOn for Worker {
    fn worker_id(&self) -> WorkerId {
        self.id
    }

    fn go_on(&self, saga: SagaId, world: Option<Box<World>>) {
        if let Some(world) = world {
            self.handed.put(*world);
        }
        let sagas = self.sagas.clone();
        self.tasks.once(async move { sagas.work(saga.0).await });
    }
}

/// Sums up days that are over, for the figures of sagas.
fn keep_sums(parts: &WorkerParts) {
    let pulse = Pulse {
        idle: SUMS_EVERY,
        pause: SUMS_EVERY,
    };
    let what = "a day of sagas could not be summed up";
    keep(
        parts,
        "figures",
        what,
        pulse,
        parts.pool.clone(),
        |pool| async move {
            while sqlx::query_scalar("select saga.sum_day()")
                .fetch_one(&*pool)
                .await?
            {}
            Ok::<(), sqlx::Error>(())
        },
    );
}

/// Often while a batch is open: its throttle, and not this pause, says how fast it goes.
const BATCH_PAUSE: Duration = Duration::from_millis(250);

async fn work_batches(pool: PgPool, bell: Bell, idle: Duration, stop: CancellationToken) {
    let mut rings = bell.listen();
    let mut was_open = false;
    loop {
        rings.borrow_and_update();
        let open: Result<(i32, bool), _> = sqlx::query_as(
            "select case when o.open then saga.work_batches(10) else 0 end, o.open
               from (select exists (select 1 from saga.batch where state = 'running' and approval in ('not_needed', 'approved')) as open) o",
        )
        .fetch_one(&pool)
        .await;
        let pause = match open {
            Ok((done, true)) => {
                was_open = true;
                if done > 0 {
                    bell.ring();
                }
                BATCH_PAUSE
            }
            Ok((_, false)) => {
                // Its end moves no saga: nothing else would tell a window that watches.
                if std::mem::take(&mut was_open) {
                    bell.ring();
                }
                idle
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a batch of sagas could not go on; trying again"
                );
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rings.changed(), if pause > BATCH_PAUSE => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
