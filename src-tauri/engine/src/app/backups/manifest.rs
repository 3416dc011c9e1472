//! What is known of a backup: a small file beside each dump. A dump without it was never finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fault::BackupError;
use crate::runtime::files;

/// Of the manifest's own shape.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Daily,
    BeforeMigration,
    Asked,
}

impl Why {
    pub fn word(self) -> &'static str {
        match self {
            Why::Daily => "daily",
            Why::BeforeMigration => "before_migration",
            Why::Asked => "asked",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub backup_id: Uuid,
    pub why: Why,
    /// The person who asked for it.
    #[serde(default)]
    pub by: Option<String>,
    /// The schema that was about to be installed.
    #[serde(default)]
    pub before_schema: Option<i64>,
    pub installation_id: String,
    pub kind: String,
    pub mode: String,
    pub database: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    pub app_version: String,
    /// `15.18`
    pub server_version: String,
    /// Of the `pg_dump` that wrote it: only this one or a newer `pg_restore` reads it.
    pub tools_major: u32,
    /// The dump's name, in the same folder.
    pub file: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub facts: Facts,
    #[serde(default)]
    pub proof: Option<Proof>,
}

/// What must be the same in the database and in whatever is restored from its copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub schema_version: i64,
    /// Of the newest event.
    pub last_position: i64,
    pub events: i64,
    pub streams: i64,
    /// Sum over all streams of (id, version, head of the hash chain), hashed: two logs with the same are the same log.
    pub chain: String,
    /// Of each table.
    pub rows: BTreeMap<String, i64>,
}

/// What restoring it on trial showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    pub at: DateTime<Utc>,
    pub seconds: f64,
    pub events: Option<i64>,
    pub chain_intact: Option<bool>,
    /// `None`: it is good.
    pub problem: Option<String>,
}

impl Proof {
    pub fn good(&self) -> bool {
        self.problem.is_none()
    }
}

impl Manifest {
    pub fn good(&self) -> bool {
        self.proof.as_ref().is_some_and(Proof::good)
    }

    pub fn path_in(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file).with_extension("json")
    }

    pub fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let path = self.path_in(folder);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| BackupError::file("writing", &path, std::io::Error::other(e)))?;
        files::replace(&path, &text).map_err(|e| BackupError::file("writing", &path, e))
    }

    /// Reads the manifest of a dump; either of the two files may be named.
    pub fn read(path: &Path) -> Result<Manifest, BackupError> {
        let path = path.with_extension("json");
        let text = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => BackupError::NoManifest { path: path.clone() },
            _ => BackupError::file("reading", &path, e),
        })?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|e| BackupError::file("understanding", &path, std::io::Error::other(e)))?;
        if manifest.format > FORMAT {
            return Err(BackupError::FromTheFuture {
                path,
                app_version: manifest.app_version,
            });
        }
        // The name becomes a path in the manifest's own folder and nowhere else.
        let plain = Path::new(&manifest.file)
            .file_name()
            .is_some_and(|name| name == manifest.file.as_str());
        if !plain {
            return Err(BackupError::NoManifest { path });
        }
        Ok(manifest)
    }
}
