//! The order of the log: what its proof rests on, the fallback for databases without advisory locks, a log that went backwards.

use std::time::Duration;

use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::Expected;
use bizing_engine::store::committer::{Committer, Settings};
use bizing_engine::store::ordering::{self, Counter, Registry};
use bizing_engine::store::read;
use bizing_engine::store::subscription::{
    self, Mark, SubscriptionError, check_assumptions, check_checkpoint, log_identity,
};
use futures_util::future::join_all;
use sqlx::{Connection, PgConnection};

use super::subscribe::Follower;
use super::*;
use crate::support::db::TestDb;

/// A database whose log is ordered by the counter.
async fn counted() -> TestDb {
    let db = TestDb::new().await;
    let mut admin = db.pool("admin").await.acquire().await.unwrap().detach();
    ordering::choose(&mut admin, &Counter).await.unwrap();
    db
}

#[tokio::test]
async fn a_log_is_ordered_by_the_registry_unless_the_counter_was_chosen_before_its_first_event() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(ordering::of(&mut conn).await.unwrap().name(), "registry");
    one(&pool, notes(new_booking(), Expected::Any, &["x"]))
        .await
        .unwrap();
    let mut admin = db.pool("admin").await.acquire().await.unwrap().detach();
    let refused = ordering::choose(&mut admin, &Counter).await;
    assert_eq!(state(refused), "55000");
    assert_eq!(ordering::of(&mut conn).await.unwrap().name(), "registry");
    assert_eq!(
        state(ordering::choose(&mut conn, &Registry).await),
        "42501",
        "an admin's choice"
    );

    let db = counted().await;
    let mut conn = db.pool("worker").await.acquire().await.unwrap().detach();
    assert_eq!(ordering::of(&mut conn).await.unwrap().name(), "counter");
}

