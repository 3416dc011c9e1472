//! Following the log: nothing is skipped, nothing comes twice, whatever writers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bizing_engine::store::append::Expected;
use bizing_engine::store::read;
use sqlx::{Connection, PgConnection};

use super::*;
use crate::support::db::TestDb;

/// A reader as projections are: three statements, in that order, and a checkpoint.
pub(super) struct Follower {
    pub checkpoint: i64,
    pub seen: Vec<(i64, String)>,
}

impl Follower {
    pub fn new() -> Follower {
        Follower {
            checkpoint: 0,
            seen: vec![],
        }
    }

    pub async fn step(&mut self, conn: &mut PgConnection, limit: i64) {
        let safe = read::safe_position(conn).await.unwrap();
        let batch = read::log(conn, self.checkpoint, safe, limit).await.unwrap();
        self.checkpoint = if (batch.len() as i64) < limit {
            safe.max(self.checkpoint)
        } else {
            batch.last().unwrap().position
        };
        self.seen.extend(batch.into_iter().map(|r| {
            (
                r.position,
                r.data.value()["provider_message_id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            )
        }));
    }
}

/// Small, seeded, and printed when a run fails: the same run can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_reader_sees_every_event_once_and_in_order_among_held_rolled_back_and_killed_writers()
 {
    const WRITERS: u64 = 16;
    const ROUNDS: u64 = 24;
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261);
    let db = Arc::new(TestDb::new().await);
    let superuser = db.superuser_pool().await;
    let finished = Arc::new(AtomicBool::new(false));

    let mut writers = tokio::task::JoinSet::new();
    for w in 0..WRITERS {
        let (db, superuser, mut dice) = (db.clone(), superuser.clone(), Dice(seed + w));
        writers.spawn(async move {
            let mut conn = PgConnection::connect_with(&db.login("worker"))
                .await
                .unwrap();
            let (mut acknowledged, mut killed, mut rolled_back) = (vec![], 0, 0);
            for round in 0..ROUNDS {
                let text = format!("{w}.{round}");
                let mut tx = conn.begin().await.unwrap();
                append_in(
                    &mut tx,
                    &context(),
                    vec![
                        notes(new_booking(), Expected::Any, &[&text]),
                        notes(new_booking(), Expected::Any, &[&format!("{text}b")]),
                    ],
                )
                .await
                .unwrap();
                // Held open while others draw later positions and commit before us.
                sqlx::query("select pg_sleep($1)")
                    .bind(dice.roll(16) as f64 / 1000.0)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                match dice.roll(12) {
                    0 => {
                        tx.rollback().await.unwrap();
                        rolled_back += 1;
                    }
                    1 => {
                        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
                            .fetch_one(&mut *tx)
                            .await
                            .unwrap();
                        sqlx::query("select pg_terminate_backend($1)")
                            .bind(pid)
                            .execute(&superuser)
                            .await
                            .unwrap();
                        assert!(
                            tx.commit().await.is_err(),
                            "a killed writer commits nothing"
                        );
                        conn = PgConnection::connect_with(&db.login("worker"))
                            .await
                            .unwrap();
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
    let mut reader = tokio::task::JoinSet::new();
    reader.spawn({
        let (db, finished) = (db.clone(), finished.clone());
        async move {
            let mut conn = PgConnection::connect_with(&db.login("worker"))
                .await
                .unwrap();
            let mut follower = Follower::new();
            loop {
                let last_look = finished.load(Ordering::SeqCst);
                follower.step(&mut conn, 7).await;
                let behind: bool =
                    sqlx::query_scalar("select coalesce(max(position), 0) > $1 from core.events")
                        .bind(follower.checkpoint)
                        .fetch_one(&mut conn)
                        .await
                        .unwrap();
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
    let seen = reader.join_next().await.unwrap().unwrap();

    assert!(
        killed > 5 && rolled_back > 5,
        "seed {seed}: {killed} killed, {rolled_back} rolled back"
    );
    assert!(
        seen.windows(2).all(|w| w[0].0 < w[1].0),
        "seed {seed}: out of order or twice"
    );
    let mut texts: Vec<String> = seen.into_iter().map(|(_, text)| text).collect();
    texts.sort();
    acknowledged.sort();
    assert_eq!(
        texts, acknowledged,
        "seed {seed}: the reader saw what was acknowledged, all of it and nothing else"
    );
}

#[tokio::test]
async fn an_open_append_keeps_readers_below_it_although_later_positions_are_committed() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut conn = pool.acquire().await.unwrap();
    one(&pool, notes(new_booking(), Expected::Any, &["before"]))
        .await
        .unwrap();

    let mut open = pool.begin().await.unwrap();
    append_in(
        &mut open,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["open"])],
    )
    .await
    .unwrap();
    one(&pool, notes(new_booking(), Expected::Any, &["after"]))
        .await
        .unwrap();
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
    append_in(
        &mut tx,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["gone"])],
    )
    .await
    .unwrap();
    tx.rollback().await.unwrap();
    // A savepoint burns one too, in a transaction that goes on.
    let mut tx = pool.begin().await.unwrap();
    let mut inner = tx.begin().await.unwrap();
    append_in(
        &mut inner,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["gone too"])],
    )
    .await
    .unwrap();
    inner.rollback().await.unwrap();
    append_in(
        &mut tx,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["kept"])],
    )
    .await
    .unwrap();
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
    assert_eq!(
        read::safe_position(&mut pool.acquire().await.unwrap())
            .await
            .unwrap(),
        0
    );
}
