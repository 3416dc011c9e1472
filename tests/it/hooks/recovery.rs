//! An endpoint that was off is on again, and owed all that it missed, once.

use std::sync::atomic::{AtomicBool, Ordering};

use bizing_engine::app::wire::*;
use bizing_engine::app::{deliveries, endpoints};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, append, wait_until};

const NOWHERE: &str = "https://hooks.example.com/in";

pub(super) async fn enable(hooks: &Hooks, id: Uuid, since: DateTime<Utc>) -> Value {
    sqlx::query_scalar("select api.change_endpoint($1, (select version from read.destinations_v1 where destination_id = $1), 'enable', $2, 'they are back')")
        .bind(id)
        .bind(since)
        .fetch_one(&hooks.desk.people)
        .await
        .unwrap()
}

/// One turn of the worker. Decisions that are still open.
async fn turn(worker: &PgPool) -> i32 {
    sqlx::query_scalar("select open from delivery.work_bulks()")
        .fetch_one(worker)
        .await
        .unwrap()
}

async fn recovered(hooks: &Hooks) {
    wait_until("it is owed what it missed", SOON, async || {
        turn(&hooks.desk.worker_pool).await == 0
    })
    .await;
}

/// How often each event is owed to it.
pub(super) async fn owed(hooks: &Hooks, id: Uuid) -> Vec<Uuid> {
    sqlx::query_scalar(
        "select event_id from read.deliveries_v2 where destination_id = $1 order by event_id",
    )
    .bind(id)
    .fetch_all(&hooks.desk.people)
    .await
    .unwrap()
}

pub(super) fn sorted(mut ids: Vec<Uuid>) -> Vec<Uuid> {
    ids.sort();
    ids
}

#[tokio::test]
async fn an_append_that_saw_the_endpoint_off_and_committed_after_it_was_on_is_owed() {
    let hooks = Hooks::new().await;
    let id = hooks.endpoint(NOWHERE, json!({})).await.id;
    let since = Utc::now();
    hooks.change(id, "disable").await;
    let mut missed = hooks.append(Uuid::now_v7(), 3).await;

    // It has looked who wants its event, and is not committed.
    let mut open = hooks.desk.worker_pool.begin().await.unwrap();
    let late = super::append_to(&mut open, Uuid::now_v7(), 1).await;
    let done = enable(&hooks, id, since).await;
    assert_eq!(done["status"], "done", "{done}");
    let meanwhile = hooks.append(Uuid::now_v7(), 1).await;
    assert_eq!(
        owed(&hooks, id).await,
        meanwhile,
        "on at once, for whoever begins now"
    );
    for _ in 0..5 {
        assert_eq!(
            turn(&hooks.desk.worker_pool).await,
            1,
            "it waits for what is not over"
        );
    }
    open.commit().await.unwrap();
    recovered(&hooks).await;
    missed.extend(late);
    missed.extend(meanwhile);
    assert_eq!(owed(&hooks, id).await, sorted(missed));
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_is_owed_twice_while_others_go_on_appending() {
    let hooks = Hooks::new().await;
    let id = hooks.endpoint(NOWHERE, json!({})).await.id;
    let since = Utc::now();
    let stop = AtomicBool::new(false);
    let writer = async || {
        let mut made = vec![];
        while !stop.load(Ordering::SeqCst) || made.len() < 6 {
            made.extend(append(&hooks.desk.worker_pool, Uuid::now_v7(), 2).await);
        }
        made
    };
    let switching = async {
        for _ in 0..6 {
            hooks.change(id, "disable").await;
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            enable(&hooks, id, since).await;
            turn(&hooks.desk.worker_pool).await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (a, b, c, ()) = tokio::join!(writer(), writer(), writer(), switching);
    recovered(&hooks).await;
    let all = sorted([a, b, c].concat());
    assert!(all.len() > 12, "{}", all.len());
    assert_eq!(owed(&hooks, id).await, all);
}

#[tokio::test]
async fn a_recovery_is_counted_before_goes_on_in_pieces_and_can_be_stopped() {
    let hooks = Hooks::new().await;
    let desk = hooks.desk.desk(None);
    let id = hooks.endpoint(NOWHERE, json!({})).await.id;
    let since = Utc::now();
    hooks.change(id, "disable").await;
    let worker = &hooks.desk.worker_pool;
    // More than one piece: 5,000 positions are gone through at once.
    for _ in 0..11 {
        append(worker, Uuid::now_v7(), 500).await;
    }
    let plan = PreviewRecovery {
        destination_id: id,
        since,
    };
    let plan = endpoints::preview_recovery(&desk, plan).await.unwrap();
    assert_eq!((plan.missed, plan.given_up), (5_500, 0));
    enable(&hooks, id, since).await;
    // Fixed up to where, then one piece.
    wait_until("the first piece", SOON, async || {
        turn(worker).await;
        !owed(&hooks, id).await.is_empty()
    })
    .await;
    let now = deliveries::redeliveries(&desk, Empty {}).await.unwrap();
    let one = &now[0];
    assert_eq!(
        (one.action, one.state.as_str()),
        (BulkAction::Recover, "running")
    );
    assert_eq!((one.count, one.done), (5_000, 5_000));
    assert!(
        one.looked.is_some_and(|l| (0.5..1.0).contains(&l)),
        "{one:?}"
    );

    let change = |change: &str| ChangeRedelivery {
        bulk_id: one.bulk_id,
        change: change.to_owned(),
    };
    deliveries::change(&desk, change("stop")).await.unwrap();
    assert_eq!(turn(worker).await, 0);
    assert_eq!(owed(&hooks, id).await.len(), 5_000);
    // Whoever goes on need not be whoever began: all of it stands in the database.
    deliveries::change(&desk, change("go_on")).await.unwrap();
    recovered(&hooks).await;
    assert_eq!(owed(&hooks, id).await.len(), 5_500);

    // Turned off in the middle of another one: nothing more is owed.
    hooks.change(id, "disable").await;
    append(worker, Uuid::now_v7(), 1).await;
    enable(&hooks, id, since).await;
    hooks.change(id, "disable").await;
    turn(worker).await;
    assert_eq!(owed(&hooks, id).await.len(), 5_500);
    let now = deliveries::redeliveries(&desk, Empty {}).await.unwrap();
    assert_eq!(now[0].state, "cancelled");
}

#[tokio::test]
async fn the_message_that_was_answered_with_410_goes_again_with_those_that_were_missed() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|_, _| Say::Code(410)).await;
    let id = hooks.endpoint(&sink.url(), json!({})).await.id;
    let worker = hooks.desk.work().await;
    let mut wanted = hooks.append(Uuid::now_v7(), 1).await;
    wait_until("it is off", SOON, async || {
        hooks.health(id).await["state"] == "disabled"
    })
    .await;
    let off: DateTime<Utc> =
        sqlx::query_scalar("select state_at from read.destinations_v1 where destination_id = $1")
            .bind(id)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    wanted.extend(hooks.append(Uuid::now_v7(), 2).await);
    sink.say(|_, _| Say::Code(200));
    enable(&hooks, id, off).await;
    hooks.desk.bell.ring();
    hooks.wait_for_states(id, &[("delivered", 3)]).await;
    assert_eq!(owed(&hooks, id).await, sorted(wanted));
    worker.close().await;
}
