//! What Stripe and the ledger do not agree about, for a person to look at.

use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::act::rung;
use super::{ask as asks, words};
use crate::app::desk::Desk;
use crate::app::place::money;
use crate::app::wire::*;

pub async fn open(conn: &mut PgConnection, desk: &Desk) -> Result<Vec<Orphan>, AppError> {
    let rows = sqlx::query(
        "select a.case_id, a.saga_id, a.fact, a.opened_at, s.context->>'reference' as reference, o.adopt, o.give_back, o.give_back_waits,
                exists (select from read.case_requests_v1 r where r.case_id = a.case_id and r.status = 'awaiting_approval') as asked
           from (select * from read.saga_attention_v1 a where a.closed_at is null and a.kind like 'orphan:%' order by a.opened_at, a.case_id limit 50) a
           left join read.sagas_v2 s on s.saga_id = a.saga_id cross join lateral api.case_offers(a.case_id) o
          order by a.opened_at, a.case_id",
    )
    .fetch_all(&mut *conn)
    .await?;
    let check_refused = match rows.is_empty() {
        true => None,
        false => asks::unasked(conn, desk).await?,
    };
    let may_ask = desk.read_only.is_none() && desk.group >= Group::Manager;
    rows.iter()
        .map(|row| {
            let fact: Value = row.try_get("fact")?;
            let text = |name: &str| fact[name].as_str().map(str::to_owned);
            let sum = |name: &str| {
                fact[name]
                    .as_i64()
                    .zip(text("currency"))
                    .map(|(minor, currency)| money(minor, &currency))
            };
            let waits: bool = row.try_get("give_back_waits")?;
            let not_now = |deed: &str| -> sqlx::Result<Option<String>> {
                Ok(match row.try_get::<Option<&str>, _>(deed)? {
                    _ if row.try_get("asked")? => Some(words::refusal("asked_already")),
                    Some(code) => Some(words::refusal(code)),
                    // A second person says yes first, and finds a worker then.
                    None if deed == "give_back" && waits && may_ask => None,
                    // A worker does it, with its key.
                    None => check_refused.clone(),
                })
            };
            Ok(Orphan {
                case_id: row.try_get("case_id")?,
                saga_id: row.try_get("saga_id")?,
                reference: row.try_get("reference")?,
                why: text("why").unwrap_or_default(),
                what: text("what").unwrap_or_default(),
                object: text("object").unwrap_or_default(),
                status: text("status"),
                amount: sum("amount_minor"),
                booked: sum("booked_minor"),
                opened_at: row.try_get("opened_at")?,
                checked_at: text("checked_at").and_then(|at| at.parse().ok()),
                checked_by: text("checked_by"),
                refunded: sum("refunded_minor").filter(|sum| sum.amount_minor > 0),
                check_refused: check_refused.clone(),
                adopt_refused: not_now("adopt")?,
                give_back_refused: not_now("give_back")?,
                give_back_waits: waits,
            })
        })
        .collect()
}

pub async fn sweep(conn: &mut PgConnection) -> Result<Sweep, AppError> {
    let row = sqlx::query("select * from read.sweeps_v1 where provider = 'stripe'")
        .fetch_one(conn)
        .await?;
    Ok(Sweep {
        running: row.try_get("running")?,
        ended_at: row.try_get("ended_at")?,
        looked: row.try_get("looked")?,
        problem: row.try_get("problem")?,
    })
}

/// Walks now, and not when the next walk is due.
pub async fn ask(desk: &Desk, _: Empty) -> Result<Empty, AppError> {
    read_only(desk)?;
    let told: String = sqlx::query_scalar("select api.ask_sweep()")
        .fetch_one(&desk.people)
        .await?;
    if told == "no_worker" {
        return Err(
            AppError::new(Code::Refused, "No worker with Stripe's key is running.").hint(
                "Start the desk on a computer that has Stripe's key, or `bizing-desk serve`.",
            ),
        );
    }
    rung(desk);
    Ok(Empty {})
}

pub async fn close(desk: &Desk, request: CloseOrphan) -> Result<Empty, AppError> {
    read_only(desk)?;
    let told: String = sqlx::query_scalar("select api.close_case($1, $2, $3)")
        .bind(request.case_id)
        .bind(&request.reason)
        .bind(&request.evidence)
        .fetch_one(&desk.people)
        .await?;
    match told.as_str() {
        "done" => {}
        "reason" | "evidence" => return Err(words::lacks(&told)),
        _ => {
            return Err(AppError::new(
                Code::Conflict,
                "Somebody else has closed this case already.",
            ));
        }
    }
    rung(desk);
    Ok(Empty {})
}

/// Looks at that one object again, through a worker that holds the key.
pub async fn check(desk: &Desk, request: CheckOrphan) -> Result<StripeAsk, AppError> {
    read_only(desk)?;
    let mut conn = desk.people.acquire().await?;
    let told: Value = sqlx::query_scalar("select api.check_case($1, $2)")
        .bind(request.ask_id)
        .bind(request.case_id)
        .fetch_one(&mut *conn)
        .await?;
    if told["status"] == "not_found" {
        return Err(AppError::new(
            Code::Conflict,
            "This case is closed already.",
        ));
    }
    asks::asked(desk, &mut conn, request.ask_id, &told).await
}

/// Takes it into the books, or gives it back: a worker that holds the key does it, once.
pub async fn decide(desk: &Desk, request: DecideOrphan) -> Result<StripeAsk, AppError> {
    read_only(desk)?;
    if !["adopt", "give_back"].contains(&request.deed.as_str()) {
        return Err(AppError::invalid(
            "deed",
            "It is taken into the books, or given back.",
        ));
    }
    let mut conn = desk.people.acquire().await?;
    let told: Value = sqlx::query_scalar("select api.decide_case($1, $2, $3, $4)")
        .bind(request.ask_id)
        .bind(request.case_id)
        .bind(&request.deed)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    match told["status"].as_str().unwrap_or_default() {
        "reason" => return Err(words::lacks("reason")),
        "refused" => {
            return Err(words::refused(
                told["refusal"].as_str().unwrap_or_default(),
                &Value::Null,
            ));
        }
        "not_found" => {
            return Err(AppError::new(
                Code::Conflict,
                "This case is closed already.",
            ));
        }
        _ => {}
    }
    asks::asked(desk, &mut conn, request.ask_id, &told).await
}

fn read_only(desk: &Desk) -> Result<(), AppError> {
    match &desk.read_only {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason.clone())),
        None => Ok(()),
    }
}
