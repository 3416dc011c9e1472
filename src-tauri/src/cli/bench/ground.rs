//! The private server that a bench stands on.

use std::path::Path;
use std::sync::Arc;

use bizing_engine::app::desk::{Connections, Desk, DeskParts};
use bizing_engine::app::wire::{Group, ProfileKind};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::store::migrate::{self, Installation};
use bizing_engine::store::roles::{self, GROUPS};
use bizing_postgres::{Cluster, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tempfile::TempDir;

use super::BenchError;

const DATABASE: &str = "bench";

/// A server with the shipped settings and flushes, a migrated database, and a login in each group. Gone when dropped.
pub struct Ground {
    pub installation: Installation,
    cluster: Cluster,
    password: String,
    // After the cluster: the server stops before its folder goes.
    _folder: TempDir,
}

impl Ground {
    /// A window that only reads, without a worker or a third party.
    pub async fn viewer_desk(&self) -> Result<Desk, BenchError> {
        Ok(Desk(Arc::new(DeskParts {
            people: self.pool("viewer", 2).await?,
            installation: self.installation.clone(),
            profile: ProfileKind::Demo,
            group: Group::Viewer,
            read_only: None,
            bell: Bell::default(),
            hints: Hints::default(),
            works_here: None,
            examiner: Default::default(),
            log_change: None,
            log_id: None,
            sandbox_url: None,
            connections: Connections::default(),
            backups: None,
            maker: None,
            vault: Default::default(),
            policy: Default::default(),
            silent: Default::default(),
        })))
    }

    pub async fn start(folder: Option<&Path>) -> Result<Ground, BenchError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("bizing-bench-");
        let folder = match folder {
            Some(parent) => builder.tempdir_in(parent)?,
            None => builder.tempdir()?,
        };
        let options = Options {
            max_connections: 300,
            ..Options::new(folder.path())
        };
        let cluster = Cluster::start(options).await?;
        let superuser = cluster.connect_options("postgres");
        migrate::ensure_database(&superuser, DATABASE).await?;
        let mut conn = PgConnection::connect_with(&superuser.database(DATABASE)).await?;
        let installation = migrate::migrate(&mut conn, "demo", "sandbox").await?;
        let password = bizing_engine::runtime::ids::password();
        for group in GROUPS.iter().filter(|g| **g != "owner") {
            let user = format!("bench_{group}");
            roles::ensure_login(&mut conn, &installation.id, group, &user, &password).await?;
        }
        conn.close().await?;
        Ok(Ground {
            installation,
            cluster,
            password,
            _folder: folder,
        })
    }

    /// For making tables of the limit, never for ours.
    pub fn superuser(&self) -> PgConnectOptions {
        self.cluster.connect_options(DATABASE)
    }

    /// What the server wrote down.
    pub fn log(&self) -> std::path::PathBuf {
        self.cluster.root().join("postgres.log")
    }

    pub fn login(&self, group: &str) -> PgConnectOptions {
        self.superuser()
            .username(&format!("bench_{group}"))
            .password(&self.password)
    }

    pub async fn pool(&self, group: &str, connections: u32) -> Result<PgPool, BenchError> {
        Ok(PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            // As the desk's own pools do with a connection that was used just now.
            .test_before_acquire(false)
            .connect_with(self.login(group))
            .await?)
    }
}
