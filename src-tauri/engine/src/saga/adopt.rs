//! What a person decided about an object at Stripe that the ledger did not know: it is taken into the books, or given back.
//!
//! Stripe is looked at first, and the database says under its locks whether it may be (`admin.begin_deed`). Taken into the
//! books it is events, an effect that names the object, and a closed case, in one commit. Given back it is one call under a
//! key made of the case, for what is not on its way back yet; so whoever goes on after a death finds it there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bizing_stripe::{Failure, IntentStatus, Operation, Refund, RefundStatus, Stripe};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::definition::{Definition, Step};
use super::executor::INSTALLATION;
use super::store::SagaError;
use crate::domain::booking::{self, Booking, Command};
use crate::domain::event::{Event, PaymentReceived, PaymentRefunded, RefundRequested};
use crate::domain::ids::{BookingId, CorrelationId, PaymentId, RefundId, WorkerId};
use crate::domain::money::{Currency, Money};
use crate::runtime::crash::CrashPoints;
use crate::store::append::{Append, Context, Expected, append_in};
use crate::store::read;

pub struct Deeds {
    pub pool: PgPool,
    pub worker: WorkerId,
    pub stripe: Arc<Stripe>,
    pub installation: String,
    pub crash: CrashPoints,
}

/// Shorter than another worker waits before it goes on with it.
const LONGEST: Duration = Duration::from_secs(20);

#[derive(FromRow)]
struct Deed {
    ask_id: Uuid,
    deed: String,
    case_id: Uuid,
    object: String,
    what: String,
}

/// The object as it is now.
struct Seen {
    status: String,
    amount_minor: i64,
    currency: Option<Currency>,
    /// The payment that it is, or is of.
    intent: String,
    charge: Option<String>,
    /// That has come about, and that is on its way.
    refunded_minor: i64,
    refunding_minor: i64,
}

/// As the database says it may be done.
#[derive(Deserialize)]
struct Ground {
    case_id: Uuid,
    saga_id: Uuid,
    booking_id: Uuid,
    correlation_id: Uuid,
    by: String,
    reason: String,
}

/// Why it was not done, for whoever asked.
enum Stopped {
    /// A code of `saga.case_refusal`.
    Refused(String),
    Told(String),
    /// Another worker has it.
    Lost,
    Saga(SagaError),
}

impl Deeds {
    /// Carries out what was decided, one after the other. Returns how many.
    pub async fn round(&self) -> Result<u64, SagaError> {
        let mut done = 0;
        while let Some(deed) = self.take().await? {
            let stopped = match tokio::time::timeout(LONGEST, self.carry_out(&deed)).await {
                Ok(Ok(())) => None,
                Ok(Err(stopped)) => Some(stopped),
                Err(_) => Some(Stopped::Told(format!(
                    "no answer within {} s",
                    LONGEST.as_secs()
                ))),
            };
            let problem = match stopped {
                None | Some(Stopped::Lost) => None,
                Some(Stopped::Refused(code)) => Some(format!("refused:{code}")),
                Some(Stopped::Told(text)) => Some(text),
                Some(Stopped::Saga(SagaError::Database(error))) => return Err(error.into()),
                Some(Stopped::Saga(error)) => Some(error.to_string()),
            };
            if let Some(problem) = problem {
                let mut conn = self.pool.acquire().await?;
                self.end(&mut conn, &deed, None, Some(&problem), None)
                    .await?;
            }
            done += 1;
        }
        Ok(done)
    }

    async fn take(&self) -> sqlx::Result<Option<Deed>> {
        sqlx::query_as("select ask_id, deed, case_id, object, what from admin.take_deed($1)")
            .bind(self.worker.0)
            .fetch_optional(&self.pool)
            .await
    }

    async fn carry_out(&self, deed: &Deed) -> Result<(), Stopped> {
        let seen = self.see(deed).await?;
        self.crash.point("deed_seen").await;
        match deed.deed.as_str() {
            "adopt" => self.adopt(deed, &seen).await,
            _ => self.give_back(deed, &seen).await,
        }
    }

