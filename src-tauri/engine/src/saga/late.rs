//! News of a refund for a saga that is over. One that had succeeded may come back days later, when the customer's bank would
//! not take it: the money is here again, so the ledger says so and a person decides how it goes back. And one may go through
//! that a person had settled otherwise, or that nobody asked for here: then the customer may have the money twice, which is a
//! case at once (`saga.open_cases`).
//!
//! The event is only a doorbell. The refund itself is looked at, and what is written is decided under the saga's row, so
//! that two workers who hear the same write it once.

use std::sync::Arc;

use bizing_stripe::{Failure, Refund, RefundStatus, Stripe};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::definition::{Definition, Step};
use super::executor::INSTALLATION;
use super::plan::payment_id;
use super::store::{self, SagaError};
use super::world::World;
use crate::domain::booking::Command;
use crate::domain::event::RefundReturned;
use crate::domain::ids::RefundId;
use crate::domain::money::Money;
use crate::runtime::crash::CrashPoints;

/// At most so many in one round.
const ROUND: i32 = 20;
const KINDS: &str = "('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded')";

pub struct Late {
    pub pool: PgPool,
    pub stripe: Arc<Stripe>,
    pub installation: String,
    pub crash: CrashPoints,
}

impl Late {
    /// Looks at what was told since. Returns how many sagas were opened again.
    pub async fn round(&self) -> Result<u64, SagaError> {
        let told: Vec<Uuid> = sqlx::query_scalar("select saga.late_news($1)")
            .bind(ROUND)
            .fetch_all(&self.pool)
            .await?;
        let mut opened = 0;
        for saga in told {
            opened += u64::from(self.look(saga).await?);
        }
        Ok(opened)
    }

    async fn look(&self, saga: Uuid) -> Result<bool, SagaError> {
        let world = store::peek(&self.pool, saga, &self.installation).await?;
        let Some(intent) = world.booking.payment.intent.clone() else {
            self.consume(saga, "no payment").await?;
            return Ok(false);
        };
        let refunds = match self.stripe.refunds_of(&intent).await {
            Ok(refunds) => refunds,
            // Asked again in the next round; the signal stays.
            Err(Failure::Refused { .. }) => {
                self.consume(saga, "Stripe does not know the payment")
                    .await?;
                return Ok(false);
            }
            Err(failure) => {
                tracing::debug!(saga.id = %saga, %failure, "a late refund could not be looked at");
                return Ok(false);
            }
        };
        self.crash.point("late_refund_seen").await;
        // Of those that failed the one by which the books say that the money went: older tries failed before it.
        let came_back = refunds.iter().find(|r| {
            let counted = &world.booking.payment.refunded_as;
            matches!(r.status, RefundStatus::Failed | RefundStatus::Canceled)
                && counted.iter().any(|(_, by)| *by == r.id)
        });
        match came_back {
            Some(refund) => self.open_again(saga, refund).await,
            None => {
                let found = self.note(&world, &intent, &refunds).await?;
                let what = match found {
                    0 => "the refund stands",
                    _ => "a person looks at it",
                };
                self.consume(saga, what).await?;
                Ok(false)
            }
        }
    }

    /// Refunds that the books do not know, each a case, once. Another desk's in the same account are passed over.
    async fn note(
        &self,
        world: &World,
        intent: &str,
        refunds: &[Refund],
    ) -> Result<i32, SagaError> {
        let Some(created) = &world.booking.created else {
            return Ok(0);
        };
        let named = |r: &Refund, name: &str| r.metadata.get(name).cloned();
        let rows: Vec<Value> = refunds
            .iter()
            .filter(|r| named(r, INSTALLATION).is_none_or(|of| of == self.installation))
            .map(|r| {
                json!({
                    "id": r.id, "kind": "refund", "status": r.status.to_string(), "amount_minor": r.amount, "currency": created.price.currency,
                    "intent": intent, "saga_id": named(r, "saga_id"), "effect_id": named(r, "effect_id"),
                })
            })
            .collect();
        let found = sqlx::query_scalar("select saga.open_cases($1, interval '0')")
            .bind(Value::Array(rows))
            .fetch_one(&self.pool)
            .await?;
        if found > 0 {
            tracing::warn!(saga.id = %world.instance.saga_id, found, "a refund went through that the ledger does not know: a person looks");
        }
        Ok(found)
    }

