//! Sagas as a work source.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::executor::Executor;
use super::{gate, store};
use crate::domain::ids::WorkerId;
use crate::queue::WorkSource;

pub struct Sagas {
    pub executor: Executor,
}

impl Sagas {
    fn pool(&self) -> &PgPool {
        &self.executor.pool
    }

    fn worker(&self) -> WorkerId {
        self.executor.worker
    }

    fn lease(&self) -> Duration {
        self.executor.policy.lease
    }
}

impl WorkSource for Sagas {
    const NAME: &'static str = "sagas";

    async fn claim(&self, limit: i32) -> sqlx::Result<Vec<Uuid>> {
        let mut ids = store::claim(self.pool(), self.worker(), limit, self.lease()).await?;
        if ids.is_empty() {
            ids.extend(gate::probe(self.pool(), self.worker(), self.lease()).await?);
        }
        Ok(ids)
    }

    async fn claim_one(&self, id: Uuid) -> sqlx::Result<bool> {
        let done = sqlx::query(
            "update saga.instance set lease_owner = $2, lease_expires_at = now() + $3, fence = fence + 1,
                    take_overs = case when lease_owner is null then take_overs else least(take_overs + 1, 1000) end
              where saga_id = $1 and state in ('running', 'waiting', 'compensating') and paused_at is null and wake_at <= now()
                and (lease_expires_at is null or lease_expires_at < now())",
        )
        .bind(id)
        .bind(self.worker().0)
        .bind(self.lease())
        .execute(self.pool())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn renew(&self, ids: Vec<Uuid>) -> sqlx::Result<()> {
        store::renew(self.pool(), self.worker(), &ids, self.lease())
            .await
            .map(|_| ())
    }

    async fn run(&self, id: Uuid) {
        self.executor.run(id).await;
    }

    async fn next_due(&self) -> sqlx::Result<Option<DateTime<Utc>>> {
        store::next_due(self.pool()).await
    }
}
