//! Backups, their proof, and the erasure of a customer.

use super::desk::Desk;
use super::wire::*;

pub async fn list(_: &Desk, _: Empty) -> Result<Backups, AppError> {
    Err(not_yet())
}

pub async fn back_up_now(_: &Desk, _: BackUpNow) -> Result<BackupRun, AppError> {
    Err(not_yet())
}

pub async fn verify(_: &Desk, _: VerifyBackup) -> Result<BackupRun, AppError> {
    Err(not_yet())
}

pub async fn preview_restore(_: &Desk, _: PreviewRestore) -> Result<RestorePreview, AppError> {
    Err(not_yet())
}

pub async fn restore(_: &Desk, _: RestoreBackup) -> Result<BackupRun, AppError> {
    Err(not_yet())
}

pub async fn preview_erasure(_: &Desk, _: PreviewErasure) -> Result<ErasurePreview, AppError> {
    Err(not_yet())
}

pub async fn erase_customer(_: &Desk, _: EraseCustomer) -> Result<CustomerErased, AppError> {
    Err(not_yet())
}

fn not_yet() -> AppError {
    AppError::new(
        Code::Invalid,
        "Backups cannot be managed by this version yet.",
    )
    .hint("A newer version of the app can.")
}
