//! Following the log: nothing is skipped, nothing comes twice, whatever writers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bizing_engine::store::append::Expected;
use bizing_engine::store::read;
use sqlx::{Connection, PgConnection, Row};

use super::*;
use crate::support::db::TestDb;
use crate::support::wait_until;

/// A reader as projections are: three statements, in that order, and a checkpoint.
struct Follower {
    checkpoint: i64,
    seen: Vec<(i64, String)>,
}

impl Follower {
    fn new() -> Follower {
        Follower { checkpoint: 0, seen: vec![] }
    }

    async fn step(&mut self, conn: &mut PgConnection, limit: i64) {
        let safe = read::safe_position(conn).await.unwrap();
        let batch = read::log(conn, self.checkpoint, safe, limit).await.unwrap();
        self.checkpoint = if (batch.len() as i64) < limit { safe.max(self.checkpoint) } else { batch.last().unwrap().position };
        self.seen.extend(batch.into_iter().map(|r| (r.position, r.data["provider_message_id"].as_str().unwrap().to_owned())));
    }
}

/// Small, seeded, and printed when a run fails: the same run can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_reader_sees_every_event_once_and_in_order_among_held_rolled_back_and_killed_writers() {
    const WRITERS: u64 = 16;
    const ROUNDS: u64 = 24;
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261);
    let db = Arc::new(TestDb::new().await);
    let superuser = db.superuser_pool().await;
    let finished = Arc::new(AtomicBool::new(false));

    let mut writers = tokio::task::JoinSet::new();
    for w in 0..WRITERS {
        let (db, superuser, mut dice) = (db.clone(), superuser.clone(), Dice(seed + w));
        writers.spawn(async move {
            let mut conn = PgConnection::connect_with(&db.login("worker")).await.unwrap();
            let (mut acknowledged, mut killed, mut rolled_back) = (vec![], 0, 0);
            for round in 0..ROUNDS {
                let text = format!("{w}.{round}");
                let mut tx = conn.begin().await.unwrap();
                append_in(&mut tx, &context(), vec![notes(new_booking(), Expected::Any, &[&text]), notes(new_booking(), Expected::Any, &[&format!("{text}b")])]).await.unwrap();
                // Held open while others draw later positions and commit before us.
                sqlx::query("select pg_sleep($1)").bind(dice.roll(16) as f64 / 1000.0).execute(&mut *tx).await.unwrap();
                match dice.roll(12) {
                    0 => {
                        tx.rollback().await.unwrap();
                        rolled_back += 1;
                    }
                    1 => {
                        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *tx).await.unwrap();
                        sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&superuser).await.unwrap();
                        assert!(tx.commit().await.is_err(), "a killed writer commits nothing");
                        conn = PgConnection::connect_with(&db.login("worker")).await.unwrap();
                        killed += 1;
                    }
                    _ => {
                        tx.commit().await.unwrap();
                        acknowledged.extend([text.clone(), format!("{text}b")]);
                    }
                }
            }
            (acknowledged, killed, rolled_back)
        });
    }
    let reader = tokio::spawn({
        let (db, finished) = (db.clone(), finished.clone());
        async move {
            let mut conn = PgConnection::connect_with(&db.login("worker")).await.unwrap();
            let mut follower = Follower::new();
            loop {
                let last_look = finished.load(Ordering::SeqCst);
                follower.step(&mut conn, 7).await;
                let behind: bool = sqlx::query_scalar("select coalesce(max(position), 0) > $1 from core.events").bind(follower.checkpoint).fetch_one(&mut conn).await.unwrap();
                if last_look && !behind {
                    return follower.seen;
                }
            }
        }
    });

    let (mut acknowledged, mut killed, mut rolled_back) = (vec![], 0, 0);
    for (texts, k, r) in writers.join_all().await {
        acknowledged.extend(texts);
        killed += k;
        rolled_back += r;
    }
    finished.store(true, Ordering::SeqCst);
    let seen = reader.await.unwrap();

    assert!(killed > 5 && rolled_back > 5, "seed {seed}: {killed} killed, {rolled_back} rolled back");
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0), "seed {seed}: out of order or twice");
    let mut texts: Vec<String> = seen.into_iter().map(|(_, text)| text).collect();
    texts.sort();
    acknowledged.sort();
    assert_eq!(texts, acknowledged, "seed {seed}: the reader saw what was acknowledged, all of it and nothing else");
}

#[tokio::test]
async fn an_open_append_keeps_readers_below_it_although_later_positions_are_committed() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut conn = pool.acquire().await.unwrap();
    one(&pool, notes(new_booking(), Expected::Any, &["before"])).await.unwrap();

    let mut open = pool.begin().await.unwrap();
    append_in(&mut open, &context(), vec![notes(new_booking(), Expected::Any, &["open"])]).await.unwrap();
    one(&pool, notes(new_booking(), Expected::Any, &["after"])).await.unwrap();
    let mut follower = Follower::new();
    follower.step(&mut conn, 10).await;
    let texts = |f: &Follower| f.seen.iter().map(|(_, t)| t.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&follower), ["before"]);

    open.commit().await.unwrap();
    follower.step(&mut conn, 10).await;
    assert_eq!(texts(&follower), ["before", "open", "after"]);
}

