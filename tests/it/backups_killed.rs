//! `kill -9` in the middle of a backup, a restore on trial and an erasure: nothing half done is ever shown, and the next run
//! goes on. The points are spread over the time that an undisturbed run takes; the seed of a run is in its message.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bizing_engine::app::backups::{Manifest, Shelf};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use uuid::Uuid;

use crate::served::{Served, command, data_folder};
use crate::support::wait_until;

const POINTS: u32 = 8;
const SOON: Duration = Duration::from_secs(60);

/// A desk with the demo business that stays open, so that its server is there whatever is killed beside it.
struct World {
    served: Served,
    data: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let data = data_folder();
        let served = Served::start(data.path());
        served.explore().await;
        World { served, data }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        command(self.data.path())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs it to its end, and says how long that took.
    fn whole(&self, arguments: &[&str]) -> Duration {
        let begun = Instant::now();
        let done = command(self.data.path()).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{told}");
        begun.elapsed()
    }

    async fn killed_after(&self, arguments: &[&str], after: Duration) {
        let mut child = self.spawn(arguments);
        tokio::time::sleep(after).await;
        let _ = child.kill();
        child.wait().unwrap();
    }

    fn shelf(&self) -> Vec<Manifest> {
        Shelf::of(self.data.path(), "bizing_demo").list().unwrap()
    }

    async fn superuser(&self, database: &str) -> PgConnection {
        let options = bizing_postgres::Options::new(self.data.path().join("postgres"));
        let cluster = bizing_postgres::Cluster::start(options).await.unwrap();
        // Joined, not owned: dropping it stops nobody's server.
        cluster.connect_options(database).connect().await.unwrap()
    }

    async fn list(&self) -> Value {
        self.served.ok("list_backups", json!({})).await
    }
}

/// Every file of the shelf that looks like a backup is one.
fn each_is_whole(data: &Path, shelf: &[Manifest]) {
    for manifest in shelf {
        let path = data.join("backups/bizing_demo").join(&manifest.file);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), manifest.size_bytes);
    }
}

