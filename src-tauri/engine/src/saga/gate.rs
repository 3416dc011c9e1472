//! A provider that refuses everybody, or answers nobody: nothing is asked of it, no saga uses up its tries, and one case
//! tells people.
//!
//! Shared by all workers through one row. One saga at a time is sent ahead; its answer opens the way for the others, who
//! follow at the provider's rate, so that a recovered provider is not met by a crowd.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::ids::WorkerId;
use crate::runtime::clock::Moment;

pub const STRIPE: &str = "stripe";
/// One saga is sent ahead this often while a key is refused: a person mends that, not time.
pub const REFUSED: Duration = Duration::from_secs(30);
/// And while a provider is only away.
pub const AWAY: Duration = Duration::from_secs(10);
/// That many calls in a row without an answer are the provider's fault and no saga's.
const FAILURES: i32 = 5;
/// A row that began longer ago than this says nothing about now.
const ROW: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// This saga is sent ahead: its answer opens the way.
    Ahead,
    Shut {
        until: DateTime<Utc>,
    },
}

/// How many calls one worker makes at once. The figure is people's, and comes with the worker's sign of life.
#[derive(Clone, Default)]
pub struct Calls(Arc<InFlight>);

#[derive(Default)]
struct InFlight {
    now: AtomicU32,
    /// 0: not known yet, so not bounded by anything but the worker's own sagas.
    most: AtomicU32,
    ended: Notify,
    /// When one of them was answered last, whatever the answer was.
    answered: Mutex<Option<Moment>>,
}

impl Calls {
    pub fn bound(&self, most: u32) {
        self.0.most.store(most, Ordering::Relaxed);
        self.0.ended.notify_waiters();
    }

    pub fn answered(&self) {
        *self.last_answer() = Some(Moment::now());
    }

    /// How long ago the provider answered this worker.
    fn silent_for(&self) -> Option<Duration> {
        self.last_answer().map(Moment::elapsed)
    }

    fn last_answer(&self) -> MutexGuard<'_, Option<Moment>> {
        self.0
            .answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn. The call is over when what this returns is dropped.
    pub async fn turn(&self) -> Turn {
        loop {
            let ended = self.0.ended.notified();
            let most = match self.0.most.load(Ordering::Relaxed) {
                0 => u32::MAX,
                most => most,
            };
            let taken = self
                .0
                .now
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                    (n < most).then_some(n + 1)
                });
            if taken.is_ok() {
                return Turn(self.0.clone());
            }
            // A call that ended between the look and here is seen by the next look at the latest.
            let _ = tokio::time::timeout(Duration::from_millis(50), ended).await;
        }
    }
}

pub struct Turn(Arc<InFlight>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

/// Whether this saga must not ask now. The one that is sent ahead may.
pub async fn looks(conn: &mut PgConnection, saga: Uuid) -> sqlx::Result<Gate> {
    let row: Option<(bool, Option<DateTime<Utc>>, Option<Uuid>)> = sqlx::query_as(
        "select state <> 'closed', open_until, probe_saga from saga.provider_gate where provider = $1",
    )
    .bind(STRIPE)
    .fetch_optional(conn)
    .await?;
    Ok(match row {
        Some((true, _, Some(probe))) if probe == saga => Gate::Ahead,
        Some((true, Some(until), _)) => Gate::Shut { until },
        _ => Gate::Open,
    })
}

/// What sagas of a claim must not be while the provider that their step asks is shut.
pub const PASSES: &str = "(i.asks is distinct from 'stripe'
      or not exists (select 1 from saga.provider_gate g where g.provider = 'stripe' and g.state <> 'closed'))";

/// Shuts it, and opens the one case that says so.
pub async fn shut(pool: &PgPool, reason: &str, probe_after: Duration) -> sqlx::Result<()> {
    sqlx::query(
        "with g as (update saga.provider_gate set state = 'open', reason = $2, open_until = now() + $3, probe_saga = null, failures = 0 where provider = $1 returning provider)
         insert into saga.attention (case_id, kind, severity, fact)
         select gen_random_uuid(), 'provider:' || provider, 1, jsonb_build_object('provider', provider, 'reason', $2::text) from g on conflict do nothing",
    )
    .bind(STRIPE)
    .bind(reason)
    .bind(probe_after)
    .execute(pool)
    .await
    .map(|_| ())
}

