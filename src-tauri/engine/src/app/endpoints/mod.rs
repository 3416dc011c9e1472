//! Where things are sent. Everybody may look; managers pause and try, admins make, change and see secrets: the database
//! says so, and the words for a refusal come from here.

mod act;
mod catalogue;
mod history;
mod kept;
mod list;
mod notices;
mod put;
mod secrets;
mod took;

pub use act::{allow_list, change, preview_recovery, put_allow_list, send_test};
pub use catalogue::{catalogue, try_filter};
pub use history::{HISTORY, history};
pub use kept::{delivery_retention, put_delivery_retention};
pub(super) use list::shape;
pub use list::{get, list};
pub use notices::{notice_list, put_notice_list};
pub use put::put;
pub use secrets::{reveal_secret, rotate_secret};

use sqlx::PgConnection;

use super::desk::Desk;
use super::wire::*;
use crate::delivery::http::{AllowList as Allowed, Guard};
use crate::store::vault::VaultError;

fn may_write(desk: &Desk) -> Result<(), AppError> {
    match &desk.read_only {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason.clone())),
        None => Ok(()),
    }
}

/// Why the person may not make or change endpoints.
fn admins_only(desk: &Desk) -> Option<String> {
    desk.read_only.clone().or_else(|| {
        (desk.group < Group::Admin).then(|| "An admin makes and changes endpoints.".to_owned())
    })
}

/// Why the person may not keep endpoints going: pause, resume, try now, test, decide what is held.
fn managers_only(desk: &Desk) -> Option<String> {
    desk.read_only.clone().or_else(|| {
        (desk.group < Group::Manager)
            .then(|| "A manager pauses, tries and tests endpoints.".to_owned())
    })
}

fn unknown() -> AppError {
    AppError::new(Code::NotFound, "There is no such endpoint here.")
}

fn changed_meanwhile() -> AppError {
    AppError::new(
        Code::Conflict,
        "Somebody else changed this endpoint meanwhile. Nothing was changed by you.",
    )
    .hint("Look at it as it is now, then try again.")
    .retry(Retry::Now)
}

/// What is allowed now, and the same ports that a worker refuses.
async fn guard(desk: &Desk, conn: &mut PgConnection) -> Result<Guard, AppError> {
    let entries: Vec<String> =
        sqlx::query_scalar("select entries from read.allow_list_v1 order by version desc limit 1")
            .fetch_one(conn)
            .await?;
    let allow = Allowed::parse(entries.iter().map(String::as_str)).unwrap_or_default();
    Ok(Guard::new(
        allow,
        vec![desk.people.connect_options().get_port()],
    ))
}

/// This computer's key must be the one that everybody's secrets are sealed with.
pub(in crate::app) async fn same_key(desk: &Desk, conn: &mut PgConnection) -> Result<(), AppError> {
    let sealed: Option<String> = sqlx::query_scalar("select api.sealing_key()")
        .fetch_one(conn)
        .await?;
    let ours = desk.vault.key_id(sealed.is_none()).map_err(|e| {
        vault(match (e, &sealed) {
            (VaultError::NoKey(_), Some(sealed)) => VaultError::NoKey(sealed.clone()),
            (e, _) => e,
        })
    })?;
    match sealed {
        Some(sealed) if sealed != ours => Err(vault(VaultError::OtherKey { sealed, ours })),
        _ => Ok(()),
    }
}

pub(in crate::app) fn vault(error: VaultError) -> AppError {
    let hint = match &error {
        VaultError::NoKey(_) | VaultError::OtherKey { .. } => {
            "Every computer that makes endpoints or sends webhooks needs the same key: copy the file desk.sealing-key, or set BIZING_SEALING_KEY to what stands in it."
        }
        VaultError::BadVariable => "Set it to what `openssl rand -base64 32` prints.",
        _ => "Restore the file desk.sealing-key from a backup of this computer's data folder.",
    };
    let mut text = error.to_string();
    if let Some(first) = text.get(..1) {
        text.replace_range(..1, &first.to_uppercase());
    }
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "a secret of an endpoint cannot be handled"
    );
    AppError::new(Code::Refused, format!("{text}."))
        .hint(hint)
        .retry(Retry::NeedsPerson)
}

fn rung(desk: &Desk) {
    desk.bell.ring();
    for topic in ["endpoints", "deliveries", "status"] {
        desk.hints.changed(topic);
    }
}
