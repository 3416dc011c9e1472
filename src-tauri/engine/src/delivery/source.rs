//! Deliveries as a work source: claim, send, record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::destination::{Budget, Delivery, Destination, Fut, Outcome};
use super::store::{self, After};
use crate::domain::ids::WorkerId;
use crate::queue::WorkSource;
use crate::runtime::bell::Bell;
use crate::runtime::crash::CrashPoints;

/// What else belongs into the commit that records a try: the booking's event, and the saga that waits for it.
pub trait Consequence: Send + Sync {
    fn within<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        delivery: &'a Delivery,
        outcome: &'a Outcome,
        after: After,
    ) -> Fut<'a, Result<(), Box<dyn std::error::Error + Send + Sync>>>;

    /// How long a message is tried, as people have set it. Asked only of what failed.
    fn budget<'a>(&'a self, pool: &'a PgPool) -> Fut<'a, Budget>;
}

pub struct Deliveries {
    pub pool: PgPool,
    pub worker: WorkerId,
    /// By kind.
    pub destinations: HashMap<&'static str, Arc<dyn Destination>>,
    pub consequence: Arc<dyn Consequence>,
    pub lease: Duration,
    pub per_destination: i32,
    pub bell: Bell,
    pub crash: CrashPoints,
}

impl WorkSource for Deliveries {
    const NAME: &'static str = "deliveries";

    async fn claim(&self, limit: i32) -> sqlx::Result<Vec<Uuid>> {
        let mut ids = store::take_over(&self.pool, self.worker, limit, self.lease).await?;
        ids.extend(
            store::claim(
                &self.pool,
                self.worker,
                limit - ids.len() as i32,
                self.per_destination,
                self.lease,
            )
            .await?,
        );
        Ok(ids)
    }

    async fn claim_one(&self, id: Uuid) -> sqlx::Result<bool> {
        let done = sqlx::query(
            "with u as (update delivery.deliveries set state = 'sending', attempt = attempt + 1, fence = fence + 1, lease_owner = $2, lease_expires_at = now() + $3
                         where delivery_id = $1 and state = 'scheduled' and next_at <= now()
                           and destination_id = any(array(select destination_id from delivery.destinations where kind <> 'webhook')) returning delivery_id, attempt, fence)
             insert into delivery.attempts (delivery_id, no, fence, worker_id) select delivery_id, attempt, fence, $2 from u",
        )
        .bind(id)
        .bind(self.worker.0)
        .bind(self.lease)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn renew(&self, ids: Vec<Uuid>) -> sqlx::Result<()> {
        store::renew(&self.pool, self.worker, &ids, self.lease).await
    }

    async fn run(&self, id: Uuid) {
        match store::load(&self.pool, self.worker, id).await {
            Ok(Some(delivery)) => self.deliver(&delivery).await,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(delivery.id = %id, error = &error as &dyn std::error::Error, "delivery could not be read")
            }
        }
        self.bell.ring();
    }

    async fn next_due(&self) -> sqlx::Result<Option<DateTime<Utc>>> {
        store::next_due(&self.pool).await
    }
}

impl Deliveries {
    async fn deliver(&self, delivery: &Delivery) {
        let Some(destination) = self.destinations.get(delivery.kind.as_str()) else {
            return self
                .record(
                    delivery,
                    &Outcome::NotSent {
                        cause: format!("this worker does not know how to send `{}`", delivery.kind),
                    },
                    Some(Duration::from_secs(60)),
                )
                .await;
        };
        self.crash.point("before_send").await;
        let outcome = if delivery.interrupted {
            destination.reconcile(delivery).await
        } else {
            destination.deliver(delivery).await
        };
        self.crash.point("after_send").await;
        self.record(delivery, &outcome, None).await;
    }

    /// `pause`: no try was made, so none counts.
    async fn record(&self, delivery: &Delivery, outcome: &Outcome, pause: Option<Duration>) {
        let after = match outcome {
            Outcome::Accepted { .. } => After::Delivered,
            Outcome::Skipped { .. } => After::Skipped,
            Outcome::NotSent { .. } | Outcome::Later { .. } => {
                let budget = self.consequence.budget(&self.pool).await;
                let next_at = Utc::now() + pause.unwrap_or(budget.pause(delivery.attempt));
                let spent = pause.is_none() && delivery.attempt >= budget.tries;
                if spent || next_at >= budget.ends(delivery) {
                    After::GaveUp
                } else {
                    After::Scheduled(next_at)
                }
            }
            Outcome::Refused { .. } => After::GaveUp,
            Outcome::Unclear { .. } => After::Unclear,
        };
        if let Err(error) = self.write(delivery, outcome, after).await {
            // The lease runs out and the try shows as interrupted; nothing is lost and nothing is repeated blindly.
            tracing::error!(delivery.id = %delivery.delivery_id, %error, "the outcome of a delivery was not recorded");
        }
    }

    async fn write(
        &self,
        delivery: &Delivery,
        outcome: &Outcome,
        after: After,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut tx = crate::store::begin(&self.pool).await?;
        // Lock order: saga, streams, deliveries.
        if !matches!(after, After::Scheduled(_)) {
            self.consequence
                .within(&mut tx, delivery, outcome, after)
                .await?;
        }
        if store::finish(&mut tx, delivery, outcome, after).await? {
            tx.commit().await?;
            self.crash.point("after_record").await;
        } else {
            tx.rollback().await?;
        }
        Ok(())
    }
}
