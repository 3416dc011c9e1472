//! Providers: how many calls at once, how fast sagas follow when one answers again, and letting one saga ahead by hand.

use sqlx::Row;

use super::act::rung;
use super::words;
use crate::app::desk::Desk;
use crate::app::wire::*;

pub async fn list(desk: &Desk, _: Empty) -> Result<Providers, AppError> {
    let rows = sqlx::query(
        "select g.*, case when g.state = 'closed' then 0
                else (select count(*) from read.sagas_v2 s where s.finished_at is null and s.state <> 'parked' and s.asks = g.provider) end as waiting,
                (select count(*) from read.saga_workers_v1 w where w.heartbeat_at > now() - interval '60 seconds' and not w.draining and g.provider = any(w.asks)) as workers
           from read.provider_gates_v2 g where g.provider = 'stripe' order by g.provider",
    )
    .fetch_all(&desk.people)
    .await?;
    let rows = rows
        .iter()
        .map(|row| {
            Ok(Provider {
                provider: row.try_get("provider")?,
                state: row.try_get("state")?,
                reason: row.try_get("reason")?,
                next_at: row.try_get("open_until")?,
                rate_per_s: row.try_get("rate_per_s")?,
                max_in_flight: u32::try_from(row.try_get::<i16, _>("max_in_flight")?).unwrap_or(1),
                waiting: row.try_get("waiting")?,
                workers: row.try_get("workers")?,
                changed_by: row.try_get("by")?,
                changed_at: row.try_get("at")?,
                change: row.try_get("what")?,
                change_reason: row.try_get("change_reason")?,
            })
        })
        .collect::<Result<_, AppError>>()?;
    let needs = |group: Group, word: &str| {
        desk.read_only
            .clone()
            .or_else(|| (desk.group < group).then(|| words::refusal(word)))
    };
    Ok(Providers {
        rows,
        limits_refused: needs(Group::Admin, "needs_admin"),
        open_refused: needs(Group::Manager, "needs_manager"),
    })
}

pub async fn put(desk: &Desk, request: PutProvider) -> Result<Providers, AppError> {
    read_only(desk)?;
    if !(0.1..=1000.0).contains(&request.rate_per_s) {
        return Err(AppError::invalid(
            "rate_per_s",
            "Between 0.1 and 1,000 a second.",
        ));
    }
    if !(1..=100).contains(&request.max_in_flight) {
        return Err(AppError::invalid(
            "max_in_flight",
            "Between 1 and 100 at once.",
        ));
    }
    let told: String = sqlx::query_scalar("select api.put_provider($1, jsonb_build_object('rate_per_s', $2::real, 'max_in_flight', $3::smallint), $4, $5, $6)")
        .bind(&request.provider)
        .bind(request.seen_rate_per_s)
        .bind(i16::try_from(request.seen_max_in_flight).unwrap_or(0))
        .bind(request.rate_per_s)
        .bind(i32::try_from(request.max_in_flight).unwrap_or(0))
        .bind(&request.reason)
        .fetch_one(&desk.people)
        .await?;
    answered(&told)?;
    rung(desk);
    list(desk, Empty {}).await
}

pub async fn open(desk: &Desk, request: OpenGate) -> Result<Providers, AppError> {
    read_only(desk)?;
    let told: String = sqlx::query_scalar("select api.open_gate($1, $2)")
        .bind(&request.provider)
        .bind(&request.reason)
        .fetch_one(&desk.people)
        .await?;
    answered(&told)?;
    rung(desk);
    list(desk, Empty {}).await
}

fn answered(told: &str) -> Result<(), AppError> {
    match told {
        "done" => Ok(()),
        "reason" => Err(words::lacks("reason")),
        "not_found" => Err(AppError::new(
            Code::NotFound,
            "There is no such provider here.",
        )),
        "open" => Err(AppError::new(
            Code::Refused,
            "It is not paused: sagas ask it already.",
        )),
        "changed" => Err(AppError::new(
            Code::Conflict,
            "Somebody else changed these limits while you looked. Nothing was changed by you.",
        )
        .hint("Look at them as they are now, then decide again.")),
        other => Err(AppError::new(
            Code::Refused,
            format!("The database refused: {other}."),
        )),
    }
}

fn read_only(desk: &Desk) -> Result<(), AppError> {
    match &desk.read_only {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason.clone())),
        None => Ok(()),
    }
}
