//! Backups as a window asks for them, by the names of the wire; and all names of the wire.

use std::collections::BTreeSet;
use std::time::Duration;

use bizing_engine::app::backups::{Occasion, Room, Why, restore_all, silent};
use bizing_engine::app::dispatch::NAMES;
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::tasks::Tasks;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use uuid::Uuid;

use crate::host;
use crate::served::{Served, data_folder};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(90);

async fn done(served: &Served) -> Value {
    wait_until(
        "nothing is done with the backups any more",
        SOON,
        async || served.ok("list_backups", json!({})).await["running"].is_null(),
    )
    .await;
    served.ok("list_backups", json!({})).await
}

/// The account of the private server must get to its folder.
fn world_may_enter(folder: &std::path::Path) {
    #[cfg(unix)]
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn refused(list: &Value, action: &str) -> Value {
    let actions = list["actions"].as_array().unwrap().iter();
    let mut named = actions.filter(|a| a["name"] == action);
    named.next().unwrap()["refused"].clone()
}

#[tokio::test]
async fn a_backup_is_taken_proved_and_restored_by_asking_over_the_wire() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.explore().await;
    let command = || json!(Uuid::now_v7());

    let list = served.ok("list_backups", json!({})).await;
    assert_eq!(list["rows"], json!([]));
    assert!(refused(&list, "verify_backup").is_string(), "{list}");
    let run = served
        .ok("back_up_now", json!({ "command_id": command() }))
        .await;
    assert_eq!(run["work"], "back_up");
    // A second one beside it is refused, with what runs and since when; or the first is done already.
    let (status, second) = served
        .rpc("back_up_now", json!({ "command_id": command() }))
        .await;
    if !status.is_success() {
        assert!(
            second["message"]
                .as_str()
                .unwrap()
                .contains("Another backup is running since"),
            "{second}"
        );
    }
    let list = done(&served).await;
    let row = list["rows"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&row["why"], &row["proof"]["state"]),
        (&json!("asked"), &json!("not_proved")),
        "{row}"
    );
    assert!(
        row["size_bytes"].as_i64().unwrap() > 10_000 && row["events"].as_i64().unwrap() > 1_000,
        "{row}"
    );
    assert_eq!(list["last_good"], Value::Null);
    let status = served.ok("status", json!({})).await;
    assert_eq!(
        (&status["last_good_backup"], &status["backup_overdue"]),
        (&Value::Null, &json!(false))
    );

    let id = &row["backup_id"];
    let run = served
        .ok(
            "verify_backup",
            json!({ "command_id": command(), "backup_id": id }),
        )
        .await;
    assert_eq!((&run["work"], &run["backup_id"]), (&json!("verify"), id));
    let list = done(&served).await;
    assert_eq!(&list["last_good"], id, "{list}");
    assert!(served.ok("status", json!({})).await["last_good_backup"].is_object());

    let asked =
        |name: &str| json!({ "backup_id": id, "target": { "into": "database", "name": name } });
    let preview = served.ok("preview_restore", asked("bizing_demo")).await;
    assert!(
        preview["refused"]
            .as_str()
            .unwrap()
            .contains("exists already"),
        "{preview}"
    );
    let preview = served.ok("preview_restore", asked("bizing_look")).await;
    assert_eq!(
        (&preview["refused"], &preview["typed"]),
        (&Value::Null, &json!("bizing_demo")),
        "{preview}"
    );
    let restore = |typed: &str, reason: &str| json!({ "command_id": Uuid::now_v7(), "backup_id": id, "target": { "into": "database", "name": "bizing_look" }, "typed": typed, "reason": reason });
    for (typed, reason, field) in [
        ("bizing", "To look at the state of before.", "typed"),
        ("bizing_demo", "short", "reason"),
    ] {
        let (_, error) = served.rpc("restore_backup", restore(typed, reason)).await;
        assert_eq!(error["field"], field, "{error}");
    }
    served
        .ok(
            "restore_backup",
            restore("bizing_demo", "To look at the state of before."),
        )
        .await;
    done(&served).await;
    let (_, again) = served
        .rpc(
            "restore_backup",
            restore("bizing_demo", "To look at the state of before."),
        )
        .await;
    assert!(
        again["message"].as_str().unwrap().contains("bizing_look"),
        "{again}"
    );

    // Into a data folder: a desk of its own, which opens without asking, with the same log under a new name.
    let place = data_folder();
    let path = place.path().join("look");
    let into = |path: &std::path::Path| json!({ "into": "folder", "path": path });
    let preview = served
        .ok(
            "preview_restore",
            json!({ "backup_id": id, "target": into(place.path()) }),
        )
        .await;
    assert!(
        preview["refused"]
            .as_str()
            .unwrap()
            .contains("there already"),
        "{preview}"
    );
    let asked = json!({ "command_id": command(), "backup_id": id, "target": into(&path), "typed": "bizing_demo", "reason": "To look at the state of before." });
    world_may_enter(place.path());
    served.ok("restore_backup", asked).await;
    done(&served).await;
    let names: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["look"], "and nothing half beside it");
    let copy = Served::start(&path);
    copy.enter().await;
    copy.ready().await;
    let (one, other) = (
        served.ok("status", json!({})).await,
        copy.ok("status", json!({})).await,
    );
    assert_ne!(one["log_id"], other["log_id"]);
    assert_eq!(
        served.ok("space", json!({})).await["events"],
        copy.ok("space", json!({})).await["events"]
    );
    assert!(copy.stop().await.success());

    let (_, unknown) = served
        .rpc(
            "verify_backup",
            json!({ "command_id": command(), "backup_id": Uuid::now_v7() }),
        )
        .await;
    assert_eq!(unknown["code"], "request.not_found", "{unknown}");
    assert!(served.stop().await.success());
}

