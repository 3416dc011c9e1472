//! What an admin sees of projections, and does with them. Each act is one function of the database, which checks who
//! asks, keeps the reason and counts a command once; workers carry it out.

mod changes;
mod cursor;
mod diff;
mod rebuilds;
mod replay;
mod skips;
mod view;

use sqlx::PgConnection;

use super::desk::Desk;
use super::wire::*;

pub use changes::list_changes;
pub use diff::diff;
pub use rebuilds::{
    cancel_rebuild, get_rebuild, list_rebuilds, pause_rebuild, resume_rebuild, set_speed, swap,
};
pub use replay::{preview, start};
pub use view::list;

const SHORTEST_REASON: usize = 10;

pub async fn pause(desk: &Desk, request: ChangeProjection) -> Result<Projection, AppError> {
    change(desk, request, "pause", None).await
}

pub async fn resume(desk: &Desk, request: ChangeProjection) -> Result<Projection, AppError> {
    change(desk, request, "resume", None).await
}

pub async fn roll_back(desk: &Desk, request: ChangeProjection) -> Result<Projection, AppError> {
    needs_reason(request.reason.as_deref())?;
    change(desk, request, "roll_back", None).await
}

pub async fn retry_parked(desk: &Desk, request: ChangeProjection) -> Result<Projection, AppError> {
    change(desk, request, "retry", None).await
}

pub async fn skip_parked(desk: &Desk, request: SkipParked) -> Result<Projection, AppError> {
    needs_reason(Some(&request.reason))?;
    let position = request.position;
    let request = ChangeProjection {
        command_id: request.command_id,
        projection: request.projection,
        reason: Some(request.reason),
    };
    change(desk, request, "skip", Some(position)).await
}

/// Rebuilds fold the event again; the live rows lack it until one is swapped in.
pub async fn withdraw_skip(desk: &Desk, request: WithdrawSkip) -> Result<Projection, AppError> {
    needs_reason(Some(&request.reason))?;
    let position = request.position;
    let request = ChangeProjection {
        command_id: request.command_id,
        projection: request.projection,
        reason: Some(request.reason),
    };
    change(desk, request, "withdraw_skip", Some(position)).await
}

async fn change(
    desk: &Desk,
    request: ChangeProjection,
    action: &'static str,
    position: Option<i64>,
) -> Result<Projection, AppError> {
    may_change(desk)?;
    let mut conn = desk.people.acquire().await?;
    let status: String = sqlx::query_scalar("select api.change_projection($1, $2, $3, $4, $5)")
        .bind(request.command_id)
        .bind(&request.projection)
        .bind(action)
        .bind(position)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    told(&status, &request.projection)?;
    desk.bell.ring();
    desk.hints.changed("projections");
    desk.hints
        .changed(if action == "roll_back" { "*" } else { "status" });
    one(desk, &mut conn, &request.projection).await
}

async fn one(desk: &Desk, conn: &mut PgConnection, name: &str) -> Result<Projection, AppError> {
    let all = view::all(desk, conn).await?;
    all.rows
        .into_iter()
        .find(|p| p.name == name)
        .ok_or_else(|| unknown(name))
}

fn may_change(desk: &Desk) -> Result<(), AppError> {
    match refused(desk) {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason)),
        None => Ok(()),
    }
}

/// Why nothing can be changed from here at all.
fn refused(desk: &Desk) -> Option<String> {
    if desk.read_only.is_some() {
        return desk.read_only.clone();
    }
    (desk.group < Group::Admin).then(|| "This needs an admin.".to_owned())
}

fn action(name: &str, refused: Option<String>) -> Action {
    Action {
        name: name.to_owned(),
        refused,
    }
}

fn needs_reason(reason: Option<&str>) -> Result<(), AppError> {
    if reason.unwrap_or_default().trim().chars().count() < SHORTEST_REASON {
        return Err(AppError::invalid(
            "reason",
            format!("Say why in at least {SHORTEST_REASON} signs: it stands in the audit."),
        ));
    }
    Ok(())
}

fn unknown(name: &str) -> AppError {
    let known: Vec<&str> = crate::projection::ALL.iter().map(|p| p.name).collect();
    AppError::new(Code::NotFound, format!("There is no projection `{name}`."))
        .hint(format!("There are: {}.", known.join(", ")))
        .field("projection")
}

/// What the database answered, in words. `what` is what was to be changed.
fn told(status: &str, what: &str) -> Result<(), AppError> {
    let refused =
        |message: String, hint: &str| Err(AppError::new(Code::Refused, message).hint(hint));
    match status {
        "done" | "repeated" => Ok(()),
        "reason" => needs_reason(None),
        "unknown" => Err(unknown(what)),
        "running" => refused(
            format!("A replay of {what} is under way already."),
            "Wait for it, or cancel it first.",
        ),
        "other_shape" => refused(
            format!(
                "{what} gets rows of another shape, so none can be taken over from the live ones."
            ),
            "Replay it from the start.",
        ),
        "over" => refused(
            "This replay is over. Nothing was changed.".to_owned(),
            "Look at its outcome in the history.",
        ),
        "not_running" => refused(
            "It does not run, so it cannot be paused.".to_owned(),
            "Look at it again: somebody was faster.",
        ),
        "not_paused" => refused(
            "It is not paused.".to_owned(),
            "Look at it again: somebody was faster.",
        ),
        "paused" => refused(
            format!("{what} is paused already."),
            "Look at it again: somebody was faster.",
        ),
        "not_ready" => refused(
            "The new rows cannot be swapped in yet: they are not compared, or this is a dry run."
                .to_owned(),
            "Wait until it says that it waits for the swap.",
        ),
        "not_parked" => refused(
            format!("{what} is not parked any more."),
            "Look at it again: somebody was faster.",
        ),
        "other_event" => refused(
            format!("{what} is parked at another event by now. Nothing was skipped."),
            "Look at that event, then decide.",
        ),
        "not_skipped" => refused(
            format!("{what} does not skip this event. Nothing was changed."),
            "Look at what it skips now.",
        ),
        "not_passed" => refused(
            format!("{what} has not come to this event yet. Nothing was changed."),
            "Let it go on, then withdraw the skip.",
        ),
        "no_previous" => refused(
            format!("{what} has no rows of before any more."),
            "Rebuild it instead.",
        ),
        "previous_parked" => refused(
            format!("The rows of before stopped at an event, so {what} would go back in time."),
            "Rebuild it instead.",
        ),
        "previous_behind" => refused(
            format!("The rows of before are still behind, so {what} would go back in time."),
            "Try again in a moment.",
        ),
        other => Err(AppError::new(
            Code::Refused,
            format!("The database refused: {other}."),
        )),
    }
}