#[tokio::test]
async fn by_the_counter_positions_have_no_gap_and_no_lock_of_the_registry_is_taken() {
    let db = counted().await;
    let pool = db.pool("worker").await;
    let booking = new_booking();
    one(&pool, notes(booking, Expected::Version(0), &["a", "b"]))
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    append_in(
        &mut tx,
        &context(),
        vec![notes(booking, Expected::Version(2), &["gone"])],
    )
    .await
    .unwrap();
    let locks: i64 = sqlx::query_scalar(
        "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(locks, 0);
    // Readers are not kept waiting by an open append: they see what was committed.
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(read::safe_position(&mut conn).await.unwrap(), 2);
    let order = ordering::of(&mut conn).await.unwrap();
    assert_eq!(order.keeps_readers_waiting(&mut conn).await.unwrap(), None);
    tx.rollback().await.unwrap();
    let next = one(&pool, notes(booking, Expected::Version(2), &["c"]))
        .await
        .unwrap();
    assert_eq!(
        next.first_position,
        Some(3),
        "a number that was rolled back is drawn again"
    );
    let mut follower = Follower::new();
    follower.step(&mut conn, 10).await;
    assert_eq!(follower.checkpoint, 3);
    assert_eq!(follower.seen.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn by_the_counter_a_live_reader_sees_every_event_once_and_in_order_too() {
    let db = counted().await;
    let tasks = Tasks::default();
    let committer = Committer::start(
        db.login("worker"),
        &tasks,
        Bell::default(),
        Settings::default(),
    );
    let pool = db.pool("worker").await;
    let mut writers = tokio::task::JoinSet::new();
    for w in 0..8 {
        let (committer, pool) = (committer.clone(), pool.clone());
        writers.spawn(async move {
            for n in 0..25 {
                let append = notes(new_booking(), Expected::Any, &[&format!("{w}.{n}")]);
                if w % 2 == 0 {
                    committer.append(&context(), append).await.unwrap();
                    continue;
                }
                let mut tx = pool.begin().await.unwrap();
                append_in(&mut tx, &context(), vec![append]).await.unwrap();
                match n % 5 {
                    0 => tx.rollback().await.unwrap(),
                    _ => tx.commit().await.unwrap(),
                }
            }
        });
    }
    let mut conn = PgConnection::connect_with(&db.login("worker"))
        .await
        .unwrap();
    let mut follower = Follower::new();
    loop {
        let last_look = writers.is_empty();
        follower.step(&mut conn, 7).await;
        if last_look && follower.seen.len() == 4 * 25 + 4 * 20 {
            break;
        }
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let positions: Vec<i64> = follower.seen.iter().map(|(p, _)| *p).collect();
    assert_eq!(positions, (1..=180).collect::<Vec<_>>());
    tasks.shut_down().await;
}

#[tokio::test]
async fn what_the_proof_rests_on_is_asked_before_the_log_is_followed() {
    for (breaks, rule) in [
        (
            "alter sequence core.position cache 20",
            "positions are drawn one by one",
        ),
        (
            "grant insert on core.events to bizing_worker_ID",
            "only the append function writes events",
        ),
        (
            "grant insert on core.events_0000 to public",
            "only the append function writes events",
        ),
    ] {
        let db = TestDb::new().await;
        let mut conn = db.pool("worker").await.acquire().await.unwrap().detach();
        check_assumptions(&mut conn).await.unwrap();
        let breaks = breaks.replace("ID", &db.installation.id);
        sqlx::query(sqlx::AssertSqlSafe(breaks))
            .execute(&db.superuser_pool().await)
            .await
            .unwrap();
        let refused = check_assumptions(&mut conn).await.unwrap_err();
        assert!(
            matches!(&refused, SubscriptionError::Assumption { rule: r, .. } if r == rule),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_log_that_went_backwards_or_grew_again_differently_is_told_from_the_one_that_was_read() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut conn = pool.acquire().await.unwrap();
    one(&pool, notes(new_booking(), Expected::Any, &["a", "b", "c"]))
        .await
        .unwrap();
    let mark = Mark::at(&mut conn, 3).await.unwrap();
    mark.check(&mut conn, "the export").await.unwrap();
    check_checkpoint(&mut conn, "bookings", 3).await.unwrap();
    let early = Mark::at(&mut conn, 0).await.unwrap();

    // A backup from before the first event is restored.
    let superuser = db.superuser_pool().await;
    sqlx::raw_sql(
        "alter table core.events disable trigger all; alter table core.events_0000 disable trigger all;
         delete from core.events; delete from core.streams; select setval('core.position', 1, false)",
    )
    .execute(&superuser)
    .await
    .unwrap();
    let refused = check_checkpoint(&mut conn, "bookings", 3)
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            SubscriptionError::Backwards {
                checkpoint: 3,
                issued: 0,
                ..
            }
        ),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(
        text.contains("ends at position 0") && text.contains("bookings has read up to 3"),
        "{text}"
    );

    // It grows past the checkpoint: only what stood there can tell.
    let others = ["d", "e", "f", "g"];
    one(&pool, notes(new_booking(), Expected::Any, &others))
        .await
        .unwrap();
    check_checkpoint(&mut conn, "bookings", 3).await.unwrap();
    let refused = mark.check(&mut conn, "the export").await.unwrap_err();
    assert!(
        matches!(&refused, SubscriptionError::Replaced { who, position: 3 } if who == "the export"),
        "{refused:?}"
    );
    early.check(&mut conn, "the export").await.unwrap();
    subscription::check_assumptions(&mut conn).await.unwrap();
}

/// As a restore writes it.
async fn name_anew(db: &TestDb, since: i64) {
    sqlx::query("insert into core.log_identity (since_position, restored_from) values ($1, '{\"taken_at\": \"2026-11-24T03:30:00Z\"}')")
        .bind(since)
        .execute(&db.superuser_pool().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_reader_outside_the_database_goes_on_after_a_restore_only_if_the_backup_holds_all_that_it_read()
 {
    let db = TestDb::new().await;
    let pool = db.pool("viewer").await;
    let mut conn = pool.acquire().await.unwrap();
    let writer = db.pool("worker").await;
    one(
        &writer,
        notes(new_booking(), Expected::Any, &["a", "b", "c"]),
    )
    .await
    .unwrap();
    let (two, three) = (
        Mark::at(&mut conn, 2).await.unwrap(),
        Mark::at(&mut conn, 3).await.unwrap(),
    );
    assert_eq!(two.log, three.log);
    let first = log_identity(&mut conn).await.unwrap();
    assert_eq!((first.log_id, first.restored), (two.log, None));

    // The backup ends at position 2; the log has grown to 3 again since, with another event.
    name_anew(&db, 2).await;
    two.check(&mut conn, "the export").await.unwrap();
    let refused = three.check(&mut conn, "the export").await.unwrap_err();
    assert!(
        matches!(&refused, SubscriptionError::Restored { checkpoint: 3, since: 2, who, .. } if who == "the export"),
        "{refused:?}"
    );
    let now = log_identity(&mut conn).await.unwrap();
    assert_ne!(now.log_id, two.log);
    assert!(
        now.restored
            .is_some_and(|r| r.since_position == 2 && r.taken_at.is_some())
    );
    let again = Mark::at(&mut conn, 3).await.unwrap();
    again.check(&mut conn, "the export").await.unwrap();

    // Twice more, from an older backup and from a newer one: what the oldest did not hold is gone.
    name_anew(&db, 1).await;
    name_anew(&db, 3).await;
    let refused = two.check(&mut conn, "the export").await.unwrap_err();
    assert!(
        matches!(refused, SubscriptionError::Restored { since: 1, .. }),
        "{refused:?}"
    );
    let foreign = Mark {
        log: uuid::Uuid::from_u128(7),
        ..two
    };
    assert!(matches!(
        foreign.check(&mut conn, "the export").await.unwrap_err(),
        SubscriptionError::Foreign { .. }
    ));
}

#[tokio::test]
async fn clocks_that_jump_change_no_order() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut follower = Follower::new();
    let mut conn = pool.acquire().await.unwrap();
    // What the caller's clock says is kept, and nothing is ordered by it.
    for (text, hours) in [("now", 0), ("yesterday", -24), ("tomorrow", 24)] {
        let mut append = notes(new_booking(), Expected::Any, &[text]);
        append.events[0].occurred_at += chrono::TimeDelta::hours(hours);
        one(&pool, append).await.unwrap();
        follower.step(&mut conn, 10).await;
    }
    let texts: Vec<&str> = follower.seen.iter().map(|(_, t)| t.as_str()).collect();
    assert_eq!(texts, ["now", "yesterday", "tomorrow"]);
    let all =
        join_all([0, 1].map(|_| one(&pool, notes(new_booking(), Expected::Any, &["x"])))).await;
    assert!(all.iter().all(|a| a.is_ok()));
}

#[tokio::test]
async fn a_projection_that_has_read_further_than_the_log_goes_is_parked_and_says_so() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    one(&pool, notes(new_booking(), Expected::Any, &["a"]))
        .await
        .unwrap();
    sqlx::query("update read.generations set position = 1000 where name = 'timeline'")
        .execute(&db.superuser_pool().await)
        .await
        .unwrap();
    let tail = bizing_engine::projection::Tail::new(
        pool.clone(),
        bizing_engine::runtime::hints::Hints::default(),
    );
    // A squatter's floor lies below every checkpoint too; that is no reason to park.
    let mut squatter = pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock_shared(77::bigint << 48)")
        .execute(&mut *squatter)
        .await
        .unwrap();
    let parked = async || -> Vec<(String, String)> {
        tail.round().await.unwrap();
        sqlx::query_as("select name, parked->>'error' from read.generations where parked is not null and parked->>'event_id' is null")
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    let found = parked().await;
    sqlx::query("select pg_advisory_unlock_all()")
        .execute(&mut *squatter)
        .await
        .unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "timeline");
    assert!(
        found[0].1.contains("ends at position 1") && found[0].1.contains("rebuild timeline"),
        "{found:?}"
    );
    assert_eq!(parked().await, found);
}

#[tokio::test]
async fn whoever_keeps_old_rows_is_named_wherever_they_are_on_the_server() {
    // A server of its own: on a shared one, somebody else's transaction may be the oldest for minutes.
    let (cluster, root, db) = crate::support::db::own_server().await;
    let elsewhere = db
        .superuser()
        .database("postgres")
        .application_name("a report");
    let mut report = PgConnection::connect_with(&elsewhere).await.unwrap();
    let mut open = report.begin().await.unwrap();
    sqlx::query("set transaction isolation level repeatable read")
        .execute(&mut *open)
        .await
        .unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid() from pg_class limit 1")
        .fetch_one(&mut *open)
        .await
        .unwrap();
    let viewer = db.pool("viewer").await;
    crate::support::wait_until("it is the oldest", Duration::from_secs(60), async || {
        let oldest: Option<(Option<i32>, String, String)> =
            sqlx::query_as("select pid, database::text, state from api.oldest_snapshot()")
                .fetch_optional(&viewer)
                .await
                .unwrap();
        oldest
            == Some((
                Some(pid),
                "postgres".to_owned(),
                "idle in transaction".to_owned(),
            ))
    })
    .await;
    open.rollback().await.unwrap();
    report.close().await.unwrap();
    viewer.close().await;
    drop(db);
    cluster.stop().await.expect("the server stops");
    let _ = std::fs::remove_dir_all(root);
}
