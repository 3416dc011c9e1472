//! Backups: of one moment, proved by restoring, never over what exists, and nobody comes back who was erased.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bizing_engine::app::backups::{
    BackupError, Manifest, Occasion, Room, Why, daily_once, erase_customer, exists, put_in_place,
    silent,
};
use bizing_engine::app::wire::EraseCustomer;
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::tasks::Tasks;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::projection::{Seeded, seeded};
use crate::support::wait_until;

/// A business of some weeks, and a place for its backups.
struct World {
    s: Seeded,
    data: TempDir,
    room: Room,
}

async fn world() -> World {
    let s = seeded().await;
    s.follow().await;
    let data = tempfile::tempdir().unwrap();
    let room = room_at(data.path(), s.db.superuser());
    World { s, data, room }
}

fn room_at(data: &Path, admin: PgConnectOptions) -> Room {
    let mut config = Config::in_folder(data);
    config.pg_bin = std::env::var_os("BIZING_PG_BIN").map(Into::into);
    Room::new(&config, admin, Hints::default(), Tasks::default())
}

impl World {
    async fn back_up(&self) -> Manifest {
        self.room
            .back_up(Occasion::new(Why::Asked), silent())
            .await
            .unwrap_or_else(|e| panic!("{}", e.message))
    }

    fn dump(&self, manifest: &Manifest) -> std::path::PathBuf {
        self.room.shelf().folder().join(&manifest.file)
    }

    async fn restore(&self, manifest: &Manifest, name: &str) -> usize {
        let folder = self.room.shelf().folder().to_owned();
        self.room
            .restore(&folder, manifest, name, silent())
            .await
            .unwrap_or_else(|e| panic!("{}", e.message))
    }

    fn fresh(&self, what: &str) -> String {
        format!("{}_{what}", self.s.db.name)
    }
}

async fn ask<T>(options: &PgConnectOptions, sql: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut conn = PgConnection::connect_with(options).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
}

async fn drop_database(world: &World, name: &str) {
    let mut conn = PgConnection::connect_with(&world.s.db.superuser().database("postgres"))
        .await
        .unwrap();
    sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)")))
        .execute(&mut conn)
        .await
        .unwrap();
}

/// Trials of other tests come and go beside this one.
async fn no_trial_is_left(world: &World) {
    let superuser = world.s.db.superuser();
    crate::support::wait_until(
        "no copy is left",
        std::time::Duration::from_secs(60),
        || async {
            ask::<i64>(
                &superuser,
                "select count(*) from pg_database where datname ~ '^bizing_(trial|restoring)_'",
            )
            .await
                == 0
        },
    )
    .await;
}

#[tokio::test]
async fn a_backup_is_proved_by_what_restoring_it_shows() {
    let w = world().await;
    let events: i64 = ask(&w.s.db.superuser(), "select count(*) from core.events").await;
    let manifest = w.back_up().await;
    assert_eq!(manifest.facts.events, events);
    assert!(events > 100 && manifest.facts.rows.len() > 30);
    assert_eq!(Manifest::read(&w.dump(&manifest)).unwrap(), manifest);
    #[cfg(unix)]
    for path in [w.dump(&manifest), w.dump(&manifest).with_extension("json")] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }

    let proof = w.room.verify(&manifest, None, silent()).await.unwrap();
    assert!(proof.good(), "{proof:?}");
    assert_eq!(
        (proof.events, proof.chain_intact),
        (Some(events), Some(true))
    );
    no_trial_is_left(&w).await;
    let listed = w.room.shelf().list().unwrap();
    assert!(listed.len() == 1 && listed[0].good());
    let told: bool = ask(
        &w.s.db.login("viewer"),
        "select proof is not null and manifest->>'file' is not null from read.backups_v1",
    )
    .await;
    assert!(told, "everybody sees that it is good");
}

#[tokio::test]
async fn a_backup_is_of_one_moment_while_the_desk_goes_on() {
    let w = world().await;
    let worker = w.s.worker.clone();
    // Writes at its own pace until the backup is there.
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            sqlx::query(
                "select * from api.append(array['booking-' || gen_random_uuid()], array[null]::bigint[], array[null]::uuid[], array[null]::bytea[],
                   array[1], array[gen_random_uuid()], array['BookingExpired'], array[1::smallint], array[now()], array[gen_random_uuid()],
                   array[null]::uuid[], array['{}']::jsonb[], array['{\"expired_at\": \"2026-11-24T10:00:00Z\"}']::jsonb[])",
            )
            .execute(&worker)
            .await
            .unwrap();
            n += 1;
        }
        n
    });
    let manifest = w.back_up().await;
    stop.send(()).unwrap();
    let written = writing.await.unwrap();
    assert!(written > 0);
    let proof = w.room.verify(&manifest, None, silent()).await.unwrap();
    assert!(proof.good(), "{proof:?}");
}

