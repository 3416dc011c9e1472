//! The walk along Stripe's lists: what is there with our marks and the ledger does not know, what it has with another sum, what
//! failed after it was counted, and the reverse.
//!
//! A page at a time, under a lease, from where the last page ended: a worker that dies costs one page. What does not fit is
//! a case for a person; nothing here moves money. `saga.note_objects` judges, this only brings.

use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::{Failure, Marked, Stripe};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::executor::INSTALLATION;
use crate::domain::ids::WorkerId;

pub struct Sweep {
    pub pool: PgPool,
    pub worker: WorkerId,
    pub stripe: Arc<Stripe>,
    /// Objects that name another are another desk's, in the same account.
    pub installation: String,
    pub pace: Pace,
}

#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A walk begins so long after the last one.
    pub every: Duration,
    /// It goes so far back.
    pub back: Duration,
    /// What is younger may still be about to be told.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            every: Duration::from_secs(6 * 3600),
            // Longer than between two walks, and than a night in which no worker ran.
            back: Duration::from_secs(72 * 3600),
            grace: Duration::from_secs(600),
        }
    }
}

/// A refund may fail so long after it was made, at the customer's bank.
const REFUND_SETTLES: TimeDelta = TimeDelta::days(35);
/// At most so many pages in one turn, so that others have theirs.
const PAGES: usize = 20;

impl Sweep {
    /// Walks on, if a walk is due. Returns how many cases were opened.
    pub async fn round(&self) -> sqlx::Result<i32> {
        let mut found = 0;
        for _ in 0..PAGES {
            let Some((list, since, after)) = self.take().await? else {
                return Ok(found);
            };
            let page = match list.as_str() {
                "refunds" => {
                    self.stripe
                        .refunds_page((since - REFUND_SETTLES).timestamp(), after.as_deref())
                        .await
                }
                _ => {
                    self.stripe
                        .intents_page(since.timestamp(), after.as_deref())
                        .await
                }
            };
            let (objects, more) = match page {
                Ok(page) => page,
                Err(failure) => {
                    self.fail(&failure).await?;
                    return Ok(found);
                }
            };
            let kind = if list == "refunds" {
                "refund"
            } else {
                "intent"
            };
            let last = objects.last().map(|o| o.id.clone());
            let noted: i32 = sqlx::query_scalar("select saga.note_objects($1, $2, $3, $4, $5)")
                .bind(self.worker.0)
                .bind(Value::Array(
                    objects
                        .iter()
                        .filter(|o| self.may_be_ours(o))
                        .map(|o| row(o, kind))
                        .collect(),
                ))
                .bind(last)
                .bind(more)
                .bind(self.pace.grace)
                .fetch_one(&self.pool)
                .await?;
            // Another worker walks meanwhile.
            if noted < 0 {
                return Ok(found);
            }
            found += noted;
            if !more && list == "refunds" {
                let missing: i32 = sqlx::query_scalar("select saga.end_sweep($1, $2)")
                    .bind(self.worker.0)
                    .bind(self.pace.grace)
                    .fetch_one(&self.pool)
                    .await?;
                found += missing.max(0);
                if found > 0 {
                    tracing::warn!(found, "Stripe and the ledger do not fit: a person looks");
                }
                return Ok(found);
            }
        }
        Ok(found)
    }

    fn may_be_ours(&self, object: &Marked) -> bool {
        // Older ones, and what a person makes at Stripe, name nobody.
        object
            .metadata
            .get(INSTALLATION)
            .is_none_or(|of| *of == self.installation)
    }

    async fn take(&self) -> sqlx::Result<Option<(String, DateTime<Utc>, Option<String>)>> {
        sqlx::query_as("select list, since, after from saga.take_sweep($1, $2, $3)")
            .bind(self.worker.0)
            .bind(self.pace.every)
            .bind(self.pace.back)
            .fetch_optional(&self.pool)
            .await
    }

    async fn fail(&self, failure: &Failure) -> sqlx::Result<()> {
        sqlx::query("select saga.fail_sweep($1, $2)")
            .bind(self.worker.0)
            .bind(failure.to_string())
            .execute(&self.pool)
            .await
            .map(|_| ())
    }
}

fn row(object: &Marked, kind: &str) -> Value {
    json!({
        "id": object.id, "kind": kind, "status": object.status, "amount_minor": object.amount, "received_minor": object.received, "currency": object.currency,
        "intent": object.payment_intent, "saga_id": object.metadata.get("saga_id"), "effect_id": object.metadata.get("effect_id"),
        "created": DateTime::from_timestamp(object.created, 0),
    })
}
