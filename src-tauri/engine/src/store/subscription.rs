//! What whoever follows the log has to be sure of before it trusts a checkpoint. docs/EVENT-STORE.md says why.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// The proof that nothing is skipped does not hold here.
    #[error("the log must not be followed here: that {rule} does not hold ({found})")]
    Assumption { rule: String, found: String },
    /// As after a backup was restored beneath somebody who had read further.
    #[error(
        "the log ends at position {issued}, and {who} has read up to {checkpoint}: the log went backwards, as after an older backup was \
         restored; rebuild {who} from the start"
    )]
    Backwards {
        who: String,
        checkpoint: i64,
        issued: i64,
    },
    /// It went backwards and grew past the checkpoint again.
    #[error(
        "at position {position} {who} has read another event than stands there now: the log is not the one it followed; rebuild {who} from \
         the start"
    )]
    Replaced { who: String, position: i64 },
    /// It says so itself: it was restored from a backup that does not hold all that was read.
    #[error(
        "the log was restored at {at} from a backup that ends at position {since}, and {who} has read up to {checkpoint}: rebuild {who} \
         from the start"
    )]
    Restored {
        who: String,
        checkpoint: i64,
        since: i64,
        at: DateTime<Utc>,
    },
    /// Another log altogether, or a copy from before the restore under which the mark was made.
    #[error("{who} has followed another log than this one: rebuild {who} from the start")]
    Foreign { who: String },
    #[error("the log could not be asked")]
    Database(#[from] sqlx::Error),
}

/// Whether the proof's assumptions hold. To be asked when a reader starts; they change only by a hand on the database.
pub async fn check_assumptions(conn: &mut PgConnection) -> Result<(), SubscriptionError> {
    let broken: Option<(String, String)> =
        sqlx::query_as("select rule, found from api.log_assumptions() where not holds limit 1")
            .fetch_optional(conn)
            .await?;
    match broken {
        None => Ok(()),
        Some((rule, found)) => Err(SubscriptionError::Assumption { rule, found }),
    }
}

/// Whether this log has been as far as the reader says.
pub async fn check_checkpoint(
    conn: &mut PgConnection,
    who: &str,
    checkpoint: i64,
) -> Result<(), SubscriptionError> {
    let issued: i64 = sqlx::query_scalar("select api.issued_position()")
        .fetch_one(conn)
        .await?;
    if checkpoint <= issued {
        return Ok(());
    }
    Err(SubscriptionError::Backwards {
        who: who.to_owned(),
        checkpoint,
        issued,
    })
}

/// Which log this is. A restore gives it a new name, so that whoever remembers a position under the old one notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    pub log_id: Uuid,
    /// `None`: it was never restored.
    pub restored: Option<Restored>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When it got its name.
    pub at: DateTime<Utc>,
    /// When the backup was taken; `None`: it came back by another tool than ours.
    pub taken_at: Option<DateTime<Utc>>,
    /// Positions above it are not those of the log before.
    pub since_position: i64,
}

/// Every name that this log has had, the newest last.
async fn identities(conn: &mut PgConnection) -> sqlx::Result<Vec<LogIdentity>> {
    let rows = sqlx::query(
        "select log_id, since_position, made_at, restored_from is not null as restored, (restored_from->>'taken_at')::timestamptz as taken_at
           from read.log_identity_v1 order by no",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let restored = Restored {
                at: row.try_get("made_at")?,
                taken_at: row.try_get("taken_at")?,
                since_position: row.try_get("since_position")?,
            };
            Ok(LogIdentity {
                log_id: row.try_get("log_id")?,
                restored: row.try_get::<bool, _>("restored")?.then_some(restored),
            })
        })
        .collect()
}

pub async fn log_identity(conn: &mut PgConnection) -> sqlx::Result<LogIdentity> {
    let newest = identities(conn).await?.pop();
    newest.ok_or(sqlx::Error::RowNotFound)
}

/// A checkpoint that also remembers which log it was read in and what stood there, for readers whose checkpoint is not
/// restored together with the log: a file, another program, a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub log: Uuid,
    pub position: i64,
    /// Of the last event at or below the position; `None`: there was none.
    pub event: Option<Uuid>,
}

impl Mark {
    pub async fn at(conn: &mut PgConnection, position: i64) -> sqlx::Result<Mark> {
        Ok(Mark {
            log: log_identity(conn).await?.log_id,
            event: last_event(conn, position).await?,
            position,
        })
    }

    /// Whether everything up to the mark is in this log, so that a reader may go on from there. A restore of a backup
    /// that holds all of it is none of the reader's business; it makes a new mark.
    pub async fn check(&self, conn: &mut PgConnection, who: &str) -> Result<(), SubscriptionError> {
        let who = || who.to_owned();
        let names = identities(conn).await?;
        let Some(at) = names.iter().position(|name| name.log_id == self.log) else {
            return Err(SubscriptionError::Foreign { who: who() });
        };
        // Several restores may lie between: what the oldest backup did not hold is gone.
        let kept = names[at + 1..]
            .iter()
            .filter_map(|name| name.restored.as_ref())
            .min_by_key(|restored| restored.since_position);
        if let Some(restored) = kept.filter(|restored| restored.since_position < self.position) {
            return Err(SubscriptionError::Restored {
                who: who(),
                checkpoint: self.position,
                since: restored.since_position,
                at: restored.at,
            });
        }
        check_checkpoint(conn, &who(), self.position).await?;
        if last_event(conn, self.position).await? == self.event {
            return Ok(());
        }
        Err(SubscriptionError::Replaced {
            who: who(),
            position: self.position,
        })
    }
}

async fn last_event(conn: &mut PgConnection, position: i64) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar(
        "select event_id from read.log_v1 where position <= $1 order by position desc limit 1",
    )
    .bind(position)
    .fetch_optional(conn)
    .await
}
