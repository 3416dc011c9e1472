use super::desk::Desk;
use super::wire::*;
pub async fn caught(_: &Desk, _: Empty) -> Result<Vec<CaughtMessage>, AppError> {
    unimplemented!()
}
