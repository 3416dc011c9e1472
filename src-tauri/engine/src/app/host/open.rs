//! Opening a desk: find the database, bring its schema up to date, log in, start the work.

use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::{Config as StripeConfig, Secret};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::choice::Choice;
use super::drive::Progress;
use super::sandbox::SandboxAddr;
use super::seen::{Changed, Seen};
use super::webhook::{Letterbox, Refusals};
use super::{Host, HostKind, faults, logins, pools, setup, work};
use crate::app::backups::{self, Room};
use crate::app::desk::{Connections, Desk, DeskParts, GoOn};
use crate::app::doctor::Examiner;
use crate::app::people::Maker;
use crate::app::wire::{AppError, Code, Group, ProfileKind, Retry, StartStep};
use crate::runtime::bell::Bell;
use crate::runtime::computer;
use crate::runtime::config::{self, Config, SmtpConfig};
use crate::runtime::tasks::Tasks;
use crate::store::migrate::{self, Installation, SchemaState};
use crate::store::schema;
use crate::store::vault::Vault;
use crate::webhook::secrets::Added;
use crate::worker::Worker;

pub(super) struct Open {
    pub desk: Desk,
    tasks: Tasks,
    worker: Option<Arc<Worker>>,
    /// Logs in as the worker.
    pub pool: Option<PgPool>,
    /// `None`: events of providers cannot be kept or checked here.
    pub letterbox: Option<Letterbox>,
    /// What this computer remembers of the log, when it knows which one it is.
    pub seen: Option<Seen>,
}

impl Open {
    /// The work first, since it gives back its leases over the connections that close next.
    pub async fn close(self) {
        self.tasks.shut_down().await;
        let closing = async {
            if let Some(worker) = &self.worker {
                worker.release().await;
            }
            self.desk.people.close().await;
            for pool in self
                .pool
                .iter()
                .chain(self.letterbox.iter().map(|l| &l.pool))
            {
                pool.close().await;
            }
        };
        // A connection that somebody still holds is not worth waiting for.
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
    }

