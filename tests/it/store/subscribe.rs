//! Following the log: nothing is skipped, nothing comes twice, whatever writers do.

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
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
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
