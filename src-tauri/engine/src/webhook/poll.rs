//! Asking Stripe what happened: a desk behind a router has no address that Stripe could call.

use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::{EventRecord, Failure, Stripe};
use sqlx::PgPool;

use super::inbox::{self, Via};

/// What concerns a booking's money. Stripe takes at most 20 types in one question.
pub const TYPES: [&str; 16] = [
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.requires_action",
    "payment_intent.processing",
    "charge.captured",
    "charge.expired",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.closed",
    "checkout.session.completed",
    "checkout.session.expired",
];

const PAGE: u8 = 100;

pub struct Poller {
    pub pool: PgPool,
    pub stripe: Arc<Stripe>,
}

impl Poller {
    /// One round: asks from the cursor on, keeps what is new, moves the cursor in the same transaction. Returns how long
    /// to wait until the next: short while a payment is awaited.
    pub async fn round(&self, awaited: Duration, quiet: Duration) -> sqlx::Result<Duration> {
        let cursor: Option<String> =
            sqlx::query_scalar("select cursor from delivery.poll_cursor where source = 'stripe'")
                .fetch_optional(&self.pool)
                .await?
                .flatten();
        match self
            .stripe
            .events_after(cursor.as_deref(), &TYPES, PAGE)
            .await
        {
            Ok(events) => {
                self.take(&events).await?;
                if events.len() >= usize::from(PAGE) {
                    return Ok(Duration::ZERO);
                }
            }
            // The cursor is older than what Stripe keeps (30 days), or of another account: begin anew. Sagas that wait
            // look for themselves, so nothing depends on the gap.
            Err(Failure::Refused { code, .. })
                if code == "resource_missing" && cursor.is_some() =>
            {
                sqlx::query(
                    "update delivery.poll_cursor set cursor = null where source = 'stripe'",
                )
                .execute(&self.pool)
                .await?;
                return Ok(Duration::ZERO);
            }
            Err(failure) => self.note_problem(&failure).await?,
        }
        let waits: bool = sqlx::query_scalar("select exists (select 1 from saga.instance where state = 'waiting' and await_key like 'stripe:%')")
            .fetch_one(&self.pool)
            .await?;
        Ok(if waits { awaited } else { quiet })
    }

    async fn take(&self, events: &[EventRecord]) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        if !events.is_empty() {
            inbox::keep(&mut tx, events, Via::Poll).await?;
        }
        sqlx::query(
            "insert into delivery.poll_cursor (source, cursor, checked_at) values ('stripe', $1, now())
             on conflict (source) do update set cursor = coalesce(excluded.cursor, poll_cursor.cursor), checked_at = now(), problem = null",
        )
        .bind(events.last().map(|e| e.id.as_str()))
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    async fn note_problem(&self, failure: &Failure) -> sqlx::Result<()> {
        sqlx::query(
            "insert into delivery.poll_cursor (source, checked_at, problem) values ('stripe', now(), $1)
             on conflict (source) do update set checked_at = now(), problem = excluded.problem",
        )
        .bind(failure.to_string())
        .execute(&self.pool)
        .await
        .map(|_| ())
    }
}
