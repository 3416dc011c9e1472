//! What has to be done now and then: show that somebody looks after webhooks, keep the partitions of the attempts, carry out
//! decisions for many.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::delivery::http::Client;
use crate::runtime::bell::Bell;
use crate::runtime::clock::Moment;
use crate::runtime::hints::Hints;

const ATTEND_EVERY: Duration = Duration::from_secs(60);
/// After so long nothing is claimed before somebody has attended: the computer slept.
const STALE: Duration = Duration::from_secs(5 * 60);
/// Deliveries at once.
const FORGET: i32 = 2_000;
const KEEP_EVERY: Duration = Duration::from_secs(3_600);
/// While a decision for many is carried out: its own pace says how fast it goes.
const BULK_PAUSE: Duration = Duration::from_millis(250);
/// Others ring the same bell.
const RUNG_AT_MOST_EVERY: Duration = Duration::from_secs(1);

pub async fn run(
    pool: &PgPool,
    client: &Client,
    bell: &Bell,
    hints: &Hints,
    attendance: &Attendance,
    stop: CancellationToken,
) {
    let mut rings = bell.listen();
    let (mut attended, mut kept) = (Instant::now(), None::<Instant>);
    loop {
        rings.borrow_and_update();
        if attended.elapsed() >= ATTEND_EVERY {
            log_failure("presence", attendance.attend(pool, hints).await);
            attended = Instant::now();
            client.tidy();
        }
        if kept.is_none_or(|at| at.elapsed() >= KEEP_EVERY) {
            let attempts = sqlx::query_scalar::<_, i64>("select delivery.keep_attempts()")
                .fetch_one(pool)
                .await;
            let deliveries = sqlx::query_scalar::<_, i32>("select delivery.forget_deliveries($1)")
                .bind(FORGET)
                .fetch_one(pool)
                .await;
            // A piece at a time: the next comes soon.
            kept = match (&attempts, &deliveries) {
                (Ok(10_000..), _) | (_, Ok(FORGET..)) => None,
                _ => Some(Instant::now()),
            };
            log_failure("the partitions of the attempts", attempts.map(|_| ()));
            log_failure("deliveries that are over for long", deliveries.map(|_| ()));
        }
        let open = match bulks(pool).await {
            Ok((open, done)) => {
                if done > 0 {
                    bell.ring();
                    hints.changed("deliveries");
                }
                open > 0
            }
            Err(error) => {
                log_failure("decisions for many", Err(error));
                false
            }
        };
        let now = Instant::now();
        let pause = match kept {
            _ if open => BULK_PAUSE,
            None => RUNG_AT_MOST_EVERY,
            Some(_) => ATTEND_EVERY,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(now + pause) => {}
            _ = rings.changed(), if !open => tokio::time::sleep_until(now + RUNG_AT_MOST_EVERY).await,
        }
    }
}

/// When this process last said that it looks after webhooks. A computer that slept wakes up with all that fell due meanwhile, before any
/// timer of it: so the claim asks too, by the clock on the wall.
#[derive(Default)]
pub struct Attendance(Mutex<Option<Moment>>);

impl Attendance {
    /// Says that somebody is here. After a day without anybody, what waits is held.
    pub async fn attend(&self, pool: &PgPool, hints: &Hints) -> sqlx::Result<()> {
        let began = Moment::now();
        let held: i64 = sqlx::query_scalar("select delivery.attend()")
            .fetch_one(pool)
            .await?;
        self.note(began);
        if held > 0 {
            tracing::warn!(
                held,
                "nobody had sent webhooks for over a day: what was waiting is held until a person decides"
            );
            hints.changed("endpoints");
            hints.changed("deliveries");
        }
        Ok(())
    }

    /// Before a claim.
    pub async fn renew(&self, pool: &PgPool, hints: &Hints) -> sqlx::Result<()> {
        match self.is_stale() {
            true => self.attend(pool, hints).await,
            false => Ok(()),
        }
    }

    fn note(&self, at: Moment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    fn is_stale(&self) -> bool {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_none_or(|at| at.elapsed_at_most() > STALE)
    }
}

async fn bulks(pool: &PgPool) -> sqlx::Result<(i32, i32)> {
    sqlx::query_as("select open, done from delivery.work_bulks()")
        .fetch_one(pool)
        .await
}

fn log_failure(what: &str, done: sqlx::Result<()>) {
    if let Err(error) = done {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "{what} of webhooks: trying again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_never_attended_or_slept_since_attends_before_it_claims() {
        let attendance = Attendance::default();
        assert!(attendance.is_stale(), "never");
        attendance.note(Moment::now());
        assert!(!attendance.is_stale(), "just now");
        // The steady clock stood still, the one on the wall did not.
        attendance.note(Moment::slept(Duration::from_secs(3_600)));
        assert!(attendance.is_stale(), "an hour's sleep");
    }
}
