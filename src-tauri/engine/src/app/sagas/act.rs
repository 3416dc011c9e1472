//! Looking before acting, acting, and deciding about what somebody else asked for.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{page, plan, says, words};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::moment;
use crate::app::wire::*;

pub async fn preview(desk: &Desk, request: PreviewSaga) -> Result<SagaPlan, AppError> {
    let mut conn = desk.people.acquire().await?;
    let planned = planned(&mut conn, request.saga_id, &request.action, &request.params).await?;
    let zone = zone(&mut conn, request.saga_id).await?;
    let mut plan = plan::plan_in(planned, &zone)?;
    if plan.refused.is_some() {
        plan::promises_nothing(&mut plan);
    }
    if request.action == "pause" {
        plan.operations
            .extend(clocks(&mut conn, request.saga_id, &zone).await?);
    }
    Ok(plan)
}

/// Of the place where the booking is.
async fn zone(conn: &mut PgConnection, saga: Uuid) -> Result<String, AppError> {
    let zone: Option<String> = sqlx::query_scalar(
        "select b.zone from read.sagas_v2 s join read.bookings_v1 b on b.booking_id = s.booking_id where s.saga_id = $1",
    )
    .bind(saga)
    .fetch_optional(&mut *conn)
    .await?;
    Ok(zone.unwrap_or_else(|| "UTC".to_owned()))
}

/// What runs out all the same while a saga is paused.
async fn clocks(
    conn: &mut PgConnection,
    saga: Uuid,
    zone: &str,
) -> Result<Vec<PlannedOp>, AppError> {
    let rows: Vec<(String, DateTime<Utc>)> = sqlx::query_as(
        "select c.op, c.at from read.sagas_v2 s
          cross join lateral (values ('clock_hold', case when s.direction = 'F' and s.step in ('hold', 'payment') then s.hold_expires_at end),
                                     ('clock_authorisation', case when s.pivot_passed_at is null then s.auth_expires_at end)) c(op, at)
          where s.saga_id = $1 and c.at > now() order by c.at",
    )
    .bind(saga)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(op, at)| {
            Ok(PlannedOp {
                op,
                at: Some(moment(at, zone)?),
                ..PlannedOp::default()
            })
        })
        .collect()
}

/// The undoing of a saga from where it is, as its page shows it.
pub async fn planned(
    conn: &mut PgConnection,
    saga: Uuid,
    action: &str,
    params: &SagaParams,
) -> Result<Value, AppError> {
    sqlx::query_scalar::<_, Option<Value>>("select api.preview_saga($1, $2, $3)")
        .bind(saga)
        .bind(action)
        .bind(serde_json::to_value(params).map_err(internal)?)
        .fetch_one(conn)
        .await?
        .ok_or_else(unknown)
}

pub fn unknown() -> AppError {
    AppError::new(Code::NotFound, "There is no such saga here.")
}

pub async fn command(desk: &Desk, request: CommandSaga) -> Result<SagaCommanded, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let wanted = says::wanted(&request)?;
    let mut tx = crate::store::begin(&desk.people).await?;
    let answer: Value =
        sqlx::query_scalar("select api.command_saga($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(request.command_id)
            .bind(request.saga_id)
            .bind(&request.action)
            .bind(request.version)
            .bind(&request.plan_hash)
            .bind(serde_json::to_value(&request.params).map_err(internal)?)
            .bind(&request.reason)
            .bind(json!({ "app": env!("CARGO_PKG_VERSION") }))
            .fetch_one(&mut *tx)
            .await?;
    if answer["status"] == "applied"
        && let Some(wanted) = wanted
    {
        says::tell(&mut tx, &request, wanted).await?;
    }
    // What was refused stays in the audit.
    tx.commit().await?;
    told(&answer)?;
    rung(desk);
    Ok(SagaCommanded {
        command_id: request.command_id,
        awaits_approval: answer["status"] == "awaiting_approval",
    })
}

pub async fn approval(desk: &Desk, request: GetApproval) -> Result<Approval, AppError> {
    let mut conn = desk.people.acquire().await?;
    let value: Value =
        sqlx::query_scalar::<_, Option<Value>>("select api.preview_saga_command($1)")
            .bind(request.command_id)
            .fetch_one(&mut *conn)
            .await?
            .ok_or_else(no_request)?;
    let changed = value["hash"] != value["asked_hash"];
    Ok(Approval {
        command: page::one_command(&mut conn, request.command_id)
            .await?
            .ok_or_else(no_request)?,
        plan: plan::plan(value)?,
        changed,
    })
}

fn no_request() -> AppError {
    AppError::new(Code::NotFound, "There is no such request here.")
}

pub async fn decide(desk: &Desk, request: DecideCommand) -> Result<SagaCommand, AppError> {
    if let Some(reason) = &desk.read_only {
        return Err(AppError::new(Code::Forbidden, reason.clone()));
    }
    let mut conn = desk.people.acquire().await?;
    let answer: Value = sqlx::query_scalar("select api.decide_saga_command($1, $2, $3, $4)")
        .bind(request.command_id)
        .bind(request.approve)
        .bind(&request.plan_hash)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    rung(desk);
    told(&answer)?;
    page::one_command(&mut conn, request.command_id)
        .await?
        .ok_or_else(no_request)
}

pub fn rung(desk: &Desk) {
    desk.bell.ring();
    desk.hints.changed("sagas");
    desk.hints.changed("bookings");
    desk.hints.changed("status");
}

fn told(answer: &Value) -> Result<(), AppError> {
    let refusal = answer["refusal"].as_str().unwrap_or_default();
    match answer["status"].as_str().unwrap_or_default() {
        "applied" | "repeated" | "awaiting_approval" | "rejected" => Ok(()),
        "refused" => Err(words::refused(refusal, &answer["by"])),
        "lacks" => Err(words::lacks(refusal)),
        "reason" => Err(words::lacks("reason")),
        "not_found" => Err(unknown()),
        "reused" => Err(AppError::new(
            Code::CommandReused,
            "This form was sent before with other content. Nothing was done.",
        )
        .hint("Open the form again.")),
        "own" => Err(AppError::new(
            Code::Refused,
            "You asked for this yourself: somebody else decides.",
        )
        .hint("Any other manager can approve or refuse it.")),
        "expired" => Err(AppError::new(
            Code::Refused,
            "This request is older than 24 hours and has ended. Nothing was done.",
        )
        .hint("Look at the saga and ask again if it is still needed.")),
        "decided" => Err(AppError::new(
            Code::Conflict,
            format!(
                "This request is decided already: {}.",
                refusal.replace('_', " ")
            ),
        )),
        "no_worker" => Err(
            AppError::new(Code::Refused, "No worker with Stripe's key is running.").hint(
                "Start the desk on a computer that has Stripe's key, or `bizing-desk serve`, and say yes then.",
            ),
        ),
        other => Err(AppError::new(
            Code::Refused,
            format!("The database refused: {other}."),
        )),
    }
}
