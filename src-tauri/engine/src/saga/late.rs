//! News of money for a saga that is over. A payment may go through whose answer nobody waited for: somebody ended the saga by
//! hand, and the capture lands. The money is here, so the ledger says so and a person decides. A refund that had succeeded
//! may come back days later, when the customer's bank would not take it: the money is here again. And one may go through
//! that a person had settled otherwise, or that nobody asked for here: then the customer may have the money twice, which is a
//! case at once (`saga.open_cases`).
//!
//! The event is only a doorbell. The object itself is looked at, and what is written is decided under the saga's row, so
//! that two workers who hear the same write it once.

use std::sync::Arc;

use bizing_stripe::{Failure, IntentStatus, Refund, RefundStatus, Stripe};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::answers;
use super::definition::{Definition, Step};
use super::executor::INSTALLATION;
use super::plan::payment_id;
use super::store::{self, SagaError};
use super::world::World;
use crate::domain::booking::Command;
use crate::domain::event::RefundReturned;
use crate::domain::money::Money;
use crate::runtime::crash::CrashPoints;

/// At most so many in one round.
const ROUND: i32 = 20;
const PAID: &str = "('payment_intent.succeeded')";
const REFUNDED: &str = "('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded')";

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
        match self.paid(saga).await? {
            Some(intent) => self.look_at_payment(&world, &intent).await,
            None => self.look_at_refunds(&world).await,
        }
    }

    /// The payment of which it was told that it was taken.
    async fn paid(&self, saga: Uuid) -> sqlx::Result<Option<String>> {
        let text = format!(
            "select split_part(correlation_key, ':', 2) from saga.signal where saga_id = $1 and consumed_at is null and type in {PAID} order by received_at limit 1"
        );
        // The text is made of our own words.
        sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .bind(saga)
            .fetch_optional(&self.pool)
            .await
    }

    async fn look_at_payment(&self, world: &World, id: &str) -> Result<bool, SagaError> {
        let saga = world.instance.saga_id;
        let intent = match self.stripe.intent(id).await {
            Ok(intent) => intent,
            Err(failure) => return self.unseen(saga, PAID, &failure).await,
        };
        if intent.status != IntentStatus::Succeeded {
            self.consume(saga, PAID, "nothing was taken").await?;
            return Ok(false);
        }
        let ours = world.booking.payment.intent.as_deref() == Some(id);
        if ours && let Some(received) = answers::received(world, &intent) {
            let again = Again {
                news: received,
                step: Step::Capture,
                code: "money_came",
                reason: format!("the payment {id} was taken after this was over"),
                object: id.to_owned(),
                result: "captured_meanwhile",
                told: PAID,
            };
            return self.open_again(saga, again).await;
        }
        // One that the books do not have at all.
        let row = json!({
            "id": id, "kind": "intent", "status": intent.status.to_string(), "amount_minor": intent.amount_received, "currency": intent.currency,
            "intent": id, "saga_id": intent.metadata.get("saga_id"), "effect_id": intent.metadata.get("effect_id"),
        });
        self.open_cases(saga, vec![row]).await?;
        self.consume(saga, PAID, "a person looks at it").await?;
        Ok(false)
    }

    async fn look_at_refunds(&self, world: &World) -> Result<bool, SagaError> {
        let saga = world.instance.saga_id;
        let Some(intent) = world.booking.payment.intent.clone() else {
            self.consume(saga, REFUNDED, "no payment").await?;
            return Ok(false);
        };
        let refunds = match self.stripe.refunds_of(&intent).await {
            Ok(refunds) => refunds,
            Err(failure) => return self.unseen(saga, REFUNDED, &failure).await,
        };
        self.crash.point("late_refund_seen").await;
        // Of those that failed the one by which the books say that the money went: older tries failed before it.
        let came_back = refunds.iter().find(|r| {
            let counted = &world.booking.payment.refunded_as;
            matches!(r.status, RefundStatus::Failed | RefundStatus::Canceled)
                && counted.iter().any(|(_, by)| *by == r.id)
        });
        let returned = came_back.and_then(|refund| Some((refund, returned(world, refund)?)));
        match returned {
            Some((refund, returned)) => {
                let reason = refund.failure_reason.as_deref();
                let again = Again {
                    news: Command::ReturnRefund(returned),
                    step: refund_step(world.definition),
                    code: "refund_returned",
                    reason: format!(
                        "the refund {} came back: {}",
                        refund.id,
                        reason.unwrap_or("no reason given")
                    ),
                    object: refund.id.clone(),
                    result: "returned",
                    told: REFUNDED,
                };
                self.open_again(saga, again).await
            }
            None => {
                let found = self.note(world, &intent, &refunds).await?;
                let what = match found {
                    0 => "the refund stands",
                    _ => "a person looks at it",
                };
                self.consume(saga, REFUNDED, what).await?;
                Ok(false)
            }
        }
    }

    /// Asked again in the next round, unless there is nothing to ask about.
    async fn unseen(
        &self,
        saga: Uuid,
        told: &'static str,
        failure: &Failure,
    ) -> Result<bool, SagaError> {
        match failure {
            Failure::Refused { .. } => {
                self.consume(saga, told, "Stripe does not know the payment")
                    .await?;
            }
            failure => {
                tracing::debug!(saga.id = %saga, %failure, "late news could not be looked at");
            }
        }
        Ok(false)
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
        self.open_cases(world.instance.saga_id, rows).await
    }

    async fn open_cases(&self, saga: Uuid, rows: Vec<Value>) -> Result<i32, SagaError> {
        let found = sqlx::query_scalar("select saga.open_cases($1, interval '0')")
            .bind(Value::Array(rows))
            .fetch_one(&self.pool)
            .await?;
        if found > 0 {
            tracing::warn!(saga.id = %saga, found, "money moved that the ledger does not know: a person looks");
        }
        Ok(found)
    }

    async fn consume(&self, saga: Uuid, told: &'static str, why: &str) -> sqlx::Result<()> {
        let mut conn = self.pool.acquire().await?;
        consume(&mut conn, saga, told, Some(why)).await
    }

    async fn open_again(&self, saga: Uuid, again: Again) -> Result<bool, SagaError> {
        let mut tx = crate::store::begin(&self.pool).await?;
        let over: bool = sqlx::query_scalar(
            "select finished_at is not null from saga.instance where saga_id = $1 for update",
        )
        .bind(saga)
        .fetch_one(&mut *tx)
        .await?;
        let mut world = store::look_in(&mut tx, saga, None, &self.installation, true).await?;
        if over {
            world.absorb(vec![again.news])?;
        }
        // Told before, or a saga that goes on by itself meanwhile.
        if world.draft.events.is_empty() {
            consume(&mut tx, saga, again.told, Some("known already")).await?;
            tx.commit().await?;
            return Ok(false);
        }
        store::append_events(&mut tx, &world).await?;
        sqlx::query(
            r#"update saga.instance
                  set state = 'parked', "cursor" = $2, park_code = $3, park_reason = $4, parked_at = now(), finished_at = null, outcome = null,
                      pivot_passed_at = coalesce(pivot_passed_at, case when $5 then now() end), hold_expires_at = null,
                      version = version + 1, fence = fence + 1, by_fence = fence + 1, wake_at = now(), attempt = 0, error_class = null, error_message = null,
                      context = context || '{"hands_on": true}', updated_at = now()
                where saga_id = $1"#,
        )
        .bind(saga)
        .bind(world.place(again.step))
        .bind(again.code)
        .bind(&again.reason)
        .bind(world.past_pivot())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, error_class, error)
             select i.saga_id, 1 + coalesce((select max(no) from saga.attempt where saga_id = i.saga_id), 0), i.step, i.direction, 'reconcile',
                    (select effect_id from saga.effect where saga_id = i.saga_id and provider_object = $2 limit 1),
                    i.fence, now(), clock_timestamp(), $3, 'refused', jsonb_build_object('message', i.park_reason)
               from saga.instance i where i.saga_id = $1",
        )
        .bind(saga)
        .bind(&again.object)
        .bind(again.result)
        .execute(&mut *tx)
        .await?;
        consume(&mut tx, saga, again.told, None).await?;
        tx.commit().await?;
        tracing::warn!(saga.id = %saga, object = %again.object, code = again.code, "a saga that was over is open again: a person decides");
        Ok(true)
    }
}

/// What opens a saga that was over.
struct Again {
    news: Command,
    /// Where it stands then.
    step: Step,
    code: &'static str,
    reason: String,
    /// The provider's, which shows it.
    object: String,
    result: &'static str,
    /// The kinds of news that are dealt with.
    told: &'static str,
}

async fn consume(
    conn: &mut PgConnection,
    saga: Uuid,
    told: &'static str,
    ignored: Option<&str>,
) -> sqlx::Result<()> {
    let text = format!(
        "update saga.signal set consumed_at = now(), ignored_reason = $2 where saga_id = $1 and consumed_at is null and type in {told}"
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
    let saga = world.instance.saga_id;
    let mut counted = world.booking.payment.refunded_as.iter();
    let (refund_id, _) = counted.find(|(id, by)| *by == refund.id && id.is_of(saga))?;
    Some(RefundReturned {
        refund_id: *refund_id,
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
fn refund_step(definition: &Definition) -> Step {
    match definition.steps.contains(&Step::Refund) {
        true => Step::Refund,
        false => Step::Capture,
    }
}
