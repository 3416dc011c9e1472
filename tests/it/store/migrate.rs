//! Migrations: forward only, once, and every installation for itself.

use std::collections::BTreeMap;

use bizing_engine::store::migrate::{
    MigrateError, SchemaState, ensure_database, known_version, known_versions, migrate,
    schema_state,
};
use bizing_engine::store::roles;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::state;
use crate::support::db::{PASSWORD, TestDb};

/// An empty database on the server of the run.
async fn empty() -> PgConnectOptions {
    let name = format!("m_{}", uuid::Uuid::now_v7().simple());
    let server = TestDb::new().await.superuser();
    ensure_database(&server, &name).await.unwrap();
    ensure_database(&server, &name)
        .await
        .expect("a database that is there is fine");
    server.database(&name)
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.unwrap()
}

async fn applied(conn: &mut PgConnection) -> Vec<(i64, String)> {
    sqlx::query_as(
        "select version, installed_on::text from read.migrations_v1 where success order by version",
    )
    .fetch_all(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn migrating_twice_changes_nothing_the_second_time() {
    let options = empty().await;
    let mut conn = connect(&options).await;
    assert_eq!(schema_state(&mut conn).await.unwrap(), SchemaState::Absent);
    let first = migrate(&mut conn, "demo", "sandbox").await.unwrap();
    assert_eq!(schema_state(&mut conn).await.unwrap(), SchemaState::Current);
    let rows = applied(&mut conn).await;
    assert_eq!(rows.last().unwrap().0, known_version());
    // Another mode changes nothing either: live and sandbox never mix in one database.
    assert_eq!(migrate(&mut conn, "own", "live").await.unwrap(), first);
    assert_eq!(applied(&mut conn).await, rows);
    let role: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert!(
        !role.starts_with("bizing_owner"),
        "the connection acts as itself again"
    );
}

#[tokio::test]
async fn two_processes_that_migrate_at_once_agree_on_one_installation() {
    let options = empty().await;
    let start = async || {
        migrate(&mut connect(&options).await, "demo", "sandbox")
            .await
            .unwrap()
    };
    let (a, b, c) = tokio::join!(start(), start(), start());
    assert_eq!(a, b);
    assert_eq!(b, c);
    let mut conn = connect(&options).await;
    let versions: Vec<i64> = applied(&mut conn)
        .await
        .into_iter()
        .map(|(v, _)| v)
        .collect();
    let known = known_versions();
    assert_eq!(versions, known);
    let groups: i64 = sqlx::query_scalar(
        "select count(*) from pg_roles where rolname like 'bizing\\_%\\_' || $1",
    )
    .bind(&a.id)
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(groups, roles::GROUPS.len() as i64);
}

#[tokio::test]
async fn a_newer_schema_is_never_touched() {
    let db = TestDb::new().await;
    let mut conn = connect(&db.superuser()).await;
    let newer = known_version() + 1;
    sqlx::query("insert into admin.schema_migrations (version, description, success, checksum, execution_time) values ($1, 'of a later release', true, '', 0)")
        .bind(newer)
        .execute(&mut conn)
        .await
        .unwrap();
    let rows = applied(&mut conn).await;
    let refused = migrate(&mut conn, "demo", "sandbox").await.unwrap_err();
    assert!(
        matches!(refused, MigrateError::Newer { has, knows } if has == newer && knows == known_version()),
        "{refused:?}"
    );
    assert_eq!(applied(&mut conn).await, rows);
    // A window that may only look can say so too.
    let mut viewer = connect(&db.login("viewer")).await;
    assert_eq!(
        schema_state(&mut viewer).await.unwrap(),
        SchemaState::Newer {
            has: newer,
            knows: known_version()
        }
    );
}

#[tokio::test]
async fn an_older_schema_is_recognised_by_every_login() {
    let db = TestDb::new().await;
    sqlx::query("delete from admin.schema_migrations where version = $1")
        .bind(known_version())
        .execute(&db.superuser_pool().await)
        .await
        .unwrap();
    for group in ["viewer", "staff", "worker"] {
        let mut conn = connect(&db.login(group)).await;
        assert_eq!(
            schema_state(&mut conn).await.unwrap(),
            SchemaState::Older {
                has: known_versions()[known_versions().len() - 2],
                needs: known_version()
            },
            "{group}"
        );
    }
}

#[tokio::test]
async fn a_migration_that_was_edited_after_it_ran_is_noticed() {
    let db = TestDb::new().await;
    let mut conn = connect(&db.superuser()).await;
    sqlx::query("update admin.schema_migrations set checksum = sha256('edited') where version = 1")
        .execute(&mut conn)
        .await
        .unwrap();
    let refused = migrate(&mut conn, "demo", "sandbox").await.unwrap_err();
    assert!(matches!(refused, MigrateError::Migration(_)), "{refused:?}");
    let free: bool = sqlx::query_scalar(
        "select count(*) = 0 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert!(free, "the lock is given back after a failure");
}

#[tokio::test]
async fn two_installations_on_one_server_have_roles_of_their_own_and_keep_each_other_out() {
    let (ours, theirs) = (empty().await, empty().await);
    let (a, b) = (
        migrate(&mut connect(&ours).await, "own", "live")
            .await
            .unwrap(),
        migrate(&mut connect(&theirs).await, "own", "live")
            .await
            .unwrap(),
    );
    assert_ne!(a.id, b.id);
    let user = format!("ana_{}", a.id);
    roles::ensure_login(&mut connect(&ours).await, &a.id, "admin", &user, PASSWORD)
        .await
        .unwrap();
    let login = |options: &PgConnectOptions| options.clone().username(&user).password(PASSWORD);
    let mut conn = connect(&login(&ours)).await;
    let group: Option<String> = sqlx::query_scalar("select admin.caller_group()")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(group.as_deref(), Some("admin"));
    let refused = PgConnection::connect_with(&login(&theirs)).await;
    assert_eq!(
        state(refused.map(|_| ())),
        "42501",
        "an admin of one desk is nobody at the other"
    );

    let mut superuser = connect(&ours).await;
    let bare: Vec<String> = sqlx::query_scalar("select rolname::text from pg_roles where rolname in ('bizing_owner', 'bizing_viewer', 'bizing_staff', 'bizing_manager', 'bizing_admin', 'bizing_worker')")
        .fetch_all(&mut superuser)
        .await
        .unwrap();
    assert!(
        bare.is_empty(),
        "no group without its installation: {bare:?}"
    );
    let logins: i64 = sqlx::query_scalar("select count(*) from pg_roles where rolname like 'bizing\\_%' and (rolcanlogin or rolsuper or rolcreaterole)").fetch_one(&mut superuser).await.unwrap();
    assert_eq!(
        logins, 0,
        "nobody logs in as a group, and groups rule nothing else"
    );
}

#[tokio::test]
async fn an_installation_never_changes_its_mode_or_its_id() {
    let db = TestDb::new().await;
    let superuser = db.superuser_pool().await;
    for change in [
        "update admin.installation set mode = 'live'",
        "update admin.installation set installation_id = 'aaaaaaaa'",
        "delete from admin.installation",
        "insert into admin.installation (installation_id, mode, kind) values ('aaaaaaaa', 'live', 'own')",
        "truncate admin.installation",
    ] {
        let refused = state(sqlx::query(change).execute(&superuser).await);
        assert!(
            ["23514", "23505"].contains(&refused.as_str()),
            "{change}: {refused}"
        );
    }
}

#[tokio::test]
async fn every_registered_event_has_a_fixture_and_every_fixture_is_registered() {
    let db = TestDb::new().await;
    let mut registered: Vec<String> = sqlx::query_scalar(
        "select name || '.v' || schema_version || '.json' from core.event_types",
    )
    .fetch_all(&db.pool("worker").await)
    .await
    .unwrap();
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src-tauri/engine/src/domain/fixtures"
    );
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    registered.sort();
    files.sort();
    assert_eq!(registered, files);
}

/// Whoever looks for a function's newest text among the migrations finds what the database runs.
#[tokio::test]
async fn the_newest_definition_among_the_migrations_is_what_the_database_runs() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/definition");
    let told = std::process::Command::new("python3")
        .args([script, "--all"])
        .output()
        .expect("python3 runs");
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    let newest: BTreeMap<String, String> = serde_json::from_slice(&told.stdout).unwrap();

    let db = TestDb::new().await;
    let mut conn = connect(&db.superuser()).await;
    // Of a function that an older window still calls in another shape, one is the newest.
    let run: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select n.nspname || '.' || p.proname, array_agg(replace(p.prosrc, '_' || $1, ''))
           from pg_proc p join pg_namespace n on n.oid = p.pronamespace
          where n.nspname in ('admin', 'api', 'booking', 'core', 'delivery', 'projection', 'read', 'saga') and p.prosrc <> ''
            and not exists (select 1 from pg_depend d where d.objid = p.oid and d.deptype = 'e')
          group by 1",
    )
    .bind(&db.installation.id)
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert!(run.len() > 150, "only {} functions", run.len());
    let other: Vec<&str> = run
        .iter()
        .filter(|(name, bodies)| {
            !newest
                .get(name)
                .is_some_and(|text| bodies.iter().any(|body| text.contains(body)))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(other, Vec::<&str>::new());
}
