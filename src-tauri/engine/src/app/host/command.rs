//! What the command line does with a host.

use std::time::Duration;

use bizing_postgres::{Move, Upgraded};
use sqlx::postgres::PgConnectOptions;

use super::choice::{Choice, Saved};
use super::{Host, HostKind, faults, pools, server::PrivateServer, server::private_options};
use crate::app::backups::{self, Room};
use crate::app::desk::Desk;
use crate::app::wire::{AppError, Code, Retry};
use crate::runtime::config::{self, Config};
use crate::runtime::hints::Hints;
use crate::runtime::tasks::Tasks;
use crate::store::migrate::{self, SchemaState};

/// What a migration found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    pub database: String,
    pub before: SchemaState,
    pub version: i64,
    pub mode: String,
}

/// Brings the chosen database up to date, without opening it for work.
pub async fn migrate_now(config: Config) -> Result<Migrated, AppError> {
    let choice = chosen(&config)?;
    let server = PrivateServer::new(&config);
    let migrated = migrate_with(&config, &choice, &server).await;
    server.stop().await;
    migrated
}

async fn migrate_with(
    config: &Config,
    choice: &Choice,
    server: &PrivateServer,
) -> Result<Migrated, AppError> {
    let live = if config.has_live_key() {
        "live"
    } else {
        "sandbox"
    };
    let (kind, mode) = match choice {
        Choice::Demo => ("demo", "sandbox"),
        Choice::Own(_) => ("own", live),
        Choice::Server { .. } => ("server", live),
    };
    let login = match choice {
        Choice::Server { url } => config::database_options(url.expose())
            .map_err(|why| AppError::invalid("DATABASE_URL", why))?,
        Choice::Demo | Choice::Own(_) => {
            let database = format!("bizing_{kind}");
            let admin = server.options(&database).await.map_err(faults::server)?;
            migrate::ensure_database(&admin, &database)
                .await
                .map_err(|e| faults::connecting(e, &admin))?;
            admin
        }
    };
    let mut conn = pools::connect(&login).await?;
    if !migrate::may_migrate(&mut conn).await? {
        return Err(AppError::new(
            Code::Forbidden,
            format!(
                "The login `{}` may not migrate the database.",
                login.get_username()
            ),
        )
        .hint(
            "Use the database's owner with the right to create roles (CREATEROLE), or a superuser.",
        )
        .retry(Retry::NeedsPerson));
    }
    let before = migrate::schema_state(&mut conn).await?;
    if let SchemaState::Older { needs, .. } = before {
        backups::before_migration(&mut conn, config, &login, needs).await?;
    }
    let installation = migrate::migrate(&mut conn, kind, mode)
        .await
        .map_err(faults::migrating)?;
    Ok(Migrated {
        database: login.get_database().unwrap_or_default().to_owned(),
        before,
        version: migrate::known_version(),
        mode: installation.mode,
    })
}

/// The backups of the chosen database, without opening it for work: it may be gone, or of another schema.
pub struct Backups {
    pub room: Room,
    /// What a restore may put in its place.
    pub database: String,
    server: PrivateServer,
}

impl Backups {
    pub async fn open(config: Config) -> Result<Backups, AppError> {
        let choice = chosen(&config)?;
        let server = PrivateServer::new(&config);
        let admin = match admin_of(&choice, &server).await {
            Ok(admin) => admin,
            Err(error) => {
                server.stop().await;
                return Err(error);
            }
        };
        Ok(Backups {
            database: admin.get_database().unwrap_or_default().to_owned(),
            room: Room::new(&config, admin, Hints::default(), Tasks::default()),
            server,
        })
    }

    pub async fn close(self) {
        self.server.stop().await;
    }
}

/// Moves the private server's data to the newest PostgreSQL found here. The old data is kept beside it.
///
/// `from_backups`: the old version's programs are gone, so the newest good backup of each database is restored instead.
pub async fn upgrade_database(
    config: Config,
    from_backups: bool,
    said: impl Fn(&str),
) -> Result<Upgraded, AppError> {
    let mut moving = Move::begin(private_options(&config))
        .await
        .map_err(faults::moving)?;
    said(&format!(
        "From PostgreSQL {} to {}",
        moving.from(),
        moving.to()
    ));
    if from_backups {
        let admin = moving.cluster().connect_options("postgres");
        backups::restore_all(&config, &admin, Some(moving.cluster().bin()), &said).await?;
    } else {
        moving.copy(said).await.map_err(faults::moving)?;
    }
    moving.finish().await.map_err(faults::moving)
}

/// The login that may read and make everything.
async fn admin_of(choice: &Choice, server: &PrivateServer) -> Result<PgConnectOptions, AppError> {
    match choice {
        Choice::Server { url } => config::database_options(url.expose())
            .map_err(|why| AppError::invalid("DATABASE_URL", why)),
        Choice::Demo => server.options("bizing_demo").await.map_err(faults::server),
        Choice::Own(_) => server.options("bizing_own").await.map_err(faults::server),
    }
}

/// Opens what is chosen, for one use case. The caller shuts the host down.
pub async fn open_for_command(host: &Host) -> Result<Desk, AppError> {
    debug_assert_eq!(host.0.kind, HostKind::Command);
    chosen(&host.0.config)?;
    host.start();
    // A first start on a slow disk makes a cluster, migrates and seeds.
    host.opened(Duration::from_secs(180)).await
}

fn chosen(config: &Config) -> Result<Choice, AppError> {
    Saved::of(config).read()?.ok_or_else(|| {
        AppError::new(
            Code::DatabaseNotChosen,
            format!("No database is chosen yet in {}.", config.data.display()),
        )
        .hint("Start `bizing-desk` once and choose, or set DATABASE_URL.")
        .retry(Retry::NeedsPerson)
    })
}

/// The worker's login sees every room, which an audit needs and a person's does not.
pub async fn pool_for_audit(host: &Host) -> Result<sqlx::PgPool, AppError> {
    let open = host.0.open.lock().await;
    let pool = open.as_ref().and_then(|open| open.pool.clone());
    pool.ok_or_else(|| {
        AppError::new(
            Code::Forbidden,
            "Your login may not look into every room of the database, and this computer has no worker's login.",
        )
        .hint("Run it where the desk was set up, or on the computer that runs `bizing-desk serve`.")
        .retry(Retry::NeedsPerson)
    })
}
