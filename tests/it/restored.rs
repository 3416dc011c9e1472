//! A database that is another one all of a sudden: restored beneath a desk that is open, or brought back to an earlier state
//! by a tool that says nothing of it.

use std::path::Path;
use std::time::Duration;

use bizing_postgres::Cluster;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tempfile::TempDir;

use crate::host;
use crate::served::{Served, command, data_folder};
use crate::silence::{book_at_venue, put_a_service};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(60);

struct Team {
    cluster: Cluster,
    url: String,
    data: TempDir,
    _folder: TempDir,
}

async fn team() -> Team {
    let folder = data_folder();
    let cluster = host::cluster(folder.path().join("pg")).await;
    let mut conn = host::superuser(&cluster, "postgres").await;
    for statement in [
        "create role boss login createrole createdb password 'boss'",
        "create database desk owner boss",
    ] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
    let socket = cluster.connect_options("desk");
    let url = format!(
        "postgres://boss:boss@localhost:{}/desk?host={}",
        socket.get_port(),
        socket.get_socket().unwrap().display()
    );
    Team {
        cluster,
        url,
        data: data_folder(),
        _folder: folder,
    }
}

impl Team {
    async fn open(&self) -> Served {
        let served = Served::with(self.data.path(), &[("DATABASE_URL", &self.url)]);
        served.enter().await;
        served.ready().await;
        served
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let done = command(self.data.path())
            .env("DATABASE_URL", &self.url)
            .args(arguments)
            .output()
            .unwrap();
        let text = [done.stdout, done.stderr].concat();
        (
            done.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    async fn superuser(&self, database: &str) -> PgConnection {
        host::superuser(&self.cluster, database).await
    }

    /// As whoever runs the server does it, without asking who is connected.
    async fn put_in_place(&self, new: &str, kept: &str) {
        let mut conn = self.superuser("postgres").await;
        for statement in [
            "alter database desk with allow_connections false".to_owned(),
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'desk'"
                .to_owned(),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut conn)
                .await
                .unwrap();
        }
        wait_until("nobody is connected", SOON, async || {
            let mut conn = self.superuser("postgres").await;
            let left: i64 =
                sqlx::query_scalar("select count(*) from pg_stat_activity where datname = 'desk'")
                    .fetch_one(&mut conn)
                    .await
                    .unwrap();
            left == 0
        })
        .await;
        for (from, to) in [("desk", kept), (new, "desk")] {
            let sql = format!("alter database {from} rename to {to}");
            sqlx::query(AssertSqlSafe(sql))
                .execute(&mut conn)
                .await
                .unwrap();
        }
    }

    /// Until this computer remembers that it has seen the log up to its end.
    async fn has_seen_all(&self, served: &Served) {
        wait_until("the desk remembers how far the log was", SOON, async || {
            let upto = served.ok("status", json!({})).await["position"].clone();
            positions(self.data.path()).contains(&upto)
        })
        .await;
    }
}

fn positions(data: &Path) -> Vec<Value> {
    let book: Value = std::fs::read(data.join("seen.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let entries = book.as_object().into_iter().flatten();
    entries
        .map(|(_, entry)| entry["mark"]["position"].clone())
        .collect()
}

async fn bookings(served: &Served) -> Vec<String> {
    let asked = json!({ "search": "", "states": [], "payments": [], "service_id": null, "resource_id": null, "from": null,
        "to": null, "sort": "starts", "descending": false, "after": null, "limit": 50 });
    let list = served.ok("list_bookings", asked).await;
    let rows = list["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        row["customer"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    })
    .collect()
}

async fn book(served: &Served, who: &str) {
    book_at_venue(served, who).await;
    wait_until("the booking is on the list", SOON, async || {
        bookings(served).await.iter().any(|name| name == who)
    })
    .await;
}

#[tokio::test]
async fn a_desk_that_stays_open_across_a_restore_notices_and_goes_on_with_what_was_restored() {
    let team = team().await;
    let served = team.open().await;
    put_a_service(&mut team.superuser("desk").await).await;
    book(&served, "Before The Backup").await;
    let (code, told) = team.run(&["backup", "--verify"]);
    assert_eq!(code, Some(0), "{told}");
    let file = told.lines().next().unwrap().to_owned();
    book(&served, "After The Backup").await;
    team.has_seen_all(&served).await;
    let before = served.ok("status", json!({})).await;
    assert_eq!(before["log_change"], Value::Null, "{before}");
    let read_upto = before["position"].as_i64().unwrap();

    let (code, told) = team.run(&["restore", &file, "--into", "desk_restored", "--yes"]);
    assert_eq!(code, Some(0), "{told}");
    // Looked at beside the one in use, it is another database and no news to anybody.
    let beside = command(team.data.path())
        .env(
            "DATABASE_URL",
            team.url.replace("/desk?", "/desk_restored?"),
        )
        .arg("doctor")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&beside.stdout).into_owned();
    assert!(
        told.contains("checks,") && !told.contains("Note:"),
        "{told}"
    );
    assert_eq!(positions(team.data.path()).len(), 2);
    team.put_in_place("desk_restored", "desk_lost").await;

    wait_until("the desk has noticed", SOON, async || {
        let (_, now) = served.rpc("status", json!({})).await;
        now["log_id"].is_string() && now["log_id"] != before["log_id"]
    })
    .await;
    let now = served.ok("status", json!({})).await;
    let change = &now["log_change"];
    assert_eq!(change["what"], "restored", "{now}");
    assert!(change["taken_at"]["utc"].is_string(), "{change}");
    assert_eq!(change["read_upto"], read_upto, "{change}");
    assert!(
        change["kept_upto"].as_i64().unwrap() < read_upto,
        "{change}"
    );
    assert_eq!(bookings(&served).await, ["Before The Backup"]);
    // The worker is one of the restored database too.
    book(&served, "After The Restore").await;
    assert!(served.stop().await.success());
}

#[tokio::test]
async fn a_database_that_another_tool_brought_back_is_found_out_before_anything_is_sent_again() {
    let team = team().await;
    let served = team.open().await;
    put_a_service(&mut team.superuser("desk").await).await;
    book(&served, "In The Copy").await;
    assert!(served.stop().await.success());
    // A copy of the disk, as it were: it has the same names in it. A message was owed at that time.
    let mut conn = team.superuser("postgres").await;
    sqlx::query("create database desk_before template desk owner boss")
        .execute(&mut conn)
        .await
        .unwrap();
    sqlx::raw_sql(
        "insert into delivery.destinations (destination_id, kind, name) values (gen_random_uuid(), 'email', 'planted') on conflict do nothing;
         insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key, next_at)
           select destination_id, 'booking_confirmed', gen_random_uuid(), 1, 'booking-x', gen_random_uuid(), 'planted', now() from delivery.destinations limit 1",
    )
    .execute(&mut team.superuser("desk_before").await)
    .await
    .unwrap();

    let served = team.open().await;
    book(&served, "Lost").await;
    team.has_seen_all(&served).await;
    assert!(served.stop().await.success());
    team.put_in_place("desk_before", "desk_lost").await;

    let served = team.open().await;
    let now = served.ok("status", json!({})).await;
    assert_eq!(now["log_change"]["what"], "went_back", "{now}");
    assert!(served.log().contains("is for a person to decide"));
    let (state, problem): (String, String) = sqlx::query_as(
        "select state, outcome->>'problem' from delivery.deliveries where dedupe_key = 'planted'",
    )
    .fetch_one(&mut team.superuser("desk").await)
    .await
    .unwrap();
    assert_eq!(state, "unclear");
    assert!(problem.contains("earlier state"), "{problem}");
    let tries: i64 = sqlx::query_scalar("select count(*) from delivery.attempts a join delivery.deliveries d using (delivery_id) where d.dedupe_key = 'planted'")
        .fetch_one(&mut team.superuser("desk").await)
        .await
        .unwrap();
    assert_eq!(tries, 0);
    let (_, told) = team.run(&["doctor"]);
    assert!(
        told.contains("Note: the log ended at position") && told.contains("another tool"),
        "{told}"
    );
    book(&served, "After").await;
    assert!(served.stop().await.success());

    // Said once, it has a name of its own, and the next start takes it as it is.
    let served = team.open().await;
    let said = served.log().matches("is for a person to decide").count();
    assert_eq!(said, 1, "all starts write into one file");
    assert_eq!(
        served.ok("status", json!({})).await["log_change"]["what"],
        "went_back",
        "and told for two days"
    );
}
