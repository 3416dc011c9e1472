//! People and their logins: added, put into a group, disabled, given a new password.
//!
//! A login belongs to the database server, and only who may create roles there can make one: the login with which a process was
//! set up, never a person's own. The password is made here and never sent: the server gets what SCRAM checks it with.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection};

use super::desk::Desk;
use super::error::internal;
use super::wire::*;
use crate::runtime::ids;

/// What makes logins, where this process has it.
#[derive(Clone)]
pub struct Maker(PgConnectOptions);

impl Maker {
    pub fn new(admin: PgConnectOptions) -> Maker {
        Maker(admin.application_name("bizing-desk people"))
    }
}

#[derive(FromRow)]
struct Row {
    login: String,
    display_name: Option<String>,
    group: Option<String>,
    active: bool,
    own: bool,
    last_seen_at: Option<chrono::DateTime<chrono::Utc>>,
    created_at: Option<chrono::DateTime<chrono::Utc>>,
    created_by: Option<String>,
    password_at: Option<chrono::DateTime<chrono::Utc>>,
    disabled_at: Option<chrono::DateTime<chrono::Utc>>,
    disabled_by: Option<String>,
}

const ROWS: &str = "select login::text, display_name, \"group\", active, login = session_user as own, last_seen_at, created_at, created_by::text, password_at,
    disabled_at, disabled_by::text from read.people_v1";

impl Row {
    fn shown(self) -> Result<Person, AppError> {
        Ok(Person {
            login: self.login,
            name: self.display_name,
            group: self.group.as_deref().map(super::place::word).transpose()?,
            active: self.active,
            own: self.own,
            last_seen_at: self.last_seen_at,
            created_at: self.created_at,
            created_by: self.created_by,
            password_at: self.password_at,
            disabled_at: self.disabled_at,
            disabled_by: self.disabled_by,
        })
    }
}

pub async fn list(desk: &Desk, _: Empty) -> Result<People, AppError> {
    if desk.group < Group::Admin {
        return Ok(People {
            rows: vec![],
            refused: refusal(desk),
        });
    }
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "{ROWS} order by display_name is null, lower(display_name), login"
    )))
    .fetch_all(&desk.people)
    .await?;
    Ok(People {
        rows: rows.into_iter().map(Row::shown).collect::<Result<_, _>>()?,
        refused: refusal(desk),
    })
}

/// What the people are called whose logins stand beside what they did.
pub async fn names(desk: &Desk, _: Empty) -> Result<PeopleNames, AppError> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "select login, name, able from read.names_v1 where name is not null order by lower(name), login",
    )
    .fetch_all(&desk.people)
    .await?;
    let named = |(login, name, able)| PersonName { login, name, able };
    Ok(PeopleNames {
        rows: rows.into_iter().map(named).collect(),
    })
}

fn refusal(desk: &Desk) -> Option<String> {
    if desk.group < Group::Admin {
        return Some("Admins look after the logins of people.".to_owned());
    }
    if let Some(reason) = &desk.read_only {
        return Some(reason.clone());
    }
    desk.maker.is_none().then(|| {
        "Your login may not make others on this server. Whoever runs it can: `bizing-desk people add`, with the login that set this desk up in DATABASE_URL."
            .to_owned()
    })
}

pub async fn add(desk: &Desk, request: AddPerson) -> Result<PersonMade, AppError> {
    let mut conn = maker(desk).await?;
    let name = request.name.trim();
    if !is_login(&request.login) {
        return Err(AppError::invalid(
            "login",
            "A login has 2 to 31 of the signs a to z, 0 to 9 and _, and begins with a letter.",
        ));
    }
    if name.is_empty() || name.chars().count() > 80 {
        return Err(AppError::invalid("name", "A name has 1 to 80 signs."));
    }
    let mut tx = conn.begin().await?;
    if crate::store::roles::exists(&mut tx, &request.login).await? {
        return Err(AppError::invalid(
            "login",
            format!(
                "This server has a login `{}` already. Logins belong to the whole server: choose another name.",
                request.login
            ),
        ));
    }
    let password = ids::password();
    ddl(
        &mut tx,
        "create role %I login password %L",
        &request.login,
        &verifier(&password),
    )
    .await?;
    let group = group_role(desk, request.group);
    ddl(&mut tx, "grant %I to %I", &group, &request.login).await?;
    sqlx::query("insert into admin.person (login, display_name, created_by) values ($1, $2, $3)")
        .bind(&request.login)
        .bind(name)
        .bind(by(desk).await?)
        .execute(&mut *tx)
        .await?;
    note(desk, &mut tx, &request.login, "added").await?;
    note(desk, &mut tx, &request.login, word(request.group)).await?;
    tx.commit().await?;
    made(desk, &request.login, password).await
}