    async fn see(&self, deed: &Deed) -> Result<Seen, Stopped> {
        if deed.what == "refund" {
            let refund = self.stripe.refund(&deed.object).await?;
            return Ok(Seen {
                status: refund.status.to_string(),
                amount_minor: refund.amount,
                currency: None,
                intent: refund.payment_intent.unwrap_or_default(),
                charge: None,
                refunded_minor: 0,
                refunding_minor: 0,
            });
        }
        let intent = self.stripe.intent(&deed.object).await?;
        let refunds = self.stripe.refunds_of(&intent.id).await?;
        let sum =
            |of: fn(&Refund) -> bool| refunds.iter().filter(|r| of(r)).map(|r| r.amount).sum();
        Ok(Seen {
            status: intent.status.to_string(),
            amount_minor: match intent.status {
                IntentStatus::Succeeded => intent.amount_received,
                _ => intent.amount,
            },
            currency: Currency::try_from(intent.currency.to_uppercase()).ok(),
            intent: intent.id,
            charge: intent.latest_charge,
            refunded_minor: sum(|r| r.status == RefundStatus::Succeeded),
            refunding_minor: sum(|r| {
                !matches!(
                    r.status,
                    RefundStatus::Succeeded | RefundStatus::Failed | RefundStatus::Canceled
                )
            }),
        })
    }

    /// The ground to stand on, in the caller's transaction.
    async fn begin(
        &self,
        conn: &mut PgConnection,
        deed: &Deed,
        seen: &Seen,
    ) -> Result<Value, Stopped> {
        let facts = json!({ "status": seen.status, "amount_minor": seen.amount_minor, "refunded_minor": (deed.what != "refund").then_some(seen.refunded_minor) });
        let told: Value = sqlx::query_scalar("select admin.begin_deed($1, $2, $3)")
            .bind(deed.ask_id)
            .bind(self.worker.0)
            .bind(facts)
            .fetch_one(conn)
            .await?;
        match told["status"].as_str() {
            Some("go") => Ok(told),
            Some("refused") => Err(Stopped::Refused(
                told["refusal"].as_str().unwrap_or_default().to_owned(),
            )),
            _ => Err(Stopped::Lost),
        }
    }

    async fn end(
        &self,
        conn: &mut PgConnection,
        deed: &Deed,
        answer: Option<Value>,
        problem: Option<&str>,
        closed: Option<&str>,
    ) -> sqlx::Result<()> {
        sqlx::query("select admin.end_deed($1, $2, $3, $4, $5)")
            .bind(deed.ask_id)
            .bind(self.worker.0)
            .bind(answer)
            .bind(problem)
            .bind(closed)
            .execute(conn)
            .await
            .map(|_| ())
    }

    // ---- into the books ----------------------------------------------------------------------------------------

    async fn adopt(&self, deed: &Deed, seen: &Seen) -> Result<(), Stopped> {
        if seen.refunded_minor + seen.refunding_minor > 0 {
            return Err(Stopped::Refused("given_back".to_owned()));
        }
        let mut tx = crate::store::begin(&self.pool).await?;
        let ground = match self.begin(&mut tx, deed, seen).await {
            Ok(told) => serde_json::from_value::<Ground>(told)
                .map_err(|error| Stopped::Told(error.to_string()))?,
            Err(stopped) => return Err(stopped),
        };
        let now: DateTime<Utc> = sqlx::query_scalar("select now()")
            .fetch_one(&mut *tx)
            .await?;
        let stream = BookingId(ground.booking_id);
        let (booking, version) = read::booking(&mut tx, stream)
            .await
            .map_err(|error| Stopped::Told(error.to_string()))?;
        let events = events(&booking, deed, seen, &ground, now)?;
        let context = Context {
            correlation: CorrelationId(ground.correlation_id),
            causation: Some(ground.saga_id),
            on_behalf_of: Some(ground.by.clone()),
        };
        let append = Append::new(stream, Expected::Version(version), events, now);
        append_in(&mut tx, &context, vec![append])
            .await
            .map_err(SagaError::Append)?;
        let over = booking.status == booking::Status::Cancelled
            || booking.status == booking::Status::Expired;
        let effect = note_effect(&mut tx, deed, seen, &ground).await?;
        hand_over(&mut tx, deed, &ground, effect, over).await?;
        self.end(
            &mut tx,
            deed,
            Some(json!({ "adopted": true })),
            None,
            Some("Taken into the books"),
        )
        .await?;
        self.crash.point("adopt_before_commit").await;
        tx.commit().await?;
        tracing::warn!(booking.id = %ground.booking_id, object = %deed.object, by = %ground.by, "what Stripe had and the ledger did not know is in the books now");
        Ok(())
    }

