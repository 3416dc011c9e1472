//! Disputes: the bank of who paid asks for the money back, often weeks after the booking.
//!
//! What Stripe tells only rings. The dispute itself is looked at, and what the booking's events do not know of it yet is
//! appended to them; a case stands open for a person, with the last day for evidence, until it is over. Nothing is
//! decided by itself: the booking stands as it stood, and no step of a saga begins.
//!
//! Stripe is asked after the stream was read, and the append is refused if the stream has moved since; so a look that is
//! older than what another worker has written leads to nothing, in whatever order news came.

use std::sync::Arc;

use bizing_stripe::{Dispute, DisputeStatus, Failure, Stripe};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::store::SagaError;
use crate::domain::booking::{self, Command};
use crate::domain::dispute::{DisputeSeen, Moved};
use crate::domain::event::{DisputeOutcome, PaymentDisputed};
use crate::domain::ids::{BookingId, CorrelationId, PaymentId};
use crate::domain::money::{Currency, Money};
use crate::runtime::crash::CrashPoints;
use crate::store::append::{Append, AppendError, Context, Expected, append_in};
use crate::store::read;

/// At most so many in one round.
const ROUND: i64 = 20;
/// A worker that dies during a look costs this much time.
const LEASE_S: f64 = 30.0;
/// Without news an open one is looked at this often: its last day may have moved.
const LOOK_EVERY_S: f64 = 6.0 * 3600.0;
const LONGEST_PAUSE_S: f64 = 3600.0;

pub struct Disputes {
    pub pool: PgPool,
    pub stripe: Arc<Stripe>,
    pub crash: CrashPoints,
}

#[derive(FromRow)]
struct Due {
    dispute_id: String,
    saga_id: Uuid,
    booking_id: Uuid,
    told: i64,
    correlation_id: Uuid,
    started_by: String,
}