    async fn consume(&self, saga: Uuid, why: &str) -> sqlx::Result<()> {
        let mut conn = self.pool.acquire().await?;
        consume(&mut conn, saga, Some(why)).await
    }

    async fn open_again(&self, saga: Uuid, refund: &Refund) -> Result<bool, SagaError> {
        let mut tx = crate::store::begin(&self.pool).await?;
        let over: bool = sqlx::query_scalar(
            "select finished_at is not null from saga.instance where saga_id = $1 for update",
        )
        .bind(saga)
        .fetch_one(&mut *tx)
        .await?;
        let mut world = store::look_in(&mut tx, saga, None, &self.installation, true).await?;
        if over && let Some(returned) = returned(&world, refund) {
            world.absorb(vec![Command::ReturnRefund(returned)])?;
        }
        // Told before, or a saga that goes on by itself meanwhile.
        if world.draft.events.is_empty() {
            consume(&mut tx, saga, Some("known already")).await?;
            tx.commit().await?;
            return Ok(false);
        }
        store::append_events(&mut tx, &world).await?;
        sqlx::query(
            r#"update saga.instance
                  set state = 'parked', "cursor" = $2, park_code = 'refund_returned', park_reason = $3, parked_at = now(), finished_at = null, outcome = null,
                      version = version + 1, fence = fence + 1, by_fence = fence + 1, wake_at = now(), attempt = 0, error_class = null, error_message = null,
                      context = context || '{"hands_on": true}', updated_at = now()
                where saga_id = $1"#,
        )
        .bind(saga)
        .bind(refund_place(world.definition))
        .bind(format!(
            "the refund {} came back: {}",
            refund.id,
            refund.failure_reason.as_deref().unwrap_or("no reason given")
        ))
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, error_class, error)
             select i.saga_id, 1 + coalesce((select max(no) from saga.attempt where saga_id = i.saga_id), 0), i.step, i.direction, 'reconcile',
                    (select effect_id from saga.effect where saga_id = i.saga_id and provider_object = $2 limit 1),
                    i.fence, now(), clock_timestamp(), 'returned', 'refused', jsonb_build_object('message', i.park_reason)
               from saga.instance i where i.saga_id = $1",
        )
        .bind(saga)
        .bind(&refund.id)
        .execute(&mut *tx)
        .await?;
        consume(&mut tx, saga, None).await?;
        tx.commit().await?;
        tracing::warn!(saga.id = %saga, refund = %refund.id, "a refund came back: a person decides");
        Ok(true)
    }
}

async fn consume(conn: &mut PgConnection, saga: Uuid, ignored: Option<&str>) -> sqlx::Result<()> {
    let text = format!(
        "update saga.signal set consumed_at = now(), ignored_reason = $2 where saga_id = $1 and consumed_at is null and type in {KINDS}"
    );
    // The text is made of our own words.
    sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(saga)
        .bind(ignored)
        .execute(conn)
        .await
        .map(|_| ())
}

fn returned(world: &World, refund: &Refund) -> Option<RefundReturned> {
    let currency = world.booking.created.as_ref()?.price.currency;
    Some(RefundReturned {
        refund_id: RefundId(world.instance.saga_id),
        payment_id: payment_id(world),
        provider_refund: refund.id.clone(),
        amount: Money::new(refund.amount, currency),
        reason: refund
            .failure_reason
            .clone()
            .unwrap_or_else(|| refund.status.to_string()),
    })
}

/// Where a saga stands when its refund is what is open: the undo of the capture, or a cancellation's own step.
fn refund_place(definition: &Definition) -> i16 {
    [Step::Refund, Step::Capture]
        .into_iter()
        .find(|s| definition.steps.contains(s))
        .map_or(0, |s| definition.place(s))
}
