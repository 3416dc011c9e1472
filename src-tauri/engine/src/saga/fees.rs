//! What the provider keeps of each payment. It is asked for by itself, a while after the money is here: Stripe books a
//! payment only then, and a key that may not read its books must not stand in the way of a capture.
//!
//! The log says which payments there are (`saga.note_payments`); each is asked about until its fee is known. Told twice,
//! it is one event.

use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::{Failure, Fee, Stripe};
use sqlx::{FromRow, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::store::SagaError;
use crate::domain::booking::{self, Command, Refusal};
use crate::domain::event::ProviderFeeCharged;
use crate::domain::ids::{BookingId, CorrelationId, PaymentId};
use crate::domain::money::{Currency, Money};
use crate::runtime::crash::CrashPoints;
use crate::store::append::{Append, AppendError, Context, Expected, append_in};
use crate::store::read;

/// Nobody waits for a fee.
const EVERY: Duration = Duration::from_secs(20);
/// While there are more, as after an import: some ten a second, a tenth of what Stripe bears.
const SOON: Duration = Duration::from_secs(2);
/// At most so many in one round.
const ROUND: i32 = 20;
/// A worker that dies during a look costs this much time.
const LEASE_S: f64 = 60.0;
const FIRST_PAUSE_S: f64 = 60.0;
const LONGEST_PAUSE_S: f64 = 6.0 * 3_600.0;
/// A payment that Stripe has not booked after ten days is never booked.
const MOST_TRIES: i32 = 48;

pub struct Fees {
    pub pool: PgPool,
    pub stripe: Arc<Stripe>,
    pub crash: CrashPoints,
}

#[derive(FromRow)]
struct Due {
    payment_intent: String,
    payment_id: Uuid,
    booking_id: Uuid,
    correlation_id: Uuid,
    event_id: Uuid,
}

/// How a look ended.
enum Looked {
    Known,
    NotBooked,
    /// Asked again for as long as it takes: the key may be mended, Stripe may come back.
    Later(String),
    /// Nothing of ours, or of another account.
    Never(String),
}

impl Fees {
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let round = tokio::select! {
                () = stop.cancelled() => return,
                round = self.round() => round,
            };
            let pause = match round {
                Ok(looked) if looked >= ROUND as usize => SOON,
                Ok(_) => EVERY,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "fees could not be looked at; trying again"
                    );
                    EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Returns how many payments were looked at.
    pub async fn round(&self) -> Result<usize, SagaError> {
        let _: i32 = sqlx::query_scalar("select saga.note_payments(500)")
            .fetch_one(&self.pool)
            .await?;
        let due: Vec<Due> = sqlx::query_as(
            "with due as (select payment_intent from saga.fees where look_at <= now() order by look_at limit $1 for update skip locked)
             update saga.fees f set look_at = now() + make_interval(secs => $2)
               from due where f.payment_intent = due.payment_intent
             returning f.payment_intent, f.payment_id, f.booking_id, f.correlation_id, f.event_id",
        )
        .bind(ROUND)
        .bind(LEASE_S)
        .fetch_all(&self.pool)
        .await?;
        let mut failed = None;
        for due in &due {
            let noted = match self.look(due).await {
                Ok(looked) => self.note(due, looked).await,
                // It holds up nobody; its own turn comes again when its lease ends.
                Err(error) => Err(error),
            };
            if let Err(error) = noted {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(due.len()), Err)
    }

    async fn look(&self, due: &Due) -> Result<Looked, SagaError> {
        let stream = BookingId(due.booking_id);
        let (booking, _) = read::booking(&mut *self.pool.acquire().await?, stream).await?;
        // An imported log brings it with it.
        if booking.payment.fee.is_some() {
            return Ok(Looked::Known);
        }
        let fee = match self.stripe.fee(&due.payment_intent).await {
            Ok(Some(fee)) => fee,
            Ok(None) => return Ok(Looked::NotBooked),
            Err(failure @ Failure::Refused { .. }) => {
                return Ok(Looked::Never(failure.to_string()));
            }
            Err(failure) => {
                tracing::debug!(payment_intent = due.payment_intent, %failure, "a fee could not be looked at");
                return Ok(Looked::Later(failure.to_string()));
            }
        };
        self.crash.point("fee_seen").await;
        let seen = match seen(due, fee) {
            Ok(seen) => seen,
            Err(problem) => return Ok(Looked::Never(problem)),
        };
        self.tell(due, seen).await
    }

    async fn tell(&self, due: &Due, seen: ProviderFeeCharged) -> Result<Looked, SagaError> {
        let stream = BookingId(due.booking_id);
        let mut tx = crate::store::begin(&self.pool).await?;
        let (booking, version) = read::booking(&mut tx, stream).await?;
        let now = sqlx::query_scalar("select now()")
            .fetch_one(&mut *tx)
            .await?;
        let events = match booking::decide(&booking, Command::SeeFee(seen), now) {
            Ok(events) => events,
            Err(refusal @ Refusal::NotPaid) => return Ok(Looked::Never(refusal.to_string())),
            Err(refusal) => return Ok(Looked::Later(refusal.to_string())),
        };
        if events.is_empty() {
            return Ok(Looked::Known);
        }
        let context = Context {
            correlation: CorrelationId(due.correlation_id),
            causation: Some(due.event_id),
            on_behalf_of: None,
        };
        let append = Append::new(stream, Expected::Version(version), events, now);
        match append_in(&mut tx, &context, vec![append]).await {
            Ok(_) => {}
            // Somebody wrote to the booking meanwhile.
            Err(error @ (AppendError::Conflict { .. } | AppendError::Busy { .. })) => {
                return Ok(Looked::Later(error.to_string()));
            }
            Err(error) => return Err(SagaError::Append(error)),
        }
        tx.commit().await?;
        Ok(Looked::Known)
    }

    async fn note(&self, due: &Due, looked: Looked) -> Result<(), SagaError> {
        let (most_tries, problem) = match looked {
            Looked::Known => (None, None),
            Looked::NotBooked => (Some(MOST_TRIES), Some("not booked yet".to_owned())),
            Looked::Later(problem) => (Some(i32::MAX), Some(problem)),
            Looked::Never(problem) => (None, Some(problem)),
        };
        sqlx::query(
            "update saga.fees
                set known_at = case when $3 is null then now() end, problem = left($3, 500), tries = tries + 1,
                    look_at = case when tries < $2 then now() + make_interval(secs => least($4, $5 * 2 ^ least(tries, 20))) end
              where payment_intent = $1",
        )
        .bind(&due.payment_intent)
        .bind(most_tries)
        .bind(problem)
        .bind(LONGEST_PAUSE_S)
        .bind(FIRST_PAUSE_S)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// In the desk's words, or why it cannot be said in them.
fn seen(due: &Due, fee: Fee) -> Result<ProviderFeeCharged, String> {
    Ok(ProviderFeeCharged {
        payment_id: PaymentId(due.payment_id),
        payment_intent: due.payment_intent.clone(),
        fee: Money::new(fee.amount, Currency::try_from(fee.currency.to_uppercase())?),
        balance_transaction: fee.balance_transaction,
    })
}
