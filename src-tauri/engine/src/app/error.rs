//! From what went wrong inside to what a person can act on. SQL and secrets never pass.

use super::wire::{AppError, Code, Retry};
use crate::runtime::ids;
use crate::store::append::AppendError;

/// As long as what people write may be, in signs. The database holds it, by constraints `<field>_length`.
pub const LONGEST_REASON: usize = 1000;
pub const LONGEST_EVIDENCE: usize = 500;

impl AppError {
    pub fn new(code: Code, message: impl Into<String>) -> AppError {
        AppError {
            code,
            message: message.into(),
            hint: None,
            field: None,
            retry: Retry::Never,
            correlation_id: ids::v7(),
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> AppError {
        self.hint = Some(hint.into());
        self
    }

    pub fn field(mut self, field: impl Into<String>) -> AppError {
        self.field = Some(field.into());
        self
    }

    pub fn retry(mut self, retry: Retry) -> AppError {
        self.retry = retry;
        self
    }

    /// Wrong input, at its field.
    pub fn invalid(field: &str, message: impl Into<String>) -> AppError {
        AppError::new(Code::Invalid, message).field(field)
    }
}

pub fn unknown_command(name: &str) -> AppError {
    AppError::new(
        Code::UnknownCommand,
        format!("This version does not know the command `{name}`."),
    )
    .hint("The window and the engine are of different versions: start the app again.")
}

pub fn bad_request(command: &str, error: &serde_json::Error) -> AppError {
    AppError::new(
        Code::Invalid,
        format!("`{command}` was asked with parameters that do not fit: {error}."),
    )
}

/// A fault of ours: logged with its whole chain under the id that the window shows.
pub fn internal(error: impl std::error::Error + 'static) -> AppError {
    let shown = AppError::new(
        Code::Internal,
        "Something inside did not work. Nothing was changed by this request.",
    )
    .hint("Try again. If it comes back, send the id below to whoever looks after this desk.")
    .retry(Retry::Now);
    tracing::error!(correlation_id = %shown.correlation_id, error = &error as &dyn std::error::Error, "request failed");
    shown
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> AppError {
        database(error)
    }
}

/// What the store did not take. Conflicts mean something to a use case, so it looks at them first.
pub fn append(error: AppendError) -> AppError {
    match error {
        AppendError::Forbidden(e) | AppendError::Database(e) => database(e),
        AppendError::Invalid { ref field, .. } => {
            let field = field.clone();
            AppError::new(Code::Invalid, format!("That cannot be recorded: {error}.")).field(field)
        }
        AppendError::CommandReused { .. } => AppError::new(
            Code::CommandReused,
            "This form was sent before with other content.",
        )
        .hint("Open a new form; what you typed can be copied over."),
        AppendError::Conflict { .. } | AppendError::Busy { .. } => AppError::new(
            Code::Conflict,
            "Somebody else changed this at the same moment. Nothing was changed by you.",
        )
        .hint("Look at it as it is now, then try again.")
        .retry(Retry::Now),
        AppendError::Unknown(_) | AppendError::Closing => no_answer(),
        AppendError::DuplicateEvent { .. } => internal(error),
    }
}

/// More was written at a field than it takes.
fn too_long(field: &str) -> AppError {
    match field {
        "evidence" => AppError::invalid(
            field,
            format!(
                "At most {LONGEST_EVIDENCE} signs: name what shows it, such as a provider's id."
            ),
        ),
        // Of whoever says no to what another asked for.
        "reason" | "refusal" => AppError::invalid(
            "reason",
            format!("At most {LONGEST_REASON} signs: say it shorter."),
        ),
        _ => AppError::invalid(field, "More is written there than fits: say it shorter."),
    }
}

/// The database says nothing.
pub fn no_answer() -> AppError {
    AppError::new(Code::DatabaseUnreachable, "The database does not answer.")
        .hint("What you see is as it was. The desk goes on by itself as soon as the database is back.")
        .retry(Retry::After { seconds: 2 })
}

/// The database said no, or said nothing.
pub fn database(error: sqlx::Error) -> AppError {
    let code = error
        .as_database_error()
        .and_then(|d| d.code())
        .map(|c| c.into_owned())
        .unwrap_or_default();
    let shown = match (&error, code.as_str()) {
        (_, "42501") => AppError::new(Code::Forbidden, "Your login may not do that.")
            .hint("Ask an admin to do it, or to give you the right."),
        (_, "28P01" | "28000") => AppError::new(
            Code::WrongPassword,
            "The database refused the login: user or password is wrong.",
        )
        .hint("Check the address under Settings, or ask whoever runs the database."),
        (
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_),
            _,
        )
        | (_, "57P01" | "57P02" | "57P03" | "08006" | "08001" | "08003" | "53300") => no_answer(),
        // The next partition of the log is made long before; a worker that was away for ten million events makes it late.
        (sqlx::Error::Database(d), "23514") if d.message().contains("no partition of relation") => {
            AppError::new(Code::Internal, "The log has no room for another event just now. Nothing was changed by this request.")
                .hint("A worker makes room within a minute. If no computer does background work, open the desk of an admin or start `bizing-desk serve`.")
                .retry(Retry::After { seconds: 5 })
        }
        (sqlx::Error::Database(d), "23514") if let Some(field) = d.constraint().and_then(|c| c.strip_suffix("_length")) => too_long(field),
        // The server's disk: full for everybody, and nothing is half-written.
        (_, "53100") => AppError::new(Code::Internal, "The disk of the database is full. Nothing was changed by this request.")
            .hint("Free some space on the computer that runs the database; the desk goes on by itself then. Reading works meanwhile.")
            .retry(Retry::NeedsPerson),
        _ => return internal(error),
    };
    tracing::warn!(correlation_id = %shown.correlation_id, error = &error as &dyn std::error::Error, "the database refused or did not answer");
    shown
}
