//! Taking a backup: one moment of the database, counted and dumped.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bizing_postgres::{Tools, free_bytes};
use chrono::Utc;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::facts::facts;
use super::fault::BackupError;
use super::manifest::{FORMAT, Manifest, Why};
use super::shelf::Shelf;
use crate::runtime::{files, ids};
use crate::store::migrate;

/// Below this nothing is begun: a dump that fills the disk would stop the database on it.
const ROOM: u64 = 64 << 20;

/// How far a dump is, for whoever waits.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub bytes: u64,
    /// Tables and indexes done so far, and in all when that is known.
    pub done: u64,
    pub of: Option<u64>,
}

pub type OnProgress = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

pub fn silent() -> OnProgress {
    std::sync::Arc::new(|_| {})
}

/// What a backup is taken for.
#[derive(Debug, Clone)]
pub struct Occasion {
    pub why: Why,
    pub by: Option<String>,
    pub before_schema: Option<i64>,
}

impl Occasion {
    pub fn new(why: Why) -> Occasion {
        Occasion {
            why,
            by: None,
            before_schema: None,
        }
    }
}

/// Dumps the database of `admin`, whose login may read all of it. The file gets its name only when it is whole and on
/// the disk; its manifest, counted in the very moment of the dump, comes last.
pub async fn take(
    admin: &PgConnectOptions,
    bin: Option<&Path>,
    shelf: &Shelf,
    occasion: Occasion,
    on_progress: OnProgress,
) -> Result<Manifest, BackupError> {
    let started_at = Utc::now();
    let mut conn = PgConnection::connect_with(admin).await?;
    let (number, version): (i32, String) = sqlx::query_as(
        "select current_setting('server_version_num')::int, split_part(current_setting('server_version'), ' ', 1)",
    )
    .fetch_one(&mut conn)
    .await?;
    let tools = Tools::find(bin, u32::try_from(number / 10_000).unwrap_or(0))?;
    let installation = migrate::installation(&mut conn)
        .await?
        .ok_or(sqlx::Error::RowNotFound)?;
    shelf.prepare()?;
    room(&mut conn, shelf).await?;

    let owner = format!("bizing_owner_{}", installation.id);
    let mut tx = conn.begin().await?;
    // The role is made of our own constant and the installation's id, which is letters and digits.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "set transaction isolation level repeatable read, read only; set local idle_in_transaction_session_timeout = 0;
         set local statement_timeout = 0; set local role {owner}"
    )))
    .execute(&mut *tx)
    .await?;
    let snapshot: String = sqlx::query_scalar("select pg_export_snapshot()")
        .fetch_one(&mut *tx)
        .await?;
    let facts = facts(&mut tx).await?;

    let backup_id = ids::v7();
    let name = file_name(started_at, occasion.why, backup_id);
    let unfinished = Unfinished(shelf.folder().join(format!("{name}.new")));
    let arguments: Vec<OsString> = vec![
        "--format=custom".into(),
        "--verbose".into(),
        format!("--snapshot={snapshot}").into(),
        format!("--role={owner}").into(),
        joined("--file=", &unfinished.0),
    ];
    let watched = unfinished.0.clone();
    let mut done = 0;
    let line = move |text: &str| {
        if text.contains("dumping contents") || text.contains("creating") {
            done += 1;
        }
        let bytes = std::fs::metadata(&watched).map_or(0, |m| m.len());
        on_progress(Progress {
            bytes,
            done,
            of: None,
        });
    };
    // The file is private from its first byte on.
    files::make_private(&unfinished.0)
        .map_err(|e| BackupError::file("making", &unfinished.0, e))?;
    tools.run("pg_dump", arguments, admin, line).await?;
    // Only now may the moment pass: until here it was lent to the dump.
    tx.rollback().await?;
    conn.close().await?;

    let (path, file) = (unfinished.0.clone(), shelf.folder().join(&name));
    let summed = tokio::task::spawn_blocking(move || settle(&path))
        .await
        .map_err(std::io::Error::other)
        .flatten();
    let (size_bytes, sha256) =
        summed.map_err(|e| BackupError::file("finishing", &unfinished.0, e))?;
    std::fs::rename(&unfinished.0, &file).map_err(|e| BackupError::file("naming", &file, e))?;
    let manifest = Manifest {
        format: FORMAT,
        backup_id,
        why: occasion.why,
        by: occasion.by,
        before_schema: occasion.before_schema,
        installation_id: installation.id,
        kind: installation.kind,
        mode: installation.mode,
        database: admin.get_database().unwrap_or_default().to_owned(),
        started_at,
        finished_at: Utc::now(),
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_version: version,
        tools_major: tools.major,
        file: name,
        size_bytes,
        sha256,
        facts,
        proof: None,
    };
    manifest.write(shelf.folder())?;
    files::sync_folder(shelf.folder())
        .map_err(|e| BackupError::file("flushing", shelf.folder(), e))?;
    tracing::info!(
        file = manifest.file,
        bytes = size_bytes,
        events = manifest.facts.events,
        why = occasion.why.word(),
        "a backup is taken"
    );
    Ok(manifest)
}

/// As large as the last one and a half, or a part of the database when there is none.
async fn room(conn: &mut PgConnection, shelf: &Shelf) -> Result<(), BackupError> {
    let Some(free) = free_bytes(shelf.folder()) else {
        return Ok(());
    };
    let last = shelf.list()?.first().map(|m| m.size_bytes);
    let needs = match last {
        Some(bytes) => bytes + bytes / 2,
        None => {
            let whole: i64 = sqlx::query_scalar("select pg_database_size(current_database())")
                .fetch_one(conn)
                .await?;
            // Indexes are not in a dump, and what is gets smaller.
            u64::try_from(whole).unwrap_or(0) / 4
        }
    };
    let needs = needs.max(ROOM);
    if free < needs {
        return Err(BackupError::Room {
            folder: shelf.folder().to_owned(),
            free,
            needs,
        });
    }
    Ok(())
}

/// `2026-11-25T214500Z-daily-0193abcd.dump`: sorts by time, and two never meet.
fn file_name(at: chrono::DateTime<Utc>, why: Why, id: Uuid) -> String {
    let id = id.simple().to_string();
    format!(
        "{}-{}-{}.dump",
        at.format("%Y-%m-%dT%H%M%SZ"),
        why.word().replace('_', "-"),
        &id[id.len() - 8..]
    )
}

/// Onto the disk, with size and checksum.
fn settle(path: &Path) -> std::io::Result<(u64, String)> {
    let sum = checksum(path)?;
    File::options().write(true).open(path)?.sync_all()?;
    Ok(sum)
}

pub(super) fn checksum(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut size, mut block) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
        size += n as u64;
    }
    let hex = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok((size, hex))
}

pub(super) fn joined(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}

/// Goes away unless it was given its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
