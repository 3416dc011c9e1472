//! What whoever follows the log has to be sure of before it trusts a checkpoint. docs/EVENT-STORE.md says why.

use sqlx::PgConnection;
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

/// A checkpoint that also remembers what stood there, for readers whose checkpoint is not restored together with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub position: i64,
    /// Of the last event at or below the position; `None`: there was none.
    pub event: Option<Uuid>,
}

impl Mark {
    pub async fn at(conn: &mut PgConnection, position: i64) -> sqlx::Result<Mark> {
        let event = last_event(conn, position).await?;
        Ok(Mark { position, event })
    }

    /// Whether the log is the one that this mark was made on, up to the mark.
    pub async fn check(&self, conn: &mut PgConnection, who: &str) -> Result<(), SubscriptionError> {
        check_checkpoint(conn, who, self.position).await?;
        if last_event(conn, self.position).await? == self.event {
            return Ok(());
        }
        Err(SubscriptionError::Replaced {
            who: who.to_owned(),
            position: self.position,
        })
    }
}

async fn last_event(conn: &mut PgConnection, position: i64) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar(
        "select event_id from core.events where position <= $1 order by position desc limit 1",
    )
    .bind(position)
    .fetch_optional(conn)
    .await
}
