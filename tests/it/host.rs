//! Opening a desk, with the real binary: first run, two processes on one folder, a kill, and databases that refuse.

use std::path::Path;
use std::time::Duration;

use bizing_postgres::{Cluster, Options};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};

use crate::served::{Served, command, data_folder};
use crate::support::wait_until;

#[tokio::test]
async fn a_first_run_asks_then_opens_and_remembers() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.enter().await;
    assert_eq!(served.settled().await["is"], "choose");
    let (status, error) = served.rpc("session", json!({})).await;
    assert_eq!(
        (status.as_u16(), &error["code"]),
        (503, &json!("database.not_chosen"))
    );

    let (_, error) = served
        .rpc("choose_start", own("Aurora", "Europe/Atlantis"))
        .await;
    assert_eq!(error["field"], "zone", "{error}");
    served
        .ok("choose_start", own("Aurora", "Europe/Lisbon"))
        .await;
    served.ready().await;
    let session = served.ok("session", json!({})).await;
    assert_eq!(
        (&session["business_name"], &session["zone"]),
        (&json!("Aurora"), &json!("Europe/Lisbon"))
    );
    assert_eq!(
        (&session["mode"], &session["group"]),
        (&json!("sandbox"), &json!("admin"))
    );
    assert_eq!(session["works_here"], true);
    let catalogue = served.ok("catalogue", json!({})).await;
    assert_eq!(
        catalogue["services"][0]["name"], "Appointment 60 min",
        "there is something to book"
    );
    assert!(served.stop().await.success());

    let again = Served::start(data.path());
    again.enter().await;
    again.ready().await;
    assert_eq!(
        again.ok("session", json!({})).await["business_name"],
        "Aurora"
    );
}

#[tokio::test]
async fn leaving_goes_back_to_the_question_and_deletes_nothing() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.enter().await;
    served
        .ok("choose_start", own("Aurora", "Europe/Lisbon"))
        .await;
    served.ready().await;
    let (_, error) = served
        .rpc("choose_start", json!({ "choice": "explore" }))
        .await;
    assert!(error["hint"].as_str().unwrap().contains("Leave"), "{error}");
    served.ok("leave_database", json!({})).await;
    assert_eq!(served.settled().await["is"], "choose");
    served
        .ok("choose_start", json!({ "choice": "explore" }))
        .await;
    served.ready().await;
    assert_eq!(served.ok("session", json!({})).await["profile"], "demo");
    served.ok("leave_database", json!({})).await;
    served
        .ok("choose_start", own("Another name", "Europe/Lisbon"))
        .await;
    served.ready().await;
    assert_eq!(
        served.ok("session", json!({})).await["business_name"],
        "Aurora",
        "it is the business that is there"
    );
}

#[tokio::test]
async fn two_processes_share_one_cluster_and_one_sandbox_and_outlive_each_other() {
    let data = data_folder();
    let first = Served::start(data.path());
    first.explore().await;
    let second = Served::start(data.path());
    second.enter().await;
    second.ready().await;
    let (server, sandbox) = (server_pid(data.path()), sandbox_of(data.path()));
    assert_eq!(
        first.ok("session", json!({})).await["login"],
        second.ok("session", json!({})).await["login"]
    );
    assert_eq!(
        std::fs::read_dir(data.path().join("logins"))
            .unwrap()
            .count(),
        1
    );
    assert!(
        second
            .log()
            .contains("using the sandbox of another process"),
        "{}",
        second.log()
    );

    // The owner is killed: its server goes with it. The other one starts both again, at the same addresses.
    first.kill();
    wait_until(
        "the desk answers again",
        Duration::from_secs(30),
        async || {
            server_pid(data.path()) != server
                && second.rpc("session", json!({})).await.0.is_success()
        },
    )
    .await;
    wait_until(
        "the sandbox answers again",
        Duration::from_secs(15),
        async || {
            tokio::net::TcpStream::connect(sandbox["api"].as_str().unwrap())
                .await
                .is_ok()
        },
    )
    .await;
    assert_eq!(sandbox_of(data.path()), sandbox);
    assert_eq!(second.phase().await["is"], "ready", "it never left");
    assert!(second.stop().await.success());
}