/// Counts a call without an answer, in a row that the last answer to this worker ended. `true`: it is shut now.
pub async fn away(pool: &PgPool, calls: &Calls, reason: &str) -> sqlx::Result<bool> {
    let row = calls.silent_for().map_or(ROW, |silent| silent.min(ROW));
    let counted: Option<(bool, i32)> = sqlx::query_as(
        "update saga.provider_gate
            set failures = case when failing_since > now() - make_interval(secs => $2) then failures + 1 else 1 end,
                failing_since = case when failing_since > now() - make_interval(secs => $2) then failing_since else now() end
          where provider = $1 returning state <> 'closed', failures",
    )
    .bind(STRIPE)
    .bind(row.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    match counted {
        // Others found out while this one still waited.
        Some((true, _)) => Ok(true),
        Some((false, failures)) if failures >= FAILURES => {
            shut(pool, reason, AWAY).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// It answers again: the case closes, and those that waited follow at its rate.
pub async fn open(pool: &PgPool) -> sqlx::Result<()> {
    let mut tx = crate::store::begin(pool).await?;
    let rate: Option<f32> = sqlx::query_scalar(
        "update saga.provider_gate set state = 'closed', reason = null, open_until = null, probe_saga = null, failures = 0 where provider = $1 and state <> 'closed' returning rate_per_s",
    )
    .bind(STRIPE)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(rate) = rate else {
        return Ok(());
    };
    sqlx::query(
        "update saga.attention set closed_at = now(), closed_reason = 'it answers again' where saga_id is null and kind = 'provider:' || $1 and closed_at is null",
    )
    .bind(STRIPE)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        r#"with waiting as (
             select saga_id, row_number() over (order by created_at, saga_id) - 1 as n from saga.instance
              where finished_at is null and state in ('running', 'waiting', 'compensating') and asks = 'stripe' and lease_owner is null
                and (wake_at <= now() or context->>'waits_for' = 'gate'))
           update saga.instance i set wake_at = now() + make_interval(secs => w.n / $1) from waiting w where w.saga_id = i.saga_id"#,
    )
    .bind(f64::from(rate.max(0.1)))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Sends one saga ahead, when it is time. Leased to this worker.
pub async fn probe(pool: &PgPool, worker: WorkerId, lease: Duration) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar(
        r#"with due as (
             select i.saga_id from saga.instance i
              where i.state in ('running', 'waiting', 'compensating') and i.finished_at is null and i.paused_at is null and i.asks = $1
                and (i.wake_at <= now() or i.context->>'waits_for' = 'gate')
                and (i.lease_expires_at is null or i.lease_expires_at < now())
                and exists (select 1 from saga.provider_gate g where g.provider = $1 and g.state <> 'closed' and g.open_until <= now())
              order by i.wake_at limit 1 for update skip locked),
           p as (
             update saga.provider_gate set state = 'half_open', open_until = now() + $4, probe_saga = (select saga_id from due)
              where provider = $1 and state <> 'closed' and open_until <= now() and exists (select 1 from due) returning probe_saga)
           update saga.instance i set lease_owner = $2, lease_expires_at = now() + $3, fence = fence + 1,
                  take_overs = case when lease_owner is null then take_overs else least(take_overs + 1, 1000) end
             from p where i.saga_id = p.probe_saga returning i.saga_id"#,
    )
    .bind(STRIPE)
    .bind(worker.0)
    .bind(lease)
    .bind(REFUSED)
    .fetch_optional(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_calls_than_allowed_are_under_way_at_once() {
        let calls = Calls::default();
        calls.bound(2);
        let (a, _b) = (calls.turn().await, calls.turn().await);
        let soon = Duration::from_millis(120);
        assert!(tokio::time::timeout(soon, calls.turn()).await.is_err());
        drop(a);
        let _c = calls.turn().await;
        calls.bound(3);
        let _d = calls.turn().await;
        assert!(tokio::time::timeout(soon, calls.turn()).await.is_err());
    }
}
