//! Restoring: into a database of its own, compared with the manifest, and never over one that exists.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use bizing_postgres::Tools;
use chrono::Utc;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::erasures::Erasure;
use super::facts::{difference, facts};
use super::fault::BackupError;
use super::manifest::{Manifest, Proof};
use super::take::{OnProgress, Progress, checksum, joined};
use super::{erase, marks};
use crate::app::doctor;
use crate::runtime::ids;
use crate::store::{migrate, roles};

/// Restores the dump on trial: counts, last position and chain must be those of the manifest, and each event's hash
/// must follow from the one before. The copy is dropped, whatever it showed.
pub async fn verify(
    admin: &PgConnectOptions,
    bin: Option<&Path>,
    folder: &Path,
    manifest: &Manifest,
    on_progress: OnProgress,
) -> Result<Proof, BackupError> {
    let begun = Instant::now();
    let copy = Copy::begin(admin, &passing("trial"), manifest).await?;
    let checked = async {
        whole(folder, manifest).await?;
        copy.fill(bin, folder, manifest, on_progress).await?;
        let events = copy.compare(manifest).await?;
        copy.chain().await?;
        Ok(events)
    };
    let result: Result<i64, BackupError> = checked.await;
    copy.drop_it().await?;
    let proof = |events, chain_intact, problem| Proof {
        at: Utc::now(),
        seconds: begun.elapsed().as_secs_f64(),
        events,
        chain_intact,
        problem,
    };
    match result {
        Ok(events) => Ok(proof(Some(events), Some(true), None)),
        // What the file showed is a finding about it; what kept us from looking is not.
        Err(error @ (BackupError::Damaged { .. } | BackupError::Differs { .. })) => {
            Ok(proof(None, Some(false), Some(error.told())))
        }
        Err(error @ BackupError::Tool(bizing_postgres::ToolError::Failed { .. })) => {
            Ok(proof(None, None, Some(error.told())))
        }
        Err(error) => Err(error),
    }
}

/// Restores into the new database `name`. Until everybody who was erased since is erased in it too, nobody can
/// connect to it and it has another name. Returns how many were erased again.
pub async fn into_new(
    admin: &PgConnectOptions,
    bin: Option<&Path>,
    folder: &Path,
    manifest: &Manifest,
    name: &str,
    erasures: &[Erasure],
    on_progress: OnProgress,
) -> Result<usize, BackupError> {
    check_name(name)?;
    whole(folder, manifest).await?;
    if exists(admin, name).await? {
        return Err(BackupError::NameTaken {
            name: name.to_owned(),
        });
    }
    let copy = Copy::begin(admin, &passing("restoring"), manifest).await?;
    let made = async {
        copy.fill(bin, folder, manifest, on_progress).await?;
        copy.compare(manifest).await?;
        let mut conn = PgConnection::connect_with(&copy.options).await?;
        let erased = erase::again(&mut conn, erasures)
            .await
            .map_err(BackupError::Erasing)?;
        marks::as_restored(&mut conn, manifest).await?;
        migrate::guard_database(&mut conn, &manifest.installation_id).await?;
        conn.close().await?;
        rename(admin, &[(&copy.name, name)]).await?;
        Ok(erased)
    };
    let made: Result<usize, BackupError> = made.await;
    if made.is_err() {
        copy.drop_it().await?;
    }
    made
}

/// Gives the restored database the name of the one that is used, which keeps all it has under another. In one step:
/// nobody ever finds neither. Returns the old one's new name.
pub async fn put_in_place(
    admin: &PgConnectOptions,
    restored: &str,
    used: &str,
) -> Result<String, BackupError> {
    let kept = format!("{used}_before_{}", Utc::now().format("%Y%m%d_%H%M%S"));
    check_name(&kept)?;
    let mut conn = maintenance(admin).await?;
    let others: i64 =
        sqlx::query_scalar("select count(*) from pg_stat_activity where datname = $1")
            .bind(used)
            .fetch_one(&mut conn)
            .await?;
    conn.close().await?;
    if others > 0 {
        return Err(BackupError::InUse {
            name: used.to_owned(),
            others,
        });
    }
    rename(admin, &[(used, &kept), (restored, used)]).await?;
    Ok(kept)
}

/// A name for a copy that goes away again, with the time in it: what a killed process left is known by that.
fn passing(what: &str) -> String {
    format!(
        "bizing_{what}_{}_{}",
        Utc::now().timestamp(),
        ids::letters(6)
    )
}

/// Drops copies that killed processes left more than a day ago.
pub(super) async fn sweep(admin: &PgConnectOptions) -> Result<(), BackupError> {
    let mut conn = maintenance(admin).await?;
    let left: Vec<String> = sqlx::query_scalar(
        "select datname::text from pg_database
          where datname ~ '^bizing_(trial|restoring)_[0-9]{10}_[a-z0-9]{6}$'
            and to_timestamp(split_part(datname, '_', 3)::bigint) < now() - interval '1 day'",
    )
    .fetch_all(&mut conn)
    .await?;
    for name in left {
        // Letters, digits and _ by the pattern above.
        sqlx::query(AssertSqlSafe(format!(
            "drop database if exists {name} with (force)"
        )))
        .execute(&mut conn)
        .await?;
    }
    conn.close().await?;
    Ok(())
}

/// The file is the one that was written.
async fn whole(folder: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let path = folder.join(&manifest.file);
    let read = path.clone();
    let summed = tokio::task::spawn_blocking(move || checksum(&read))
        .await
        .map_err(std::io::Error::other)
        .flatten();
    let (size, sum) = summed.map_err(|e| BackupError::file("reading", &path, e))?;
    if size != manifest.size_bytes {
        let what = format!("it has {size} bytes, {} were written", manifest.size_bytes);
        return Err(BackupError::Damaged { path, what });
    }
    if sum != manifest.sha256 {
        let what = "its checksum is another".to_owned();
        return Err(BackupError::Damaged { path, what });
    }
    Ok(())
}