#[tokio::test]
async fn a_killed_desk_goes_on_where_it_was() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.explore().await;
    let before = served.ok("session", json!({})).await;
    served.kill();
    let again = Served::start(data.path());
    again.enter().await;
    again.ready().await;
    assert_eq!(again.ok("session", json!({})).await, before);
}

#[tokio::test]
async fn stopping_gives_leases_back_and_takes_the_server_along() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.explore().await;
    let began = std::time::Instant::now();
    assert!(served.stop().await.success());
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "it took {:?}",
        began.elapsed()
    );
    assert!(!data.path().join("postgres/data/postmaster.pid").exists());

    let cluster = cluster(data.path().join("postgres")).await;
    let mut conn = superuser(&cluster, "bizing_demo").await;
    let workers: i64 = sqlx::query_scalar("select count(*) from saga.worker")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(workers, 0, "the worker has said goodbye");
}

#[tokio::test]
async fn a_configured_database_that_refuses_is_named_and_nothing_else_is_opened() {
    let folder = data_folder();
    let cluster = cluster(folder.path().join("pg")).await;
    let socket = cluster
        .connect_options("postgres")
        .get_socket()
        .unwrap()
        .display()
        .to_string();
    let url = |login: &str, database: &str| {
        format!("postgres://{login}@localhost/{database}?host={socket}")
    };
    for (url, code, words) in [
        (
            url("bizing:wrong", "postgres"),
            "database.wrong_password",
            "user or the password is wrong",
        ),
        (
            url("nobody:hunter2", "postgres"),
            "database.wrong_password",
            "nobody",
        ),
        (
            "postgres://ana:hunter2@127.0.0.1:1/desk".to_owned(),
            "database.unreachable",
            "127.0.0.1:1",
        ),
    ] {
        let data = data_folder();
        let served = Served::with(data.path(), &[("DATABASE_URL", &url)]);
        served.enter().await;
        let phase = served.settled().await;
        assert_eq!(
            (&phase["is"], &phase["error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{phase}"
        );
        assert!(
            phase["error"]["message"].as_str().unwrap().contains(words),
            "{phase}"
        );
        assert!(phase["error"]["hint"].is_string(), "{phase}");
        assert!(
            !data.path().join("postgres").exists(),
            "no private server in its place"
        );
        let (_, refused) = served
            .rpc("choose_start", json!({ "choice": "explore" }))
            .await;
        assert!(
            refused["message"]
                .as_str()
                .unwrap()
                .contains("DATABASE_URL"),
            "{refused}"
        );
        for secret in ["wrong@", "hunter2"] {
            assert!(!served.log().contains(secret), "{}", served.log());
        }
    }
}

#[tokio::test]
async fn a_configured_database_is_set_up_once_and_its_people_keep_their_own_logins() {
    let folder = data_folder();
    let cluster = cluster(folder.path().join("pg")).await;
    let options = cluster.connect_options("postgres");
    let socket = options.get_socket().unwrap().display().to_string();
    let mut conn = superuser(&cluster, "postgres").await;
    for statement in [
        "create role boss login createrole password 'boss'",
        "create role ana login password 'ana'",
        "create database desk owner boss",
    ] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
    let url = |login: &str| format!("postgres://{login}@localhost/desk?host={socket}");
    let migrate = |login: &str| {
        command(folder.path())
            .arg("migrate")
            .env("DATABASE_URL", url(login))
            .output()
            .unwrap()
    };

    // A person's login cannot set it up; the database's owner can, without being a superuser.
    let phase = opened(&url("ana:ana")).await.0;
    assert_eq!(phase["error"]["code"], "database.schema_older", "{phase}");
    assert_eq!(migrate("boss:wrong").status.code(), Some(1));
    let refused = migrate("ana:ana");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("CREATEROLE"),
        "{refused:?}"
    );
    let migrated = migrate("boss:boss");
    assert!(
        String::from_utf8_lossy(&migrated.stdout).contains("set up as a new desk"),
        "{migrated:?}"
    );
    assert!(String::from_utf8_lossy(&migrate("boss:boss").stdout).contains("is up to date"));

    let phase = opened(&url("ana:ana")).await.0;
    assert_eq!(phase["error"]["code"], "request.forbidden", "{phase}");
    assert!(
        phase["error"]["message"].as_str().unwrap().contains("ana"),
        "{phase}"
    );

    let mut desk = superuser(&cluster, "desk").await;
    let id: String = sqlx::query_scalar("select installation_id from admin.installation")
        .fetch_one(&mut desk)
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "grant bizing_staff_{id} to ana"
    )))
    .execute(&mut conn)
    .await
    .unwrap();
    let (phase, group) = opened(&url("ana:ana")).await;
    assert_eq!(
        (&phase["is"], group),
        (&json!("ready"), json!("staff")),
        "{phase}"
    );
    let (phase, group) = opened(&url("boss:boss")).await;
    assert_eq!(
        (&phase["is"], group),
        (&json!("ready"), json!("admin")),
        "{phase}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_shown_and_not_touched() {
    let data = data_folder();
    let served = Served::start(data.path());
    served.enter().await;
    served
        .ok("choose_start", own("Aurora", "Europe/Lisbon"))
        .await;
    served.ready().await;
    served.stop().await;
    {
        let cluster = cluster(data.path().join("postgres")).await;
        let mut conn = superuser(&cluster, "bizing_own").await;
        let newer = "insert into admin.schema_migrations (version, description, success, checksum, execution_time) values (9999, 'of the future', true, '', 0)";
        sqlx::query(newer).execute(&mut conn).await.unwrap();
        cluster.stop().await.unwrap();
    }
    let served = Served::start(data.path());
    served.enter().await;
    served.ready().await;
    let session = served.ok("session", json!({})).await;
    let why = session["read_only"].as_str().unwrap();
    assert!(
        why.contains("9999") && why.contains("update the app"),
        "{why}"
    );
    assert_eq!(session["works_here"], false);
}

