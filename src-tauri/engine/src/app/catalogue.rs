use super::desk::Desk;
use super::wire::*;
pub async fn catalogue(_: &Desk, _: Empty) -> Result<Catalogue, AppError> {
    unimplemented!()
}
pub async fn free_times(_: &Desk, _: FreeTimes) -> Result<FreeTimesReply, AppError> {
    unimplemented!()
}
