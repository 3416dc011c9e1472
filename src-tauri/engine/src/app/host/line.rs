//! The line to the database. A server that refuses ends every connection, and pools make new ones; one that falls silent
//! ends nothing: whoever waits for an answer waits for ever, with a connection that the pool counts as its own.
//!
//! And the database at the other end may be another one all of a sudden: a backup was put in its place, or the server was
//! brought back to an earlier state. Then nothing that this process knows need be true any more.
//!
//! So the line is watched. When nothing comes any more, everybody who waits is told, and once the database answers again
//! the desk is opened anew over new connections, while the window stays where it is.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use super::Host;
use super::seen::Seen;
use crate::app::desk::Desk;

const LOOK: Duration = Duration::from_secs(2);
/// For a place in the pool and an answer over it.
const ANSWER: Duration = Duration::from_secs(3);
/// For a new connection and an answer over it: what a far database, or a computer at its limit, needs on a bad day.
const NEW_ANSWER: Duration = Duration::from_secs(10);
/// A pool that gives nothing for this long, although the database answers others, is full of dead connections.
const STUCK: Duration = Duration::from_secs(35);
/// Rounds of looking, so every ten seconds.
const REMEMBER_EVERY: u32 = 5;

/// Why the desk has to be opened anew.
pub(super) enum Lost {
    /// The database has fallen silent.
    Silent(Desk),
    /// It holds another log than the one that was opened.
    OtherLog,
}

/// Returns when the open desk cannot stay as it is.
pub(super) async fn lost(host: &Host) -> Lost {
    let (mut stuck_since, mut rounds) = (None, 0_u32);
    let mut highest: Option<(Uuid, i64)> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let open = host.0.open.lock().await;
        let open = open.as_ref().map(|o| (o.desk.clone(), o.seen.clone()));
        let Some((desk, seen)) = open else { continue };
        rounds += 1;
        let (asked, known) = (desk.people.clone(), desk.log_id.is_some());
        let asked = async move {
            match known {
                true => log_of(&asked).await.map(Some),
                false => asked_anything(&asked).await.map(|()| None),
            }
        };
        // An error ends the connection that it comes from: the pool helps itself.
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(Some((log, issued)))) => {
                stuck_since = None;
                let went_back = highest.is_some_and(|(of, upto)| of == log && issued < upto);
                if desk.log_id != Some(log) || went_back {
                    return Lost::OtherLog;
                }
                highest = Some((log, issued));
                let whole = match seen.filter(|_| rounds.is_multiple_of(REMEMBER_EVERY)) {
                    Some(seen) => keep(&desk.people, &seen).await,
                    None => true,
                };
                if !whole {
                    return Lost::OtherLog;
                }
                continue;
            }
            Ok(Ok(None)) => {
                stuck_since = None;
                continue;
            }
            Ok(Err(error)) if !matches!(error, sqlx::Error::PoolTimedOut) => {
                stuck_since = None;
                continue;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        let since = *stuck_since.get_or_insert_with(tokio::time::Instant::now);
        if !answers_anew(&desk.people).await || since.elapsed() > STUCK {
            return Lost::Silent(desk);
        }
    }
}

/// `false`: the log is not the one that was remembered. Whatever keeps us from looking is no reason to think so.
async fn keep(people: &PgPool, seen: &Seen) -> bool {
    let kept = async { seen.keep(&mut *people.acquire().await?).await };
    match tokio::time::timeout(ANSWER, kept).await {
        Ok(Ok(whole)) => whole,
        Ok(Err(error)) => {
            tracing::debug!("the log cannot be looked at now: {}", error.message);
            true
        }
        Err(_) => true,
    }
}

/// Returns when it answers over a new connection.
pub(super) async fn answers_again(desk: &Desk) {
    while !answers_anew(&desk.people).await {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Which log answers, and the last position that it gave out.
async fn log_of(pool: &PgPool) -> sqlx::Result<(Uuid, i64)> {
    sqlx::query_as("select (select log_id from read.log_identity_v1 order by no desc limit 1), api.issued_position()")
        .fetch_one(pool)
        .await
}

async fn asked_anything(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::query("select 1").execute(pool).await.map(|_| ())
}

async fn answers_anew(pool: &PgPool) -> bool {
    let options = pool.connect_options();
    let answer = async {
        let mut conn = options.connect().await?;
        sqlx::query("select 1").execute(&mut conn).await?;
        conn.close().await
    };
    matches!(tokio::time::timeout(NEW_ANSWER, answer).await, Ok(Ok(())))
}