#[tokio::test]
async fn a_damaged_file_is_found_and_never_restored() {
    let w = world().await;
    let manifest = w.back_up().await;
    let path = w.dump(&manifest);
    let whole = std::fs::read(&path).unwrap();
    let folder = w.room.shelf().folder().to_owned();

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, told) in [
        (&flipped[..], "checksum"),
        (&whole[..whole.len() - 1], "bytes"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let proof = w.room.verify(&manifest, None, silent()).await.unwrap();
        assert!(
            proof.problem.as_deref().unwrap().contains(told),
            "{proof:?}"
        );
        let name = w.fresh("damaged");
        let refused = w.room.restore(&folder, &manifest, &name, silent()).await;
        assert!(refused.unwrap_err().message.contains(told));
        assert!(!exists(&w.s.db.superuser(), &name).await.unwrap());
    }
    // Somebody who makes the sum fit again is found by what comes out.
    let sly = Manifest {
        facts: bizing_engine::app::backups::Facts {
            events: manifest.facts.events + 1,
            ..manifest.facts.clone()
        },
        ..manifest.clone()
    };
    std::fs::write(&path, &whole).unwrap();
    let proof = w.room.verify(&sly, None, silent()).await.unwrap();
    assert!(proof.problem.unwrap().contains("came back"));
    no_trial_is_left(&w).await;
}