pub async fn change(desk: &Desk, request: ChangePerson) -> Result<Person, AppError> {
    let mut conn = maker(desk).await?;
    let person = one(desk, &request.login).await?;
    if person.own {
        return Err(AppError::new(
            Code::Refused,
            "Nobody changes their own group or switches themselves off.",
        )
        .hint("Ask another admin."));
    }
    let mut tx = conn.begin().await?;
    let what = match request.change {
        PersonChange::Disable | PersonChange::Enable => {
            let on = request.change == PersonChange::Enable;
            ddl(
                &mut tx,
                if on {
                    "alter role %I login"
                } else {
                    "alter role %I nologin"
                },
                &request.login,
                "",
            )
            .await?;
            sqlx::query("update admin.person set disabled_at = case when $2 then null else now() end, disabled_by = case when $2 then null else $3::name end where login = $1")
                .bind(&request.login)
                .bind(on)
                .bind(by(desk).await?)
                .execute(&mut *tx)
                .await?;
            if on { "enabled" } else { "disabled" }
        }
        PersonChange::Viewer => regroup(desk, &mut tx, &request.login, Group::Viewer).await?,
        PersonChange::Staff => regroup(desk, &mut tx, &request.login, Group::Staff).await?,
        PersonChange::Manager => regroup(desk, &mut tx, &request.login, Group::Manager).await?,
        PersonChange::Admin => regroup(desk, &mut tx, &request.login, Group::Admin).await?,
    };
    note(desk, &mut tx, &request.login, what).await?;
    // What is open was opened with the rights of before; a window opens again by itself, unless the login is off. Before the commit,
    // so that dying right after it leaves no session; and after it, for one that came back in between.
    end_sessions(&mut tx, &request.login).await?;
    tx.commit().await?;
    end_sessions(&mut conn, &request.login).await?;
    one(desk, &request.login).await
}

async fn end_sessions(conn: &mut PgConnection, login: &str) -> Result<(), AppError> {
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and pid <> pg_backend_pid()")
        .bind(login)
        .execute(conn)
        .await?;
    Ok(())
}

const GROUPS: [Group; 4] = [Group::Viewer, Group::Staff, Group::Manager, Group::Admin];

async fn regroup(
    desk: &Desk,
    conn: &mut PgConnection,
    login: &str,
    to: Group,
) -> Result<&'static str, AppError> {
    let role = group_role(desk, to);
    ddl(conn, "grant %I to %I", &role, login).await?;
    let others: Vec<String> = sqlx::query_scalar(
        "select o.rolname::text from pg_auth_members m join pg_roles o on o.oid = m.roleid join pg_roles r on r.oid = m.member
          where r.rolname = $1 and o.rolname = any($2)",
    )
    .bind(login)
    .bind(GROUPS.map(|group| group_role(desk, group)))
    .fetch_all(&mut *conn)
    .await?;
    for other in others.iter().filter(|other| **other != role) {
        ddl(conn, "revoke %I from %I", other, login).await?;
    }
    Ok(word(to))
}

