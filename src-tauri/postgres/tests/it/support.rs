//! A folder, a way to start in it, and a way to ask the server something.

use std::path::{Path, PathBuf};

use bizing_postgres::{Cluster, Options, StartError};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;

/// A folder for one cluster. As root it is handed to the server's account by the start itself.
pub fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("bizing-pg-")
        .tempdir()
        .unwrap()
}

pub fn options(root: &Path) -> Options {
    Options {
        no_sync: true,
        ..Options::new(root)
    }
}

pub async fn start(root: &Path) -> Result<Cluster, StartError> {
    Cluster::start(options(root)).await
}

pub async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect_with(&cluster.connect_options("postgres"))
        .await
        .unwrap()
}

/// One value of a query, as text.
pub async fn ask(cluster: &Cluster, sql: &'static str) -> String {
    sqlx::query_scalar(sql)
        .fetch_one(&mut connect(cluster).await)
        .await
        .unwrap()
}

pub fn data(root: &Path) -> PathBuf {
    root.join("data")
}
