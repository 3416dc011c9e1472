use super::desk::Desk;
use super::wire::*;
pub async fn session(_: &Desk, _: Empty) -> Result<Session, AppError> {
    unimplemented!()
}
pub async fn status(_: &Desk, _: Empty) -> Result<Status, AppError> {
    unimplemented!()
}