pub async fn reset_password(desk: &Desk, request: ResetPassword) -> Result<PersonMade, AppError> {
    let mut conn = maker(desk).await?;
    one(desk, &request.login).await?;
    let password = ids::password();
    let mut tx = conn.begin().await?;
    ddl(
        &mut tx,
        "alter role %I password %L",
        &request.login,
        &verifier(&password),
    )
    .await?;
    sqlx::query("update admin.person set password_at = now() where login = $1")
        .bind(&request.login)
        .execute(&mut *tx)
        .await?;
    note(desk, &mut tx, &request.login, "password").await?;
    tx.commit().await?;
    made(desk, &request.login, password).await
}

/// A connection that may make logins, for an admin.
async fn maker(desk: &Desk) -> Result<PgConnection, AppError> {
    if let Some(why) = refusal(desk) {
        return Err(AppError::new(Code::Forbidden, why));
    }
    let Some(Maker(options)) = &desk.maker else {
        return Err(AppError::new(
            Code::Forbidden,
            "Your login may not make others on this server.",
        ));
    };
    Ok(PgConnection::connect_with(options).await?)
}

/// Only people whom the desk made: another's login may serve other programs on this server.
async fn one(desk: &Desk, login: &str) -> Result<Person, AppError> {
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "{ROWS} where login = $1 and not computer"
    )))
    .bind(login)
    .fetch_optional(&desk.people)
    .await?;
    match row {
        Some(row) => row.shown(),
        None => Err(AppError::new(Code::NotFound, format!("`{login}` is no person of this desk."))
            .hint("Logins of computers, and those that were made outside the desk, are looked after by whoever runs the server.")),
    }
}

async fn made(desk: &Desk, login: &str, password: String) -> Result<PersonMade, AppError> {
    Ok(PersonMade {
        person: one(desk, login).await?,
        address: desk
            .maker
            .as_ref()
            .map(|maker| maker.address(login))
            .unwrap_or_default(),
        password,
    })
}

impl Maker {
    fn address(&self, login: &str) -> String {
        let database = self.0.get_database().unwrap_or("postgres");
        match self.0.get_socket() {
            Some(folder) => format!(
                "postgres://{login}:…@localhost:{}/{database}?host={}",
                self.0.get_port(),
                folder.display()
            ),
            None => format!(
                "postgres://{login}:…@{}:{}/{database}",
                self.0.get_host(),
                self.0.get_port()
            ),
        }
    }
}

async fn by(desk: &Desk) -> Result<String, AppError> {
    Ok(sqlx::query_scalar("select session_user::text")
        .fetch_one(&desk.people)
        .await?)
}

async fn note(
    desk: &Desk,
    conn: &mut PgConnection,
    login: &str,
    what: &str,
) -> Result<(), AppError> {
    sqlx::query("insert into admin.person_change (login, by, what) values ($1, $2, $3)")
        .bind(login)
        .bind(by(desk).await?)
        .bind(what)
        .execute(conn)
        .await?;
    Ok(())
}

/// Role statements take no parameters: the server itself puts the two in, quoted.
async fn ddl(
    conn: &mut PgConnection,
    pattern: &'static str,
    first: &str,
    second: &str,
) -> Result<(), AppError> {
    let text: String = sqlx::query_scalar("select format($1, $2, $3)")
        .bind(pattern)
        .bind(first)
        .bind(second)
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query(AssertSqlSafe(text))
        .execute(conn)
        .await
        .map_err(not_allowed)?;
    Ok(())
}

fn not_allowed(error: sqlx::Error) -> AppError {
    match error.as_database_error().and_then(|e| e.code()).as_deref() {
        Some("42501") => AppError::new(Code::Forbidden, "This server does not let the desk make or change that login.")
            .hint("The login that set the desk up needs CREATEROLE, and on PostgreSQL 16 and later the admin option on the desk's groups."),
        Some(_) | None => internal(error),
    }
}

/// What SCRAM-SHA-256 checks the password with.
fn verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

fn group_role(desk: &Desk, group: Group) -> String {
    format!("bizing_{}_{}", word(group), desk.installation.id)
}

fn word(group: Group) -> &'static str {
    match group {
        Group::Viewer => "viewer",
        Group::Staff => "staff",
        Group::Manager => "manager",
        Group::Admin => "admin",
    }
}

fn is_login(text: &str) -> bool {
    (2..=31).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
