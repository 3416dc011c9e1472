//! The host: what works before any database is there, and what opens one.

use super::desk::Desk;
use super::wire::*;

pub struct Host;

impl Host {
    pub fn desk(&self) -> Result<Desk, AppError> {
        unimplemented!()
    }
}

pub async fn state(_: &Host, _: Empty) -> Result<HostState, AppError> {
    unimplemented!()
}
pub async fn choose(_: &Host, _: ChooseStart) -> Result<HostState, AppError> {
    unimplemented!()
}
pub async fn retry(_: &Host, _: Empty) -> Result<HostState, AppError> {
    unimplemented!()
}
pub async fn leave(_: &Host, _: Empty) -> Result<HostState, AppError> {
    unimplemented!()
}