    /// Closes what stands on connections that answer no more. Its leases are given back over those of its successor.
    pub async fn abandon(self, successor: Option<PgPool>) {
        self.desk.silent.cancel();
        self.tasks.shut_down().await;
        if let (Some(worker), Some(pool)) = (&self.worker, successor) {
            worker.release_over(&pool).await;
        }
        let closing = async {
            self.desk.people.close().await;
            for pool in self
                .pool
                .iter()
                .chain(self.letterbox.iter().map(|l| &l.pool))
            {
                pool.close().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
    }
}

/// A database that can be logged into.
struct Base {
    person: PgConnectOptions,
    /// `None`: no login for background work.
    worker: Option<PgConnectOptions>,
    /// Reads the whole database, for backups. `None`: the login may not.
    admin: Option<PgConnectOptions>,
    installation: Installation,
    read_only: Option<String>,
}

pub(super) async fn open(
    host: &Host,
    choice: &Choice,
    progress: &Progress,
) -> Result<Open, AppError> {
    let config = &host.0.config;
    config.prepare_data().map_err(|e| data_folder(config, &e))?;
    let base = match choice {
        Choice::Demo => private(host, "demo", progress).await?,
        Choice::Own(_) => private(host, "own", progress).await?,
        Choice::Server { url } => configured(config, url, progress).await?,
    };
    progress.step(StartStep::Connecting);
    let what = match host.0.kind {
        HostKind::Window => "window",
        HostKind::Serve => "serve",
        HostKind::Command => "command",
    };
    let people = pools::people(base.person.clone(), what).await?;
    let group = group_of(&people, &base).await?;
    // With a schema that does not fit, nothing is written: not by people, and not by a worker.
    let worker = match &base.worker {
        Some(login) if base.read_only.is_none() => Some(pools::worker(login.clone()).await?),
        _ => None,
    };
    if base.read_only.is_none() {
        fill(choice, &people, worker.as_ref(), progress).await?;
    }
    progress.step(StartStep::StartingWork);
    start(host, choice.profile(), base, group, people, worker).await
}

/// On the private server of this data folder.
async fn private(host: &Host, kind: &str, progress: &Progress) -> Result<Base, AppError> {
    let database = format!("bizing_{kind}");
    progress.step(StartStep::StartingServer);
    let admin = host.0.server.options(&database).await;
    let admin = admin.map_err(faults::server)?;
    progress.step(StartStep::Connecting);
    migrate::ensure_database(&admin, &database)
        .await
        .map_err(|e| faults::connecting(e, &admin))?;
    let mut conn = pools::connect(&admin).await?;
    let config = &host.0.config;
    let mode = match kind {
        "demo" => "sandbox",
        _ => mode_at_creation(config),
    };
    let found = ready(&mut conn, Some((config, &admin)), kind, mode, progress).await?;
    with_own_logins(&mut conn, config, admin, found).await
}

/// On a server that somebody runs.
async fn configured(config: &Config, url: &Secret, progress: &Progress) -> Result<Base, AppError> {
    progress.step(StartStep::Connecting);
    let login = config::database_options(url.expose()).map_err(|why| {
        AppError::new(
            Code::Invalid,
            format!("The address of the database cannot be used: {why}."),
        )
        .hint("Correct it and try again.")
    })?;
    let mut conn = pools::connect(&login).await?;
    let may_migrate = migrate::may_migrate(&mut conn).await?;
    let found = ready(
        &mut conn,
        may_migrate.then_some((config, &login)),
        "server",
        mode_at_creation(config),
        progress,
    )
    .await;
    let found = found.map_err(|e| name_login(e, &login))?;
    if may_migrate {
        return with_own_logins(&mut conn, config, login, found).await;
    }
    let _ = conn.close().await;
    Ok(Base {
        person: login,
        worker: None,
        admin: None,
        installation: found.0,
        read_only: found.1,
    })
}

/// Money is real only if the business was created with a live key; it never changes afterwards.
fn mode_at_creation(config: &Config) -> &'static str {
    if config.has_live_key() {
        "live"
    } else {
        "sandbox"
    }
}

type Found = (Installation, Option<String>);

/// The installation, and why it can only be read. Migrates if that is due and allowed, after a backup. `admin`: the
/// login that may.
async fn ready(
    conn: &mut PgConnection,
    admin: Option<(&Config, &PgConnectOptions)>,
    kind: &str,
    mode: &str,
    progress: &Progress,
) -> Result<Found, AppError> {
    let may_migrate = admin.is_some();
    let state = migrate::schema_state(conn).await?;
    let read_only = match state {
        SchemaState::Newer { has, knows } => Some((Code::SchemaNewer, faults::newer(has, knows))),
        SchemaState::Older { has, needs } if !may_migrate => {
            Some((Code::SchemaOlder, faults::older(has, needs)))
        }
        SchemaState::Absent if !may_migrate => {
            return Err(AppError::new(
                Code::SchemaOlder,
                "This database is not set up as a desk yet, and your login may not do that.",
            )
            .hint("An admin must run `bizing-desk migrate` with a login that may create roles, then give you a login.")
            .retry(Retry::NeedsPerson));
        }
        SchemaState::Absent | SchemaState::Older { .. } | SchemaState::Current => None,
    };
    let known = migrate::installation(conn).await?;
    match (read_only, known) {
        (Some((_, why)), Some(installation)) => Ok((installation, Some(why))),
        (Some((code, why)), None) => Err(AppError::new(code, why).retry(Retry::NeedsPerson)),
        (None, Some(installation)) if state == SchemaState::Current => Ok((installation, None)),
        (None, _) => {
            progress.step(StartStep::Migrating);
            if let (SchemaState::Older { needs, .. }, Some((config, admin))) = (state, admin) {
                backups::before_migration(conn, config, admin, needs).await?;
            }
            let installation = migrate::migrate(conn, kind, mode).await;
            Ok((installation.map_err(faults::migrating)?, None))
        }
    }
}

async fn with_own_logins(
    conn: &mut PgConnection,
    config: &Config,
    to: PgConnectOptions,
    (installation, read_only): Found,
) -> Result<Base, AppError> {
    let logins = logins::ours(conn, &config.data, &installation.id).await?;
    let with = |login: &crate::store::roles::Login| {
        to.clone().username(&login.user).password(&login.password)
    };
    Ok(Base {
        person: with(&logins.person),
        worker: Some(with(&logins.worker)),
        admin: Some(to),
        installation,
        read_only,
    })
}

async fn group_of(people: &PgPool, base: &Base) -> Result<Group, AppError> {
    let asked: sqlx::Result<Option<String>> = sqlx::query_scalar("select admin.caller_group()")
        .fetch_one(people)
        .await;
    let group = match asked {
        Ok(group) => group,
        // A schema that we do not know may answer this differently; what it lets us read is shown.
        Err(_) if base.read_only.is_some() => Some("viewer".to_owned()),
        Err(error) => return Err(name_login(error.into(), &base.person)),
    };
    match group.as_deref() {
        Some("admin") => Ok(Group::Admin),
        Some("manager") => Ok(Group::Manager),
        Some("staff") => Ok(Group::Staff),
        Some("viewer") => Ok(Group::Viewer),
        _ => Err(no_group(&base.person)),
    }
}

/// A login outside all groups is refused in many places; the sentence is the same.
fn name_login(error: AppError, login: &PgConnectOptions) -> AppError {
    match error.code {
        Code::Forbidden
            if error
                .hint
                .as_deref()
                .is_none_or(|h| !h.contains("CREATEROLE")) =>
        {
            no_group(login)
        }
        _ => error,
    }
}

fn no_group(login: &PgConnectOptions) -> AppError {
    AppError::new(
        Code::Forbidden,
        format!(
            "The login `{}` is in no group of this desk.",
            login.get_username()
        ),
    )
    .hint("An admin must put it into one: viewer, staff, manager or admin.")
    .retry(Retry::NeedsPerson)
}

async fn fill(
    choice: &Choice,
    people: &PgPool,
    worker: Option<&PgPool>,
    progress: &Progress,
) -> Result<(), AppError> {
    match (choice, worker) {
        (Choice::Demo, Some(worker)) => {
            progress.step(StartStep::SeedingDemo);
            setup::demo(people, worker).await
        }
        (Choice::Own(business), _) => setup::own_business(people, business).await,
        _ => Ok(()),
    }
}

async fn start(
    host: &Host,
    profile: ProfileKind,
    base: Base,
    group: Group,
    people: PgPool,
    pool: Option<PgPool>,
) -> Result<Open, AppError> {
    name_unread(&people).await?;
    let (seen, log_id, log_change) = look_at_log(host, &base, &people).await;
    let (bell, hints, tasks) = (Bell::default(), host.0.hints.clone(), Tasks::default());
    let sandbox = find_sandbox(host, profile, &base).await;
    let keys = Keys::fitting(
        &host.0.config,
        profile,
        &base.installation,
        sandbox.as_ref(),
    );
    let connections = Connections {
        stripe_set: keys.stripe.is_some(),
        mail_set: keys.mail.is_some(),
    };
    let sealing_key = host.0.config.sealing_key.as_ref().map(Secret::expose);
    let vault = Vault::of(&host.0.config.data, sealing_key);
    let taking = match &base.worker {
        Some(login) if pool.is_some() && takes_webhooks(host, &keys) => {
            Some(pools::letterbox(login.clone()).await?)
        }
        _ => None,
    };
    let letterbox = taking.map(|pool| Letterbox {
        added: Added::new(pool.clone(), vault.clone()),
        pool,
        own: keys.webhook_secrets,
        receiver: computer::name(),
        refusals: Refusals::default(),
        bell: bell.clone(),
        said: Default::default(),
    });
    if let Some(letterbox) = &letterbox {
        letterbox.open().await;
    }
    work::start_bell(&tasks, &bell, &people);
    if base.read_only.is_none() {
        work::start_seen(&tasks, &people);
    }
    if host.0.kind == HostKind::Serve {
        work::start_figures(&tasks, &people);
    }
    if host.0.kind != HostKind::Command || host.0.works {
        if let Some(worker) = &pool {
            work::start_projections(&tasks, &bell, &hints, worker);
        }
        work::start_watching(&tasks, &bell, &hints, &people);
    }
    let worker = match &pool {
        Some(pool) if host.0.works => {
            let parts = work::WorkParts {
                pool: pool.clone(),
                installation: base.installation.clone(),
                bell: bell.clone(),
                kind: host.0.kind,
                stripe: keys.stripe,
                stripe_poll: host.0.config.stripe_poll,
                mail: keys.mail,
                vault: vault.clone(),
                hints: hints.clone(),
                tasks: tasks.clone(),
            };
            match work::start_work(parts).await {
                Ok(worker) => Some(worker),
                Err(error) => {
                    tasks.shut_down().await;
                    return Err(error);
                }
            }
        }
        _ => None,
    };
    let maker = base.admin.clone().map(Maker::new);
    let room = base
        .admin
        .map(|admin| Room::new(&host.0.config, admin, hints.clone(), tasks.clone()));
    if let (Some(room), Some(_)) = (&room, &worker) {
        work::start_backups(&tasks, room);
    }
    let desk = Desk(Arc::new(DeskParts {
        examiner: Examiner::new(tasks.clone(), hints.clone()),
        log_id,
        log_change,
        backups: room,
        maker,
        vault,
        policy: crate::saga::definition::Policy::default(),
        people,
        installation: base.installation,
        profile,
        group,
        read_only: base.read_only,
        bell,
        hints,
        works_here: worker.clone().map(|worker| worker as Arc<dyn GoOn>),
        sandbox_url: sandbox.map(|s| s.url),
        connections,
        silent: CancellationToken::new(),
    }));
    Ok(Open {
        desk,
        tasks,
        worker,
        pool,
        letterbox,
        seen,
    })
}

/// Before any work begins. A log that cannot be looked at is no reason not to open: the schema may be an older one.
async fn look_at_log(
    host: &Host,
    base: &Base,
    people: &PgPool,
) -> (Option<Seen>, Option<Uuid>, Option<Changed>) {
    let database = base.person.get_database().unwrap_or_default();
    let seen = Seen::of(&host.0.config, &base.installation.id, database);
    let admin = base.admin.as_ref().filter(|_| base.read_only.is_none());
    let looked = async { seen.look(&mut *people.acquire().await?, admin).await };
    match looked.await {
        Ok((log_id, changed)) => (Some(seen), Some(log_id), changed),
        Err(error) => {
            tracing::warn!(
                "whether the log is the one of before cannot be said: {}",
                error.message
            );
            (None, None, None)
        }
    }
}

/// What the log may hold that this program cannot read is said at the start, and not first by the view that stops at it.
async fn name_unread(people: &PgPool) -> Result<(), AppError> {
    let mut conn = people.acquire().await?;
    for unread in schema::unreplayable(&mut conn).await? {
        tracing::error!(
            event.name = unread.name,
            event.schema_version = unread.version,
            "this version of the app cannot read {unread}: {}. A view that meets such an event stops there",
            unread.why
        );
    }
    Ok(())
}

/// Only where no money moves, and only on this computer's own desk or for work done here.
async fn find_sandbox(host: &Host, profile: ProfileKind, base: &Base) -> Option<SandboxAddr> {
    let starter = host.0.sandbox.as_ref()?;
    let wanted = base.installation.mode == "sandbox"
        && (profile != ProfileKind::Server || base.worker.is_some());
    if !wanted {
        return None;
    }
    match starter.start(&host.0.config.data).await {
        Ok(address) => Some(address),
        Err(why) => {
            // Bookings paid at the venue work without it; the lamp shows the rest.
            tracing::error!("the sandbox did not start: {why}");
            None
        }
    }
}

/// Where secrets stand in the environment, and where they may be added later: Stripe can reach this process, which may ask Stripe.
fn takes_webhooks(host: &Host, keys: &Keys) -> bool {
    let reached = host.0.kind == HostKind::Serve || host.0.config.webhook_listen.is_some();
    !keys.webhook_secrets.is_empty() || reached && keys.stripe.is_some()
}

/// The keys that this installation may use. Sandbox and live never mix, whatever the environment says.
struct Keys {
    stripe: Option<StripeConfig>,
    mail: Option<SmtpConfig>,
    webhook_secrets: Vec<Secret>,
}

impl Keys {
    fn fitting(
        config: &Config,
        profile: ProfileKind,
        installation: &Installation,
        sandbox: Option<&SandboxAddr>,
    ) -> Keys {
        let live = installation.mode == "live";
        let own = config
            .stripe_key
            .as_ref()
            .filter(|_| profile != ProfileKind::Demo);
        let fits = own.filter(|key| config::is_live(key) == live);
        if own.is_some() && fits.is_none() {
            tracing::warn!(
                mode = installation.mode,
                "BIZING_STRIPE_KEY is of the other mode and is not used: this business was created in mode {}",
                installation.mode
            );
        }
        let stripe = match (fits, sandbox) {
            (Some(key), _) => {
                let mut stripe = StripeConfig::live(key.clone());
                if let Some(url) = &config.stripe_url {
                    stripe.base_url.clone_from(url);
                }
                Some(stripe)
            }
            (None, Some(sandbox)) if !live => {
                let mut stripe = StripeConfig::live(sandbox.secret_key.clone());
                stripe.base_url.clone_from(&sandbox.url);
                Some(stripe)
            }
            (None, _) => None,
        };
        let mut webhook_secrets = match fits {
            Some(_) => config.webhook_secrets.clone(),
            None => vec![],
        };
        if let (None, Some(sandbox)) = (fits, sandbox) {
            webhook_secrets.push(sandbox.webhook_secret.clone());
        }
        let own_mail = config.smtp.clone().filter(|_| profile != ProfileKind::Demo);
        let caught = sandbox.filter(|_| !live).map(|s| SmtpConfig {
            url: format!("smtp://{}?tls=none", s.smtp).into(),
            from: "Bizing Desk <desk@bizing-desk.example>".to_owned(),
        });
        Keys {
            stripe,
            mail: own_mail.or(caught),
            webhook_secrets,
        }
    }
}

fn data_folder(config: &Config, error: &std::io::Error) -> AppError {
    AppError::new(
        Code::Invalid,
        format!(
            "The data folder {} cannot be used: {error}.",
            config.data.display()
        ),
    )
    .hint("Make it writable for your account, or set BIZING_DATA to another folder.")
    .retry(Retry::NeedsPerson)
}
