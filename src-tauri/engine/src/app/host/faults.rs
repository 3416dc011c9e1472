//! Why a start failed, in words that a person can act on. Addresses are named without their passwords.

use bizing_postgres::{StartError, UpgradeError};
use sqlx::postgres::PgConnectOptions;

use crate::app::error::{database, internal};
use crate::app::wire::{AppError, Code, Retry};
use crate::store::migrate::MigrateError;
use crate::store::schema::RegisterError;

/// The private server did not start.
pub(super) fn server(error: StartError) -> AppError {
    let shown = match &error {
        StartError::NotFound { fix, .. } => {
            let whole = error.to_string();
            let what = whole.strip_suffix(fix.as_str()).unwrap_or(&whole);
            AppError::new(Code::NoServer, what.trim()).hint(fix.clone())
        }
        StartError::Password { .. } => AppError::new(Code::WrongPassword, error.to_string())
            .hint("Put the file back, then try again."),
        _ => {
            let mut what = error.to_string();
            if let Some(cause) = std::error::Error::source(&error) {
                what = format!("{what} The cause: {cause}.");
            }
            AppError::new(Code::DatabaseUnreachable, what)
                .hint("Mend that, then try again. Nothing was deleted.")
        }
    };
    shown.retry(Retry::NeedsPerson)
}

/// The data could not be moved to another major.
pub(super) fn moving(error: UpgradeError) -> AppError {
    let shown = match error {
        UpgradeError::Start(error @ StartError::Major { .. }) => AppError::new(Code::NoServer, error.to_string())
            .hint("Install that version beside the new one and run `bizing-desk upgrade-database` again. If it cannot be had any more: `bizing-desk upgrade-database --from-backups` restores the newest good backup of each database."),
        UpgradeError::Start(error) => return server(error),
        UpgradeError::Database(error) => return database(error),
        UpgradeError::Differs { .. } | UpgradeError::Tool(_) | UpgradeError::Stop(_) => AppError::new(Code::Internal, error.to_string())
            .hint("The old data is where it was, and the desk opens it as before."),
        UpgradeError::NoData { .. } | UpgradeError::NothingNewer { .. } | UpgradeError::InUse { .. } | UpgradeError::Room { .. } => {
            AppError::new(Code::Refused, error.to_string()).hint("Nothing was changed.")
        }
    };
    shown.retry(Retry::NeedsPerson)
}

/// A connection was refused, or not answered.
pub(super) fn connecting(error: sqlx::Error, to: &PgConnectOptions) -> AppError {
    let (place, user) = (place(to), to.get_username());
    let code = error
        .as_database_error()
        .and_then(|e| e.code())
        .unwrap_or_default()
        .into_owned();
    let shown = match (code.as_str(), &error) {
        // The server says so in words only, in its own language; in others the sentence below fits as well.
        ("28000", sqlx::Error::Database(d)) if d.message().contains("not permitted to log in") => {
            AppError::new(
                Code::WrongPassword,
                format!("The login `{user}` is switched off at {place}."),
            )
            .hint("An admin can switch it on again: Settings, People.")
        }
        ("28P01" | "28000", _) => AppError::new(
            Code::WrongPassword,
            format!("The database at {place} refused the login `{user}`: the user or the password is wrong."),
        )
        .hint("Correct the address, or ask whoever runs the database for your login."),
        ("3D000", _) => AppError::new(
            Code::DatabaseUnreachable,
            format!(
                "The server at {place} has no database `{}`.",
                to.get_database().unwrap_or_default()
            ),
        )
        .hint("Correct the name in the address, or have the database made."),
        ("42501", _) => AppError::new(
            Code::Forbidden,
            format!("The login `{user}` may not open the database at {place}."),
        )
        .hint("An admin of this desk must put the login into one of its groups: viewer, staff, manager or admin."),
        ("53300", _) => AppError::new(
            Code::DatabaseUnreachable,
            format!("The server at {place} takes no more connections."),
        )
        .hint("Close other programs that use it, or raise its max_connections, then try again."),
        ("57P03", _) => AppError::new(
            Code::DatabaseUnreachable,
            format!("The server at {place} is just starting or stopping."),
        )
        .hint("Try again in a moment."),
        (_, sqlx::Error::Tls(cause)) => AppError::new(
            Code::DatabaseUnreachable,
            format!("No safe connection to {place} could be made: {cause}."),
        )
        .hint("Correct `sslmode` or `sslrootcert` in the address, or the certificate of the server."),
        (_, sqlx::Error::Io(cause)) => unreachable(&place, &cause.to_string()),
        (_, sqlx::Error::PoolTimedOut) => unreachable(&place, "no answer in time"),
        ("", _) => unreachable(&place, &error.to_string()),
        _ => return database(error),
    };
    tracing::warn!(correlation_id = %shown.correlation_id, error = &error as &dyn std::error::Error, "connecting failed");
    shown.retry(Retry::NeedsPerson)
}

pub(super) fn no_answer(to: &PgConnectOptions) -> AppError {
    unreachable(&place(to), "no answer in time").retry(Retry::NeedsPerson)
}

fn unreachable(place: &str, cause: &str) -> AppError {
    AppError::new(
        Code::DatabaseUnreachable,
        format!("The database at {place} cannot be reached: {cause}."),
    )
    .hint("Check the address, that the server runs, and the network between; then try again.")
}

pub(super) fn migrating(error: MigrateError) -> AppError {
    match error {
        MigrateError::Newer { has, knows } => {
            AppError::new(Code::SchemaNewer, newer(has, knows)).retry(Retry::NeedsPerson)
        }
        MigrateError::Database(error) => refused(error),
        MigrateError::Migration(sqlx::migrate::MigrateError::Execute(error)) => refused(error),
        MigrateError::Migration(sqlx::migrate::MigrateError::VersionMismatch(version)) => {
            AppError::new(
                Code::SchemaNewer,
                format!("Migration {version} of this database is not the one this program was built with."),
            )
            .hint("The database belongs to another build of the app: start that one.")
            .retry(Retry::NeedsPerson)
        }
        MigrateError::Schemas(RegisterError::Database(error)) => refused(error),
        MigrateError::Schemas(error @ RegisterError::Changed { .. }) => {
            AppError::new(Code::SchemaNewer, format!("{}.", sentence(&error.to_string())))
                .hint("The database belongs to another build of the app: start that one.")
                .retry(Retry::NeedsPerson)
        }
        MigrateError::Migration(error) => internal(error).retry(Retry::NeedsPerson),
    }
}

/// The text with a capital at its front.
fn sentence(text: &str) -> String {
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(signs).collect()
    })
}

fn refused(error: sqlx::Error) -> AppError {
    let code = error.as_database_error().and_then(|e| e.code());
    if code.is_some_and(|c| c == "42501") {
        return AppError::new(
            Code::Forbidden,
            "The login of the address may not set this database up.",
        )
        .hint(
            "Use the database's owner with the right to create roles (CREATEROLE), or a superuser.",
        )
        .retry(Retry::NeedsPerson);
    }
    database(error)
}

pub(super) fn newer(has: i64, knows: i64) -> String {
    format!(
        "The database has schema {has} and this version of the app knows up to {knows}: update the app on this computer."
    )
}

pub(super) fn older(has: i64, needs: i64) -> String {
    format!(
        "The database has schema {has} and this version of the app needs {needs}: an admin must run `bizing-desk migrate` or open the desk once."
    )
}

/// `db.example:5432`, or the folder of the socket.
fn place(to: &PgConnectOptions) -> String {
    match to.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => format!("{}:{}", to.get_host(), to.get_port()),
    }
}
