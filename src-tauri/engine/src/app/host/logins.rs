//! The two logins of this data folder: the person's, an admin, and the worker's. Their passwords stand in a private file.
//!
//! Several processes share the folder and may get here at once: whoever creates the file decides, the others take what it
//! says. A role that is there without a file belongs to another folder; its password is never touched.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::app::error::internal;
use crate::app::wire::{AppError, Code, Retry};
use crate::runtime::{files, ids};
use crate::store::roles::{self, Login};

/// Key of the lock under which roles are made: two processes altering one role at once is an error in PostgreSQL.
const LOCK: i64 = 0x62_69_7a_6c_6f_67;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Logins {
    pub person: Login,
    pub worker: Login,
}

/// Reads them, or makes them. `conn` may create roles.
pub(super) async fn ours(
    conn: &mut PgConnection,
    data: &Path,
    installation: &str,
) -> Result<Logins, AppError> {
    sqlx::query("select pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut *conn)
        .await?;
    let logins = ours_locked(conn, data, installation).await;
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(LOCK)
        .execute(&mut *conn)
        .await?;
    logins
}

async fn ours_locked(
    conn: &mut PgConnection,
    data: &Path,
    installation: &str,
) -> Result<Logins, AppError> {
    let path = data.join("logins").join(format!("{installation}.json"));
    let logins = match read(&path)? {
        Some(logins) => logins,
        None => {
            let fresh = fresh(conn, installation).await?;
            let text = serde_json::to_vec_pretty(&fresh).map_err(internal)?;
            // The file comes first: a login whose password nobody knows would be lost.
            let first = files::create(&path, &text).map_err(|e| unusable(&path, "written", &e))?;
            match first {
                true => fresh,
                false => read(&path)?.unwrap_or(fresh),
            }
        }
    };
    for (login, group) in [(&logins.person, "admin"), (&logins.worker, "worker")] {
        if !roles::exists(conn, &login.user).await? {
            roles::ensure_login(conn, installation, group, &login.user, &login.password).await?;
        }
    }
    Ok(logins)
}

async fn fresh(conn: &mut PgConnection, installation: &str) -> Result<Logins, AppError> {
    let mut person = format!("bizing_desk_{installation}");
    let mut worker = format!("bizing_work_{installation}");
    if roles::exists(conn, &person).await? || roles::exists(conn, &worker).await? {
        let tail = ids::letters(6);
        person = format!("{person}_{tail}");
        worker = format!("{worker}_{tail}");
    }
    let login = |user| Login {
        user,
        password: ids::password(),
    };
    Ok(Logins {
        person: login(person),
        worker: login(worker),
    })
}

fn read(path: &Path) -> Result<Option<Logins>, AppError> {
    match std::fs::read(path) {
        Ok(text) => {
            let logins: Logins =
                serde_json::from_slice(&text).map_err(|e| unusable(path, "understood", &e))?;
            // They become part of statements that take no parameters.
            let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let all = [&logins.person, &logins.worker];
            if all.iter().any(|l| !plain(&l.user) || !plain(&l.password)) {
                return Err(unusable(
                    path,
                    "understood",
                    &"a name or password has signs that we never write",
                ));
            }
            Ok(Some(logins))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unusable(path, "read", &e)),
    }
}

fn unusable(path: &Path, what: &str, why: &dyn std::fmt::Display) -> AppError {
    AppError::new(
        Code::Invalid,
        format!("The file of this desk's database logins, {}, cannot be {what}: {why}.", path.display()),
    )
    .hint("Mend the cause. If the file is lost, delete it: new logins are made at the next start, and no data is touched.")
    .retry(Retry::NeedsPerson)
}