impl Disputes {
    /// Looks at what was told since. Returns of how many disputes something new was written.
    pub async fn round(&self) -> Result<u64, SagaError> {
        let due: Vec<Due> = sqlx::query_as(
            "with due as (select dispute_id from saga.disputes where look_at <= now() order by look_at limit $1 for update skip locked)
             update saga.disputes d set look_at = now() + make_interval(secs => $2)
               from due, saga.instance i where d.dispute_id = due.dispute_id and i.saga_id = d.saga_id
             returning d.dispute_id, d.saga_id, d.booking_id, d.told, i.correlation_id, i.started_by",
        )
        .bind(ROUND)
        .bind(LEASE_S)
        .fetch_all(&self.pool)
        .await?;
        let (mut news, mut failed) = (0, None);
        for due in &due {
            match self.look(due).await {
                Ok(new) => news += u64::from(new),
                // It holds up nobody; its own turn comes again when its lease ends.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(news), Err)
    }

    async fn look(&self, due: &Due) -> Result<bool, SagaError> {
        let stream = BookingId(due.booking_id);
        let mut conn = self.pool.acquire().await?;
        let (booking, version) = read::booking(&mut conn, stream).await?;
        // No connection is kept while Stripe thinks.
        drop(conn);
        let dispute = match self.stripe.dispute(&due.dispute_id).await {
            Ok(dispute) => dispute,
            Err(failure) => {
                self.put_off(due, &failure).await?;
                return Ok(false);
            }
        };
        self.crash.point("dispute_seen").await;

        let payment_id = booking.payment.id.unwrap_or(PaymentId(due.saga_id));
        let now = self.now().await?;
        let decided = seen(&dispute, payment_id).and_then(|seen| {
            booking::decide(&booking, Command::SeeDispute(Box::new(seen)), now)
                .map_err(|refusal| refusal.to_string())
        });
        let (events, problem) = match decided {
            Ok(events) => (events, None),
            Err(problem) => (vec![], Some(problem)),
        };
        let mut tx = crate::store::begin(&self.pool).await?;
        let new = !events.is_empty();
        if new {
            let context = Context {
                correlation: CorrelationId(due.correlation_id),
                causation: Some(due.saga_id),
                on_behalf_of: Some(due.started_by.clone()),
            };
            let append = Append::new(stream, Expected::Version(version), events, now);
            match append_in(&mut tx, &context, vec![append]).await {
                Ok(_) => {}
                // Somebody wrote meanwhile, perhaps the same: the next look sees it.
                Err(AppendError::Conflict { .. } | AppendError::Busy { .. }) => {
                    drop(tx);
                    self.again(due).await?;
                    return Ok(false);
                }
                Err(error) => return Err(SagaError::Append(error)),
            }
        }
        note(&mut tx, due, &dispute, problem.as_deref()).await?;
        tell_person(&mut tx, due, &dispute, problem.as_deref()).await?;
        tx.commit().await?;
        if new {
            tracing::warn!(booking.id = %due.booking_id, dispute = %due.dispute_id, status = %dispute.status, "a payment is disputed");
        }
        Ok(new)
    }

    /// The database's clock.
    async fn now(&self) -> sqlx::Result<DateTime<Utc>> {
        sqlx::query_scalar("select now()")
            .fetch_one(&self.pool)
            .await
    }

    async fn again(&self, due: &Due) -> sqlx::Result<()> {
        sqlx::query("update saga.disputes set look_at = now() where dispute_id = $1")
            .bind(&due.dispute_id)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Asked again later, longer each time.
    async fn put_off(&self, due: &Due, failure: &Failure) -> sqlx::Result<()> {
        tracing::debug!(dispute = %due.dispute_id, %failure, "a dispute could not be looked at");
        sqlx::query(
            "update saga.disputes set tries = tries + 1, problem = left($2, 500), look_at = now() + make_interval(secs => least($3, 2 ^ least(tries, 12)))
              where dispute_id = $1",
        )
        .bind(&due.dispute_id)
        .bind(failure.to_string())
        .bind(LONGEST_PAUSE_S)
        .execute(&self.pool)
        .await
        .map(|_| ())
    }
}

/// What was seen, and when to look next: at once if something was told meanwhile.
async fn note(
    conn: &mut PgConnection,
    due: &Due,
    dispute: &Dispute,
    problem: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "update saga.disputes
            set status = $3, reason = $4, amount_minor = $5, currency = upper($6), evidence_due_at = $7, submissions = $8, seen_at = now(), tries = 0, problem = $9,
                closed_at = case when $10 then coalesce(closed_at, now()) end,
                look_at = case when told <> $2 then now() when not $10 then now() + make_interval(secs => $11) end
          where dispute_id = $1",
    )
    .bind(&due.dispute_id)
    .bind(due.told)
    .bind(dispute.status.as_str())
    .bind(&dispute.reason)
    .bind(dispute.amount)
    .bind(&dispute.currency)
    .bind(due_at(dispute))
    .bind(i32::try_from(dispute.submissions).unwrap_or(i32::MAX))
    .bind(problem)
    .bind(outcome(&dispute.status).is_some())
    .bind(LOOK_EVERY_S)
    .execute(&mut *conn)
    .await?;
    sqlx::query("update saga.signal set consumed_at = now(), ignored_reason = null where saga_id = $1 and correlation_key = 'stripe:' || $2 and consumed_at is null")
        .bind(due.saga_id)
        .bind(&due.dispute_id)
        .execute(conn)
        .await
        .map(|_| ())
}

/// The case of a dispute: open as long as it is, and it closes by itself.
async fn tell_person(
    conn: &mut PgConnection,
    due: &Due,
    dispute: &Dispute,
    problem: Option<&str>,
) -> sqlx::Result<()> {
    let kind = format!("dispute:{}", due.dispute_id);
    if let Some(outcome) = outcome(&dispute.status) {
        return sqlx::query("update saga.attention set closed_at = now(), closed_reason = $3 where saga_id = $1 and kind = $2 and closed_at is null")
            .bind(due.saga_id)
            .bind(kind)
            .bind(serde_json::to_value(outcome).ok().and_then(|w| w.as_str().map(str::to_owned)))
            .execute(conn)
            .await
            .map(|_| ());
    }
    sqlx::query(
        "insert into saga.attention (case_id, saga_id, kind, severity, fact) values (gen_random_uuid(), $1, $2, 1, $3)
         on conflict (saga_id, kind) where closed_at is null do update set fact = excluded.fact",
    )
    .bind(due.saga_id)
    .bind(kind)
    .bind(json!({
        "provider": "stripe", "dispute": due.dispute_id, "status": dispute.status.as_str(), "reason": dispute.reason, "amount_minor": dispute.amount,
        "currency": dispute.currency.to_uppercase(), "evidence_due_at": due_at(dispute), "problem": problem,
    }))
    .execute(conn)
    .await
    .map(|_| ())
}

fn due_at(dispute: &Dispute) -> Option<DateTime<Utc>> {
    dispute
        .evidence_due_by
        .and_then(|s| DateTime::from_timestamp(s, 0))
}

fn outcome(status: &DisputeStatus) -> Option<DisputeOutcome> {
    match status {
        DisputeStatus::Won => Some(DisputeOutcome::Won),
        DisputeStatus::Lost => Some(DisputeOutcome::Lost),
        DisputeStatus::WarningClosed => Some(DisputeOutcome::WarningClosed),
        DisputeStatus::Prevented => Some(DisputeOutcome::Prevented),
        DisputeStatus::WarningNeedsResponse
        | DisputeStatus::WarningUnderReview
        | DisputeStatus::NeedsResponse
        | DisputeStatus::UnderReview
        | DisputeStatus::Unknown(_) => None,
    }
}

/// In the desk's words, or why it cannot be said in them.
fn seen(dispute: &Dispute, payment_id: PaymentId) -> Result<DisputeSeen, String> {
    let currency = |code: &str| Currency::try_from(code.to_uppercase());
    let contested = currency(&dispute.currency)?;
    let moved_in = match dispute.moved.first() {
        Some(line) => currency(&line.currency)?,
        None => contested,
    };
    let sum = |out: bool| {
        let lines = dispute.moved.iter().filter(|m| (m.amount < 0) == out);
        let sign = if out { -1 } else { 1 };
        lines.fold(Moved::default(), |sum, line| Moved {
            amount_minor: sum
                .amount_minor
                .saturating_add(line.amount.saturating_mul(sign)),
            // A fee is taken with what goes out, and given back with what comes in.
            fee_minor: sum.fee_minor.saturating_add(line.fee.saturating_mul(-sign)),
        })
    };
    Ok(DisputeSeen {
        opened: PaymentDisputed {
            dispute_id: dispute.id.clone(),
            payment_id,
            charge_id: dispute.charge.clone(),
            amount: Money::new(dispute.amount, contested),
            reason: dispute.reason.clone(),
            evidence_due: due_at(dispute),
            inquiry: dispute.status.as_str().starts_with("warning"),
        },
        currency: moved_in,
        withdrawn: sum(true),
        reinstated: sum(false),
        outcome: outcome(&dispute.status),
    })
}