#[tokio::test]
async fn a_check_is_made_in_the_background_and_what_it_found_is_there_for_everybody() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.explore().await;
    let before = served.ok("list_proofs", json!({})).await;
    assert_eq!(
        (&before["last"], &before["actions"][0]["refused"]),
        (&Value::Null, &Value::Null),
        "{before}"
    );
    let run = Uuid::now_v7();
    let begun = served.ok("examine", json!({ "command_id": run })).await;
    assert_eq!(begun["run_id"], json!(run));
    wait_until("the check is done", SOON, async || {
        served.ok("list_proofs", json!({})).await["last_deep"].is_object()
    })
    .await;
    let found = served.ok("list_proofs", json!({})).await["last_deep"].clone();
    assert_eq!(found["run_id"], json!(run));
    let chain = found["audits"]
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["name"] == "stream.hash_chain");
    assert_eq!(chain.unwrap()["found"], 0, "{found}");
    assert!(found["events"].as_i64().unwrap() > 1_000);
    let filter = json!({ "types": [], "stream": null, "category": null, "correlation_id": null, "causation_id": null, "actor": null, "from": null, "to": null, "json_path": null });
    let page = served
        .ok(
            "list_events",
            json!({ "filter": filter, "before": null, "after": null, "limit": 1 }),
        )
        .await;
    assert_eq!(page["chain"]["intact"], true, "{page}");

    let space = served.ok("space", json!({})).await;
    let parts: i64 = space["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["bytes"].as_i64().unwrap())
        .sum();
    assert!(parts > 5_000_000, "{space}");
    assert!(space["disk"]["free_bytes"].as_i64() > Some(0), "{space}");
    assert_eq!(space["events"]["estimated"], false);
    // The read models follow the example while it is looked at.
    wait_until("the list has the example's bookings", SOON, async || {
        let board = served.ok("list_projections", json!({})).await;
        let rows = board["rows"].as_array().unwrap();
        for row in rows {
            assert_eq!(row["rows"]["estimated"], false, "{row}");
            assert!(row["rows"]["count"].as_i64().is_some(), "{row}");
        }
        let bookings = rows.iter().find(|r| r["name"] == "bookings");
        bookings.unwrap()["rows"]["count"].as_i64() > Some(100)
    })
    .await;
    assert!(served.stop().await.success());
}

/// The window's types and the router come from one list; this is that the list works, name by name.
#[tokio::test]
async fn every_command_of_the_windows_types_is_dispatched_and_no_other() {
    let types = include_str!("../../ui/src/backend/types.ts");
    let commands = types.split("export type Commands = {").nth(1).unwrap();
    let commands = &commands[..commands.find("};").unwrap()];
    // `name: [request, reply],`
    let typed: BTreeSet<&str> = commands
        .split(": [")
        .filter_map(|before| {
            before
                .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
                .next_back()
        })
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(typed, BTreeSet::from_iter(NAMES.iter().copied()));

    let data = data_folder();
    let served = Served::start(data.path());
    served.explore().await;
    // The desk is open before its worker has said that it is there.
    wait_until("a worker is there", Duration::from_secs(20), || async {
        served.rpc("poll_now", json!({})).await.0.is_success()
    })
    .await;
    for name in NAMES {
        if *name == "leave_database" {
            continue; // it has a test of its own, and would close the desk for the others
        }
        let (status, reply) = served.rpc(name, json!({})).await;
        let code = reply["code"].as_str().unwrap_or_default().to_owned();
        // What needs nothing answers; what needs something says which command wants what.
        assert!(
            status.is_success()
                || (code == "request.invalid" && reply["message"].as_str().unwrap().contains(name)),
            "{name}: {reply}"
        );
    }
    let (_, unknown) = served.rpc("drop_everything", json!({})).await;
    assert!(
        unknown["message"]
            .as_str()
            .unwrap()
            .contains("drop_everything"),
        "{unknown}"
    );
    assert!(served.stop().await.success());
}