    // ---- back to the customer ----------------------------------------------------------------------------------

    async fn give_back(&self, deed: &Deed, seen: &Seen) -> Result<(), Stopped> {
        // Said before the call, and nothing is held while Stripe thinks: the key is what makes it one refund.
        let mut tx = crate::store::begin(&self.pool).await?;
        self.begin(&mut tx, deed, seen).await?;
        tx.commit().await?;
        let left = seen.amount_minor - seen.refunded_minor - seen.refunding_minor;
        let mut refund = None;
        let mut after = None;
        if left > 0 {
            let ask = Operation::Refund {
                payment_intent: seen.intent.clone(),
                amount_minor: left,
                metadata: BTreeMap::from([
                    ("case_id".to_owned(), deed.case_id.to_string()),
                    (INSTALLATION.to_owned(), self.installation.clone()),
                ]),
            };
            let key = format!("bz1:{}:case:{}:{left}", self.installation, deed.case_id);
            let answer = self.stripe.send(&ask.encode(), &key).await?;
            self.crash.point("given_back").await;
            if let bizing_stripe::Object::Refund(made) = answer.object {
                refund = Some(made.id);
            }
            after = Some(self.see(deed).await?);
        }
        let now = after.as_ref().unwrap_or(seen);
        // What is on its way may still fail: looking at it again closes the case when it has come about.
        let whole = now.refunded_minor >= now.amount_minor;
        let mut answer = json!({ "status": now.status, "amount_minor": now.amount_minor, "refunded_minor": now.refunded_minor });
        if let Some(refund) = refund {
            answer["refund"] = Value::String(refund);
        }
        let mut conn = self.pool.acquire().await?;
        self.end(
            &mut conn,
            deed,
            Some(answer),
            None,
            whole.then_some("Given back"),
        )
        .await?;
        Ok(())
    }
}

/// What the booking's own rules make of it.
fn events(
    state: &Booking,
    deed: &Deed,
    seen: &Seen,
    ground: &Ground,
    now: DateTime<Utc>,
) -> Result<Vec<Event>, Stopped> {
    let Some(created) = &state.created else {
        return Err(Stopped::Refused("no_booking".to_owned()));
    };
    let payment_id = state.payment.id.unwrap_or(PaymentId(ground.saga_id));
    let amount = Money::new(
        seen.amount_minor,
        seen.currency.unwrap_or(created.price.currency),
    );
    let commands = if deed.what == "refund" {
        if state.payment.intent.as_ref() != Some(&seen.intent) {
            return Err(Stopped::Refused("other_payment".to_owned()));
        }
        // The books may wait for this very one, of which no answer came.
        let waits = (state.payment.refund_pending_minor == amount.amount_minor)
            .then(|| state.payment.refunds.last().copied())
            .flatten();
        let refund_id = waits.unwrap_or(RefundId(ground.case_id));
        let request = Command::RequestRefund(RefundRequested {
            refund_id,
            payment_id,
            amount: amount.clone(),
            reason: format!("adopted: {}", ground.reason),
        });
        let record = Command::RecordRefund(PaymentRefunded {
            refund_id,
            payment_id,
            provider_refund: deed.object.clone(),
            amount,
        });
        waits
            .is_none()
            .then_some(request)
            .into_iter()
            .chain([record])
            .collect()
    } else {
        vec![Command::ReceivePayment(PaymentReceived {
            payment_id,
            payment_intent: deed.object.clone(),
            amount_received: amount,
            charge_id: seen.charge.clone(),
        })]
    };
    let mut state = state.clone();
    let mut all = vec![];
    for command in commands {
        let new = booking::decide(&state, command, now)
            .map_err(|refusal| Stopped::Told(refusal.to_string()))?;
        if new.is_empty() {
            return Err(Stopped::Refused("known".to_owned()));
        }
        state = new.iter().fold(state, booking::evolve);
        all.extend(new);
    }
    Ok(all)
}

