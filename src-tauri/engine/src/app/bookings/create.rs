use crate::app::desk::Desk;
use crate::app::wire::*;
pub async fn create(_: &Desk, _: CreateBooking) -> Result<Booked, AppError> {
    unimplemented!()
}
