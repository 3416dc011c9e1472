//! Whoever is dropped while a transaction begins leaves none open.

use std::future::Future;
use std::time::Duration;

use bizing_engine::store;
use futures_util::poll;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use crate::support::db::TestDb;
use crate::support::wait_until;

/// A pool of one, so that whoever comes next has the same connection.
async fn one(db: &TestDb) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        // So that the first poll already sends the BEGIN.
        .test_before_acquire(false)
        .connect_with(db.login("worker"))
        .await
        .unwrap()
}

/// Polls what begins so often, drops it, and says whether the connection came back inside a transaction.
async fn left_open<T>(pool: &PgPool, begins: impl Future<Output = T>, polls: usize) -> bool {
    {
        let mut begins = std::pin::pin!(begins);
        for _ in 0..polls {
            if poll!(begins.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    wait_until(
        "the connection is back",
        Duration::from_secs(10),
        || async { pool.num_idle() == pool.size() as usize },
    )
    .await;
    // The first statement of a transaction begins with it; a later one does not. In one message, so that there is a first.
    sqlx::raw_sql("select now() <> statement_timestamp()")
        .fetch_one(pool)
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn a_beginning_that_is_dropped_leaves_no_transaction_open() {
    let db = TestDb::new().await;
    for polls in 1..12 {
        let pool = one(&db).await;
        assert!(
            !left_open(&pool, store::begin(&pool), polls).await,
            "after {polls} polls"
        );
        let read_only = store::begin_with(&pool, "begin read only");
        assert!(
            !left_open(&pool, read_only, polls).await,
            "after {polls} polls"
        );
    }
}

/// The control: with the driver's own the same does harm. Should this fail, the driver is mended and `store::begin` can go.
#[tokio::test]
async fn without_it_the_next_statement_stands_in_a_transaction_that_nobody_ends() {
    let db = TestDb::new().await;
    // Where the answer is there before it is looked for, nothing is dropped in the middle.
    let mut harmed = false;
    for _ in 0..200 {
        let pool = one(&db).await;
        harmed = left_open(&pool, pool.begin(), 1).await;
        if harmed {
            break;
        }
    }
    assert!(harmed);
}