#[tokio::test]
async fn a_number_burned_by_a_rollback_is_not_waited_for() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut tx = pool.begin().await.unwrap();
    append_in(&mut tx, &context(), vec![notes(new_booking(), Expected::Any, &["gone"])]).await.unwrap();
    tx.rollback().await.unwrap();
    // A savepoint burns one too, in a transaction that goes on.
    let mut tx = pool.begin().await.unwrap();
    let mut inner = tx.begin().await.unwrap();
    append_in(&mut inner, &context(), vec![notes(new_booking(), Expected::Any, &["gone too"])]).await.unwrap();
    inner.rollback().await.unwrap();
    append_in(&mut tx, &context(), vec![notes(new_booking(), Expected::Any, &["kept"])]).await.unwrap();
    tx.commit().await.unwrap();
    let mut follower = Follower::new();
    follower.step(&mut pool.acquire().await.unwrap(), 10).await;
    assert_eq!(follower.seen, [(3, "kept".to_owned())]);
    assert_eq!(follower.checkpoint, 3);
}

#[tokio::test]
async fn before_the_first_event_everything_is_decided_up_to_nothing() {
    let db = TestDb::new().await;
    let pool = db.pool("viewer").await;
    assert_eq!(read::safe_position(&mut pool.acquire().await.unwrap()).await.unwrap(), 0);
}

/// The registry's key for a floor, as anybody can compute it.
const KEY: &str = "(77::bigint << 48) | $1";

#[tokio::test]
async fn a_foreign_lock_delays_readers_is_named_and_neither_skips_nor_stops_writers() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    one(&pool, notes(new_booking(), Expected::Any, &["before"])).await.unwrap();
    for lock in ["pg_advisory_lock", "pg_advisory_lock_shared"] {
        let mut follower = Follower::new();
        let mut conn = pool.acquire().await.unwrap();
        follower.step(&mut conn, 100).await;
        let floor = follower.checkpoint;

        // Any login can do that, even one that may only look.
        let mut squatter = PgConnection::connect_with(&db.login("viewer")).await.unwrap();
        let squat = format!("select {lock}({KEY})");
        sqlx::query(sqlx::AssertSqlSafe(squat)).bind(floor).execute(&mut squatter).await.unwrap();
        let squatter_pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut squatter).await.unwrap();

        let appended = tokio::time::timeout(Duration::from_secs(5), one(&pool, notes(new_booking(), Expected::Any, &[lock]))).await;
        let position = appended.expect("a squatter keeps no writer waiting").unwrap().last_position.unwrap();
        follower.step(&mut conn, 100).await;
        assert_eq!(follower.checkpoint, floor, "{lock}: readers wait");

        let viewer = db.pool("viewer").await;
        let held: Option<(i32, Option<f64>, String)> = sqlx::query_as("select pid, age_seconds, login::text from api.oldest_append()").fetch_optional(&viewer).await.unwrap();
        let (pid, age, login) = held.expect("the holder is named");
        assert_eq!((pid, login), (squatter_pid, format!("test_viewer_{}", db.installation.id)));
        assert!(age.is_some_and(|a| a >= 0.0), "and since when: {age:?}");

        squatter.close().await.unwrap();
        wait_until("the reader goes on", Duration::from_secs(5), || {
            let pool = pool.clone();
            async move { read::safe_position(&mut pool.acquire().await.unwrap()).await.unwrap() == position }
        })
        .await;
        follower.step(&mut conn, 100).await;
        assert_eq!(follower.seen.last().map(|(p, t)| (*p, t.as_str())), Some((position, lock)));
    }
}

#[tokio::test]
async fn the_one_who_keeps_readers_waiting_is_named_not_the_one_with_the_longest_transaction() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let viewer = db.pool("viewer").await;
    assert!(sqlx::query("select * from api.oldest_append()").fetch_optional(&viewer).await.unwrap().is_none());
    // Began first, appended last: its floor is the higher one.
    let mut early = pool.begin().await.unwrap();
    sqlx::query("select 1").execute(&mut *early).await.unwrap();
    let mut culprit = pool.begin().await.unwrap();
    append_in(&mut culprit, &context(), vec![notes(new_booking(), Expected::Any, &["open"])]).await.unwrap();
    append_in(&mut early, &context(), vec![notes(new_booking(), Expected::Any, &["late"])]).await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *culprit).await.unwrap();
    let row = sqlx::query("select * from api.oldest_append()").fetch_one(&viewer).await.unwrap();
    assert_eq!(row.get::<i32, _>("pid"), pid);
    assert!(row.get::<String, _>("query").contains("pg_backend_pid"), "what it last asked");
}

#[tokio::test]
async fn locks_of_other_namespaces_and_other_databases_delay_nobody() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    let pool = db.pool("worker").await;
    let mut foreign = PgConnection::connect_with(&other.login("viewer")).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("select pg_advisory_lock({KEY})"))).bind(0_i64).execute(&mut foreign).await.unwrap();
    let mut here = PgConnection::connect_with(&db.login("viewer")).await.unwrap();
    sqlx::query("select pg_advisory_lock((76::bigint << 48)), pg_advisory_lock((78::bigint << 48)), pg_advisory_lock(77 << 16, 0)").execute(&mut here).await.unwrap();
    let done = one(&pool, notes(new_booking(), Expected::Any, &["a"])).await.unwrap();
    let safe = read::safe_position(&mut pool.acquire().await.unwrap()).await.unwrap();
    assert_eq!(Some(safe), done.last_position);
}

#[tokio::test]
async fn an_appender_never_waits_for_an_open_append_to_another_stream() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut open = pool.begin().await.unwrap();
    append_in(&mut open, &context(), vec![notes(new_booking(), Expected::Any, &["open"])]).await.unwrap();
    let free = AtomicI64::new(0);
    let others = async {
        for n in 0..20 {
            one(&pool, notes(new_booking(), Expected::Any, &["free"])).await.unwrap();
            free.store(n + 1, Ordering::SeqCst);
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(5), others).await;
    assert!(done.is_ok(), "only {} of 20 went through", free.load(Ordering::SeqCst));
    open.rollback().await.unwrap();
}
