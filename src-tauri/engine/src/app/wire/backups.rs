//! Backups with the proof that they can be restored, and the erasure of a customer.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Backups {
    /// Newest first.
    pub rows: Vec<Backup>,
    /// The newest that was restored on trial and found whole.
    pub last_good: Option<Uuid>,
    /// Where they lie. `None`: nowhere yet.
    pub folder: Option<String>,
    pub kept_days: u32,
    #[ts(type = "number")]
    pub kept_bytes: i64,
    /// Wall time of the place, `03:30`. `None`: no daily backup is set up.
    pub daily_at: Option<String>,
    pub next: Option<Moment>,
    /// What is being done with them now.
    pub running: Option<BackupRun>,
    /// `back_up_now`, `verify_backup`, `restore_backup`.
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BackupWhy {
    Daily,
    BeforeMigration,
    Asked,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Backup {
    pub backup_id: Uuid,
    pub made: Moment,
    pub why: BackupWhy,
    /// The schema that was about to be installed, when that is why.
    pub before_schema: Option<i32>,
    pub by: Option<String>,
    pub file: String,
    #[ts(type = "number")]
    pub size_bytes: i64,
    pub schema_version: i32,
    /// `15.18`
    pub server_version: String,
    /// The log up to here is in it.
    #[ts(type = "number")]
    pub position: i64,
    #[ts(type = "number")]
    pub events: i64,
    pub proof: BackupProof,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    NotProved,
    Running,
    /// Restored into a database of its own, counted, its chain checked.
    Restored,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BackupProof {
    pub state: ProofState,
    pub at: Option<Moment>,
    /// Events that the restored copy held.
    #[ts(type = "number | null")]
    pub events: Option<i64>,
    pub chain_intact: Option<bool>,
    pub seconds: Option<f64>,
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BackupWork {
    BackUp,
    Verify,
    Restore,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct BackupRun {
    pub work: BackupWork,
    pub backup_id: Option<Uuid>,
    pub by: Option<String>,
    pub started_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BackUpNow {
    pub command_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct VerifyBackup {
    pub command_id: Uuid,
    pub backup_id: Uuid,
}

/// Always something new: no restore writes into what exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "into")]
pub enum RestoreTarget {
    /// A database on the same server.
    Database { name: String },
    /// A data folder on this computer.
    Folder { path: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewRestore {
    pub backup_id: Uuid,
    pub target: RestoreTarget,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct RestorePreview {
    pub backup: Backup,
    /// Events recorded since: the restored copy does not have them.
    #[ts(type = "number")]
    pub events_missing: i64,
    /// Customers erased since: they are erased in the copy as well, before anybody can open it.
    #[ts(type = "number")]
    pub erasures_again: i64,
    #[ts(type = "number | null")]
    pub free_bytes: Option<i64>,
    pub seconds: Option<f64>,
    /// What the person types to go on.
    pub typed: String,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RestoreBackup {
    pub command_id: Uuid,
    pub backup_id: Uuid,
    pub target: RestoreTarget,
    /// As the preview asks.
    pub typed: String,
    /// At least 10 characters; it stands in the audit.
    pub reason: String,
}

// ---- erasure ---------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewErasure {
    pub customer_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ErasurePreview {
    pub customer: CustomerRow,
    /// Events with sealed fields that nobody can open afterwards.
    #[ts(type = "number")]
    pub events: i64,
    #[ts(type = "number")]
    pub bookings: i64,
    /// `name`, `email`, `phone`
    pub fields: Vec<String>,
    /// Backups that still hold the key; a restore erases again.
    #[ts(type = "number")]
    pub backups: i64,
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct EraseCustomer {
    pub command_id: Uuid,
    pub customer_id: Uuid,
    /// At least 10 characters; it stands in the audit and names nobody.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CustomerErased {
    pub customer_id: Uuid,
    pub erased_at: DateTime<Utc>,
}
