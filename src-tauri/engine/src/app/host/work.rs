//! The background work of an open desk.

use std::future::Future;
use std::sync::Arc;

use bizing_stripe::{Config as StripeConfig, Stripe};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::HostKind;
use crate::app::backups::{self, Room};
use crate::app::error::internal;
use crate::app::metrics;
use crate::app::wire::{AppError, Code, Retry};
use crate::connectors::email::{self, Mailer};
use crate::delivery::http::Names;
use crate::projection;
use crate::runtime::bell::Bell;
use crate::runtime::config::SmtpConfig;
use crate::runtime::crash::CrashPoints;
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;
use crate::saga::definition::Policy;
use crate::store::migrate::Installation;
use crate::store::vault::Vault;
use crate::worker::{Kind, MailParts, Pace, Worker, WorkerParts};

/// What a worker needs. The keys in it are those that fit the installation's mode: a sandbox never meets a live key.
pub(super) struct WorkParts {
    /// Logs in as the worker.
    pub pool: PgPool,
    pub installation: Installation,
    pub bell: Bell,
    pub kind: HostKind,
    pub stripe: Option<StripeConfig>,
    /// See [`Config::stripe_poll`](crate::runtime::config::Config::stripe_poll).
    pub stripe_poll: bool,
    pub mail: Option<SmtpConfig>,
    pub vault: Vault,
    pub hints: Hints,
    pub tasks: Tasks,
}

/// Starts the worker of this process.
pub(super) async fn start_work(parts: WorkParts) -> Result<Arc<Worker>, AppError> {
    let stripe = parts.stripe.map(client).transpose()?;
    let mail = parts.mail.map(mailer).transpose()?;
    let live = parts.installation.mode == "live";
    let worker = Worker::start(WorkerParts {
        pool: parts.pool,
        installation: parts.installation.id,
        kind: match parts.kind {
            HostKind::Window => Kind::Desktop,
            HostKind::Serve | HostKind::Command => Kind::Headless,
        },
        stripe,
        mail,
        policy: policy(parts.stripe_poll),
        pace: Pace {
            polls: parts.stripe_poll,
            ..if live { Pace::LIVE } else { Pace::SANDBOX }
        },
        vault: parts.vault,
        names: Arc::new(Names),
        bell: parts.bell,
        hints: parts.hints,
        tasks: parts.tasks,
        crash: CrashPoints::default(),
    })
    .await?;
    Ok(worker)
}

fn policy(polls: bool) -> Policy {
    let policy = Policy::default();
    match polls {
        true => policy,
        // A saga that waits looks again when its hold ends, whatever this says.
        false => Policy {
            look_every: policy.hold_with_link,
            ..policy
        },
    }
}

fn client(config: StripeConfig) -> Result<Arc<Stripe>, AppError> {
    // Redirects are off: a redirected request would carry the key elsewhere.
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("bizing-desk/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(internal)?;
    Ok(Arc::new(Stripe::new(http, config)))
}

fn mailer(config: SmtpConfig) -> Result<MailParts, AppError> {
    let unusable = |name: &str, why: &dyn std::fmt::Display| {
        AppError::new(
            Code::Invalid,
            format!("The environment variable {name} cannot be used. {why}"),
        )
        .hint("Correct it and start the desk again.")
        .retry(Retry::NeedsPerson)
    };
    let from: lettre::message::Mailbox = config
        .from
        .parse()
        .map_err(|e| unusable("BIZING_MAIL_FROM", &e))?;
    let address = from.email.to_string();
    let name = from.name.unwrap_or_default();
    let mailer = email::SmtpConfig::parse(config.url.expose(), &address, &name)
        .and_then(|config| Mailer::new(&config))
        .map_err(|e| unusable("BIZING_SMTP_URL", &e))?;
    Ok(MailParts {
        mailer: Arc::new(mailer),
        from: address,
    })
}

/// Says now and then that this person is here.
pub(super) fn start_seen(tasks: &Tasks, people: &PgPool) {
    const EVERY: std::time::Duration = std::time::Duration::from_secs(300);
    let (people, stop) = (people.clone(), tasks.stopping());
    tasks.forever("seen", move || {
        let (people, stop) = (people.clone(), stop.clone());
        async move {
            loop {
                if let Err(error) = sqlx::query("select api.seen()").execute(&people).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "it is not known that this person is here"
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        }
    });
}

/// Passes rings between processes.
pub(super) fn start_bell(tasks: &Tasks, bell: &Bell, people: &PgPool) {
    let stop = tasks.stopping();
    let (bell, people) = (bell.clone(), people.clone());
    {
        let (stop, bell, people) = (stop.clone(), bell.clone(), people.clone());
        tasks.forever("bell, ringing", move || {
            until(stop.clone(), bell.clone().ring_out(people.clone()))
        });
    }
    tasks.forever("bell, hearing", move || {
        until(stop.clone(), bell.clone().hear(people.clone()))
    });
}

/// Keeps the read models up to date, with a worker's login.
pub(super) fn start_projections(tasks: &Tasks, bell: &Bell, hints: &Hints, worker: &PgPool) {
    let (bell, hints, stop) = (bell.clone(), hints.clone(), tasks.stopping());
    let pool = worker.clone();
    {
        let (pool, bell, hints, stop) = (pool.clone(), bell.clone(), hints.clone(), stop.clone());
        tasks.forever("projections", move || {
            let (pool, bell, hints, stop) =
                (pool.clone(), bell.clone(), hints.clone(), stop.clone());
            async move {
                if let Some(pool) = projector(&pool, 4).await {
                    projection::run(pool, bell, hints, stop).await;
                }
            }
        });
    }
    tasks.forever("rebuilds", move || {
        let (pool, bell, hints, stop) = (pool.clone(), bell.clone(), hints.clone(), stop.clone());
        async move {
            if let Some(pool) = projector(&pool, 6).await {
                projection::Rebuilder::new(pool, hints)
                    .run(bell, stop)
                    .await;
            }
        }
    });
}

/// Tells this process's windows what moved, whoever moved it: a worker here tells only of what it projected itself, and not of
/// a saga that parks, nor of what another process did.
pub(super) fn start_watching(tasks: &Tasks, bell: &Bell, hints: &Hints, people: &PgPool) {
    let (bell, hints, people, stop) = (
        bell.clone(),
        hints.clone(),
        people.clone(),
        tasks.stopping(),
    );
    tasks.forever("watching", move || {
        projection::watch(people.clone(), bell.clone(), hints.clone(), stop.clone())
    });
}

/// Tells the log every few minutes how the desk is.
pub(super) fn start_figures(tasks: &Tasks, people: &PgPool) {
    let (people, stop) = (people.clone(), tasks.stopping());
    tasks.forever("figures", move || {
        metrics::tell(people.clone(), stop.clone())
    });
}

/// Takes the daily backup, when no other process does.
pub(super) fn start_backups(tasks: &Tasks, room: &Room) {
    let (room, stop) = (room.clone(), tasks.stopping());
    tasks.forever("backups", move || {
        backups::daily(room.clone(), stop.clone())
    });
}

/// `None`: not now. Whoever asked begins anew after a moment.
async fn projector(worker: &PgPool, most: u32) -> Option<PgPool> {
    projection::pool(worker, most)
        .await
        .inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "no connection for the read models yet"
            );
        })
        .ok()
}

/// For work that holds nothing: it is simply left where it is when the process stops.
pub(super) async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
