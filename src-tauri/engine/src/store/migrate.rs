//! Migrations. Forward only, under a lock, as the owner role.
//!
//! Promise: after [`migrate`] the schema is exactly the one this program was built with, the groups exist, and the
//! installation row says whether money is real. A schema that is newer than the program is never touched.

use std::borrow::Cow;

use sqlx::migrate::{Migration, Migrator};
use sqlx::{Connection, PgConnection, Row};

use super::{roles, schema};

static FILES: Migrator = sqlx::migrate!("../../migrations");

/// Key of the lock under which one process migrates.
const MIGRATION_LOCK: i64 = 0x62_69_7a_69_6e_67;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Eight letters and digits: suffix of the roles and part of every idempotency key.
    pub id: String,
    pub mode: String,
    pub kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// No table of ours.
    Absent,
    Current,
    /// The program is newer: `migrate` mends it.
    Older {
        has: i64,
        needs: i64,
    },
    /// The program is older: it must not write.
    Newer {
        has: i64,
        knows: i64,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database has schema {has}, this program knows up to {knows}")]
    Newer { has: i64, knows: i64 },
    #[error("migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("the event schemas could not be registered")]
    Schemas(#[from] schema::RegisterError),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// The schema that this program was built with.
pub fn known_version() -> i64 {
    FILES.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Reads what any login may read.
pub async fn schema_state(conn: &mut PgConnection) -> sqlx::Result<SchemaState> {
    let there: bool = sqlx::query_scalar("select to_regclass('read.migrations_v1') is not null or to_regclass('admin.schema_migrations') is not null")
        .fetch_one(&mut *conn)
        .await?;
    if !there {
        return Ok(SchemaState::Absent);
    }
    let view: bool = sqlx::query_scalar("select to_regclass('read.migrations_v1') is not null")
        .fetch_one(&mut *conn)
        .await?;
    let applied: Vec<i64> = if view {
        sqlx::query_scalar("select version from read.migrations_v1 where success order by version")
            .fetch_all(&mut *conn)
            .await?
    } else {
        vec![]
    };
    let (knows, has) = (known_version(), applied.last().copied().unwrap_or(0));
    if has > knows {
        return Ok(SchemaState::Newer { has, knows });
    }
    // One that came between two that are there is due as well.
    let known = known_versions();
    let missing = known.iter().position(|v| !applied.contains(v));
    Ok(match missing {
        None => SchemaState::Current,
        Some(first) => SchemaState::Older {
            has: first.checked_sub(1).map_or(0, |before| known[before]),
            needs: knows,
        },
    })
}

/// The schemas that this program brings a database through, in order.
pub fn known_versions() -> Vec<i64> {
    let mut known: Vec<i64> = FILES.iter().map(|m| m.version).collect();
    known.sort_unstable();
    known
}

/// Brings the schema up to date. `conn` logs in as one that may create roles and schemas.
pub async fn migrate(
    conn: &mut PgConnection,
    kind: &str,
    mode: &str,
) -> Result<Installation, MigrateError> {
    sqlx::query("select pg_advisory_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *conn)
        .await?;
    let result = migrate_locked(conn, kind, mode).await;
    // The lock must not outlive us in a pooled connection, whatever happened.
    sqlx::query("reset role").execute(&mut *conn).await?;
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *conn)
        .await?;
    result
}

async fn migrate_locked(
    conn: &mut PgConnection,
    kind: &str,
    mode: &str,
) -> Result<Installation, MigrateError> {
    if let SchemaState::Newer { has, knows } = schema_state(conn).await? {
        return Err(MigrateError::Newer { has, knows });
    }
    let known = installation(conn).await?;
    let id = known
        .as_ref()
        .map_or_else(|| crate::runtime::ids::letters(8), |i| i.id.clone());
    roles::ensure_groups(conn, &id).await?;
    guard_database(conn, &id).await?;
    // The name is our constant and the installation's id.
    sqlx::query(sqlx::AssertSqlSafe(format!("set role bizing_owner_{id}")))
        .execute(&mut *conn)
        .await?;

    let mut migrator =
        Migrator::with_migrations(FILES.iter().map(|m| for_installation(m, &id)).collect());
    migrator.dangerous_set_table_name("admin.schema_migrations");
    migrator.create_schema("admin");
    migrator.set_locking(false); // we hold our own
    // `run` would do the same through `Acquire`, whose lifetimes hide from the compiler that this future is `Send`.
    migrator.run_direct(None, &mut *conn, false).await?;
    schema::register(&mut *conn).await?;

    if known.is_none() {
        sqlx::query(
            "insert into admin.installation (installation_id, mode, kind) values ($1, $2, $3)",
        )
        .bind(&id)
        .bind(mode)
        .bind(kind)
        .execute(&mut *conn)
        .await?;
    }
    Ok(known.unwrap_or(Installation {
        id,
        mode: mode.to_owned(),
        kind: kind.to_owned(),
    }))
}

/// Who may come into the database of `conn`: only our groups, and people cannot make objects of their own.
pub async fn guard_database(conn: &mut PgConnection, id: &str) -> sqlx::Result<()> {
    let database: String = sqlx::query_scalar("select quote_ident(current_database())")
        .fetch_one(&mut *conn)
        .await?;
    let owner = format!("bizing_owner_{id}");
    for statement in [
        format!("revoke connect, temporary on database {database} from public"),
        format!(
            "grant connect on database {database} to bizing_viewer_{id}, bizing_worker_{id}, {owner}"
        ),
        format!("grant create on database {database} to {owner}"),
    ] {
        // The names are our constants, the installation's id and the database's own, quoted by itself.
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// The checksum stays that of the file as committed, so that every installation compares the same bytes.
fn for_installation(file: &Migration, suffix: &str) -> Migration {
    let sql = roles::suffixed(file.sql.as_str(), suffix);
    Migration {
        sql: sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql)),
        checksum: Cow::Owned(file.checksum.to_vec()),
        ..file.clone()
    }
}

/// `None` before the first migration.
pub async fn installation(conn: &mut PgConnection) -> sqlx::Result<Option<Installation>> {
    let there: bool = sqlx::query_scalar("select to_regclass('read.installation_v1') is not null")
        .fetch_one(&mut *conn)
        .await?;
    if !there {
        return Ok(None);
    }
    let row = sqlx::query("select installation_id, mode, kind from read.installation_v1")
        .fetch_optional(conn)
        .await?;
    row.map(|r| {
        Ok(Installation {
            id: r.try_get(0)?,
            mode: r.try_get(1)?,
            kind: r.try_get(2)?,
        })
    })
    .transpose()
}

/// Whether the login of this connection may migrate: it can make roles, or is the owner's member.
pub async fn may_migrate(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select rolsuper or rolcreaterole from pg_roles where rolname = current_user",
    )
    .fetch_one(conn)
    .await
}

/// Makes the database if it is missing. Two starting processes may race: the loser finds it there.
pub async fn ensure_database(
    server: &sqlx::postgres::PgConnectOptions,
    name: &str,
) -> sqlx::Result<()> {
    let mut conn = PgConnection::connect_with(&server.clone().database("postgres")).await?;
    let there: bool =
        sqlx::query_scalar("select exists (select 1 from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut conn)
            .await?;
    if !there {
        // The name is one of our constants or a test's.
        let made = sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}")))
            .execute(&mut conn)
            .await;
        if let Err(e) = made {
            let taken = e
                .as_database_error()
                .and_then(|d| d.code())
                .is_some_and(|c| c == "42P04" || c == "23505");
            if !taken {
                return Err(e);
            }
        }
    }
    conn.close().await
}
