//! The rows of the saga store, as Rust sees them.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::definition::{Definition, Step};

#[derive(Debug, Clone, FromRow)]
pub struct Instance {
    pub saga_id: Uuid,
    pub definition: String,
    pub def_version: i32,
    pub state: String,
    /// `F` forward, `C` compensating.
    pub direction: String,
    pub cursor: i16,
    pub pivot_passed_at: Option<DateTime<Utc>>,
    pub version: i32,
    pub fence: i64,
    pub wake_at: DateTime<Utc>,
    pub attempt: i32,
    pub await_key: Option<String>,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub auth_expires_at: Option<DateTime<Utc>>,
    pub cancel_requested_at: Option<DateTime<Utc>>,
    pub cancel_requested_by: Option<String>,
    pub park_reason: Option<String>,
    /// Why a person is needed, in one word.
    pub park_code: Option<String>,
    /// Claims from a dead owner since anything was written.
    pub take_overs: i16,
    pub currency: Option<String>,
    pub error_class: Option<String>,
    pub error_message: Option<String>,
    pub outcome: Option<String>,
    pub booking_id: Uuid,
    pub context: Value,
    pub correlation_id: Uuid,
    pub started_by: String,
    pub finished_at: Option<DateTime<Utc>>,
}

pub const COLUMNS: &str = r#"saga_id, definition, def_version, state, direction::text as direction, "cursor", pivot_passed_at, version, fence, wake_at, attempt, await_key,
    hold_expires_at, auth_expires_at, cancel_requested_at, cancel_requested_by, park_reason, park_code, take_overs, currency::text as currency, error_class, error_message, outcome, booking_id,
    context, correlation_id, started_by, finished_at"#;

impl Instance {
    /// What it runs by; `None`: a newer program's.
    pub fn definition(&self) -> Option<&'static Definition> {
        Definition::named(&self.definition, self.def_version)
    }

    pub fn forward(&self) -> bool {
        self.direction == "F"
    }

    pub fn finished(&self) -> bool {
        self.finished_at.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Undo,
}

impl Direction {
    pub fn letter(self) -> &'static str {
        match self {
            Direction::Forward => "F",
            Direction::Undo => "C",
        }
    }
}

/// What was asked of a provider. Written before the call; one row per step, direction and generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    pub effect_id: Uuid,
    pub step: Step,
    pub direction: Direction,
    pub generation: i16,
    pub operation: bizing_stripe::Operation,
    pub request: bizing_stripe::Encoded,
    pub idempotency_key: String,
    pub first_sent_at: Option<DateTime<Utc>>,
    pub last_sent_at: Option<DateTime<Utc>>,
    pub outcome: Outcome,
    /// The provider keeps an error under this key and would only repeat it: look, never resend.
    pub stored_error: bool,
    pub provider_object: Option<String>,
    /// A person said what became of it, and by what they know.
    pub evidence: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Intended,
    Unknown,
    Confirmed,
    Rejected,
    NotExecuted,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Intended => "intended",
            Outcome::Unknown => "unknown",
            Outcome::Confirmed => "confirmed",
            Outcome::Rejected => "rejected",
            Outcome::NotExecuted => "not_executed",
        }
    }

    pub fn open(self) -> bool {
        matches!(self, Outcome::Intended | Outcome::Unknown)
    }

    pub(super) fn from_word(word: &str) -> Option<Outcome> {
        [
            Outcome::Intended,
            Outcome::Unknown,
            Outcome::Confirmed,
            Outcome::Rejected,
            Outcome::NotExecuted,
        ]
        .into_iter()
        .find(|o| o.word() == word)
    }
}

/// `bz1:<installation>:<saga>:<step>:<F|C>:<generation>`. Never an amount, never a time: two equal refunds may both be
/// meant, and a retry must find the same key.
pub fn idempotency_key(
    installation: &str,
    saga: Uuid,
    step: Step,
    direction: Direction,
    generation: i16,
) -> String {
    format!(
        "bz1:{installation}:{saga}:{}:{}:{generation}",
        step.name(),
        direction.letter()
    )
}
