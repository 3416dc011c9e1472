//! The host: what works before any database is there, and what opens, keeps and closes one.
//!
//! Promises: a call returns at once, the work is done by one driver task and seen in [`HostState`]; what a person chose is
//! opened or the reason is shown, nothing else is opened in its place; nothing is ever deleted. When the host shuts down,
//! leases are given back first and the private server stops last.

mod choice;
mod command;
mod drive;
mod faults;
mod line;
mod logins;
mod open;
mod pools;
mod sandbox;
mod seen;
mod server;
mod setup;
mod webhook;
mod work;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{broadcast, watch};

use super::desk::Desk;
use super::wire::*;
use crate::runtime::config::Config;
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;
pub(super) use choice::remember;
use choice::{Choice, Saved};
use server::PrivateServer;

pub use command::{
    Backups, Migrated, migrate_now, open_for_command, pool_for_audit, upgrade_database,
};
pub use sandbox::{SandboxAddr, SandboxStarter};
pub use seen::Changed;
pub use webhook::WebhookAnswer;

/// Which process this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    Window,
    Serve,
    /// One use case from the command line, then the end.
    Command,
}

#[derive(Clone)]
pub struct Host(Arc<Parts>);

struct Parts {
    config: Config,
    kind: HostKind,
    works: bool,
    sandbox: Option<Arc<dyn SandboxStarter>>,
    hints: Hints,
    tasks: Tasks,
    server: PrivateServer,
    /// The configuration cannot be used: there is no driver, and nothing can be asked of one.
    unusable: OnceLock<AppError>,
    /// What is wanted; the driver makes it so.
    wanted: watch::Sender<Wanted>,
    shown: Mutex<Shown>,
    /// What the driver has open. Locked only by it and by the shutdown.
    open: tokio::sync::Mutex<Option<open::Open>>,
}

#[derive(Clone, Default)]
struct Wanted {
    /// Counts the decisions, so that a late report about an earlier one is not shown.
    number: u64,
    what: What,
}

#[derive(Clone, Default)]
enum What {
    /// Look what was saved.
    #[default]
    Saved,
    Nothing,
    This(Choice),
}

/// What callers see.
struct Shown {
    number: u64,
    phase: Phase,
    profile: Option<ProfileKind>,
    desk: Option<Desk>,
}

impl Host {
    pub fn new(config: Config, kind: HostKind) -> Host {
        Host::with(config, kind, kind != HostKind::Command, None)
    }

    /// `works`: this process runs background work. `sandbox` starts or finds the local sandbox.
    pub fn with(
        config: Config,
        kind: HostKind,
        works: bool,
        sandbox: Option<Arc<dyn SandboxStarter>>,
    ) -> Host {
        Host(Arc::new(Parts {
            server: PrivateServer::new(&config),
            config,
            kind,
            works,
            sandbox,
            hints: Hints::default(),
            tasks: Tasks::default(),
            wanted: watch::Sender::new(Wanted::default()),
            shown: Mutex::new(Shown {
                number: 0,
                phase: starting(StartStep::FindingServer, Utc::now()),
                profile: None,
                desk: None,
            }),
            open: Default::default(),
            unusable: OnceLock::new(),
        }))
    }

    /// Opens in the background what was chosen earlier.
    pub fn start(&self) {
        let parts = &self.0;
        let stop = parts.tasks.stopping();
        let hints = parts.hints.clone();
        let ended = stop.clone();
        parts.tasks.forever("hints", move || {
            work::until(ended.clone(), hints.clone().run())
        });
        let (host, ended) = (self.clone(), stop.clone());
        parts
            .tasks
            .forever("host", move || drive::drive(host.clone(), ended.clone()));
        let host = self.clone();
        parts.tasks.forever("private server", move || {
            let (host, stop) = (host.clone(), stop.clone());
            async move { host.0.server.keep(stop).await }
        });
    }

    /// Opens nothing and shows why: the window has to come up even when its configuration is unusable.
    pub fn start_failed(&self, error: AppError) {
        let _ = self.0.unusable.set(error.clone());
        self.shown().phase = Phase::Failed {
            error,
            since: Utc::now(),
        };
        let hints = self.0.hints.clone();
        let stop = self.0.tasks.stopping();
        self.0.tasks.forever("hints", move || {
            work::until(stop.clone(), hints.clone().run())
        });
    }