/// A database that is being made from a dump. Only those who own it get in.
struct Copy {
    name: String,
    admin: PgConnectOptions,
    options: PgConnectOptions,
}

impl Copy {
    async fn begin(
        admin: &PgConnectOptions,
        name: &str,
        manifest: &Manifest,
    ) -> Result<Copy, BackupError> {
        let mut conn = maintenance(admin).await?;
        // A dump names roles and does not bring them: on another server they are made here.
        let id = &manifest.installation_id;
        if id.len() != 8
            || !id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(BackupError::Differs {
                what: format!("`{id}` is no installation's id"),
            });
        }
        roles::ensure_groups(&mut conn, id).await?;
        let made = sqlx::query(AssertSqlSafe(format!(
            "create database {name} template template0 encoding 'UTF8' allow_connections false"
        )))
        .execute(&mut conn)
        .await;
        made.map_err(
            |error| match error.as_database_error().and_then(|e| e.code()) {
                Some(code) if code == "42501" => BackupError::MayNotMake {
                    login: admin.get_username().to_owned(),
                },
                _ => error.into(),
            },
        )?;
        for statement in [
            format!("revoke all on database {name} from public"),
            format!("grant connect, create on database {name} to bizing_owner_{id}"),
            // Until here nobody gets in, also when this process dies in between.
            format!("alter database {name} allow_connections true"),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut conn)
                .await?;
        }
        conn.close().await?;
        Ok(Copy {
            name: name.to_owned(),
            admin: admin.clone(),
            options: admin.clone().database(name),
        })
    }

    async fn fill(
        &self,
        bin: Option<&Path>,
        folder: &Path,
        manifest: &Manifest,
        on_progress: OnProgress,
    ) -> Result<(), BackupError> {
        let mut conn = PgConnection::connect_with(&self.options).await?;
        let number: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
            .fetch_one(&mut conn)
            .await?;
        conn.close().await?;
        let server = u32::try_from(number / 10_000).unwrap_or(0);
        let tools = Tools::find(bin, server.max(manifest.tools_major))?;
        let (mut done, size) = (0, manifest.size_bytes);
        let items = manifest.facts.rows.len() as u64;
        let line = move |text: &str| {
            if text.contains("processing data for table") {
                done += 1;
            }
            on_progress(Progress {
                bytes: size,
                done,
                of: Some(items),
            });
        };
        let arguments: Vec<OsString> = vec![
            "--verbose".into(),
            "--exit-on-error".into(),
            "--no-comments".into(),
            "--jobs=2".into(),
            format!("--dbname={}", self.name).into(),
            joined("", &folder.join(&manifest.file)),
        ];
        tools
            .run("pg_restore", arguments, &self.options, line)
            .await?;
        Ok(())
    }

    /// Returns how many events came back.
    async fn compare(&self, manifest: &Manifest) -> Result<i64, BackupError> {
        let mut conn = PgConnection::connect_with(&self.options).await?;
        let found = facts(&mut conn).await?;
        conn.close().await?;
        match difference(&manifest.facts, &found) {
            None => Ok(found.events),
            Some(what) => Err(BackupError::Differs { what }),
        }
    }

    async fn chain(&self) -> Result<(), BackupError> {
        let mut conn = PgConnection::connect_with(&self.options).await?;
        let findings = doctor::log(&mut conn, &mut |_| {}).await?;
        conn.close().await?;
        match findings.into_iter().find(|f| !f.ok) {
            None => Ok(()),
            Some(found) => Err(BackupError::Differs {
                what: format!(
                    "{}: {}",
                    found.name,
                    found.sample.first().cloned().unwrap_or_default()
                ),
            }),
        }
    }

    async fn drop_it(&self) -> Result<(), BackupError> {
        let mut conn = maintenance(&self.admin).await?;
        // A name that we made ourselves a moment ago.
        let sql = format!("drop database if exists {} with (force)", self.name);
        sqlx::query(AssertSqlSafe(sql)).execute(&mut conn).await?;
        conn.close().await?;
        Ok(())
    }
}

async fn rename(admin: &PgConnectOptions, pairs: &[(&str, &str)]) -> Result<(), BackupError> {
    let mut conn = maintenance(admin).await?;
    let mut tx = conn.begin().await?;
    for (from, to) in pairs {
        let sql = format!("alter database {} rename to {}", quoted(from), quoted(to));
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    conn.close().await?;
    Ok(())
}

pub async fn exists(admin: &PgConnectOptions, name: &str) -> Result<bool, BackupError> {
    let mut conn = maintenance(admin).await?;
    let there = sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut conn)
        .await?;
    conn.close().await?;
    Ok(there)
}

/// A database is not made or renamed from within itself.
async fn maintenance(admin: &PgConnectOptions) -> Result<PgConnection, BackupError> {
    Ok(PgConnection::connect_with(&admin.clone().database("postgres")).await?)
}

pub fn check_name(name: &str) -> Result<(), BackupError> {
    let good = !name.is_empty()
        && name.len() <= 60
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !["postgres", "template0", "template1"].contains(&name);
    match good {
        true => Ok(()),
        false => Err(BackupError::BadName {
            name: name.to_owned(),
        }),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_need_quoting_is_refused() {
        for name in ["bizing_own", "a1", "x_2"] {
            check_name(name).unwrap();
        }
        for name in ["", "Own", "1a", "a b", "a\"b", "postgres", "template1", "ü"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
