//! Signing secrets: a new one beside the old, and looking at one again.

use sqlx::postgres::types::PgInterval;

use super::list::one;
use super::{may_write, rung, same_key, unknown, vault};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;
use crate::delivery::webhook::secret_place;
use crate::delivery::webhook::sign::SigningSecret;
use crate::runtime::ids;
use crate::store::vault::SealedSecret;

const LONGEST_OVERLAP_H: u32 = 168;

/// The old ones go on signing for the overlap; then only the new one does.
pub async fn rotate_secret(desk: &Desk, request: RotateSecret) -> Result<EndpointSaved, AppError> {
    may_write(desk)?;
    if request.overlap_hours > LONGEST_OVERLAP_H {
        return Err(AppError::invalid(
            "overlap_hours",
            "Two secrets sign side by side for 0 to 168 hours.",
        ));
    }
    let mut conn = desk.people.acquire().await?;
    same_key(desk, &mut conn).await?;
    let (id, secret_id, secret) = (request.destination_id, ids::v7(), SigningSecret::random());
    let sealed = desk
        .vault
        .seal(&secret_place(id, secret_id), secret.bytes())
        .map_err(vault)?;
    let overlap = PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::from(request.overlap_hours) * 3_600_000_000,
    };
    let done: String = sqlx::query_scalar("select api.rotate_secret($1, $2, $3, $4, $5, $6, $7)")
        .bind(id)
        .bind(secret_id)
        .bind(&sealed.bytes)
        .bind(&sealed.key_id)
        .bind(secret.hint())
        .bind(overlap)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    match done.as_str() {
        "rotated" => {}
        "not_found" => return Err(unknown()),
        "too_many" => {
            return Err(AppError::new(
                Code::Refused,
                "Five secrets sign for this endpoint already. Nothing was changed.",
            )
            .hint("Wait until one of them has ended."));
        }
        other => {
            return Err(AppError::new(
                Code::Refused,
                format!("The database refused: {other}."),
            ));
        }
    }
    rung(desk);
    Ok(EndpointSaved {
        endpoint: one(&mut conn, id).await?,
        secret: Some(secret.reveal()),
    })
}

/// Written down by the database before it gives anything away.
pub async fn reveal_secret(desk: &Desk, request: RevealSecret) -> Result<SecretShown, AppError> {
    may_write(desk)?;
    let sealed: Option<(Vec<u8>, String)> =
        sqlx::query_as("select sealed, key_id from api.reveal_secret($1, $2)")
            .bind(request.destination_id)
            .bind(request.secret_id)
            .fetch_optional(&desk.people)
            .await?;
    let (bytes, key_id) = sealed.ok_or_else(unknown)?;
    let place = secret_place(request.destination_id, request.secret_id);
    let plain = desk
        .vault
        .open(&place, &SealedSecret { key_id, bytes })
        .map_err(vault)?;
    let secret = SigningSecret::from_bytes(plain).map_err(internal)?;
    desk.hints.changed("endpoints");
    Ok(SecretShown {
        secret_id: request.secret_id,
        secret: secret.reveal(),
    })
}
