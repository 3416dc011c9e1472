//! Asking Stripe about a saga's money: a person's window holds no key, so the question goes to a worker that does.

use serde::Deserialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::act;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::money;
use crate::app::wire::*;

/// As many as a page shows.
const SHOWN: i64 = 5;
const NO_WORKER: &str = "No worker with Stripe's key is running.";
const NOTHING: &str = "Nothing of this booking is at Stripe.";

pub async fn ask(desk: &Desk, request: AskStripe) -> Result<StripeAsk, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let mut conn = desk.people.acquire().await?;
    let told: Value = sqlx::query_scalar("select api.ask_stripe($1, $2)")
        .bind(request.ask_id)
        .bind(request.saga_id)
        .fetch_one(&mut *conn)
        .await?;
    if told["status"] == "not_found" {
        return Err(act::unknown());
    }
    asked(desk, &mut conn, request.ask_id, &told).await
}

/// A question that the database took, or why it did not.
pub async fn asked(
    desk: &Desk,
    conn: &mut PgConnection,
    ask_id: Uuid,
    told: &Value,
) -> Result<StripeAsk, AppError> {
    match told["status"].as_str().unwrap_or_default() {
        "asked" | "awaiting_approval" => {}
        "nothing" => return Err(AppError::new(Code::Refused, NOTHING)),
        "no_worker" => {
            return Err(AppError::new(Code::Refused, NO_WORKER)
                .hint("Start the desk on a computer that has Stripe's key, or `bizing-desk serve`, and ask again."));
        }
        "too_many" => {
            return Err(
                AppError::new(Code::Refused, "You asked Stripe 30 times within a minute.")
                    .hint("Wait a minute: each question is several calls to Stripe."),
            );
        }
        other => {
            return Err(AppError::new(
                Code::CommandReused,
                format!("The database refused: {other}."),
            ));
        }
    }
    desk.bell.ring();
    let id = told["ask_id"].as_str().and_then(|id| id.parse().ok());
    one(conn, id.unwrap_or(ask_id)).await
}

pub async fn get(desk: &Desk, request: GetAsk) -> Result<StripeAsk, AppError> {
    let mut conn = desk.people.acquire().await?;
    one(&mut conn, request.ask_id).await
}

/// Why Stripe cannot be asked about a saga of which these calls are known.
pub async fn refused(
    conn: &mut PgConnection,
    desk: &Desk,
    booking: Uuid,
) -> Result<Option<String>, AppError> {
    let asked: bool = sqlx::query_scalar(
        "select exists (select 1 from read.effects_v1 e join read.sagas_v2 s using (saga_id) where s.booking_id = $1 and e.provider = 'stripe')",
    )
    .bind(booking)
    .fetch_one(&mut *conn)
    .await?;
    if !asked {
        return Ok(Some(NOTHING.to_owned()));
    }
    unasked(conn, desk).await
}

/// Why nothing can be asked of Stripe from here now.
pub async fn unasked(conn: &mut PgConnection, desk: &Desk) -> Result<Option<String>, AppError> {
    if let Some(reason) = &desk.read_only {
        return Ok(Some(reason.clone()));
    }
    if desk.group < Group::Staff {
        return Ok(Some(super::words::refusal("needs_staff")));
    }
    let alive: bool = sqlx::query_scalar("select api.worker_asks('stripe')")
        .fetch_one(conn)
        .await?;
    Ok((!alive).then(|| NO_WORKER.to_owned()))
}

pub async fn of_saga(conn: &mut PgConnection, saga: Uuid) -> Result<Vec<StripeAsk>, AppError> {
    sqlx::query("select * from read.asks_v1 where saga_id = $1 order by asked_at desc limit $2")
        .bind(saga)
        .bind(SHOWN)
        .fetch_all(conn)
        .await?
        .iter()
        .map(shown)
        .collect()
}

async fn one(conn: &mut PgConnection, id: Uuid) -> Result<StripeAsk, AppError> {
    let row = sqlx::query("select * from read.asks_v1 where ask_id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?
        .ok_or_else(|| AppError::new(Code::NotFound, "There is no such question here."))?;
    shown(&row)
}

/// As the worker writes it (`saga::ask`).
#[derive(Deserialize)]
struct Told {
    intent: Option<StripeObject>,
    page: Option<StripeObject>,
    refunds: Vec<ToldRefund>,
    calls: Vec<StripeCall>,
    /// Workers of before fail where there is one.
    #[serde(default)]
    absent: Option<StripeAbsent>,
    stripe: Sums,
    ledger: Sums,
    currency: Option<String>,
}

#[derive(Deserialize)]
struct ToldRefund {
    id: String,
    status: String,
    amount_minor: i64,
    known: bool,
}

#[derive(Deserialize, PartialEq)]
struct Sums {
    authorised_minor: i64,
    captured_minor: i64,
    refunded_minor: i64,
}

fn shown(row: &PgRow) -> Result<StripeAsk, AppError> {
    // What was seen of one object stands with its case.
    let of_saga = row.try_get::<&str, _>("kind")? == "stripe.saga";
    let answer = row
        .try_get::<Option<Value>, _>("answer")?
        .filter(|_| of_saga)
        .map(|told| serde_json::from_value(told).map(answer))
        .transpose()
        .map_err(internal)?;
    Ok(StripeAsk {
        ask_id: row.try_get("ask_id")?,
        by: row.try_get("asked_by")?,
        at: row.try_get("asked_at")?,
        state: row.try_get("state")?,
        answered_at: row.try_get("answered_at")?,
        problem: row.try_get::<Option<String>, _>("problem")?.map(|problem| {
            match problem.strip_prefix("refused:") {
                Some(code) => super::words::refusal(code),
                None => problem,
            }
        }),
        answer,
    })
}

fn answer(told: Told) -> StripeAnswer {
    let currency = told.currency.as_deref().unwrap_or("EUR");
    let sum = |pick: fn(&Sums) -> i64| StripeSum {
        stripe: money(pick(&told.stripe), currency),
        ledger: money(pick(&told.ledger), currency),
    };
    StripeAnswer {
        authorised: sum(|s| s.authorised_minor),
        captured: sum(|s| s.captured_minor),
        refunded: sum(|s| s.refunded_minor),
        agrees: told.stripe == told.ledger && told.absent.is_none(),
        absent: told.absent,
        refunds: told
            .refunds
            .iter()
            .map(|r| StripeRefund {
                id: r.id.clone(),
                status: r.status.clone(),
                amount: money(r.amount_minor, currency),
                known: r.known,
            })
            .collect(),
        intent: told.intent,
        page: told.page,
        calls: told.calls,
    }
}