#[tokio::test]
async fn tampering_before_the_backup_shows_in_its_proof() {
    let w = world().await;
    let superuser = w.s.db.superuser();
    let mut conn = PgConnection::connect_with(&superuser).await.unwrap();
    sqlx::raw_sql(
        "set session_replication_role = replica;
         update core.events set data = data || '{\"reference\": \"BK-000000\"}' where position = (select position from core.events where version = 1 order by position limit 1)",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let manifest = w.back_up().await;
    let proof = w.room.verify(&manifest, None, silent()).await.unwrap();
    let problem = proof.problem.unwrap();
    assert!(
        problem.contains("hash_chain") && problem.contains("version 1 ("),
        "{problem}"
    );
}

#[tokio::test]
async fn a_restore_makes_something_new_and_keeps_what_is_used_under_another_name() {
    let w = world().await;
    let manifest = w.back_up().await;
    let folder = w.room.shelf().folder().to_owned();
    let admin = w.s.db.superuser();
    let taken = w
        .room
        .restore(&folder, &manifest, &w.s.db.name, silent())
        .await;
    assert!(taken.unwrap_err().message.contains("exists already"));

    let name = w.fresh("restored");
    assert_eq!(w.restore(&manifest, &name).await, 0);
    let restored = admin.clone().database(&name);
    let events: i64 = ask(&restored, "select count(*) from core.events").await;
    assert_eq!(events, manifest.facts.events);
    let logs: i64 = ask(
        &restored,
        "select count(*) from core.log_identity where restored_from is not null",
    )
    .await;
    assert_eq!(logs, 1, "whoever remembers a position notices");
    let owed: i64 = ask(
        &restored,
        "select count(*) from delivery.deliveries where state in ('scheduled', 'sending')",
    )
    .await;
    assert_eq!(owed, 0, "nothing is sent twice by itself");
    // The logins of this desk open it as they did the old one; a stranger does not get in.
    let read: i64 = ask(
        &w.s.db.login("viewer").database(&name),
        "select count(*) from read.events_v1",
    )
    .await;
    assert_eq!(read, events);
    let public: bool = ask(
        &restored,
        "select has_database_privilege('public', current_database(), 'connect')",
    )
    .await;
    assert!(!public);
    // It goes on from there.
    let worker = sqlx::postgres::PgPoolOptions::new()
        .connect_with(w.s.db.login("worker").database(&name))
        .await
        .unwrap();
    let report = bizing_engine::app::doctor::run(&worker, true)
        .await
        .unwrap();
    let wrong: Vec<_> = report
        .findings()
        .map(|f| f.name)
        .filter(|n| n.starts_with("stream."))
        .collect();
    assert_eq!(wrong, Vec::<&str>::new());
    worker.close().await;

    let busy = put_in_place(&admin, &name, &w.s.db.name).await.unwrap_err();
    assert!(
        matches!(busy, BackupError::InUse { others, .. } if others > 0),
        "{busy}"
    );
    w.s.people.close().await;
    w.s.worker.close().await;
    let kept = put_in_place(&admin, &name, &w.s.db.name).await.unwrap();
    let logs: i64 = ask(
        &w.s.db.superuser(),
        "select count(*) from core.log_identity",
    )
    .await;
    assert_eq!(logs, 2, "the restored one has the name now");
    let old: i64 = ask(
        &admin.clone().database(&kept),
        "select count(*) from core.log_identity",
    )
    .await;
    assert_eq!(old, 1, "and the one before is whole");
    drop_database(&w, &kept).await;
}

#[tokio::test]
async fn whoever_was_erased_after_the_backup_is_erased_in_what_is_restored() {
    let w = world().await;
    let manifest = w.back_up().await;
    let (customer, name): (Uuid, String) = sqlx::query_as(
        "select customer_id, name from read.customers_v1 where bookings > 0 and email is not null order by customer_id limit 1",
    )
    .fetch_one(&w.s.people)
    .await
    .unwrap();
    let desk = crate::erasure::desk(&w.s, Some(w.room.clone())).await;
    erase_customer(
        &desk,
        EraseCustomer {
            command_id: Uuid::now_v7(),
            customer_id: customer,
            reason: "Asked for it in writing.".to_owned(),
        },
    )
    .await
    .unwrap();

    // The database is lost, and with it what it knew of the erasure.
    let gone = room_at(w.data.path(), w.s.db.superuser().database(&w.s.db.name));
    w.s.people.close().await;
    w.s.worker.close().await;
    let lost = w.fresh("lost");
    let mut conn = PgConnection::connect_with(&w.s.db.superuser().database("postgres"))
        .await
        .unwrap();
    let sql = format!("alter database {} rename to {lost}", w.s.db.name);
    desk.people.close().await;
    sqlx::query(AssertSqlSafe(sql))
        .execute(&mut conn)
        .await
        .unwrap();

    let folder = gone.shelf().folder().to_owned();
    let erased = gone
        .restore(&folder, &manifest, &w.s.db.name, silent())
        .await
        .unwrap_or_else(|e| panic!("{}", e.message));
    assert_eq!(erased, 1);
    let restored = w.s.db.superuser();
    let mut conn = PgConnection::connect_with(&restored).await.unwrap();
    let key: Option<Vec<u8>> =
        sqlx::query_scalar("select key from core.subject_keys where subject_id = $1")
            .bind(customer)
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(key, None);
    let said: i64 = sqlx::query_scalar(
        "select count(*) from read.events_v1 where stream_id = $1 and name = 'CustomerErased'",
    )
    .bind(format!("customer-{customer}"))
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(said, 1);
    let left: i64 = sqlx::query_scalar("select count(*) from read.bookings_v1 where customer_id = $1 and (customer_name = $2 or search like '%' || lower($2) || '%')")
        .bind(customer)
        .bind(&name)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(left, 0, "no view shows them, before any projection has run");
    conn.close().await.unwrap();
    drop_database(&w, &lost).await;
}

#[tokio::test]
async fn of_all_processes_one_takes_the_daily_backup() {
    let w = world().await;
    let other = room_at(w.data.path(), w.s.db.superuser());
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(
        !daily_once(&w.room, a).await.unwrap(),
        "nothing is due on the first day"
    );
    let mut conn = PgConnection::connect_with(&w.s.db.superuser())
        .await
        .unwrap();
    sqlx::raw_sql("set session_replication_role = replica; update admin.installation set created_at = now() - interval '2 days'")
        .execute(&mut conn)
        .await
        .unwrap();
    let (first, second) = tokio::join!(daily_once(&w.room, a), daily_once(&other, b));
    assert_eq!(
        u8::from(first.unwrap()) + u8::from(second.unwrap()),
        1,
        "one of them"
    );
    let listed = w.room.shelf().list().unwrap();
    assert!(listed.len() == 1 && listed[0].good() && listed[0].why == Why::Daily);
    assert!(
        !daily_once(&other, b).await.unwrap(),
        "the next is due tomorrow"
    );
}

#[tokio::test]
async fn a_full_disk_is_said_before_and_while_it_fills_and_leaves_no_half_file() {
    let w = world().await;
    let place = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=70m", "tmpfs"])
        .arg(place.path())
        .output();
    if !mounted.is_ok_and(|m| m.status.success()) {
        eprintln!("skipped: this account may not mount a small disk");
        return;
    }
    let _mounted = Mounted(place.path().to_owned());
    let room = room_at(place.path(), w.s.db.superuser());
    let filler = place.path().join("filler");
    std::fs::write(&filler, vec![1; 20 << 20]).unwrap();
    let refused = room
        .back_up(Occasion::new(Why::Asked), silent())
        .await
        .unwrap_err();
    assert!(
        refused.message.contains("MB are free"),
        "{}",
        refused.message
    );
    assert!(refused.hint.unwrap().contains("Free some space"));

    // Room enough by the estimate, and gone once the dump is being written.
    std::fs::remove_file(&filler).unwrap();
    let mut owner = PgConnection::connect_with(&w.s.db.superuser())
        .await
        .unwrap();
    sqlx::query("select set_config('role', 'bizing_owner_' || installation_id, false) from admin.installation")
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::raw_sql("create table read.bulk as select n, (select string_agg(md5(random()::text || n || m), '') from generate_series(1, 300) m) as t from generate_series(1, 20000) n")
        .execute(&mut owner)
        .await
        .unwrap();
    let full = room
        .back_up(Occasion::new(Why::Asked), silent())
        .await
        .unwrap_err();
    assert!(
        full.message.contains("is full") || full.message.contains("No space"),
        "{}",
        full.message
    );
    let left: Vec<_> = std::fs::read_dir(room.shelf().folder())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .filter(|n| n.to_string_lossy().contains("dump"))
        .collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
    let told: i64 = ask(
        &w.s.db.login("viewer"),
        "select count(*) from read.backups_v1 where problem is not null",
    )
    .await;
    assert_eq!(told, 2, "everybody sees that there is none");
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn before_a_migration_a_backup_is_taken_or_the_schema_stays_as_it_is() {
    let w = world().await;
    let mut config = Config::in_folder(w.data.path());
    config.pg_bin = std::env::var_os("BIZING_PG_BIN").map(Into::into);
    let admin = w.s.db.superuser();
    let mut conn = PgConnection::connect_with(&admin).await.unwrap();
    let before = bizing_engine::app::backups::before_migration;
    let taken = before(&mut conn, &config, &admin, 99)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (taken.why, taken.before_schema),
        (Why::BeforeMigration, Some(99))
    );

    // A file where the folder should be: the backup cannot be taken.
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("backups"), "in the way").unwrap();
    config.data = place.path().to_owned();
    let refused = before(&mut conn, &config, &admin, 99).await.unwrap_err();
    assert!(
        refused.message.contains("no backup could be taken"),
        "{}",
        refused.message
    );
    assert!(
        refused
            .hint
            .as_deref()
            .unwrap()
            .contains("--without-backup")
    );
    config.migrate_without_backup = true;
    assert_eq!(before(&mut conn, &config, &admin, 99).await.unwrap(), None);

    let empty = crate::support::db::TestDb::new().await;
    config.migrate_without_backup = false;
    let mut conn = PgConnection::connect_with(&empty.superuser())
        .await
        .unwrap();
    let none = before(&mut conn, &config, &empty.superuser(), 99)
        .await
        .unwrap();
    assert_eq!(none, None, "nothing is there to lose");
}

