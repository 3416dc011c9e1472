//! The proof that a server is ours: our password opens it, and it names our folder.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error as SqlError};

use crate::error::StartError;
use crate::folder::Folder;

/// `data` is canonical.
pub(super) async fn verify(options: &PgConnectOptions, data: &Path) -> Result<(), Refusal> {
    let mut connection = PgConnection::connect_with(options).await?;
    let query = sqlx::query_scalar("select current_setting('data_directory')");
    let folder: String = query.fetch_one(&mut connection).await?;
    let _ = connection.close().await;
    let theirs = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone().into());
    if theirs == data {
        Ok(())
    } else {
        Err(Refusal::Foreign(folder))
    }
}

/// Why a connection did not prove the server to be ours.
pub(super) enum Refusal {
    /// Starting, stopping, or not listening: ask again.
    NotNow(SqlError),
    Password,
    Foreign(String),
    Other(SqlError),
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        let code = error
            .as_database_error()
            .and_then(|e| e.code())
            .unwrap_or_default()
            .into_owned();
        match (code.as_str(), &error) {
            // cannot_connect_now, admin_shutdown, crash_shutdown, too_many_connections
            ("57P03" | "57P01" | "57P02" | "53300", _) | (_, SqlError::Io(_)) => {
                Self::NotNow(error)
            }
            ("28P01" | "28000", _) => Self::Password,
            _ => Self::Other(error),
        }
    }
}

impl Refusal {
    pub fn into_error(self, folder: &Folder) -> StartError {
        match self {
            Self::Password => StartError::Password {
                root: folder.root.clone(),
                what: "does not open it",
            },
            Self::Foreign(other) => StartError::Occupied {
                data: folder.data(),
                detail: format!("it serves {other}"),
            },
            Self::NotNow(source) | Self::Other(source) => StartError::Unanswered {
                data: folder.data(),
                log: folder.log(),
                source,
            },
        }
    }
}
