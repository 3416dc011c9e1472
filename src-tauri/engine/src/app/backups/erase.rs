//! Erasing a person: the key of their sealed fields goes, and with it the only way to read them, in every copy of the
//! log at once. Bookings and amounts stay.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::erasures::Erasure;
use crate::app::error::internal;
use crate::app::wire::{AppError, Code, Retry};
use crate::domain::event::{CustomerErased, Event};
use crate::domain::ids::{CommandId, CorrelationId, CustomerId};
use crate::runtime::ids;
use crate::store::append::{Append, AppendError, Context, Expected, append_in};
use crate::store::{self, migrate};

pub const SHORTEST_REASON: usize = 10;
pub const LONGEST_REASON: usize = 500;

/// What an erasure finds, or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub erased_at: Option<DateTime<Utc>>,
    pub bookings: i64,
    /// Messages and providers' notices in which an address stood.
    pub copies: i64,
}

/// `None`: nobody was ever registered under that id.
pub async fn subject(
    conn: &mut PgConnection,
    customer: Uuid,
    really: bool,
) -> sqlx::Result<Option<Found>> {
    let row = sqlx::query("select * from api.erase_subject($1, $2)")
        .bind(customer)
        .bind(really)
        .fetch_one(conn)
        .await?;
    if !row.try_get::<bool, _>("known")? {
        return Ok(None);
    }
    Ok(Some(Found {
        erased_at: row.try_get("erased_at")?,
        bookings: row.try_get("bookings")?,
        copies: row.try_get::<i64, _>("messages")? + row.try_get::<i64, _>("notices")?,
    }))
}

/// Erases, in one transaction with the event that says so. Somebody who was erased before stays as they are, and the
/// first event is the only one. `command` makes a second sending harmless.
pub async fn erase(
    people: &PgPool,
    customer: Uuid,
    reason: &str,
    command: Option<Uuid>,
) -> Result<DateTime<Utc>, AppError> {
    let mut tx = store::begin(people).await?;
    let before = subject(&mut tx, customer, false)
        .await?
        .ok_or_else(|| unknown(customer))?;
    let after = subject(&mut tx, customer, true)
        .await?
        .ok_or_else(|| unknown(customer))?;
    if before.erased_at.is_none() {
        say(&mut tx, customer, reason, command).await?;
    }
    tx.commit().await?;
    Ok(after.erased_at.unwrap_or_else(Utc::now))
}

/// Checks the words of whoever erases. `personal` are the person's own words, none of which may stand in a reason:
/// it is kept.
pub fn checked_reason<'a>(reason: &'a str, personal: &[String]) -> Result<&'a str, AppError> {
    let reason = reason.trim();
    let length = reason.chars().count();
    if !(SHORTEST_REASON..=LONGEST_REASON).contains(&length) {
        return Err(AppError::invalid(
            "reason",
            format!(
                "Say why in {SHORTEST_REASON} to {LONGEST_REASON} signs: it stands in the log for good."
            ),
        ));
    }
    let low = reason.to_lowercase();
    let names = |word: &String| {
        let word = word.trim().to_lowercase();
        word.chars().count() >= 3 && low.contains(&word)
    };
    if personal.iter().any(names) {
        return Err(AppError::invalid(
            "reason",
            "The reason names the person. It is kept after the erasure: say it without name, e-mail and number.",
        ));
    }
    Ok(reason)
}

/// Applies erasures to a restored copy, as its owner. Returns how many were of people that the copy still knew.
pub(super) async fn again(
    conn: &mut PgConnection,
    erasures: &[Erasure],
) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let ids: Vec<Uuid> = erasures.iter().map(|e| e.customer_id).collect();
    let back: Vec<Uuid> = sqlx::query_scalar(
        "select subject_id from core.subject_keys where subject_id = any($1) and key is not null",
    )
    .bind(&ids)
    .fetch_all(&mut *conn)
    .await?;
    if back.is_empty() {
        return Ok(0);
    }
    let can: bool = sqlx::query_scalar(
        "select to_regprocedure('api.erase_subject(uuid, boolean)') is not null",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !can {
        // The backup is older than erasing itself; the program that opens it would migrate it all the same.
        migrate::migrate(conn, "own", "sandbox").await?;
    }
    let lent = lend_manager(conn).await?;
    for customer in &back {
        let mut tx = conn.begin().await?;
        subject(&mut tx, *customer, true).await?;
        let reason = "Erased before; the backup that was restored is older.";
        say(&mut tx, *customer, reason, None)
            .await
            .map_err(|e| e.message)?;
        tx.commit().await?;
    }
    if let Some(manager) = lent {
        // The role is made of our own constant and the installation's id.
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "revoke {manager} from current_user"
        )))
        .execute(conn)
        .await?;
    }
    Ok(back.len())
}

/// Erasing is a manager's right, and whoever restores may own the database without being in any group of people. They
/// are put into that one for as long as it takes.
async fn lend_manager(conn: &mut PgConnection) -> sqlx::Result<Option<String>> {
    let manager: Option<String> = sqlx::query_scalar(
        "select admin.role_of('manager')::text where not admin.caller_is('manager')",
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(manager) = &manager {
        // As above.
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "grant {manager} to current_user"
        )))
        .execute(conn)
        .await?;
    }
    Ok(manager)
}

async fn say(
    conn: &mut PgConnection,
    customer: Uuid,
    reason: &str,
    command: Option<Uuid>,
) -> Result<(), AppError> {
    let event = Event::CustomerErased(CustomerErased {
        customer_id: CustomerId(customer),
        reason: reason.to_owned(),
    });
    let context = Context {
        correlation: CorrelationId(ids::v7()),
        causation: None,
        on_behalf_of: None,
    };
    let mut append = Append::new(CustomerId(customer), Expected::Any, vec![event], Utc::now());
    if let Some(command) = command {
        append = append.with_command(CommandId(command));
    }
    match append_in(conn, &context, vec![append]).await {
        Ok(_) => Ok(()),
        Err(AppendError::Forbidden(_)) => Err(AppError::new(
            Code::Forbidden,
            "Your login may not erase a customer.",
        )
        .hint("Ask a manager or an admin.")
        .retry(Retry::NeedsPerson)),
        Err(AppendError::CommandReused { .. }) => Err(AppError::new(
            Code::CommandReused,
            "This request was sent before for something else.",
        )),
        Err(AppendError::Database(error)) => Err(error.into()),
        Err(error) => Err(internal(error)),
    }
}

fn unknown(customer: Uuid) -> AppError {
    AppError::new(Code::NotFound, format!("There is no customer {customer}."))
        .hint("Look for them by name, e-mail or number first.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_long_enough_and_names_nobody() {
        let person = [
            "Inês Carvalho".to_owned(),
            "ines@example.com".to_owned(),
            String::new(),
        ];
        assert_eq!(
            checked_reason("  Asked in writing, 3 March. ", &person).unwrap(),
            "Asked in writing, 3 March."
        );
        for bad in [
            "",
            "short",
            "On the wish of INÊS CARVALHO herself",
            "mail of ines@example.com, 3 March",
        ] {
            assert_eq!(
                checked_reason(bad, &person).unwrap_err().field.as_deref(),
                Some("reason"),
                "{bad}"
            );
        }
    }
}
