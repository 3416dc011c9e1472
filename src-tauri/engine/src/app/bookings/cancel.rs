use crate::app::desk::Desk;
use crate::app::wire::*;
pub async fn cancel(_: &Desk, _: CancelBooking) -> Result<CancelAsked, AppError> {
    unimplemented!()
}
