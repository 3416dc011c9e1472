//! How the database is: which log it holds, what the doctor found in it, and the room that it takes.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum LogChangeKind {
    /// The log says so itself: it came back from a backup.
    Restored,
    /// It ends before what this computer has read, and says nothing of a restore.
    WentBack,
    /// At the place where this computer stopped reading stands another event.
    Replaced,
    /// This computer has followed another copy of it.
    OtherCopy,
}

/// The log is not the one that this computer followed before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LogChange {
    pub what: LogChangeKind,
    pub found_at: Moment,
    /// When the backup was taken that was restored.
    pub taken_at: Option<Moment>,
    /// How far this computer had read.
    #[ts(type = "number")]
    pub read_upto: i64,
    /// How much of that is known to be the same; `None`: not known.
    #[ts(type = "number | null")]
    pub kept_upto: Option<i64>,
}

// ---- the doctor ----------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Proofs {
    /// The last time that every audit ran, hashes or not.
    pub last: Option<DoctorRun>,
    /// The last time that every event was hashed again.
    pub last_deep: Option<DoctorRun>,
    /// What runs in this process now.
    pub running: Option<DoctorRunning>,
    /// `examine`
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DoctorRun {
    pub run_id: Uuid,
    pub at: Moment,
    pub by: String,
    pub seconds: f64,
    pub deep: bool,
    #[ts(type = "number")]
    pub events: i64,
    pub audits: Vec<AuditFound>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AuditFound {
    /// `stream.hash_chain`
    pub name: String,
    #[ts(type = "number")]
    pub found: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DoctorRunning {
    pub run_id: Uuid,
    pub started_at: DateTime<Utc>,
    /// Streams hashed so far, and in all; `None` before that begins.
    #[ts(type = "number | null")]
    pub streams: Option<i64>,
    #[ts(type = "number | null")]
    pub of: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Examine {
    pub command_id: Uuid,
}

// ---- space ---------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum SpaceOf {
    Events,
    Lists,
    Deliveries,
    Sagas,
    Rest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SpacePart {
    pub of: SpaceOf,
    #[ts(type = "number")]
    pub bytes: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Space {
    /// Largest first; together the whole database.
    pub parts: Vec<SpacePart>,
    pub events: Count,
    /// Of the disk under the data folder; `None`: the database is on another computer.
    pub disk: Option<Disk>,
    /// What the last 30 days added, spread over them; `None`: too young to tell.
    #[ts(type = "number | null")]
    pub bytes_per_day: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Disk {
    #[ts(type = "number")]
    pub free_bytes: i64,
    #[ts(type = "number")]
    pub size_bytes: i64,
}
