//! Roles: five groups, an owner as which nobody logs in, and the two logins of a process.
//!
//! Roles belong to the whole server, so each carries its installation's suffix. The files under `migrations/` write
//! them without; [`suffixed`] adds it.

use sqlx::{PgConnection, Row};

pub const GROUPS: [&str; 7] = [
    "owner",
    "viewer",
    "staff",
    "manager",
    "admin",
    "worker",
    // What a worker's connections act as while they fill read models. It can cause nothing.
    "projector",
];

/// Name and password of a login that `migrate` made.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, ***)", self.user)
    }
}

/// Adds the installation's suffix to each of the six role names in a migration.
pub fn suffixed(sql: &str, suffix: &str) -> String {
    let mut out = sql.to_owned();
    for group in GROUPS {
        out = out.replace(
            &format!("bizing_{group}"),
            &format!("bizing_{group}_{suffix}"),
        );
    }
    out
}

/// Makes the groups if they are missing. Safe to run by several processes under the migration lock.
pub async fn ensure_groups(conn: &mut PgConnection, suffix: &str) -> sqlx::Result<()> {
    for group in GROUPS {
        let role = format!("bizing_{group}_{suffix}");
        if !exists(conn, &role).await? {
            ddl(conn, format!("create role {role} nologin")).await?;
        }
    }
    let of = |group: &str| format!("bizing_{group}_{suffix}");
    for (lower, higher) in [
        ("viewer", "staff"),
        ("staff", "manager"),
        ("manager", "admin"),
        ("projector", "worker"),
    ] {
        ddl(conn, format!("grant {} to {}", of(lower), of(higher))).await?;
    }
    // Names who keeps readers waiting, with age and query. Not every server lets its migrating login give that away.
    ddl(
        conn,
        format!(
            "do $$ begin grant pg_read_all_stats to {}; exception when insufficient_privilege then null; end $$",
            of("owner")
        ),
    )
    .await?;
    // Whoever migrates acts as the owner; on a server where it is no superuser it must be a member.
    ddl(conn, format!("grant {} to current_user", of("owner"))).await
}

/// A new login in a group, or a new password for it. The name is ours, the password random.
pub async fn ensure_login(
    conn: &mut PgConnection,
    suffix: &str,
    group: &str,
    user: &str,
    password: &str,
) -> sqlx::Result<Login> {
    let verb = if exists(conn, user).await? {
        "alter"
    } else {
        "create"
    };
    ddl(
        conn,
        format!("{verb} role {user} login password '{password}'"),
    )
    .await?;
    ddl(conn, format!("grant bizing_{group}_{suffix} to {user}")).await?;
    Ok(Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

pub async fn exists(conn: &mut PgConnection, role: &str) -> sqlx::Result<bool> {
    let row = sqlx::query("select exists (select 1 from pg_roles where rolname = $1) as x")
        .bind(role)
        .fetch_one(conn)
        .await?;
    row.try_get("x")
}

/// Role statements take no parameters. Every part of the text is one of our constants or random letters and digits.
async fn ddl(conn: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .execute(conn)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_of_the_six_names_gets_the_suffix_once() {
        let out = super::suffixed(
            "grant x to bizing_viewer, bizing_worker; -- bizing_desk stays",
            "k3",
        );
        assert_eq!(
            out,
            "grant x to bizing_viewer_k3, bizing_worker_k3; -- bizing_desk stays"
        );
    }
}
