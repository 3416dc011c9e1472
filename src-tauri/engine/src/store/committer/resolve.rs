//! What became of a commit whose answer got lost. The old backend is ended first: as long as it lives it may still commit.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::store::append::{Append, Appended};

const PAUSE: Duration = Duration::from_millis(20);
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// A server process, told apart from a later one that got its number.
#[derive(Debug, Clone)]
pub struct Backend {
    pid: i32,
    started_at: DateTime<Utc>,
}

impl Backend {
    pub async fn of(conn: &mut PgConnection) -> sqlx::Result<Backend> {
        let (pid, started_at) = sqlx::query_as(
            "select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()",
        )
        .fetch_one(conn)
        .await?;
        Ok(Backend { pid, started_at })
    }

    /// Asks it to end, and returns once it has. A login may end its own sessions.
    async fn end(&self, conn: &mut PgConnection) -> sqlx::Result<()> {
        while sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) > 0 from pg_stat_activity where pid = $1 and backend_start = $2",
        )
        .bind(self.pid)
        .bind(self.started_at)
        .fetch_one(&mut *conn)
        .await?
        {
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Version and position of each event that is in the log.
pub struct Found(HashMap<Uuid, (i64, i64)>);

impl Found {
    /// An append is there whole or not at all.
    pub fn of(&self, append: &Append) -> Option<Appended> {
        let at = |index: Option<&super::append::NewEvent>| index.and_then(|e| self.0.get(&e.id.0));
        let (first, last) = (at(append.events.first())?, at(append.events.last())?);
        Some(Appended {
            version: last.0,
            first_position: Some(first.1),
            last_position: Some(last.1),
            repeated: false,
        })
    }
}

/// Which of these events were committed; certain, or an error when the database stays away until then.
pub async fn committed(
    login: &PgConnectOptions,
    old: &Backend,
    events: &[Uuid],
    until: Instant,
) -> sqlx::Result<Found> {
    loop {
        let asked = timeout_at(until, ask(login, old, events)).await;
        match asked {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if Instant::now() + BETWEEN_TRIES >= until => return Err(error),
            Ok(Err(error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the log did not answer yet"
                );
                sleep(BETWEEN_TRIES).await;
            }
            Err(_) => return Err(sqlx::Error::PoolTimedOut),
        }
    }
}

async fn ask(login: &PgConnectOptions, old: &Backend, events: &[Uuid]) -> sqlx::Result<Found> {
    let mut conn = PgConnection::connect_with(login).await?;
    old.end(&mut conn).await?;
    let rows: Vec<(Uuid, i64, i64)> =
        sqlx::query_as("select event_id, version, position from api.find_appended($1)")
            .bind(events)
            .fetch_all(&mut conn)
            .await?;
    let _ = conn.close().await;
    Ok(Found(
        rows.into_iter()
            .map(|(id, version, position)| (id, (version, position)))
            .collect(),
    ))
}
