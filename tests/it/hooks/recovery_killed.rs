//! What an endpoint missed is owed to it by workers that are killed at every piece of that.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::recovery::{enable, owed, sorted};
use super::sink::Sink;
use super::{Hooks, SOON, append, dying, message_id, wait_until};

/// How far the only recovery is: position, deliveries made, state.
type Far = (i64, i32, String);

async fn far(hooks: &Hooks) -> Far {
    sqlx::query_as("select at_position, count, state from delivery.bulk")
        .fetch_one(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap()
}

async fn gave_up(hooks: &Hooks, events: &[Uuid]) {
    sqlx::query("update delivery.deliveries set state = 'gave_up', finished_at = now() where event_id = any($1)")
        .bind(events)
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();
}

/// Whoever holds this lock stops each piece when it has written what is owed.
const HALF_WAY: &str = "select pg_advisory_xact_lock(4711)";

async fn stop_half_way(server: &PgPool) {
    for statement in [
        "create function delivery.stop_half_way() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4711); return null; end $$",
        "create trigger stop_half_way after insert on delivery.bulk_items for each statement execute function delivery.stop_half_way()",
    ] {
        sqlx::query(statement).execute(server).await.unwrap();
    }
}

/// A worker that is killed when what is owed is written and how far it is, is not. The server's process that worked for it.
async fn die_in_a_piece(hooks: &Hooks, server: &PgPool) -> i32 {
    let worker = dying::start(hooks);
    let mut waiting = None;
    wait_until("a piece is half written", SOON, async || {
        waiting = sqlx::query_scalar("select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%work_bulks%'")
            .fetch_optional(server)
            .await
            .unwrap();
        waiting.is_some()
    })
    .await;
    worker.kill();
    dying::leases_run_out(hooks).await;
    waiting.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_at_every_piece_of_a_recovery_lose_nothing_and_owe_nothing_twice() {
    let hooks = dying::hooks().await;
    let server = hooks.desk.db.superuser_pool().await;
    let sink = Sink::start().await;
    let id = hooks
        .endpoint(&sink.url(), json!({ "max_in_flight": 32 }))
        .await
        .id;
    let since = Utc::now();
    let mut all = append(&hooks.desk.worker_pool, Uuid::now_v7(), 700).await;
    gave_up(&hooks, &all).await;
    hooks.change(id, "disable").await;
    for _ in 0..10 {
        all.extend(append(&hooks.desk.worker_pool, Uuid::now_v7(), 500).await);
    }
    enable(&hooks, id, since).await;
    stop_half_way(&server).await;

    let mut pieces = 0;
    while far(&hooks).await.2 == "running" {
        let before = far(&hooks).await;
        let owed_before = owed(&hooks, id).await;
        let mut held = server.begin().await.unwrap();
        sqlx::query(HALF_WAY).execute(&mut *held).await.unwrap();
        let server_process = die_in_a_piece(&hooks, &server).await;
        sqlx::query("select pg_terminate_backend($1, 60000)")
            .bind(server_process)
            .execute(&server)
            .await
            .unwrap();
        assert_eq!(far(&hooks).await, before, "all of a piece or nothing");
        assert_eq!(owed(&hooks, id).await, owed_before);
        // The server goes on with what the dead one asked, and commits what nobody hears of.
        die_in_a_piece(&hooks, &server).await;
        held.rollback().await.unwrap();
        wait_until("the piece is written", SOON, async || {
            far(&hooks).await != before
        })
        .await;
        pieces += 1;
    }
    assert_eq!(pieces, 4, "two of what it missed, two of what was given up");

    let worker = hooks.desk.work().await;
    wait_until("all of it has arrived", SOON, async || {
        hooks.desk.bell.ring();
        hooks.states(id).await == [("delivered".to_owned(), all.len() as i64)]
    })
    .await;
    let (_, count, state) = far(&hooks).await;
    assert_eq!((count, state.as_str()), (5_700, "done"));
    assert_eq!(owed(&hooks, id).await, sorted(all.clone()), "each once");
    let mut arrived: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for got in sink.got() {
        let deliveries = arrived.entry(got.id()).or_default();
        deliveries.insert(got.header("bizing-delivery-id").to_owned());
    }
    let owed: BTreeSet<String> = all.into_iter().map(message_id).collect();
    assert!(arrived.keys().eq(&owed), "0 lost, 0 invented");
    assert!(
        arrived.values().all(|deliveries| deliveries.len() == 1),
        "what comes twice is the same message and the same delivery"
    );
    let doubled = sink.count() - owed.len();
    assert!(
        doubled as i64 <= dying::cut_off(&hooks).await,
        "only what was cut off is sent twice"
    );
    worker.close().await;
}