#[tokio::test]
async fn a_backup_or_a_trial_that_is_killed_shows_nothing_half_and_the_next_one_comes_through() {
    let w = World::new().await;
    let takes = w.whole(&["backup", "--verify"]);
    let before = w.shelf().len();
    assert_eq!(before, 1);
    for point in 1..=POINTS {
        let after = takes * point / (POINTS + 1);
        w.killed_after(&["backup", "--verify"], after).await;
        let shelf = w.shelf();
        each_is_whole(w.data.path(), &shelf);
        let list = w.list().await;
        for row in list["rows"].as_array().unwrap() {
            // Listed means: it is on the shelf, whole. Proved means: it was restored to its end.
            let id: Uuid = row["backup_id"].as_str().unwrap().parse().unwrap();
            assert!(
                shelf.iter().any(|m| m.backup_id == id),
                "killed after {after:?}: {row} is listed and is not there"
            );
            let state = row["proof"]["state"].as_str().unwrap();
            assert!(["not_proved", "restored"].contains(&state), "{row}");
        }
        assert!(list["running"].is_null(), "{list}");
        // What a trial left is in nobody's way: it has a name of its own, and no person's login gets in.
        let mut conn = w.superuser("postgres").await;
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_database d where datname ~ '^bizing_(trial|restoring)_' and datallowconn and has_database_privilege('public', d.oid, 'connect')",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        assert_eq!(open, 0, "killed after {after:?}");
    }
    w.whole(&["backup", "--verify"]);
    let list = w.list().await;
    assert_eq!(list["last_good"], list["rows"][0]["backup_id"], "{list}");
    assert_eq!(list["rows"][0]["proof"]["state"], "restored", "{list}");
    assert!(w.served.stop().await.success());
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_no_database_of_that_name_and_can_be_asked_for_again() {
    let w = World::new().await;
    w.whole(&["backup"]);
    let file = w
        .data
        .path()
        .join("backups/bizing_demo")
        .join(&w.shelf()[0].file);
    let file = file.to_str().unwrap();
    let into = |name: &'static str| ["restore", file, "--into", name, "--yes"];
    let takes = w.whole(&into("whole"));
    for point in 1..=POINTS {
        let after = takes * point / (POINTS + 1);
        w.killed_after(&into("half"), after).await;
        let mut conn = w.superuser("postgres").await;
        let there: bool =
            sqlx::query_scalar("select exists (select 1 from pg_database where datname = 'half')")
                .fetch_one(&mut conn)
                .await
                .unwrap();
        if there {
            // The kill came after the last step: then it is all of it.
            let mut half = w.superuser("half").await;
            let events: i64 = sqlx::query_scalar("select count(*) from core.events")
                .fetch_one(&mut half)
                .await
                .unwrap();
            assert_eq!(events, w.shelf()[0].facts.events, "killed after {after:?}");
            break;
        }
    }
    let mut conn = w.superuser("postgres").await;
    sqlx::query("drop database if exists half with (force)")
        .execute(&mut conn)
        .await
        .unwrap();
    w.whole(&into("half"));
    assert!(w.served.stop().await.success());
}

#[tokio::test]
async fn an_erasure_that_is_killed_happened_or_did_not_and_is_done_when_it_is_asked_for_again() {
    let w = World::new().await;
    let mut conn = w.superuser("bizing_demo").await;
    let people = {
        let mut people: Vec<Uuid> = vec![];
        let deadline = Instant::now() + SOON;
        // The read models follow the demo's log a moment after the desk is open.
        while people.len() < 10 {
            assert!(Instant::now() < deadline, "the customers are not there");
            people = sqlx::query_scalar(
                "select customer_id from read.customers_v1 where email is not null and bookings > 0 order by customer_id limit 10",
            )
            .fetch_all(&mut conn)
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        people
    };
    let arguments = |person: &str| {
        [
            "erase-customer",
            person,
            "--reason",
            "Asked for it in writing.",
            "--yes",
        ]
        .map(str::to_owned)
    };
    let first = people[0].to_string();
    let run = arguments(&first);
    let takes = w.whole(&run.each_ref().map(String::as_str));
    for (point, person) in (1..=POINTS).zip(&people[1..]) {
        let after = takes * point / (POINTS + 1);
        let run = arguments(&person.to_string());
        let run = run.each_ref().map(String::as_str);
        w.killed_after(&run, after).await;
        // All of it or none of it: the key, the event, and every row that names them.
        let state = async |conn: &mut PgConnection| -> (bool, i64, i64) {
            sqlx::query_as(
                "select (select key is null from core.subject_keys where subject_id = $1),
                        (select count(*) from read.events_v1 where stream_id = 'customer-' || $1::uuid and name = 'CustomerErased'),
                        (select count(*) from read.customers_v1 where customer_id = $1 and not erased)",
            )
            .bind(person)
            .fetch_one(conn)
            .await
            .unwrap()
        };
        let (gone, said, named) = state(&mut conn).await;
        assert!(
            (gone, said, named) == (true, 1, 0) || (gone, said, named) == (false, 0, 1),
            "killed after {after:?}: key gone {gone}, said {said} times, {named} rows name them"
        );
        if !gone {
            w.whole(&run);
        }
        assert_eq!(state(&mut conn).await, (true, 1, 0));
    }
    // Whoever takes a backup later knows of all of them, also those whose process died before it noted them.
    wait_until("a backup is taken", SOON, async || {
        w.served
            .rpc("back_up_now", json!({ "command_id": Uuid::now_v7() }))
            .await
            .0
            .is_success()
    })
    .await;
    wait_until("the backup is there", SOON, async || !w.shelf().is_empty()).await;
    let noted =
        std::fs::read_to_string(w.data.path().join("backups/bizing_demo/erasures.ndjson")).unwrap();
    for person in &people[..=POINTS as usize] {
        assert!(
            noted.contains(&person.to_string()),
            "{person} is not in the journal"
        );
    }
    assert!(w.served.stop().await.success());
}
