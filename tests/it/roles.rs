//! Who may do what, tried out: each group logs in with plain SQL and tries everything there is.

mod matrix;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::support::db::{GROUPS, PASSWORD, TestDb};

/// All of ours, the generations of the read models among them.
const SCHEMAS: &str = "(select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public'))";

struct Function {
    name: String,
    signature: String,
    /// A call with nulls: whoever may not execute it never gets as far as the arguments.
    call: String,
}

struct Relation {
    name: String,
    kind: char,
    columns: Vec<String>,
}

async fn functions(superuser: &PgPool) -> Vec<Function> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "select n.nspname || '.' || p.proname as name, p.oid::regprocedure::text as signature,
                coalesce((select string_agg('null::' || format_type(t, null), ', ' order by o) from unnest(p.proargtypes) with ordinality as a(t, o)), '') as nulls
           from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in {SCHEMAS} order by 1, 2"
    )))
    .fetch_all(superuser)
    .await
    .unwrap();
    rows.iter()
        .map(|r| Function {
            name: r.get("name"),
            signature: r.get("signature"),
            call: format!(
                "select {}({})",
                r.get::<&str, _>("name"),
                r.get::<&str, _>("nulls")
            ),
        })
        .collect()
}

async fn relations(superuser: &PgPool) -> Vec<Relation> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "select n.nspname || '.' || c.relname as name, c.relkind::text as kind,
                array(select attname::text from pg_attribute a where a.attrelid = c.oid and attnum > 0 and not attisdropped order by attname) as columns
           from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in {SCHEMAS} and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
            -- Called after their month, and reached through their table only.
            and c.relname !~ '^attempts_[0-9]+_[0-9]+$' order by 1"
    )))
    .fetch_all(superuser)
    .await
    .unwrap();
    rows.iter()
        .map(|r| Relation {
            name: r.get("name"),
            kind: r.get::<&str, _>("kind").chars().next().unwrap(),
            columns: r.get("columns"),
        })
        .collect()
}

/// Tries it and takes it back. `false`: the database refused for want of a right.
async fn may(conn: &mut PgConnection, sql: &str) -> bool {
    let mut tx = conn.begin().await.unwrap();
    let tried = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await;
    tx.rollback().await.unwrap();
    match tried {
        Ok(_) => true,
        Err(e) => {
            let refusal = e
                .as_database_error()
                .unwrap_or_else(|| panic!("{sql}: {e}"));
            !(refusal.code().as_deref() == Some("42501")
                && refusal.message().starts_with("permission denied"))
        }
    }
}

async fn has(conn: &mut PgConnection, question: &str) -> bool {
    sqlx::query_scalar(AssertSqlSafe(format!("select {question}")))
        .fetch_one(conn)
        .await
        .unwrap()
}

struct World {
    db: TestDb,
    superuser: PgPool,
    functions: Vec<Function>,
    relations: Vec<Relation>,
}

impl World {
    async fn new() -> World {
        let db = TestDb::new().await;
        let superuser = db.superuser_pool().await;
        World {
            functions: functions(&superuser).await,
            relations: relations(&superuser).await,
            superuser,
            db,
        }
    }

    async fn login(&self, group: &str) -> PgConnection {
        PgConnection::connect_with(&self.db.login(group))
            .await
            .unwrap()
    }

    fn group(&self, group: &str) -> String {
        format!("bizing_{group}_{}", self.db.installation.id)
    }

