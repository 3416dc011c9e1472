use crate::app::desk::Desk;
use crate::app::wire::*;
pub async fn list(_: &Desk, _: ListBookings) -> Result<BookingList, AppError> {
    unimplemented!()
}
