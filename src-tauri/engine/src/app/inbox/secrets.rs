//! Secrets with which a provider signs what it sends: added beside those that the environment of a computer names, ended, and never
//! shown again.

use sqlx::Row;
use sqlx::postgres::types::PgInterval;

use super::{told, writable};
use crate::app::desk::Desk;
use crate::app::endpoints::{same_key, vault};
use crate::app::wire::*;
use crate::webhook::secrets::place;

const LONGEST_OVERLAP_H: u32 = 168;
const CHANGES: i64 = 50;

pub async fn list_secrets(desk: &Desk, _: Empty) -> Result<IncomingSecrets, AppError> {
    let secrets = sqlx::query("select secret_id, hint, added_at, added_by, expires_at from read.incoming_secrets_v1 where source = 'stripe' order by added_at desc")
        .fetch_all(&desk.people)
        .await?;
    let changes = sqlx::query("select at, by, what, hint, reason from read.incoming_secret_changes_v1 order by change_id desc limit $1")
        .bind(CHANGES)
        .fetch_all(&desk.people)
        .await?;
    let secret = |row: &sqlx::postgres::PgRow| -> sqlx::Result<IncomingSecret> {
        Ok(IncomingSecret {
            secret_id: row.try_get("secret_id")?,
            hint: row.try_get("hint")?,
            added_at: row.try_get("added_at")?,
            added_by: row.try_get("added_by")?,
            expires_at: row.try_get("expires_at")?,
        })
    };
    let change = |row: &sqlx::postgres::PgRow| -> sqlx::Result<IncomingSecretChange> {
        Ok(IncomingSecretChange {
            at: row.try_get("at")?,
            by: row.try_get("by")?,
            added: row.try_get::<&str, _>("what")? == "incoming_added",
            hint: row.try_get("hint")?,
            reason: row.try_get("reason")?,
        })
    };
    Ok(IncomingSecrets {
        secrets: secrets.iter().map(secret).collect::<sqlx::Result<_>>()?,
        changes: changes.iter().map(change).collect::<sqlx::Result<_>>()?,
        refused: desk.read_only.clone().or_else(|| {
            (desk.group < Group::Admin).then(|| "An admin adds and ends these secrets.".to_owned())
        }),
    })
}

pub async fn add_secret(
    desk: &Desk,
    request: AddIncomingSecret,
) -> Result<IncomingSecrets, AppError> {
    writable(desk)?;
    let secret = request.secret.trim();
    if !is_secret(secret) {
        return Err(AppError::invalid(
            "secret",
            "A signing secret of Stripe begins with whsec_ and has no spaces.",
        )
        .hint("Copy it from the endpoint's page in Stripe's dashboard."));
    }
    let others_for = request.others_for_h.map(hours).transpose()?;
    let mut conn = desk.people.acquire().await?;
    same_key(desk, &mut conn).await?;
    let sealed = desk
        .vault
        .seal(&place(request.secret_id), secret.as_bytes())
        .map_err(vault)?;
    let done: String =
        sqlx::query_scalar("select api.add_incoming_secret('stripe', $1, $2, $3, $4, $5, $6)")
            .bind(request.secret_id)
            .bind(&sealed.bytes)
            .bind(&sealed.key_id)
            .bind(hint(secret))
            .bind(others_for)
            .bind(&request.reason)
            .fetch_one(&mut *conn)
            .await?;
    drop(conn);
    // Pressed twice, it is there.
    if done != "repeated" {
        answered(&done)?;
    }
    told(desk);
    list_secrets(desk, Empty {}).await
}

pub async fn end_secret(
    desk: &Desk,
    request: EndIncomingSecret,
) -> Result<IncomingSecrets, AppError> {
    writable(desk)?;
    let done: String = sqlx::query_scalar("select api.end_incoming_secret($1, $2)")
        .bind(request.secret_id)
        .bind(&request.reason)
        .fetch_one(&desk.people)
        .await?;
    answered(&done)?;
    told(desk);
    list_secrets(desk, Empty {}).await
}

fn answered(done: &str) -> Result<(), AppError> {
    match done {
        "done" => Ok(()),
        "reason" => Err(AppError::invalid(
            "reason",
            "Say in 10 to 1,000 signs why, for whoever looks at it later.",
        )),
        "too_many" => Err(AppError::new(
            Code::Refused,
            "Five secrets count already. Nothing was changed.",
        )
        .hint("End one of them, or have the others end when this one begins.")),
        "not_found" => Err(AppError::new(
            Code::NotFound,
            "This secret does not count any more.",
        )),
        other => Err(AppError::new(
            Code::Refused,
            format!("The database refused: {other}."),
        )),
    }
}

fn hours(hours: u32) -> Result<PgInterval, AppError> {
    if hours > LONGEST_OVERLAP_H {
        return Err(AppError::invalid(
            "others_for_h",
            "The others go on for 0 to 168 hours.",
        ));
    }
    Ok(PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::from(hours) * 3_600_000_000,
    })
}

fn is_secret(text: &str) -> bool {
    let rest = text.strip_prefix("whsec_").unwrap_or_default();
    (8..=200).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_graphic())
}

/// Enough to tell two apart.
fn hint(secret: &str) -> String {
    format!("whsec_…{}", &secret[secret.len() - 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_secret_is_taken_and_little_of_it_is_shown() {
        assert!(is_secret("whsec_plJ3nmyCDGBKInavdOK15jsl"));
        for wrong in [
            "",
            "whsec_",
            "whsec_short",
            "sk_live_0123456789",
            "whsec_0123 456789",
        ] {
            assert!(!is_secret(wrong), "{wrong}");
        }
        assert_eq!(hint("whsec_plJ3nmyCDGBKInavdOK15jsl"), "whsec_…5jsl");
        let request = AddIncomingSecret {
            secret_id: uuid::Uuid::nil(),
            secret: "whsec_plJ3nmyCDGBKInavdOK15jsl".to_owned(),
            others_for_h: None,
            reason: String::new(),
        };
        assert!(!format!("{request:?}").contains("plJ3nmy"));
    }
}
