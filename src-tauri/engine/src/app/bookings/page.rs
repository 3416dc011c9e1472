use crate::app::desk::Desk;
use crate::app::wire::*;
pub async fn page(_: &Desk, _: GetBooking) -> Result<BookingPage, AppError> {
    unimplemented!()
}
