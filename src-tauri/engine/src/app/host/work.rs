//! The background work of an open desk.

use std::future::Future;
use std::sync::Arc;

use bizing_stripe::{Config as StripeConfig, Secret};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::HostKind;
use crate::app::desk::GoOn;
use crate::app::wire::AppError;
use crate::runtime::bell::Bell;
use crate::runtime::config::SmtpConfig;
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;
use crate::store::migrate::Installation;

/// What a worker needs. The keys in it are those that fit the installation's mode: a sandbox never meets a live key.
#[derive(Clone)]
pub(super) struct WorkParts {
    /// Logs in as the worker.
    pub pool: PgPool,
    pub installation: Installation,
    pub bell: Bell,
    pub hints: Hints,
    pub kind: HostKind,
    pub stripe: Option<StripeConfig>,
    pub mail: Option<SmtpConfig>,
    pub webhook_secrets: Vec<Secret>,
    pub tasks: Tasks,
}

/// Starts the worker. `None`: this process runs none.
pub(super) async fn start_work(_parts: WorkParts) -> Result<Option<Arc<dyn GoOn>>, AppError> {
    Ok(None)
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

/// Keeps the read models up to date with a worker's login, or only watches them move without one.
pub(super) fn start_projections(
    _tasks: &Tasks,
    _bell: &Bell,
    _hints: &Hints,
    _people: &PgPool,
    _worker: Option<&PgPool>,
) {
}

/// For work that holds nothing: it is simply left where it is when the process stops.
pub(super) async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}
