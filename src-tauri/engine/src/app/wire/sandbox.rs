//! What only a sandbox shows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A message that the sandbox's catch-all kept instead of sending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CaughtMessage {
    pub id: String,
    pub at: DateTime<Utc>,
    pub from: String,
    pub to: Vec<String>,
    pub subject: String,
    pub text: String,
    /// The attached calendar file.
    pub ics: Option<String>,
}
