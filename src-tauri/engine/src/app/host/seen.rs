//! How far this computer has seen the log, in a file beside its data. A database that was brought back to an earlier state,
//! by whatever tool, does not know what it has lost; this file does.
//!
//! Looked at before any work starts: what was owed may have been sent after the moment the database is back at.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::pools;
use crate::app::backups;
use crate::app::place::moment;
use crate::app::wire::{AppError, LogChange, LogChangeKind};
use crate::runtime::config::Config;
use crate::runtime::files;
use crate::store::read;
use crate::store::subscription::{Mark, SubscriptionError, log_identity};

/// Told for this long after it was found.
const TOLD: TimeDelta = TimeDelta::days(2);

/// The log is not the one that was followed before. See [`LogChange`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    pub what: LogChangeKind,
    pub found_at: DateTime<Utc>,
    pub taken_at: Option<DateTime<Utc>>,
    pub read_upto: i64,
    pub kept_upto: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    mark: Mark,
    #[serde(default)]
    changed: Option<Changed>,
}

/// What this computer knows of the log in one database. A copy beside it, under another name, is another one.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    path: PathBuf,
    key: String,
}

impl Seen {
    pub fn of(config: &Config, installation: &str, database: &str) -> Seen {
        Seen {
            path: config.data.join("seen.json"),
            key: format!("{installation} {database}"),
        }
    }

    /// Compares, settles what another tool's restore leaves open, and remembers where the log stands now. `admin`: the
    /// login that may settle; without it the change is told all the same.
    pub async fn look(
        &self,
        conn: &mut PgConnection,
        admin: Option<&PgConnectOptions>,
    ) -> Result<(Uuid, Option<Changed>), AppError> {
        let entry = self.read();
        let mut changed = match &entry {
            Some(entry) => difference(conn, &entry.mark).await?,
            None => None,
        };
        if let (Some(found), Some(entry)) = (&changed, &entry) {
            tracing::error!(
                what = ?found.what, read_upto = found.read_upto, kept_upto = found.kept_upto,
                "the log is not the one that this computer has followed"
            );
            let silent = matches!(
                found.what,
                LogChangeKind::WentBack | LogChangeKind::Replaced
            );
            if let (true, Some(admin)) = (silent, admin) {
                let mut conn = pools::connect(admin).await?;
                if backups::as_restored_by_another_tool(&mut conn, entry.mark.log).await? {
                    tracing::warn!(
                        "what was still owed to customers then is for a person to decide"
                    );
                }
                conn.close().await?;
            }
        }
        if changed.is_none() {
            changed = entry
                .and_then(|entry| entry.changed)
                .filter(|changed| Utc::now() - changed.found_at < TOLD);
        }
        let mark = mark(conn).await?;
        self.write(Entry {
            mark,
            changed: changed.clone(),
        });
        Ok((mark.log, changed))
    }

    /// Remembers how far the log is. `false`: it is another one than it was, and nothing is remembered.
    pub async fn keep(&self, conn: &mut PgConnection) -> Result<bool, AppError> {
        let Some(entry) = self.read() else {
            return Ok(true);
        };
        let mark = mark(conn).await?;
        // A mark of another log is of another process, which tells it itself.
        if entry.mark.log == mark.log && difference(conn, &entry.mark).await?.is_some() {
            return Ok(false);
        }
        if mark != entry.mark {
            self.write(Entry { mark, ..entry });
        }
        Ok(true)
    }

    fn book(&self) -> BTreeMap<String, Entry> {
        // A file that cannot be understood knows nothing: better than a desk that does not open.
        std::fs::read(&self.path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    fn read(&self) -> Option<Entry> {
        self.book().remove(&self.key)
    }

    fn write(&self, entry: Entry) {
        let mut book = self.book();
        book.insert(self.key.clone(), entry);
        let written = serde_json::to_vec_pretty(&book)
            .map_err(std::io::Error::other)
            .and_then(|text| files::replace(&self.path, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "this computer cannot remember how far it has seen the log");
        }
    }
}

async fn mark(conn: &mut PgConnection) -> Result<Mark, AppError> {
    let safe = read::safe_position(conn).await?;
    Ok(Mark::at(conn, safe).await?)
}

async fn difference(conn: &mut PgConnection, mark: &Mark) -> Result<Option<Changed>, AppError> {
    let found = |what, kept_upto, taken_at| Changed {
        what,
        found_at: Utc::now(),
        taken_at,
        read_upto: mark.position,
        kept_upto,
    };
    let now = log_identity(conn).await?;
    let taken_at = now.restored.as_ref().and_then(|r| r.taken_at);
    Ok(match mark.check(conn, "this computer").await {
        Ok(()) if now.log_id == mark.log => None,
        Ok(()) => Some(found(
            LogChangeKind::Restored,
            Some(mark.position),
            taken_at,
        )),
        Err(SubscriptionError::Restored { since, .. }) => {
            Some(found(LogChangeKind::Restored, Some(since), taken_at))
        }
        Err(SubscriptionError::Backwards { issued, .. }) => {
            Some(found(LogChangeKind::WentBack, Some(issued), None))
        }
        Err(SubscriptionError::Replaced { .. }) => Some(found(LogChangeKind::Replaced, None, None)),
        Err(SubscriptionError::Foreign { .. }) => {
            Some(found(LogChangeKind::OtherCopy, None, taken_at))
        }
        Err(SubscriptionError::Database(error)) => return Err(error.into()),
        // The projections ask for those themselves, and say so.
        Err(SubscriptionError::Assumption { .. }) => None,
    })
}

impl Changed {
    pub fn shown(&self, zone: &str) -> Result<LogChange, AppError> {
        Ok(LogChange {
            what: self.what,
            found_at: moment(self.found_at, zone)?,
            taken_at: self.taken_at.map(|at| moment(at, zone)).transpose()?,
            read_upto: self.read_upto,
            kept_upto: self.kept_upto,
        })
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let read = self.read_upto;
        match (self.what, self.kept_upto) {
            (LogChangeKind::Restored, Some(kept)) if kept >= read => {
                write!(
                    f,
                    "the log was restored from a backup; all that this computer had read of it (up to {read}) is in it"
                )
            }
            (LogChangeKind::Restored, kept) => write!(
                f,
                "the log was restored from a backup that ends at position {}; this computer had read up to {read}",
                kept.unwrap_or(0)
            ),
            (LogChangeKind::WentBack, kept) => write!(
                f,
                "the log ended at position {}, and this computer had read up to {read}: another tool brought the database back to an earlier \
                 state. What was still owed to customers then is marked as unclear",
                kept.unwrap_or(0)
            ),
            (LogChangeKind::Replaced, _) => write!(
                f,
                "at position {read} stands another event than the one this computer had read there: another tool brought the database back \
                 to an earlier state. What was still owed to customers then is marked as unclear"
            ),
            (LogChangeKind::OtherCopy, _) => {
                write!(
                    f,
                    "this is another copy of the log than the one this computer followed before"
                )
            }
        }?;
        write!(f, " (found {})", self.found_at.format("%Y-%m-%d %H:%M UTC"))
    }
}