    async fn list(&self, sql: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&self.superuser)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn nobody_writes_events_past_the_append() {
    let w = World::new().await;
    for group in GROUPS {
        let mut conn = w.login(group).await;
        for table in w
            .relations
            .iter()
            .filter(|r| r.name.starts_with("core.") && r.kind != 'S')
        {
            for sql in [
                format!("insert into {} default values", table.name),
                format!("delete from {}", table.name),
                format!("truncate {}", table.name),
            ] {
                assert!(!may(&mut conn, &sql).await, "{group}: {sql}");
            }
        }
        for sql in [
            "select nextval('core.position')",
            "select setval('core.position', 1)",
            "alter table core.events disable trigger all",
            "drop trigger append_only on core.events",
            "set session_replication_role = replica",
        ] {
            let refused = sqlx::query(sql).execute(&mut conn).await.expect_err(sql);
            assert_eq!(
                refused.as_database_error().unwrap().code().as_deref(),
                Some("42501"),
                "{group}: {sql}"
            );
        }
    }
}

#[tokio::test]
async fn nobody_but_the_worker_touches_the_sagas_rows() {
    let w = World::new().await;
    for group in ["viewer", "staff", "manager", "admin"] {
        let mut conn = w.login(group).await;
        for r in w.relations.iter().filter(|r| {
            r.kind == 'r' && ["saga.", "delivery."].iter().any(|s| r.name.starts_with(s))
        }) {
            for sql in [
                format!("insert into {} default values", r.name),
                format!("delete from {} where false", r.name),
                format!("truncate {}", r.name),
            ] {
                assert!(!may(&mut conn, &sql).await, "{group}: {sql}");
            }
            // An admin looks, for the doctor's sake.
            let looks =
                group == "admin" && may(&mut conn, &format!("select * from {}", r.name)).await;
            assert!(
                looks || !may(&mut conn, &format!("select * from {}", r.name)).await,
                "{group} reads {}",
                r.name
            );
        }
    }
    let mut admin = w.login("admin").await;
    for sql in [
        "select payload from delivery.inbox",
        "select request from saga.effect",
        "select params from saga.command",
        "select * from core.subject_keys",
        "select * from core.commands",
    ] {
        assert!(!may(&mut admin, sql).await, "admin: {sql}");
    }
    // And the worker rewrites neither history nor who asked for what.
    let mut worker = w.login("worker").await;
    for sql in [
        "update saga.attempt set result = null where false",
        "delete from saga.attempt where false",
        "delete from saga.effect where false",
        "update saga.effect set idempotency_key = '' where false",
        "update saga.effect set request = '{}' where false",
        "delete from saga.instance where false",
        "insert into saga.command default values",
        "update saga.command set reason = '' where false",
        "update saga.definition set spec = '{}' where false",
        "insert into saga.policy default values",
        "update saga.action set group_name = 'staff' where false",
        "select saga.apply(null)",
    ] {
        assert!(!may(&mut worker, sql).await, "worker: {sql}");
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing() {
    let w = World::new().await;
    let mut viewer = w.login("viewer").await;
    for r in w.relations.iter().filter(|r| matches!(r.kind, 'r' | 'p')) {
        for sql in [
            format!("insert into {} default values", r.name),
            format!("delete from {} where false", r.name),
            format!("truncate {}", r.name),
        ] {
            assert!(!may(&mut viewer, &sql).await, "{sql}");
        }
    }
    let mut callable = vec![];
    for f in &w.functions {
        if may(&mut viewer, &f.call).await {
            callable.push(f.name.as_str());
        }
    }
    assert_eq!(
        callable,
        [
            "admin.caller_group",
            "admin.caller_is",
            "admin.role_of",
            "api.case_offers",
            "api.erased_subjects",
            "api.event_proof",
            "api.generation_rows",
            "api.issued_position",
            "api.log_assumptions",
            "api.oldest_append",
            "api.oldest_snapshot",
            "api.ordering",
            "api.others_may_approve",
            "api.position_at",
            "api.preview_asked_batch",
            "api.preview_saga",
            "api.preview_saga_batch",
            "api.preview_saga_command",
            "api.read_stream",
            "api.read_stream_v2",
            "api.safe_position",
            "api.saga_actions",
            "api.sagas_failed",
            "api.sagas_over",
            // Only that they were here.
            "api.seen",
            "api.worker_asks",
        ],
        "these only read"
    );
    for sql in [
        "create table public.x ()",
        "create temporary table x ()",
        "create schema x",
        "create table read.x ()",
        "create extension hstore",
        "create role x",
        "alter database current set work_mem = '1MB'",
    ] {
        let sql = sql.replace("database current", &format!("database {}", w.db.name));
        assert!(
            sqlx::query(AssertSqlSafe(sql.clone()))
                .execute(&mut viewer)
                .await
                .is_err(),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn people_start_a_saga_and_never_hold_its_lease_nor_name_its_effects() {
    let w = World::new().await;
    let effect = serde_json::json!({ "effect_id": Uuid::now_v7(), "step": "payment", "generation": 0, "provider": "stripe", "operation": "create_intent", "idempotency_key": "bz1:x", "request": {}, "request_sha256": "" });
    for group in GROUPS {
        let mut conn = w.login(group).await;
        let start = async |conn: &mut PgConnection,
                           lease: Option<Uuid>,
                           effect: Option<&serde_json::Value>| {
            sqlx::query_scalar::<_, Uuid>("select api.start_saga($1, 'booking', 1, $2, 1::smallint, $1, $1, 100, 'EUR', null, '{}', $1, $1, 'hold', $3, '30 s', $4)")
                .bind(Uuid::now_v7())
                .bind(format!("booking:{}:1", Uuid::now_v7()))
                .bind(lease)
                .bind(effect)
                .fetch_one(conn)
                .await
                .map_err(|e| e.as_database_error().and_then(|d| d.code()).map(|c| c.into_owned()).unwrap_or_default())
        };
        let refused = || Err("42501".to_owned());
        let (plain, leased, with_effect) = (
            start(&mut conn, None, None).await,
            start(&mut conn, Some(Uuid::now_v7()), None).await,
            start(&mut conn, None, Some(&effect)).await,
        );
        match group {
            "staff" | "manager" => assert!(
                plain.is_ok() && leased == refused() && with_effect == refused(),
                "{group}: {plain:?} {leased:?} {with_effect:?}"
            ),
            // An admin's window also works.
            "admin" => assert!(
                plain.is_ok() && leased.is_ok() && with_effect.is_ok(),
                "{group}: {plain:?} {leased:?} {with_effect:?}"
            ),
            _ => assert!(
                plain == refused() && leased == refused() && with_effect == refused(),
                "{group}"
            ),
        }
    }
}

#[tokio::test]
async fn a_command_id_cancels_one_saga_and_no_other() {
    let w = World::new().await;
    let mut staff = w.login("staff").await;
    let (command, a, b) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for saga in [a, b] {
        sqlx::query("select api.start_saga($1, 'booking', 1, $2, 1::smallint, $1, $1, 100, 'EUR', null, '{}', $1, $1, 'hold', null, null, null)").bind(saga).bind(saga.to_string()).execute(&mut staff).await.unwrap();
    }
    let mut answers = vec![];
    for saga in [a, a, b, Uuid::now_v7()] {
        answers.push(
            sqlx::query_scalar::<_, String>(
                "select api.request_cancel($1, $2, 'asked on the phone')",
            )
            .bind(command)
            .bind(saga)
            .fetch_one(&mut staff)
            .await
            .unwrap(),
        );
    }
    assert_eq!(answers, ["asked", "asked", "reused", "not_found"]);
    assert_eq!(
        w.list("select requested_by from saga.command").await,
        [format!("test_staff_{}", w.db.installation.id)],
        "the audit names the login"
    );
}

#[tokio::test]
async fn nobody_is_the_owner_and_no_group_is_another_sideways() {
    let w = World::new().await;
    let owner = w.group("owner");
    for group in GROUPS {
        let mut conn = w.login(group).await;
        assert!(
            !has(&mut conn, &format!("pg_has_role('{owner}', 'member')")).await,
            "{group}"
        );
        for role in ["owner", "viewer", "staff", "manager", "admin", "worker"] {
            let rank = |g: &str| {
                ["viewer", "staff", "manager", "admin"]
                    .iter()
                    .position(|x| *x == g)
            };
            let inherits = match (rank(group), rank(role)) {
                (Some(mine), Some(other)) => other <= mine,
                _ => group == role,
            };
            let became = sqlx::query(AssertSqlSafe(format!("set role {}", w.group(role))))
                .execute(&mut conn)
                .await
                .is_ok();
            sqlx::query("reset role").execute(&mut conn).await.unwrap();
            assert_eq!(became, inherits, "{group} becomes {role}");
        }
    }
    let foreign = w.list(&format!("select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname in {SCHEMAS} and pg_get_userbyid(c.relowner) <> '{owner}'
                                   union all select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in {SCHEMAS} and pg_get_userbyid(p.proowner) <> '{owner}'")).await;
    assert!(foreign.is_empty(), "owned by somebody else: {foreign:?}");
    assert!(
        PgConnection::connect_with(&w.db.superuser().username(&owner).password(PASSWORD))
            .await
            .is_err(),
        "nobody logs in as the owner"
    );
}

#[tokio::test]
async fn the_public_has_nothing() {
    let w = World::new().await;
    let open = w
        .list(&format!(
            "select 'schema ' || n.nspname from pg_namespace n, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a where nspname in {SCHEMAS} and a.grantee = 0
             union all select 'relation ' || c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(coalesce(relacl, acldefault('r', relowner))) a
               where nspname in {SCHEMAS} and relkind in ('r', 'p', 'v', 'm', 'S') and a.grantee = 0
             union all select 'function ' || p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
               where nspname in {SCHEMAS} and a.grantee = 0
             union all select 'database, ' || a.privilege_type from pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a where datname = current_database() and a.grantee = 0
             union all select 'create in public' from pg_namespace n, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a where nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE'"
        ))
        .await;
    assert!(open.is_empty(), "everybody may use: {open:?}");
    // Nor what is made later: by the owner, a function is for nobody.
    let mut tx = w.superuser.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "set local role {}; create function api.later() returns int language sql as 'select 1'",
        w.group("owner")
    )))
    .execute(&mut *tx)
    .await
    .unwrap();
    let everybody: i64 = sqlx::query_scalar("select count(*) from pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a where proname = 'later' and a.grantee = 0").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(everybody, 0);
}

#[tokio::test]
async fn every_function_that_acts_as_the_owner_pins_where_it_looks_for_names() {
    let w = World::new().await;
    let loose = w.list(&format!("select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname in {SCHEMAS} and prosecdef and not exists (select 1 from unnest(proconfig) c where c like 'search_path=pg_catalog%')")).await;
    assert!(loose.is_empty(), "{loose:?}");
}

#[tokio::test]
async fn keys_and_secret_settings_are_in_no_persons_reach() {
    let w = World::new().await;
    let mut admin = w.login("admin").await;
    for name in ["secret.stripe", "desk.name"] {
        sqlx::query("select api.put_setting($1, '\"x\"')")
            .bind(name)
            .execute(&mut admin)
            .await
            .unwrap();
    }
    for group in GROUPS {
        let mut conn = w.login(group).await;
        assert!(
            !may(&mut conn, "select key from core.subject_keys").await,
            "{group} reads keys as a table"
        );
        if group != "worker" {
            assert!(
                !may(&mut conn, "select * from admin.setting").await,
                "{group}"
            );
            assert!(
                !may(&mut conn, "select * from api.subject_keys(null)").await,
                "{group} reads many keys at once"
            );
            let seen: Vec<String> = sqlx::query_scalar("select name from read.settings_v1")
                .fetch_all(&mut conn)
                .await
                .unwrap();
            assert_eq!(seen, ["desk.name"], "{group}");
        }
    }
}