#[tokio::test]
async fn all_databases_of_a_data_folder_come_back_from_their_newest_good_backups() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.explore().await;
    let mut config = Config::in_folder(data.path());
    config.pg_bin = std::env::var_os("BIZING_PG_BIN").map(Into::into);
    let room = {
        let options = bizing_postgres::Options::new(data.path().join("postgres"));
        let cluster = bizing_postgres::Cluster::start(options).await.unwrap();
        Room::new(
            &config,
            cluster.connect_options("bizing_demo"),
            Hints::default(),
            Tasks::default(),
        )
    };
    let mut taken = vec![];
    for _ in 0..2 {
        taken.push(
            room.back_up(Occasion::new(Why::Asked), silent())
                .await
                .unwrap(),
        );
    }
    // The older one is good, the newer one was never proved: the good one counts.
    room.verify(&taken[0], None, silent()).await.unwrap();
    assert!(served.stop().await.success());

    let folder = data_folder();
    let cluster = host::cluster(folder.path().join("pg")).await;
    let admin = cluster.connect_options("postgres");
    let said = std::sync::Mutex::new(vec![]);
    let say = |text: &str| said.lock().unwrap().push(text.to_owned());
    restore_all(&config, &admin, config.pg_bin.as_deref(), &say)
        .await
        .unwrap_or_else(|e| panic!("{}", e.message));
    let said = said.into_inner().unwrap();
    assert!(
        said.len() == 1 && said[0].contains("bizing_demo") && !said[0].contains("never verified"),
        "{said:?}"
    );
    let mut conn: PgConnection = cluster
        .connect_options("bizing_demo")
        .connect()
        .await
        .unwrap();
    let (events, from): (i64, Uuid) = sqlx::query_as(
        "select (select count(*) from core.events), (select (restored_from->>'backup_id')::uuid from core.log_identity order by no desc limit 1)",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!((events, from), (taken[0].facts.events, taken[0].backup_id));

    // Nothing to restore from is said, and nothing is made.
    let empty = data_folder();
    let none = restore_all(&Config::in_folder(empty.path()), &admin, None, &|_| {})
        .await
        .unwrap_err();
    assert!(
        none.message.contains("No backup lies in"),
        "{}",
        none.message
    );
}

/// The owner of a database who may neither make roles nor databases.
#[tokio::test]
async fn a_login_that_may_not_make_roles_is_told_so_and_leaves_the_database_as_it_is() {
    let folder = data_folder();
    let cluster = host::cluster(folder.path().join("pg")).await;
    let options = cluster.connect_options("postgres");
    let mut conn = host::superuser(&cluster, "postgres").await;
    for statement in [
        "create role carl login password 'carl'",
        "create database desk owner carl",
    ] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
    let socket = options.get_socket().unwrap().display().to_string();
    let url = format!("postgres://carl:carl@localhost/desk?host={socket}");
    let data = data_folder();
    let served = Served::with(data.path(), &[("DATABASE_URL", &url)]);
    served.enter().await;
    let phase = served.settled().await;
    assert_eq!(phase["error"]["code"], "database.schema_older", "{phase}");
    assert!(
        phase["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("may create roles"),
        "{phase}"
    );
    for arguments in [&["migrate"][..], &["backup"], &["doctor"]] {
        let done = crate::served::command(data.path())
            .env("DATABASE_URL", &url)
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(
            told.len() > 40
                && !told.contains("panicked")
                && !told.contains("error returned from database"),
            "{arguments:?}: {told}"
        );
    }
    let mut desk = host::superuser(&cluster, "desk").await;
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname in ('api', 'core', 'read', 'saga', 'admin')")
        .fetch_one(&mut desk)
        .await
        .unwrap();
    assert_eq!(left, 0, "nothing half-made");
}
