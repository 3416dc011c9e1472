//! Projections, their rebuilds, and what an admin may do with them.
//!
//! A rebuild makes a new *generation* of a projection's tables beside the live one. Readers see it only after the swap.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Projections {
    /// By name.
    pub rows: Vec<Projection>,
    #[ts(type = "number")]
    pub safe_position: i64,
    /// Whose open transaction keeps every reader waiting, when one does.
    pub lag_reason: Option<LagReason>,
    /// Live processes that do background work. 0: nothing goes on.
    pub workers: u32,
    /// Every rebuild that is not over.
    pub rebuilds: Vec<Rebuild>,
    pub now: Moment,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LagReason {
    pub pid: i32,
    pub login: Option<String>,
    pub query: Option<String>,
    pub age_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionState {
    UpToDate,
    Behind,
    /// A new generation is being built; the live one goes on as well.
    Rebuilding,
    /// Stopped at an event: a person decides.
    Parked,
    Paused,
    /// No worker has said anything lately.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Projection {
    /// `bookings`
    pub name: String,
    /// Shape of the rows that readers see.
    pub shape_version: i32,
    /// Shape that this app's code makes.
    pub code_shape_version: i32,
    pub generation: i32,
    pub state: ProjectionState,
    #[ts(type = "number")]
    pub position: i64,
    /// Positions that were given out and are not in its rows, those of appends that are still open among them.
    #[ts(type = "number")]
    pub lag_events: i64,
    pub lag_seconds: f64,
    /// Events a second now. `None`: not known.
    pub rate_per_s: Option<f64>,
    /// Events a second over the last ten minutes, oldest first; `null` where nothing was measured.
    pub rates: Vec<Option<f64>>,
    pub rows: Option<Count>,
    /// What it reads.
    pub event_types: Vec<String>,
    /// Login or worker that runs it.
    pub holder: Option<String>,
    /// Of the event that it is parked at, or why it cannot be moved at all for now.
    pub last_error: Option<String>,
    pub parked: Option<Parked>,
    pub paused: Option<Paused>,
    /// Events that a person let it pass by, newest first, 100 at most.
    pub skipped: Vec<SkippedEvent>,
    /// Events whose skip was withdrawn and that the live rows lack until a rebuild is swapped in, newest first.
    #[ts(type = "number[]")]
    pub lacks: Vec<i64>,
    /// What its rows were folded with and this program does not know, as `BookingMoved v2`: a newer build's, which this one
    /// leaves alone.
    pub newer_types: Vec<String>,
    /// What an older build passed by. A rebuild is recommended.
    pub folded_without: Vec<FoldedWithout>,
    pub rebuild_id: Option<Uuid>,
    /// The generation before, while it is kept for a roll back.
    pub previous: Option<PreviousGeneration>,
    /// `pause_projection`, `resume_projection`, `start_replay`, `roll_back_projection`, `retry_parked`, `skip_parked`,
    /// `withdraw_skip`.
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FoldedWithout {
    pub event_name: String,
    /// The rows have no event of this type up to here.
    #[ts(type = "number")]
    pub upto: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Parked {
    #[ts(type = "number")]
    pub position: i64,
    /// The event it cannot read.
    pub event_name: String,
    pub schema_version: i32,
    pub stream_id: String,
    pub subject: Option<String>,
    pub error: String,
    /// Lines that show the place, when the error has one.
    pub excerpt: Option<String>,
    pub since: DateTime<Utc>,
    /// Automatic tries that failed.
    pub attempts: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Paused {
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviousGeneration {
    pub generation: i32,
    pub shape_version: i32,
    /// It still follows the log, so that a roll back loses nothing.
    pub current: bool,
    pub swapped_at: DateTime<Utc>,
    pub kept_until: Option<DateTime<Utc>>,
}

// ---- rebuilds -------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMode {
    /// Built beside the live tables and compared; never swapped.
    DryRun,
    Rebuild,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ReplaySpeed {
    Gentle,
    Normal,
    AllCores,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum ReplayFrom {
    Start,
    Position {
        #[ts(type = "number")]
        position: i64,
    },
    Time {
        /// Wall time of the place, `2026-11-01T00:00`.
        wall: String,
    },
    Stream {
        /// `booking-0193…`, or a booking's reference.
        stream: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RebuildState {
    Running,
    Paused,
    /// Built, caught up and compared: somebody says swap.
    WaitsForSwap,
    /// Swapped, or a dry run that is through.
    Done,
    Cancelled,
    Failed,
    RolledBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum RebuildPhase {
    Prepare,
    Read,
    CatchUp,
    Compare,
    Swap,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PhaseTime {
    pub phase: RebuildPhase,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Rebuild {
    pub rebuild_id: Uuid,
    pub projection: String,
    pub mode: ReplayMode,
    pub from: ReplayFrom,
    /// Of the live tables when it began.
    pub live_generation: i32,
    pub live_shape_version: i32,
    pub generation: i32,
    pub shape_version: i32,
    pub state: RebuildState,
    pub phase: RebuildPhase,
    /// Those that have begun, in order.
    pub phases: Vec<PhaseTime>,
    #[ts(type = "number")]
    pub events_done: i64,
    #[ts(type = "number")]
    pub events_total: i64,
    /// Events a second, lately. `None`: not known yet.
    pub rate_per_s: Option<f64>,
    pub left_seconds: Option<f64>,
    pub ends: Option<Moment>,
    /// What a stop keeps.
    pub ranges_done: u32,
    pub ranges_total: u32,
    pub speed: ReplaySpeed,
    pub started: Moment,
    pub ended: Option<Moment>,
    pub by: String,
    pub reason: String,
    /// Who stopped, swapped or rolled it back, when somebody did.
    pub ended_by: Option<String>,
    pub error: Option<String>,
    pub compare: Option<Compare>,
    /// Events that a person let the projection pass by: they are in neither the live rows nor the new ones. The first 100.
    pub skipped: Vec<SkippedEvent>,
    /// `pause_rebuild`, `resume_rebuild`, `cancel_rebuild`, `set_rebuild_speed`, `swap_rebuild`.
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SkippedEvent {
    #[ts(type = "number")]
    pub position: i64,
    pub event_name: Option<String>,
    pub reason: String,
    pub by: String,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Compare {
    #[ts(type = "number")]
    pub rows: i64,
    /// `false`: these are the counts so far.
    pub complete: bool,
    #[ts(type = "number")]
    pub different: i64,
    #[ts(type = "number")]
    pub only_live: i64,
    #[ts(type = "number")]
    pub only_new: i64,
    /// Over every row of each, hex.
    pub live_hash: Option<String>,
    pub new_hash: Option<String>,
    /// `false`: the live rows were parked or paused, and what they have not read yet counts as a difference.
    #[serde(default = "at_the_same_position")]
    pub same_position: bool,
}

/// What was compared before this was noted.
fn at_the_same_position() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ListRebuilds {
    /// `None`: of every projection.
    pub projection: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 200.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct RebuildList {
    /// Newest first.
    pub rows: Vec<Rebuild>,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct GetRebuild {
    pub rebuild_id: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreviewReplay {
    pub projection: String,
    pub from: ReplayFrom,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ReplayPreview {
    /// First event that is read.
    #[ts(type = "number")]
    pub from_position: i64,
    pub from_at: Option<Moment>,
    /// Events to read.
    pub events: Count,
    /// At normal speed. `None`: nothing was measured here yet.
    pub seconds: Option<f64>,
    /// What is replayed, when it is one stream.
    pub subject: Option<String>,
    /// Other rebuilds that run and share the disk.
    pub running: Vec<String>,
    /// `dry_run`, `rebuild`: what may be started, and why not.
    pub actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StartReplay {
    /// Made when the dialog opens: the same id starts once, however often it is sent.
    pub command_id: Uuid,
    pub projection: String,
    pub from: ReplayFrom,
    pub mode: ReplayMode,
    pub speed: ReplaySpeed,
    /// At least 10 characters; it stands in the audit.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ReplayStarted {
    pub rebuild_id: Uuid,
}

/// Pause, resume, cancel or swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangeRebuild {
    pub command_id: Uuid,
    pub rebuild_id: Uuid,
    /// Needed to cancel and to swap: at least 10 characters.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SetRebuildSpeed {
    pub command_id: Uuid,
    pub rebuild_id: Uuid,
    pub speed: ReplaySpeed,
}

/// Pause, resume, roll back, or try the parked event again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChangeProjection {
    pub command_id: Uuid,
    pub projection: String,
    /// Needed to roll back: at least 10 characters.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SkipParked {
    pub command_id: Uuid,
    pub projection: String,
    /// The event that the person looked at: another one is not skipped.
    #[ts(type = "number")]
    pub position: i64,
    /// At least 10 characters; it stands in the audit.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct WithdrawSkip {
    pub command_id: Uuid,
    pub projection: String,
    #[ts(type = "number")]
    pub position: i64,
    /// At least 10 characters; it stands in the audit.
    pub reason: String,
}

// ---- who did what --------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ListProjectionChanges {
    /// `None`: of every projection.
    pub projection: Option<String>,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 200.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ProjectionChanges {
    /// Newest first.
    pub rows: Vec<ProjectionChange>,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct ProjectionChange {
    pub command_id: Uuid,
    pub at: Moment,
    pub by: String,
    pub projection: String,
    pub what: ProjectionAct,
    /// The event whose skip was withdrawn, or at which it was parked, when it was.
    #[ts(type = "number | null")]
    pub position: Option<i64>,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionAct {
    DryRun,
    Rebuild,
    PauseRebuild,
    ResumeRebuild,
    CancelRebuild,
    SwapRebuild,
    Gentle,
    Normal,
    AllCores,
    Pause,
    Resume,
    Retry,
    Skip,
    WithdrawSkip,
    RollBack,
}

// ---- differences ------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum DiffKind {
    Different,
    OnlyLive,
    OnlyNew,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ListDiff {
    pub rebuild_id: Uuid,
    pub kind: DiffKind,
    /// `next` of the page before.
    pub after: Option<String>,
    /// 1 to 1,000.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DiffPage {
    pub rows: Vec<DiffRow>,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DiffRow {
    /// The table, when a projection has several: `bookings`.
    pub table: String,
    pub key: String,
    /// What people call the row.
    pub subject: Option<String>,
    /// Columns that differ; every column, when the row stands on one side only.
    pub cells: Vec<DiffCell>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct DiffCell {
    pub column: String,
    #[ts(type = "unknown")]
    pub live: Option<serde_json::Value>,
    #[ts(type = "unknown")]
    pub new: Option<serde_json::Value>,
}
