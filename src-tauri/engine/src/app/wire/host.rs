//! Before any database is there: where the start stands, and the first-run question.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Phase {
    /// First run: nothing is chosen yet.
    Choose,
    Starting {
        step: StartStep,
        since: DateTime<Utc>,
    },
    Ready,
    Failed {
        error: AppError,
        since: DateTime<Utc>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    FindingServer,
    StartingServer,
    Connecting,
    Migrating,
    SeedingDemo,
    StartingWork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ProfileKind {
    /// Demo business in a database of its own on the private server.
    Demo,
    /// A business of one's own on the private server.
    Own,
    /// A configured server (`DATABASE_URL` or a saved address).
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HostState {
    pub phase: Phase,
    pub profile: Option<ProfileKind>,
    pub app_version: String,
    pub data_folder: String,
    /// True when `DATABASE_URL` decides and the window must not offer a choice.
    pub fixed_by_environment: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "choice")]
pub enum ChooseStart {
    Explore,
    Empty {
        business_name: String,
        /// IANA zone of the first location.
        zone: String,
        /// ISO 4217.
        currency: String,
    },
    Connect {
        /// `postgres://user:password@host:port/database`
        url: String,
    },
}
