//! The line to the database. A server that refuses ends every connection, and pools make new ones; one that falls silent
//! ends nothing: whoever waits for an answer waits for ever, with a connection that the pool counts as its own.
//!
//! So the line is watched. When nothing comes any more, everybody who waits is told, and once the database answers again
//! the desk is opened anew over new connections, while the window stays where it is.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::{ConnectOptions, Connection};

use super::Host;
use crate::app::desk::Desk;

const LOOK: Duration = Duration::from_secs(2);
/// For a place in the pool and an answer over it.
const ANSWER: Duration = Duration::from_secs(3);
/// For a new connection and an answer over it: what a far database, or a computer at its limit, needs on a bad day.
const NEW_ANSWER: Duration = Duration::from_secs(10);
/// A pool that gives nothing for this long, although the database answers others, is full of dead connections.
const STUCK: Duration = Duration::from_secs(35);

/// Returns when the database of the open desk has fallen silent.
pub(super) async fn fell_silent(host: &Host) -> Desk {
    let mut stuck_since = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let desk = host.0.open.lock().await.as_ref().map(|o| o.desk.clone());
        let Some(desk) = desk else { continue };
        // An error ends the connection that it comes from: the pool helps itself.
        if tokio::time::timeout(ANSWER, asked(&desk.people))
            .await
            .is_ok_and(|answer| !matches!(answer, Err(sqlx::Error::PoolTimedOut)))
        {
            stuck_since = None;
            continue;
        }
        let since = *stuck_since.get_or_insert_with(tokio::time::Instant::now);
        if !answers_anew(&desk.people).await || since.elapsed() > STUCK {
            return desk;
        }
    }
}

/// Returns when it answers over a new connection.
pub(super) async fn answers_again(desk: &Desk) {
    while !answers_anew(&desk.people).await {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn asked(pool: &PgPool) -> sqlx::Result<()> {
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