#[tokio::test]
async fn the_command_line_takes_proves_and_restores_the_own_desk() {
    let data = crate::served::data_folder();
    let run = |arguments: &[&str]| {
        let done = crate::served::command(data.path())
            .args(arguments)
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        );
        (done.status.code(), out, err)
    };
    let served = crate::served::Served::start(data.path());
    served.explore().await;
    // While it is open, and by its own server.
    let (code, out, err) = run(&["backup", "--verify"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("Verified:"), "{out}");
    let file = out.lines().next().unwrap().to_owned();
    let list = served.ok("list_backups", serde_json::json!({})).await;
    assert_eq!(list["rows"][0]["proof"]["state"], "restored", "{list}");
    assert_eq!(list["last_good"], list["rows"][0]["backup_id"]);

    let (code, out, err) = run(&["restore", &file]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(
        out.contains("is kept under another") && err.contains("--yes"),
        "{out}{err}"
    );
    let (code, _, err) = run(&["restore", &file, "--yes"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("Close every window"), "{err}");
    assert!(served.stop().await.success());

    let (code, out, err) = run(&["restore", &file, "--into", "bizing_look", "--yes"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, out, err) = run(&["restore", &file, "--into", "bizing_look", "--yes"]);
    assert_eq!(code, Some(1), "{out}{err}");
    let (code, out, err) = run(&["backups"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("Last good backup:"), "{out}");
    let again = crate::served::Served::start(data.path());
    again.enter().await;
    again.ready().await;
}

/// The whole way: a desk of the system's major, moved by its command to the one that `make test-postgres-18` fetches.
#[tokio::test]
async fn a_desk_moves_to_a_newer_major_by_its_command_and_goes_on() {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/postgres-18/bin-of-18");
    let Ok(bin) = bin.canonicalize() else {
        eprintln!("skipped: no second PostgreSQL here; `make .cache/postgres-18/.done` fetches it");
        return;
    };
    let data = crate::served::data_folder();
    let served = crate::served::Served::start(data.path());
    served.explore().await;
    assert!(served.stop().await.success());
    let version = data.path().join("postgres/data/PG_VERSION");
    if std::fs::read_to_string(&version).unwrap().trim() == "18" {
        eprintln!("skipped: the desk is of PostgreSQL 18 already");
        return;
    }
    let run = |arguments: &[&str]| {
        let done = crate::served::command(data.path())
            .env("BIZING_PG_BIN", &bin)
            .args(arguments)
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        );
        (done.status.code(), out, err)
    };
    let (code, _, err) = run(&["doctor"]);
    assert!(code == Some(1) && err.contains("upgrade-database"), "{err}");
    let (code, out, err) = run(&["upgrade-database"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.contains("bizing_demo:") && out.contains("is kept in"),
        "{out}"
    );
    assert_eq!(std::fs::read_to_string(&version).unwrap().trim(), "18");
    let (_, out, err) = run(&["doctor", "--deep"]);
    assert!(out.contains("ok     stream.hash_chain"), "{out}{err}");
}

/// What `docs/OPERATIONS.md` says to somebody whose system has dropped the old version.
#[tokio::test]
async fn a_desk_whose_old_programs_are_gone_goes_on_from_its_newest_good_backup() {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/postgres-18/bin-of-18");
    let Ok(bin) = bin.canonicalize() else {
        eprintln!("skipped: no second PostgreSQL here; `make .cache/postgres-18/.done` fetches it");
        return;
    };
    let data = crate::served::data_folder();
    let run = |newer: bool, arguments: &[&str]| {
        let mut command = crate::served::command(data.path());
        if newer {
            command.env("BIZING_PG_BIN", &bin);
        }
        let done = command.args(arguments).output().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout).into_owned(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        );
        (done.status.code(), out, err)
    };
    let served = crate::served::Served::start(data.path());
    served.explore().await;
    let version = data.path().join("postgres/data/PG_VERSION");
    let major = || std::fs::read_to_string(&version).unwrap().trim().to_owned();
    let old = major();
    if old == "18" {
        eprintln!("skipped: the desk is of PostgreSQL 18 already");
        return;
    }
    let (code, out, err) = run(false, &["backup", "--verify"]);
    assert_eq!(code, Some(0), "{out}{err}");
    // A newer one that nobody proved: the good one counts.
    let (code, out, err) = run(false, &["backup"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let asked = || {
        serde_json::json!({ "search": "", "states": [], "payments": [], "service_id": null, "resource_id": null, "from": null,
            "to": null, "sort": "starts", "descending": false, "after": null, "limit": 200 })
    };
    let bookings = served.ok("list_bookings", asked()).await;
    assert!(served.stop().await.success());

    // Without a backup nothing is done, and the desk is what it was.
    let (backups, away) = (data.path().join("backups"), data.path().join("away"));
    std::fs::rename(&backups, &away).unwrap();
    let (code, out, err) = run(true, &["upgrade-database", "--from-backups"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(
        err.contains("No backup lies in") && err.contains("Nothing was changed"),
        "{out}{err}"
    );
    assert_eq!(major(), old);
    let (_, out, err) = run(false, &["doctor"]);
    assert!(out.contains("ok     stream.head_matches"), "{out}{err}");
    let _ = std::fs::remove_dir_all(&backups);
    std::fs::rename(&away, &backups).unwrap();

    let (code, out, err) = run(true, &["upgrade-database", "--from-backups"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.contains("Restoring bizing_demo as of")
            && !out.contains("never verified")
            && out.contains("is kept in"),
        "{out}"
    );
    assert_eq!(major(), "18");
    let newer = bin.to_str().unwrap();
    let again = crate::served::Served::with(data.path(), &[("BIZING_PG_BIN", newer)]);
    again.enter().await;
    again.ready().await;
    assert!(!bookings["rows"].as_array().unwrap().is_empty());
    wait_until(
        "every booking is on the list again",
        Duration::from_secs(60),
        async || again.ok("list_bookings", asked()).await["rows"] == bookings["rows"],
    )
    .await;
    // The same logins write, and the log says that it was restored.
    let (code, out, err) = run(true, &["backup", "--verify"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(again.stop().await.success());
    let (_, out, err) = run(true, &["doctor", "--deep"]);
    assert!(out.contains("ok     stream.hash_chain"), "{out}{err}");
}
