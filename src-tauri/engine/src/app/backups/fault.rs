//! What can go wrong with a backup, and how that is said to a person.

use std::io;
use std::path::{Path, PathBuf};

use bizing_postgres::ToolError;

use crate::app::error::{database, internal};
use crate::app::wire::{AppError, Code, Retry};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
    #[error("{doing} {} failed", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} MB are free in {}, and the backup needs about {} MB", free >> 20, folder.display(), needs >> 20)]
    Room {
        folder: PathBuf,
        free: u64,
        needs: u64,
    },
    #[error("{} has no manifest beside it that can be read", path.display())]
    NoManifest { path: PathBuf },
    #[error("{} was written by version {app_version} of the app, which is newer than this one", path.display())]
    FromTheFuture { path: PathBuf, app_version: String },
    #[error("the file {} is not what was written: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("what was restored differs from what was backed up: {what}")]
    Differs { what: String },
    #[error("no backup lies at {}", path.display())]
    NotHere { path: PathBuf },
    #[error("{file} is the newest backup that was proved good")]
    LastGood { file: String },
    #[error("the database `{name}` exists already")]
    NameTaken { name: String },
    #[error("`{name}` cannot be the name of a database here")]
    BadName { name: String },
    #[error("{} cannot be restored into: {why}", path.display())]
    BadFolder { path: PathBuf, why: String },
    #[error(transparent)]
    Server(#[from] bizing_postgres::StartError),
    #[error("the private server of the restored folder does not stop")]
    Stop(#[from] bizing_postgres::StopError),
    #[error("the login `{login}` may not make databases, which restoring needs")]
    MayNotMake { login: String },
    #[error("the database `{name}` is open in {others} other connections")]
    InUse { name: String, others: i64 },
    #[error("the backup belongs to another installation ({theirs}, this is {ours})")]
    Foreign { theirs: String, ours: String },
    #[error("erasures could not be applied again")]
    Erasing(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BackupError {
    pub fn file(doing: &'static str, path: &Path, source: io::Error) -> BackupError {
        BackupError::File {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// One sentence with its cause, for a row or a log.
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(c) = cause {
            text = format!("{}: {c}", text.trim_end_matches('.'));
            cause = c.source();
        }
        text
    }

    pub fn shown(self) -> AppError {
        let mut text = format!("{}.", self.told().trim_end_matches('.'));
        if let Some(first) = text.get(..1) {
            text = format!("{}{}", first.to_uppercase(), &text[1..]);
        }
        let (code, hint) = match self {
            BackupError::Database(error) => return database(error),
            BackupError::Erasing(_) => (
                Code::Internal,
                "The restored copy is not opened before that is done, so nobody who was erased is back. Try again.",
            ),
            BackupError::Tool(ToolError::NotFound { .. }) => (
                Code::Invalid,
                "Until then this computer makes no backup of that database.",
            ),
            BackupError::Tool(_) => (
                Code::Invalid,
                "Nothing was changed. The log has the whole answer of the tool.",
            ),
            BackupError::File { ref source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                (
                    Code::Invalid,
                    "Free some space on that disk, then try again. Older backups are untouched.",
                )
            }
            BackupError::File { .. } => (
                Code::Invalid,
                "Mend the cause, then try again. Older backups are untouched.",
            ),
            BackupError::Room { .. } => (
                Code::Invalid,
                "Free some space on that disk, then try again. Older backups are untouched.",
            ),
            BackupError::NoManifest { .. } => (
                Code::Invalid,
                "Name the .dump file of a backup; its .json file must stand beside it under the same name.",
            ),
            BackupError::FromTheFuture { .. } => {
                (Code::SchemaNewer, "Update the app, then try again.")
            }
            BackupError::Damaged { .. } | BackupError::Differs { .. } => (
                Code::Invalid,
                "Do not rely on this file. Take another backup now, and verify an older one.",
            ),
            BackupError::NotHere { .. } => (
                Code::NotFound,
                "Give the file a name that `bizing-desk backups` lists; a backup is deleted on the computer where it lies.",
            ),
            BackupError::LastGood { .. } => (
                Code::Refused,
                "Without it nothing is known to be restorable. Take another with `bizing-desk backup --verify`, then delete this one.",
            ),
            BackupError::NameTaken { .. } => (
                Code::Invalid,
                "Choose another name: a restore never writes into what exists.",
            ),
            BackupError::BadName { .. } => (
                Code::Invalid,
                "Use small letters, digits and _, up to 50 of them, the first one a letter.",
            ),
            BackupError::BadFolder { .. } => (
                Code::Invalid,
                "Name a folder that is not there yet, in one that is: a restore never writes into what exists.",
            ),
            BackupError::Server(_) | BackupError::Stop(_) => (
                Code::NoServer,
                "Mend that, then try again. The database in use is as it was.",
            ),
            BackupError::MayNotMake { ref login } => {
                let hint = format!(
                    "Whoever runs the server gives it the right: alter role {login} createdb."
                );
                return AppError::new(Code::Forbidden, text)
                    .hint(hint)
                    .retry(Retry::NeedsPerson);
            }
            BackupError::InUse { .. } => (
                Code::Invalid,
                "Close every window and `bizing-desk serve` that has it open, then try again.",
            ),
            BackupError::Foreign { .. } => (
                Code::Invalid,
                "Restore it beside with --into NAME, and look at it there.",
            ),
        };
        let shown = AppError::new(code, text)
            .hint(hint)
            .retry(Retry::NeedsPerson);
        tracing::warn!(correlation_id = %shown.correlation_id, "{}", shown.message);
        shown
    }
}

impl From<BackupError> for AppError {
    fn from(error: BackupError) -> AppError {
        match error {
            BackupError::Erasing(cause) => {
                let shown = BackupError::Erasing(cause);
                let mut app = internal(io::Error::other(shown.told()));
                app.message = "The erasures could not be applied to the restored copy.".to_owned();
                app
            }
            error => error.shown(),
        }
    }
}