    /// The open desk, or why there is none.
    pub fn desk(&self) -> Result<Desk, AppError> {
        let shown = self.shown();
        match (&shown.desk, &shown.phase) {
            (Some(desk), Phase::Ready) => Ok(desk.clone()),
            (_, Phase::Choose) => Err(AppError::new(
                Code::DatabaseNotChosen,
                "No database is chosen yet.",
            )
            .hint("Choose in the window how to start, or set DATABASE_URL.")),
            (_, Phase::Failed { error, .. }) => Err(error.clone()),
            (_, Phase::Starting { .. } | Phase::Ready) => Err(AppError::new(
                Code::DatabaseStarting,
                "The database is being opened.",
            )
            .retry(Retry::After { seconds: 1 })),
        }
    }

    /// Waits until the desk is open, or until it is clear that it will not open by itself.
    pub async fn opened(&self, limit: Duration) -> Result<Desk, AppError> {
        let mut hints = self.hints();
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            match self.desk() {
                Err(e)
                    if e.code == Code::DatabaseStarting
                        && tokio::time::Instant::now() < deadline => {}
                answer => return answer,
            }
            // A hint may be missed; looking again costs nothing.
            let _ = tokio::time::timeout(Duration::from_millis(100), hints.recv()).await;
        }
    }

    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.0.hints.subscribe()
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn state(&self) -> HostState {
        let shown = self.shown();
        HostState {
            phase: shown.phase.clone(),
            profile: shown.profile,
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            data_folder: self.0.config.data.display().to_string(),
            fixed_by_environment: self.0.config.database_url.is_some(),
        }
    }

    /// Gives back the leases, closes the connections, then stops what this process started.
    pub async fn shut_down(&self) {
        self.0.tasks.shut_down().await;
        drive::close(self).await;
        if let Some(sandbox) = &self.0.sandbox {
            sandbox.stop().await;
        }
        self.0.server.stop().await;
    }

    /// Runs once, for as long as it takes or until the host shuts down.
    pub fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.tasks.stopping();
        self.0.tasks.once(work::until(stop, work));
    }

    fn usable(&self) -> Result<(), AppError> {
        self.0.unusable.get().map_or(Ok(()), |e| Err(e.clone()))
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.shown.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Makes a decision: what is shown changes at once, the driver follows.
    fn decide(&self, what: What, profile: Option<ProfileKind>) {
        let mut shown = self.shown();
        shown.number += 1;
        shown.profile = profile;
        shown.desk = None;
        shown.phase = match what {
            What::Nothing => Phase::Choose,
            _ => starting(StartStep::FindingServer, Utc::now()),
        };
        let number = shown.number;
        self.0.wanted.send_replace(Wanted { number, what });
        drop(shown);
        self.0.hints.changed("host");
    }
}

fn starting(step: StartStep, since: DateTime<Utc>) -> Phase {
    Phase::Starting { step, since }
}

// ---- commands: see `dispatch` ----------------------------------------------------------------------------

pub async fn state(host: &Host, _: Empty) -> Result<HostState, AppError> {
    Ok(host.state())
}

pub async fn choose(host: &Host, start: ChooseStart) -> Result<HostState, AppError> {
    let choice = Choice::from_person(start)?;
    host.usable()?;
    not_fixed(host)?;
    let now = host.state();
    let saved = Saved::of(&host.0.config);
    match now.phase {
        // A double click, or a second window with the same wish.
        Phase::Starting { .. } | Phase::Ready if saved.read()?.as_ref() == Some(&choice) => {
            return Ok(now);
        }
        Phase::Starting { .. } | Phase::Ready => {
            return Err(AppError::new(
                Code::Invalid,
                "Another database is open, or is being opened.",
            )
            .hint("Leave it under Settings first; nothing of it is deleted."));
        }
        Phase::Choose | Phase::Failed { .. } => {}
    }
    saved.write(&choice)?;
    let profile = Some(choice.profile());
    host.decide(What::This(choice), profile);
    Ok(host.state())
}

pub async fn retry(host: &Host, _: Empty) -> Result<HostState, AppError> {
    host.usable()?;
    let now = host.state();
    if matches!(now.phase, Phase::Failed { .. }) {
        host.decide(What::Saved, now.profile);
        return Ok(host.state());
    }
    Ok(now)
}

pub async fn leave(host: &Host, _: Empty) -> Result<HostState, AppError> {
    host.usable()?;
    not_fixed(host)?;
    Saved::of(&host.0.config).forget()?;
    host.decide(What::Nothing, None);
    Ok(host.state())
}

fn not_fixed(host: &Host) -> Result<(), AppError> {
    match host.0.config.database_url {
        None => Ok(()),
        Some(_) => Err(AppError::new(
            Code::Invalid,
            "DATABASE_URL decides which database this desk opens.",
        )
        .hint("Start it without that variable to choose in the window.")),
    }
}
