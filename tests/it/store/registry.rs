//! The registry of appends: whoever holds a floor delays readers, is named, and can neither stop writers nor hide events.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bizing_engine::store::append::Expected;
use bizing_engine::store::read;
use sqlx::{Connection, PgConnection, Row};

use super::subscribe::Follower;
use super::*;
use crate::support::db::TestDb;
use crate::support::wait_until;

/// The registry's key for a floor, as anybody can compute it.
const KEY: &str = "(77::bigint << 48) | $1";

#[tokio::test]
async fn a_foreign_lock_delays_readers_is_named_and_neither_skips_nor_stops_writers() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    one(&pool, notes(new_booking(), Expected::Any, &["before"]))
        .await
        .unwrap();
    for lock in ["pg_advisory_lock", "pg_advisory_lock_shared"] {
        let mut follower = Follower::new();
        let mut conn = pool.acquire().await.unwrap();
        follower.step(&mut conn, 100).await;
        let floor = follower.checkpoint;

        // Any login can do that, even one that may only look.
        let mut squatter = PgConnection::connect_with(&db.login("viewer"))
            .await
            .unwrap();
        let squat = format!("select {lock}({KEY})");
        sqlx::query(sqlx::AssertSqlSafe(squat))
            .bind(floor)
            .execute(&mut squatter)
            .await
            .unwrap();
        let squatter_pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut squatter)
            .await
            .unwrap();

        let appended = tokio::time::timeout(
            Duration::from_secs(5),
            one(&pool, notes(new_booking(), Expected::Any, &[lock])),
        )
        .await;
        let position = appended
            .expect("a squatter keeps no writer waiting")
            .unwrap()
            .last_position
            .unwrap();
        follower.step(&mut conn, 100).await;
        assert_eq!(follower.checkpoint, floor, "{lock}: readers wait");

        let viewer = db.pool("viewer").await;
        let held: Option<(i32, Option<f64>, String)> =
            sqlx::query_as("select pid, age_seconds, login::text from api.oldest_append()")
                .fetch_optional(&viewer)
                .await
                .unwrap();
        let (pid, age, login) = held.expect("the holder is named");
        assert_eq!(
            (pid, login),
            (squatter_pid, format!("test_viewer_{}", db.installation.id))
        );
        assert!(age.is_some_and(|a| a >= 0.0), "and since when: {age:?}");

        squatter.close().await.unwrap();
        wait_until("the reader goes on", Duration::from_secs(5), || {
            let pool = pool.clone();
            async move {
                read::safe_position(&mut pool.acquire().await.unwrap())
                    .await
                    .unwrap()
                    == position
            }
        })
        .await;
        follower.step(&mut conn, 100).await;
        assert_eq!(
            follower.seen.last().map(|(p, t)| (*p, t.as_str())),
            Some((position, lock))
        );
    }
}

#[tokio::test]
async fn the_one_who_keeps_readers_waiting_is_named_not_the_one_with_the_longest_transaction() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let viewer = db.pool("viewer").await;
    assert!(
        sqlx::query("select * from api.oldest_append()")
            .fetch_optional(&viewer)
            .await
            .unwrap()
            .is_none()
    );
    // Began first, appended last: its floor is the higher one.
    let mut early = pool.begin().await.unwrap();
    sqlx::query("select 1").execute(&mut *early).await.unwrap();
    let mut culprit = pool.begin().await.unwrap();
    append_in(
        &mut culprit,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["open"])],
    )
    .await
    .unwrap();
    append_in(
        &mut early,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["late"])],
    )
    .await
    .unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *culprit)
        .await
        .unwrap();
    let row = sqlx::query("select * from api.oldest_append()")
        .fetch_one(&viewer)
        .await
        .unwrap();
    assert_eq!(row.get::<i32, _>("pid"), pid);
    assert!(
        row.get::<String, _>("query").contains("pg_backend_pid"),
        "what it last asked"
    );
}

#[tokio::test]
async fn locks_of_other_namespaces_and_other_databases_delay_nobody() {
    let (db, other) = (TestDb::new().await, TestDb::new().await);
    let pool = db.pool("worker").await;
    let mut foreign = PgConnection::connect_with(&other.login("viewer"))
        .await
        .unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "select pg_advisory_lock({KEY})"
    )))
    .bind(0_i64)
    .execute(&mut foreign)
    .await
    .unwrap();
    let mut here = PgConnection::connect_with(&db.login("viewer"))
        .await
        .unwrap();
    sqlx::query("select pg_advisory_lock((76::bigint << 48)), pg_advisory_lock((78::bigint << 48)), pg_advisory_lock(77 << 16, 0)").execute(&mut here).await.unwrap();
    let done = one(&pool, notes(new_booking(), Expected::Any, &["a"]))
        .await
        .unwrap();
    let safe = read::safe_position(&mut pool.acquire().await.unwrap())
        .await
        .unwrap();
    assert_eq!(Some(safe), done.last_position);
}

#[tokio::test]
async fn an_appender_never_waits_for_an_open_append_to_another_stream() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let mut open = pool.begin().await.unwrap();
    append_in(
        &mut open,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["open"])],
    )
    .await
    .unwrap();
    let free = AtomicI64::new(0);
    let others = async {
        for n in 0..20 {
            one(&pool, notes(new_booking(), Expected::Any, &["free"]))
                .await
                .unwrap();
            free.store(n + 1, Ordering::SeqCst);
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(5), others).await;
    assert!(
        done.is_ok(),
        "only {} of 20 went through",
        free.load(Ordering::SeqCst)
    );
    open.rollback().await.unwrap();
}
