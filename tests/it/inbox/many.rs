//! All that a filter finds is processed again by one decision.

use bizing_engine::app::desk::Desk;
use bizing_engine::app::wire::*;
use bizing_engine::app::{deliveries, inbox};
use bizing_engine::webhook::inbox::{Came, keep, process};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{event, record};
use crate::support::desk::TestDesk;

/// So many events of a type that this desk does not know, processed.
async fn filled(t: &TestDesk, kind: &str, n: usize) {
    let events: Vec<_> = (0..n)
        .map(|i| {
            record(&event(
                &format!("evt_{kind}_{i}"),
                kind,
                json!({ "id": format!("pi_{i}") }),
            ))
        })
        .collect();
    let mut conn = t.worker_pool.acquire().await.unwrap();
    keep(&mut conn, &events, Came::Poll).await.unwrap();
    drop(conn);
    while process(&t.worker_pool, 1000).await.unwrap() > 0 {}
}

fn moons() -> InboxFilter {
    InboxFilter {
        kinds: vec!["moon.full".to_owned()],
        ..Default::default()
    }
}

async fn plan(desk: &Desk) -> ReprocessPlan {
    let filter = moons();
    inbox::preview(desk, PreviewReprocess { filter })
        .await
        .unwrap()
}

fn decision(hash: &str) -> StartReprocess {
    StartReprocess {
        bulk_id: Uuid::now_v7(),
        filter: moons(),
        hash: hash.to_owned(),
        per_second: 1000,
        reason: "the new version knows them".to_owned(),
    }
}

async fn turn(worker: &PgPool) -> i32 {
    let (_, done): (i32, i32) = sqlx::query_as("select open, done from delivery.work_bulks()")
        .fetch_one(worker)
        .await
        .unwrap();
    done
}

async fn now(desk: &Desk) -> Redelivery {
    let all = deliveries::redeliveries(desk, Empty {}).await.unwrap();
    all.into_iter().next().unwrap()
}

async fn change(desk: &Desk, bulk_id: Uuid, change: &str) -> Redelivery {
    let change = change.to_owned();
    deliveries::change(desk, ChangeRedelivery { bulk_id, change })
        .await
        .unwrap()
}

/// How often each event was put before the door again, fewest and most, and how many were.
async fn commands(t: &TestDesk) -> (i64, i64, i64) {
    sqlx::query_as(
        "select coalesce(min(n), 0), coalesce(max(n), 0), count(*)
           from (select count(*) as n from delivery.inbox_commands group by inbox_id) x",
    )
    .fetch_one(&t.db.superuser_pool().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_set_that_was_seen_is_processed_again_at_its_pace_and_nothing_that_came_since() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    filled(&t, "moon.full", 600).await;
    filled(&t, "moon.new", 3).await;
    let seen = plan(&desk).await;
    assert_eq!(
        (seen.count, seen.shares, seen.refused),
        (600, vec![(InboxResult::Kept, 600)], None)
    );

    filled(&t, "moon.full.again", 1).await;
    let stale = inbox::start(&desk, decision("another set"))
        .await
        .unwrap_err();
    assert_eq!(stale.code, Code::Conflict);
    let asked = decision(&seen.hash);
    let begun = inbox::start(&desk, asked.clone()).await.unwrap();
    let twice = inbox::start(&desk, asked.clone()).await.unwrap();
    assert_eq!((begun.bulk_id, begun.count), (twice.bulk_id, 600));
    assert_eq!(begun.came, Some(moons()), "what was asked for is shown");

    // The first turn takes a quarter of a second's worth, and a decision that was stopped stands still.
    let first = turn(&t.worker_pool).await;
    assert_eq!(first, 250);
    assert_eq!(change(&desk, asked.bulk_id, "stop").await.state, "stopped");
    assert_eq!(turn(&t.worker_pool).await, 0);
    change(&desk, asked.bulk_id, "go_on").await;
    while now(&desk).await.state == "running" {
        turn(&t.worker_pool).await;
    }
    assert_eq!(commands(&t).await, (1, 1, 600));
    assert_eq!(
        (now(&desk).await.done, now(&desk).await.delivered),
        (600, 0),
        "they wait"
    );
    while process(&t.worker_pool, 1000).await.unwrap() > 0 {}
    let end = now(&desk).await;
    assert_eq!(
        (end.state.as_str(), end.delivered, end.failed),
        ("done", 600, 0)
    );

    // Of each, what became of it, and who had it done.
    let one = InboxFilter {
        decision: Some(asked.bulk_id),
        ..Default::default()
    };
    let request = ListInbox {
        filter: one,
        after: None,
        limit: 500,
    };
    let list = inbox::list(&desk, request).await.unwrap();
    assert_eq!((list.rows.len(), list.next.is_some()), (500, true));
    assert!(
        list.rows
            .iter()
            .all(|row| row.kind.as_deref() == Some("moon.full"))
    );
    let page = GetArrival {
        arrival_id: list.rows[0].arrival_id,
    };
    let page = inbox::get(&desk, page).await.unwrap();
    let again = page.steps.iter().find(|s| s.what == "reprocessed").unwrap();
    assert_eq!(again.by.as_deref(), Some(begun.by.as_str()));
}

#[tokio::test]
async fn a_worker_that_dies_in_the_middle_leaves_nothing_out_and_does_nothing_twice() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    filled(&t, "moon.full", 600).await;
    let asked = decision(&plan(&desk).await.hash);
    inbox::start(&desk, asked.clone()).await.unwrap();
    // It did its piece, and its connection is cut before the end of the transaction.
    let mut dies = t.worker_pool.begin().await.unwrap();
    sqlx::query("select delivery.work_bulks()")
        .execute(&mut *dies)
        .await
        .unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut *dies)
        .await
        .unwrap();
    sqlx::query("select pg_terminate_backend($1, 5000)")
        .bind(pid)
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert!(dies.commit().await.is_err());
    assert_eq!(now(&desk).await.done, 0);
    while now(&desk).await.state == "running" {
        turn(&t.worker_pool).await;
    }
    assert_eq!(commands(&t).await, (1, 1, 600));
}

#[tokio::test]
async fn ending_it_leaves_the_rest_as_it_is_and_what_was_forgotten_is_told() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    filled(&t, "moon.full", 400).await;
    let asked = decision(&plan(&desk).await.hash);
    inbox::start(&desk, asked.clone()).await.unwrap();
    // The first that came is forgotten meanwhile.
    sqlx::raw_sql(
        "update delivery.inbox set received_at = now() - interval '100 days' where external_id = 'evt_moon.full_0';
         select delivery.forget_arrivals(10)",
    )
    .execute(&t.db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(turn(&t.worker_pool).await, 250);
    assert_eq!(
        change(&desk, asked.bulk_id, "cancel").await.state,
        "cancelled"
    );
    assert_eq!(turn(&t.worker_pool).await, 0);
    let end = now(&desk).await;
    assert_eq!((end.count, end.done, end.failed), (400, 250, 1));
    assert_eq!(commands(&t).await, (1, 1, 249));
    // What waits now is not asked for a second time.
    let rest = plan(&desk).await;
    assert_eq!((rest.count, rest.left_out[0].1), (150, 249));
}
