//! The private server that a bench stands on.

use std::path::Path;

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
