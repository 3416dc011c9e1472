//! Stripe's list of events, read without a gap: a lost cursor, events that become visible late, a person who asks.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bizing_engine::webhook::poll::Poller;
use sqlx::PgPool;

use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

const SOON: Duration = Duration::from_secs(1);

fn poller(t: &TestDesk) -> Poller {
    Poller {
        pool: t.worker_pool.clone(),
        stripe: Arc::new(t.stripe()),
        failures: AtomicU32::new(0),
    }
}

async fn read_to_the_end(poller: &Poller) -> u32 {
    let mut rounds = 1;
    while poller.round(SOON, SOON).await.unwrap().is_zero() {
        rounds += 1;
    }
    rounds
}

async fn kept(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from delivery.inbox")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// Makes `n` bookings and so some events of the provider, with no worker left that polls. Returns what the inbox holds then.
async fn lived(n: u32) -> (TestDesk, i64) {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    for i in 0..n {
        let booked = t.book(&desk, booking(&slot(i))).await;
        t.wait_for_saga(booked.booking_id, "completed").await;
    }
    worker.close().await;
    read_to_the_end(&poller(&t)).await;
    let all = kept(&t.worker_pool).await;
    assert!(all >= i64::from(n) * 2, "{all}");
    (t, all)
}

#[tokio::test]
async fn a_cursor_that_stripe_no_longer_knows_loses_nothing() {
    let (t, all) = lived(4).await;
    let root = t.db.superuser_pool().await;
    sqlx::raw_sql("delete from delivery.inbox; update delivery.poll_cursor set cursor = 'evt_of_long_ago' where source = 'stripe'").execute(&root).await.unwrap();
    // Killed after the first page, another one goes on.
    poller(&t).round(SOON, SOON).await.unwrap();
    read_to_the_end(&poller(&t)).await;
    assert_eq!(kept(&t.worker_pool).await, all);
    let (cursor, back): (String, Option<String>) = sqlx::query_as(
        "select cursor, backfill_first from delivery.poll_cursor where source = 'stripe'",
    )
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    let newest: String = sqlx::query_scalar(
        "select external_id from delivery.inbox order by created_at desc, inbox_id limit 1",
    )
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!((cursor, back), (newest, None));
    assert_eq!(
        read_to_the_end(&poller(&t)).await,
        1,
        "and from there on it only asks for what is new"
    );
}

#[tokio::test]
async fn an_event_that_became_visible_late_is_found_by_reading_the_last_minutes_again() {
    let (t, all) = lived(1).await;
    let root = t.db.superuser_pool().await;
    // Seen by nobody, although the cursor is past it.
    sqlx::query(
        "delete from delivery.inbox where inbox_id = (select min(inbox_id) from delivery.inbox)",
    )
    .execute(&root)
    .await
    .unwrap();
    sqlx::query("update delivery.poll_cursor set overlap_at = now() + interval '1 hour'")
        .execute(&root)
        .await
        .unwrap();
    read_to_the_end(&poller(&t)).await;
    assert_eq!(kept(&t.worker_pool).await, all - 1, "not at every question");
    sqlx::query("update delivery.poll_cursor set overlap_at = now() - interval '2 minutes'")
        .execute(&root)
        .await
        .unwrap();
    read_to_the_end(&poller(&t)).await;
    assert_eq!(kept(&t.worker_pool).await, all);
    let doubles: i64 =
        sqlx::query_scalar("select count(*) from delivery.arrivals where result <> 'kept'")
            .fetch_one(&root)
            .await
            .unwrap();
    assert_eq!(doubles, 0, "what is read again leaves nothing behind");
}

#[tokio::test]
async fn a_person_who_asks_need_not_wait_and_sees_the_clocks_agree() {
    let t = TestDesk::with(crate::support::desk::quick_policy()).await;
    let mut parts = t.parts(
        t.worker_pool.clone(),
        Default::default(),
        Default::default(),
    );
    parts.pace.poll_quiet = Duration::from_secs(600);
    let tasks = parts.tasks.clone();
    let worker = bizing_engine::worker::Worker::start(parts).await.unwrap();
    let checked = async || -> Option<chrono::DateTime<chrono::Utc>> {
        sqlx::query_scalar("select checked_at from delivery.poll_cursor where source = 'stripe'")
            .fetch_optional(&t.worker_pool)
            .await
            .unwrap()
            .flatten()
    };
    wait_until("the first question", Duration::from_secs(60), async || {
        checked().await.is_some()
    })
    .await;
    let first = checked().await;
    let desk = t.desk(None);
    bizing_engine::app::inbox::poll_now(&desk, bizing_engine::app::wire::Empty {})
        .await
        .unwrap();
    wait_until("the next question", Duration::from_secs(60), async || {
        checked().await > first
    })
    .await;
    // Less than a second and a half is none; on a slow machine an answer may have been under way for longer.
    let skew: f64 =
        sqlx::query_scalar("select skew_s from delivery.poll_cursor where source = 'stripe'")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert!((0.0..30.0).contains(&skew), "{skew}");
    tasks.shut_down().await;
    worker.release().await;
}

#[tokio::test]
async fn where_nobody_polls_asking_says_so() {
    let t = TestDesk::new().await;
    let refused =
        bizing_engine::app::inbox::poll_now(&t.desk(None), bizing_engine::app::wire::Empty {})
            .await
            .unwrap_err();
    assert!(
        refused.message.contains("No computer"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn a_poll_whose_answer_cannot_be_kept_says_so_where_people_look() {
    let (t, _) = lived(1).await;
    let root = t.db.superuser_pool().await;
    sqlx::raw_sql("update delivery.poll_cursor set cursor = null, overlap_at = now() where source = 'stripe'; alter function delivery.take_in rename to taken_in")
        .execute(&root)
        .await
        .unwrap();
    assert!(poller(&t).round(SOON, SOON).await.is_err());
    let problem: Option<String> =
        sqlx::query_scalar("select problem from read.inbox_sources_v1 where source = 'stripe'")
            .fetch_one(&t.people)
            .await
            .unwrap();
    let problem = problem.unwrap_or_default();
    assert!(
        problem.starts_with("what Stripe told could not be kept"),
        "{problem}"
    );
}