/// The object's name, by which what Stripe tells of it finds its saga from here on.
async fn note_effect(
    conn: &mut PgConnection,
    deed: &Deed,
    seen: &Seen,
    ground: &Ground,
) -> Result<Uuid, Stopped> {
    let operation = match deed.what.as_str() {
        "refund" => Operation::Refund {
            payment_intent: seen.intent.clone(),
            amount_minor: seen.amount_minor,
            metadata: BTreeMap::new(),
        },
        _ => Operation::CreateIntent {
            amount_minor: seen.amount_minor,
            currency: seen
                .currency
                .map(|c| c.as_str().to_lowercase())
                .unwrap_or_default(),
            payment_method: String::new(),
            customer: None,
            description: None,
            metadata: BTreeMap::new(),
        },
    };
    let encoded = operation.encode();
    Ok(sqlx::query_scalar(
        "with s as (select i.saga_id, case when $4 = 'refund' then case when i.definition = 'cancellation' then 'refund' else 'capture' end else 'payment' end as step,
                           (case when $4 = 'refund' and i.definition <> 'cancellation' then 'C' else 'F' end)::\"char\" as direction
                      from saga.instance i where i.saga_id = $2)
         insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256, outcome,
                                  provider_object, provider_status, resolved_at, resolved_via, response)
           select gen_random_uuid(), s.saga_id, s.step, s.direction,
                  coalesce((select max(e.generation) + 1 from saga.effect e where e.saga_id = s.saga_id and e.step = s.step and e.direction = s.direction), 0),
                  'stripe', $5, 'adopted:' || $3, $6, $7, 'confirmed', $3, $8, now(), 'operator', jsonb_build_object('case_id', $1::uuid, 'by', $9::text, 'reason', $10::text)
             from s
         returning effect_id",
    )
    .bind(ground.case_id)
    .bind(ground.saga_id)
    .bind(&deed.object)
    .bind(&deed.what)
    .bind(operation.name())
    .bind(json!({ "operation": operation, "encoded": encoded }))
    .bind(encoded.sha256().as_slice())
    .bind(&seen.status)
    .bind(&ground.by)
    .bind(&ground.reason)
    .fetch_one(conn)
    .await?)
}

/// The saga as a person finds it: what they saw of it before is over, and one whose booking is over waits for them, since its
/// money should go back.
async fn hand_over(
    conn: &mut PgConnection,
    deed: &Deed,
    ground: &Ground,
    effect: Uuid,
    over: bool,
) -> Result<(), Stopped> {
    let opens = over && deed.what != "refund";
    let place = Definition::named("booking", 1).map_or(0, |d| d.place(Step::Capture));
    sqlx::query(
        r#"update saga.instance
              set "cursor" = case when finished_at is null then "cursor" else $2 end, parked_at = coalesce(parked_at, now()),
                  park_code = case when finished_at is null then park_code else 'adopted' end,
                  park_reason = case when finished_at is null then park_reason else 'a payment was taken into the books, and the booking is over: the money should go back' end,
                  state = 'parked', finished_at = null, outcome = null, version = version + 1, fence = fence + 1, by_fence = fence + 1, wake_at = now(), attempt = 0,
                  context = context || '{"hands_on": true}', updated_at = now()
            where saga_id = $1 and (finished_at is null or $3)"#,
    )
    .bind(ground.saga_id)
    .bind(place)
    .bind(opens)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, output)
         select i.saga_id, 1 + coalesce((select max(no) from saga.attempt where saga_id = i.saga_id), 0), e.step, e.direction, 'operator', e.effect_id,
                i.fence, now(), clock_timestamp(), 'adopted', jsonb_build_object('by', $3::text, 'reason', $4::text, 'case_id', $5::uuid, 'object', $6::text, 'command_id', $7::uuid)
           from saga.instance i join saga.effect e on e.effect_id = $2 where i.saga_id = $1",
    )
    .bind(ground.saga_id)
    .bind(effect)
    .bind(&ground.by)
    .bind(&ground.reason)
    .bind(ground.case_id)
    .bind(&deed.object)
    .bind(deed.ask_id)
    .execute(conn)
    .await?;
    Ok(())
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        match failure {
            Failure::Refused { ref code, .. } if code == "resource_missing" => {
                Stopped::Refused("not_there".to_owned())
            }
            failure => Stopped::Told(failure.to_string()),
        }
    }
}

impl From<SagaError> for Stopped {
    fn from(error: SagaError) -> Stopped {
        Stopped::Saga(error)
    }
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Stopped {
        Stopped::Saga(error.into())
    }
}
