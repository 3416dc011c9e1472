//! The connections of those who carry out appends: each has one, keeps it while it is used, and makes a new one when it is lost.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout_at};

use super::resolve::Backend;

/// How often a connection is tried.
const AGAIN: Duration = Duration::from_millis(100);
/// A connection that nobody needed for so long is given back.
pub const IDLE: Duration = Duration::from_secs(60);

pub struct Lines {
    pub login: PgConnectOptions,
    /// How long.
    patience: Duration,
    kept: Vec<Mutex<Option<(Line, Instant)>>>,
}

pub struct Line {
    pub conn: PgConnection,
    pub backend: Backend,
}

impl Lines {
    pub fn new(how_many: usize, login: PgConnectOptions, patience: Duration) -> Lines {
        let kept = (0..how_many).map(|_| Mutex::default()).collect();
        Lines {
            login,
            patience,
            kept,
        }
    }

    /// The one that it has, or a new one.
    pub async fn take(&self, who: usize) -> sqlx::Result<Line> {
        let kept = self.of(who).take();
        match kept {
            Some((line, _)) => Ok(line),
            None => self.connect().await,
        }
    }

    pub fn keep(&self, who: usize, line: Line) {
        *self.of(who) = Some((line, Instant::now()));
    }

    /// Hangs up those that nobody needed for a while.
    pub fn release_idle(&self) {
        for who in 0..self.kept.len() {
            let mut kept = self.of(who);
            if kept.as_ref().is_some_and(|(_, at)| at.elapsed() >= IDLE) {
                *kept = None;
            }
        }
    }

    /// Nothing was sent yet, so a server that restarts or a session that is killed at its birth is simply asked again.
    async fn connect(&self) -> sqlx::Result<Line> {
        let until = Instant::now() + self.patience;
        loop {
            let connecting = timeout_at(until, async {
                let mut conn = PgConnection::connect_with(&self.login).await?;
                let backend = Backend::of(&mut conn).await?;
                Ok(Line { conn, backend })
            });
            match connecting.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Err(error) if Instant::now() + AGAIN < until => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a committer does not reach the database yet"
                    );
                    sleep(AGAIN).await;
                }
                ended => return ended,
            }
        }
    }

    fn of(&self, who: usize) -> std::sync::MutexGuard<'_, Option<(Line, Instant)>> {
        // Nothing that holds it can panic.
        self.kept[who]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
