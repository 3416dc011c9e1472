//! What an admin sees of projections, and does with them.

use super::desk::Desk;
use super::wire::*;

pub async fn list(_: &Desk, _: Empty) -> Result<Projections, AppError> {
    Err(not_yet())
}

pub async fn list_rebuilds(_: &Desk, _: ListRebuilds) -> Result<RebuildList, AppError> {
    Err(not_yet())
}

pub async fn get_rebuild(_: &Desk, _: GetRebuild) -> Result<Rebuild, AppError> {
    Err(not_yet())
}

pub async fn preview(_: &Desk, _: PreviewReplay) -> Result<ReplayPreview, AppError> {
    Err(not_yet())
}

pub async fn start(_: &Desk, _: StartReplay) -> Result<ReplayStarted, AppError> {
    Err(not_yet())
}

pub async fn pause_rebuild(_: &Desk, _: ChangeRebuild) -> Result<Rebuild, AppError> {
    Err(not_yet())
}

pub async fn resume_rebuild(_: &Desk, _: ChangeRebuild) -> Result<Rebuild, AppError> {
    Err(not_yet())
}

pub async fn cancel_rebuild(_: &Desk, _: ChangeRebuild) -> Result<Rebuild, AppError> {
    Err(not_yet())
}

pub async fn set_speed(_: &Desk, _: SetRebuildSpeed) -> Result<Rebuild, AppError> {
    Err(not_yet())
}

pub async fn swap(_: &Desk, _: ChangeRebuild) -> Result<Rebuild, AppError> {
    Err(not_yet())
}

pub async fn diff(_: &Desk, _: ListDiff) -> Result<DiffPage, AppError> {
    Err(not_yet())
}

pub async fn pause(_: &Desk, _: ChangeProjection) -> Result<Projection, AppError> {
    Err(not_yet())
}

pub async fn resume(_: &Desk, _: ChangeProjection) -> Result<Projection, AppError> {
    Err(not_yet())
}

pub async fn roll_back(_: &Desk, _: ChangeProjection) -> Result<Projection, AppError> {
    Err(not_yet())
}

pub async fn retry_parked(_: &Desk, _: ChangeProjection) -> Result<Projection, AppError> {
    Err(not_yet())
}

pub async fn skip_parked(_: &Desk, _: SkipParked) -> Result<Projection, AppError> {
    Err(not_yet())
}

fn not_yet() -> AppError {
    AppError::new(
        Code::Invalid,
        "Projections cannot be managed by this version yet.",
    )
    .hint("A newer version of the app can.")
}
