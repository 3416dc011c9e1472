use super::desk::Desk;
use super::wire::*;
pub async fn find(_: &Desk, _: FindCustomers) -> Result<Vec<CustomerRow>, AppError> {
    unimplemented!()
}
