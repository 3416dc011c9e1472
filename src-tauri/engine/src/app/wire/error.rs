//! What goes back when the answer is no.

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

/// The window switches on this and on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
pub enum Code {
    #[serde(rename = "request.invalid")]
    Invalid,
    #[serde(rename = "request.unknown_command")]
    UnknownCommand,
    #[serde(rename = "request.not_found")]
    NotFound,
    #[serde(rename = "request.forbidden")]
    Forbidden,
    #[serde(rename = "request.command_reused")]
    CommandReused,
    #[serde(rename = "booking.slot_taken")]
    SlotTaken,
    #[serde(rename = "booking.refused")]
    Refused,
    #[serde(rename = "stream.conflict")]
    Conflict,
    #[serde(rename = "database.not_chosen")]
    DatabaseNotChosen,
    #[serde(rename = "database.starting")]
    DatabaseStarting,
    #[serde(rename = "database.unreachable")]
    DatabaseUnreachable,
    #[serde(rename = "database.wrong_password")]
    WrongPassword,
    #[serde(rename = "database.schema_older")]
    SchemaOlder,
    #[serde(rename = "database.schema_newer")]
    SchemaNewer,
    #[serde(rename = "database.no_server")]
    NoServer,
    #[serde(rename = "sandbox.unreachable")]
    SandboxUnreachable,
    #[serde(rename = "internal")]
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case", tag = "when")]
pub enum Retry {
    Never,
    Now,
    After { seconds: u32 },
    NeedsPerson,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AppError {
    pub code: Code,
    /// What happened, with the values that matter.
    pub message: String,
    /// What to do now.
    pub hint: Option<String>,
    /// The field of the request that is wrong, as the request spells it: the window puts the error there.
    pub field: Option<String>,
    pub retry: Retry,
    /// Support finds the log line by it.
    pub correlation_id: Uuid,
}