pub fn own(name: &str, zone: &str) -> Value {
    json!({ "choice": "empty", "business_name": name, "zone": zone, "currency": "EUR" })
}

/// Opens a configured database in a data folder of its own: the phase it ends in, and the group it gave.
async fn opened(url: &str) -> (Value, Value) {
    let data = data_folder();
    let served = Served::with(data.path(), &[("DATABASE_URL", url)]);
    served.enter().await;
    let phase = served.settled().await;
    let session = served.rpc("session", json!({})).await.1;
    (phase, session["group"].clone())
}

pub async fn cluster(root: impl AsRef<Path>) -> Cluster {
    let options = Options {
        no_sync: true,
        ..Options::new(root.as_ref())
    };
    // The data folder above it is private; the account that runs the server must be able to walk through.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let above = root.as_ref().parent().unwrap();
        std::fs::set_permissions(above, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    Cluster::start(options).await.unwrap()
}

pub async fn superuser(cluster: &Cluster, database: &str) -> PgConnection {
    cluster.connect_options(database).connect().await.unwrap()
}

fn server_pid(data: &Path) -> String {
    let file =
        std::fs::read_to_string(data.join("postgres/data/postmaster.pid")).unwrap_or_default();
    file.lines().next().unwrap_or_default().to_owned()
}

fn sandbox_of(data: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(data.join("sandbox/address.json")).unwrap()).unwrap()
}

#[test]
fn three_bookings_in_the_terminal_end_as_told_and_keep_every_invariant() {
    let data = data_folder();
    let told = command(data.path())
        .args(["demo", "--once"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(
        told.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&told.stderr)
    );
    assert_eq!(said.matches("BookingConfirmed").count(), 2, "{said}");
    assert!(said.contains("PaymentRefunded"), "{said}");
    assert!(said.contains("Every invariant held"), "{said}");
}
