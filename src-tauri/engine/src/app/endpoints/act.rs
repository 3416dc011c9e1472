//! Pausing, trying, turning off and on, what was held; the list of what is allowed; a test.

use serde_json::Value;
use sqlx::{PgConnection, Row};

use super::list::one;
use super::{admins_only, changed_meanwhile, may_write, rung, unknown};
use crate::app::desk::Desk;
use crate::app::wire::*;
use crate::delivery::http;
use crate::runtime::ids;

pub async fn change(desk: &Desk, request: ChangeEndpoint) -> Result<Endpoint, AppError> {
    may_write(desk)?;
    let mut conn = desk.people.acquire().await?;
    // What it was is the last that can be shown of an endpoint that is deleted.
    let before = match request.action {
        EndpointAction::Delete => Some(one(&mut conn, request.destination_id).await?),
        _ => None,
    };
    let answer: Value = sqlx::query_scalar("select api.change_endpoint($1, $2, $3, $4, $5)")
        .bind(request.destination_id)
        .bind(request.version)
        .bind(word(request.action))
        .bind(request.recover_since)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    match answer["status"].as_str().unwrap_or_default() {
        "done" => {}
        "not_found" => return Err(unknown()),
        "conflict" => return Err(changed_meanwhile()),
        _ => {
            let state = answer["problem"].as_str().unwrap_or_default();
            return Err(AppError::new(
                Code::Refused,
                format!("That cannot be done while the endpoint is {state}. Nothing was changed."),
            ));
        }
    }
    rung(desk);
    match before {
        Some(before) => Ok(before),
        None => one(&mut conn, request.destination_id).await,
    }
}

fn word(action: EndpointAction) -> &'static str {
    match action {
        EndpointAction::Pause => "pause",
        EndpointAction::Resume => "resume",
        EndpointAction::TryNow => "try_now",
        EndpointAction::KeepOn => "keep_on",
        EndpointAction::Disable => "disable",
        EndpointAction::Enable => "enable",
        EndpointAction::Delete => "delete",
        EndpointAction::SendHeld => "send_held",
        EndpointAction::SendHeldNewest => "send_held_newest",
        EndpointAction::CancelHeld => "cancel_held",
    }
}

/// What turning it on again would owe. Nothing is changed.
pub async fn preview_recovery(
    desk: &Desk,
    request: PreviewRecovery,
) -> Result<RecoveryPlan, AppError> {
    let (missed, given_up) =
        sqlx::query_as("select missed, given_up from api.preview_recovery($1, $2)")
            .bind(request.destination_id)
            .bind(request.since)
            .fetch_one(&desk.people)
            .await?;
    Ok(RecoveryPlan { missed, given_up })
}

/// One message that no event is behind, marked as a test.
pub async fn send_test(desk: &Desk, request: SendTest) -> Result<DeliveryRef, AppError> {
    may_write(desk)?;
    let delivery_id = ids::v7();
    let done: String = sqlx::query_scalar("select api.send_test($1, $2, $3)")
        .bind(delivery_id)
        .bind(request.destination_id)
        .bind(&request.event_name)
        .fetch_one(&desk.people)
        .await?;
    match done.as_str() {
        "sent" => {}
        "event" => {
            return Err(AppError::invalid(
                "event_name",
                format!("No event is called {}.", request.event_name),
            ));
        }
        _ => return Err(unknown()),
    }
    rung(desk);
    Ok(DeliveryRef { delivery_id })
}

pub async fn allow_list(desk: &Desk, _: Empty) -> Result<AllowList, AppError> {
    let mut conn = desk.people.acquire().await?;
    allowed(desk, &mut conn).await
}

async fn allowed(desk: &Desk, conn: &mut PgConnection) -> Result<AllowList, AppError> {
    let row = sqlx::query("select version, entries, changed_by, changed_at, reason from read.allow_list_v1 order by version desc limit 1")
        .fetch_one(conn)
        .await?;
    let version: i32 = row.try_get("version")?;
    // The empty list that an installation begins with is nobody's.
    let by_somebody = version > 0;
    Ok(AllowList {
        version,
        entries: row.try_get("entries")?,
        changed_by: by_somebody.then(|| row.try_get("changed_by")).transpose()?,
        changed_at: by_somebody.then(|| row.try_get("changed_at")).transpose()?,
        reason: row.try_get("reason")?,
        refused: admins_only(desk),
    })
}

pub async fn put_allow_list(desk: &Desk, request: PutAllowList) -> Result<AllowList, AppError> {
    may_write(desk)?;
    let entries: Vec<String> = request
        .entries
        .iter()
        .map(|e| e.trim().to_lowercase())
        .filter(|e| !e.is_empty())
        .collect();
    http::AllowList::parse(entries.iter().map(String::as_str))
        .map_err(|why| AppError::invalid("entries", format!("{why}.")))?;
    if request.reason.trim().is_empty() {
        return Err(AppError::invalid(
            "reason",
            "Say why, for whoever looks at it later.",
        ));
    }
    let mut conn = desk.people.acquire().await?;
    let done: String = sqlx::query_scalar("select api.put_allow_list($1, $2, $3)")
        .bind(request.version)
        .bind(&entries)
        .bind(request.reason.trim())
        .fetch_one(&mut *conn)
        .await?;
    match done.as_str() {
        "changed" => {}
        "conflict" => {
            return Err(AppError::new(
                Code::Conflict,
                "Somebody else changed this list meanwhile. Nothing was changed by you.",
            )
            .hint("Look at it as it is now, then try again.")
            .retry(Retry::Now));
        }
        _ => {
            return Err(AppError::invalid(
                "entries",
                "The list has up to 200 entries of up to 255 signs.",
            ));
        }
    }
    rung(desk);
    allowed(desk, &mut conn).await
}
