//! Rebuilds: the new rows are the live ones, nobody sees the change, and nothing that stops them loses anything.

use std::collections::BTreeMap;
use std::time::Duration;

use bizing_engine::app::projections::get_rebuild;
use bizing_engine::app::wire::{GetRebuild, Group};
use bizing_engine::projection::{self, Rebuilder};
use bizing_engine::runtime::hints::Hints;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::projection::{Seeded, append_raw, seeded};
use crate::support::wait_until;

const WHY: &str = "The test wants to know.";

/// A seeded database whose read models are up to date, and a worker's rebuilder.
struct World {
    s: Seeded,
    projector: PgPool,
}

impl World {
    async fn new() -> World {
        let s = seeded().await;
        s.follow().await;
        let projector = projection::pool(&s.worker, 8).await.unwrap();
        World { s, projector }
    }

    fn rebuilder(&self) -> Rebuilder {
        Rebuilder::new(self.projector.clone(), Hints::default())
    }

    async fn ask(
        &self,
        name: &str,
        from: Value,
        position: i64,
        stream: Option<&str>,
        mode: &str,
    ) -> Uuid {
        let id = Uuid::now_v7();
        let answer: String = sqlx::query_scalar(
            "select api.start_replay($1, $2, 1, $3, $4, $5, $6, 'all_cores', $7)",
        )
        .bind(id)
        .bind(name)
        .bind(from)
        .bind(position)
        .bind(stream)
        .bind(mode)
        .bind(WHY)
        .fetch_one(&self.s.people)
        .await
        .unwrap();
        assert_eq!(answer, "done");
        id
    }

    async fn whole(&self, name: &str, mode: &str) -> Uuid {
        self.ask(name, json!({ "from": "start" }), 0, None, mode)
            .await
    }

    async fn change(&self, id: Uuid, action: &str) -> String {
        sqlx::query_scalar("select api.change_rebuild($1, $2, $3, $4)")
            .bind(Uuid::now_v7())
            .bind(id)
            .bind(action)
            .bind(WHY)
            .fetch_one(&self.s.people)
            .await
            .unwrap()
    }

    async fn projection(&self, name: &str, action: &str, position: Option<i64>) -> String {
        sqlx::query_scalar("select api.change_projection($1, $2, $3, $4, $5)")
            .bind(Uuid::now_v7())
            .bind(name)
            .bind(action)
            .bind(position)
            .bind(WHY)
            .fetch_one(&self.s.people)
            .await
            .unwrap()
    }

    async fn state(&self, id: Uuid) -> (String, Option<Value>, Option<String>) {
        sqlx::query_as("select state, compare, error from read.rebuilds where rebuild_id = $1")
            .bind(id)
            .fetch_one(&self.s.people)
            .await
            .unwrap()
    }

    /// Lets a rebuilder work until the rebuild is in that state.
    async fn work_until(&self, id: Uuid, state: &str) -> Value {
        let rebuilder = self.rebuilder();
        let work = async {
            loop {
                if !rebuilder.round().await.unwrap() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        let there = wait_until(state, Duration::from_secs(120), || async {
            let (now, _, error) = self.state(id).await;
            assert!(error.is_none() || state == "paused", "{error:?}");
            now == state
        });
        tokio::select! {
            () = there => {}
            () = work => {}
        }
        // A statement that was let go may still be carried out, and take what the next rebuilder is about to take.
        wait_until(
            "its statements are over",
            Duration::from_secs(30),
            || async { self.projector.num_idle() == self.projector.size() as usize },
        )
        .await;
        // What the rebuilder held is free at once, as after a shutdown.
        sqlx::query("update read.rebuilds set lease_until = null")
            .execute(&self.projector)
            .await
            .unwrap();
        self.state(id).await.1.unwrap_or_default()
    }

    async fn rows(&self, view: &str) -> Vec<Value> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select to_jsonb(v) from read.{view}_v1 v order by to_jsonb(v)::text"
        )))
        .fetch_all(&self.s.people)
        .await
        .unwrap()
    }

    async fn generation(&self, name: &str) -> i32 {
        sqlx::query_scalar("select generation from read.checkpoints where name = $1")
            .bind(name)
            .fetch_one(&self.s.people)
            .await
            .unwrap()
    }

    async fn schemas(&self, name: &str) -> i64 {
        sqlx::query_scalar(
            "select count(*) from pg_namespace where nspname ~ ('^p_' || $1 || '_g')",
        )
        .bind(name)
        .fetch_one(&self.s.worker)
        .await
        .unwrap()
    }
}

fn names() -> Vec<&'static str> {
    projection::ALL.iter().map(|p| p.name).collect()
}

fn same(compare: &Value) {
    assert_eq!(compare["live_hash"], compare["new_hash"], "{compare}");
    assert_eq!(
        (
            &compare["different"],
            &compare["only_live"],
            &compare["only_new"]
        ),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(compare["same_position"], json!(true));
}

#[tokio::test]
async fn a_dry_run_of_each_projection_finds_the_live_rows_and_leaves_nothing_behind() {
    let w = World::new().await;
    for name in names() {
        let id = w.whole(name, "dry_run").await;
        let compare = w.work_until(id, "done").await;
        same(&compare);
        assert!(compare["rows"].as_i64().unwrap() > 0, "{name}: {compare}");
        wait_until("its tables are gone", Duration::from_secs(10), || async {
            while w.rebuilder().round().await.unwrap() {}
            w.schemas(name).await == 1
        })
        .await;
    }
}

#[tokio::test]
async fn what_differs_is_found_by_key_and_column_and_the_swap_mends_it() {
    let w = World::new().await;
    let before = w.rows("bookings").await;
    for sql in [
        "update p_bookings_g1.bookings set refunded_minor = 1 where booking_id = (select min(booking_id::text)::uuid from p_bookings_g1.bookings)",
        "delete from p_bookings_g1.bookings where booking_id = (select max(booking_id::text)::uuid from p_bookings_g1.bookings)",
    ] {
        sqlx::query(sql).execute(&w.s.worker).await.unwrap();
    }
    let id = w.whole("bookings", "rebuild").await;
    let compare = w.work_until(id, "waits_for_swap").await;
    assert_eq!(
        (
            &compare["different"],
            &compare["only_live"],
            &compare["only_new"]
        ),
        (&json!(1), &json!(0), &json!(1)),
        "{compare}"
    );
    let (live, new): (Value, Value) = sqlx::query_as(
        "select live, new from read.rebuild_diffs where rebuild_id = $1 and kind = 'different'",
    )
    .bind(id)
    .fetch_one(&w.s.people)
    .await
    .unwrap();
    assert_eq!(live["refunded_minor"], json!(1));
    assert_eq!(new["booking_id"], live["booking_id"]);
    assert_ne!(
        w.rows("bookings").await,
        before,
        "nothing is swapped unasked"
    );

    assert_eq!(w.change(id, "swap").await, "done");
    w.work_until(id, "done").await;
    assert_eq!(w.rows("bookings").await, before);
    assert_eq!(w.generation("bookings").await, 2);
}

#[tokio::test]
async fn a_roll_back_shows_the_rows_of_before_with_what_came_since() {
    let w = World::new().await;
    let id = w.whole("bookings", "rebuild").await;
    w.work_until(id, "waits_for_swap").await;
    assert_eq!(w.change(id, "swap").await, "done");
    w.work_until(id, "done").await;

    let booking: Uuid = sqlx::query_scalar(
        "select booking_id from read.bookings_v1 where state = 'confirmed' limit 1",
    )
    .fetch_one(&w.s.people)
    .await
    .unwrap();
    append_raw(
        &w.s.worker,
        &format!("booking-{booking}"),
        "BookingExpired",
        json!({ "expired_at": "2026-11-25T10:00:00Z" }),
    )
    .await;
    w.s.follow().await;
    let now = w.rows("bookings").await;
    assert_eq!(w.projection("bookings", "roll_back", None).await, "done");
    assert_eq!(w.generation("bookings").await, 1);
    assert_eq!(
        w.rows("bookings").await,
        now,
        "the one before was kept up to date"
    );
    assert_eq!(w.state(id).await.0, "rolled_back");
}

#[tokio::test]
async fn one_stream_and_all_after_a_position_are_made_anew_and_the_rest_is_taken_over() {
    let w = World::new().await;
    let right = w.rows("bookings").await;
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select booking_id from read.bookings_v1 order by changed_at")
            .fetch_all(&w.s.people)
            .await
            .unwrap();
    let (first, last) = (ids[0], *ids.last().unwrap());
    sqlx::query("update p_bookings_g1.bookings set currency = 'XXX' where booking_id = any($1)")
        .bind(vec![first, last])
        .execute(&w.s.worker)
        .await
        .unwrap();

    let stream = format!("booking-{first}");
    let id = w
        .ask(
            "bookings",
            json!({ "from": "stream", "stream": stream }),
            0,
            Some(&stream),
            "rebuild",
        )
        .await;
    let compare = w.work_until(id, "waits_for_swap").await;
    assert_eq!(
        compare["different"],
        json!(1),
        "only this stream's row is made anew: {compare}"
    );
    w.change(id, "swap").await;
    w.work_until(id, "done").await;

    let position: i64 =
        sqlx::query_scalar("select max(position) - 1 from read.events_v1 where stream_id = $1")
            .bind(format!("booking-{last}"))
            .fetch_one(&w.s.people)
            .await
            .unwrap();
    let id = w
        .ask(
            "bookings",
            json!({ "from": "position", "position": position }),
            position,
            None,
            "rebuild",
        )
        .await;
    let compare = w.work_until(id, "waits_for_swap").await;
    assert_eq!(compare["different"], json!(1), "{compare}");
    w.change(id, "swap").await;
    w.work_until(id, "done").await;
    assert_eq!(w.rows("bookings").await, right);

    // The timeline is a projection of bookings, too.
    let id = w
        .ask(
            "timeline",
            json!({ "from": "position", "position": position }),
            position,
            None,
            "dry_run",
        )
        .await;
    same(&w.work_until(id, "done").await);
}

#[tokio::test]
async fn a_pause_stops_it_a_resume_goes_on_and_a_cancel_leaves_nothing() {
    let w = World::new().await;
    let id = w.whole("bookings", "rebuild").await;
    assert_eq!(w.change(id, "pause").await, "done");
    assert!(
        !w.rebuilder().round().await.unwrap(),
        "nobody carries on what is paused"
    );
    assert_eq!(w.change(id, "resume").await, "done");
    same(&w.work_until(id, "waits_for_swap").await);
    assert_eq!(w.schemas("bookings").await, 2);
    assert_eq!(w.change(id, "cancel").await, "done");
    wait_until("its tables are gone", Duration::from_secs(30), || async {
        let _ = w.rebuilder().round().await;
        w.schemas("bookings").await == 1
    })
    .await;
    assert_eq!(w.change(id, "resume").await, "over");
    // Another may begin.
    w.whole("bookings", "dry_run").await;
}

#[tokio::test]
async fn only_admins_ask_each_command_counts_once_and_a_reason_is_needed() {
    let w = World::new().await;
    let manager = w.s.db.pool("manager").await;
    let refused = sqlx::query("select api.start_replay(gen_random_uuid(), 'bookings', 1, '{}', 0, null, 'dry_run', 'normal', 'because I say so')").execute(&manager).await;
    assert_eq!(
        refused
            .unwrap_err()
            .as_database_error()
            .unwrap()
            .code()
            .unwrap(),
        "42501"
    );
    let ask = |id: Uuid, why: &'static str| {
        let people = w.s.people.clone();
        async move {
            sqlx::query_scalar::<_, String>("select api.start_replay($1, 'bookings', 1, '{\"from\":\"start\"}', 0, null, 'dry_run', 'normal', $2)")
                .bind(id)
                .bind(why)
                .fetch_one(&people)
                .await
                .unwrap()
        }
    };
    let id = Uuid::now_v7();
    assert_eq!(ask(id, "too short").await, "reason");
    assert_eq!(ask(id, WHY).await, "done");
    assert_eq!(ask(id, WHY).await, "repeated");
    assert_eq!(ask(Uuid::now_v7(), WHY).await, "running");
    let (by, action, reason): (String, String, String) =
        sqlx::query_as("select by, action, reason from read.projection_log where command_id = $1")
            .bind(id)
            .fetch_one(&w.s.people)
            .await
            .unwrap();
    assert!(by.starts_with("test_admin_"));
    assert_eq!((action.as_str(), reason.as_str()), ("dry_run", WHY));
}

#[tokio::test]
async fn a_rebuild_has_no_way_to_cause_anything() {
    let w = World::new().await;
    let before: Vec<i64> = counts(&w).await;
    for name in names() {
        let id = w.whole(name, "dry_run").await;
        w.work_until(id, "done").await;
    }
    assert_eq!(counts(&w).await, before);
    for sql in [
        "insert into delivery.attempts default values",
        "insert into delivery.inbox default values",
        "update delivery.deliveries set state = state",
        "update saga.instance set state = state",
        "insert into saga.effect default values",
        "insert into saga.signal default values",
        "insert into core.events default values",
        "update core.streams set version = version",
        "select api.append(null, null, null, null, null, null, null, null, null, null, null, null, null)",
        "select api.subject_key(gen_random_uuid(), true)",
        "update booking.inventory_claim set released_at = now()",
    ] {
        let refused = sqlx::query(sql).execute(&w.projector).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().unwrap().code().unwrap(),
            "42501",
            "{sql}"
        );
    }
    // Nor can it become more by itself: the role is the session's own.
    sqlx::query("reset role")
        .execute(&w.projector)
        .await
        .unwrap();
    let refused = sqlx::query("update saga.instance set state = state")
        .execute(&w.projector)
        .await;
    assert!(refused.is_err());
}

async fn counts(w: &World) -> Vec<i64> {
    sqlx::query_scalar(
        "select count(*) from core.events union all select count(*) from delivery.deliveries union all select count(*) from delivery.attempts
         union all select count(*) from saga.effect union all select count(*) from saga.signal union all select count(*) from saga.instance",
    )
    .fetch_all(&w.s.worker)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_skipped_event_is_passed_by_in_the_live_rows_and_in_rebuilds() {
    let w = World::new().await;
    let good: Uuid = sqlx::query_scalar("select booking_id from read.bookings_v1 limit 1")
        .fetch_one(&w.s.people)
        .await
        .unwrap();
    append_raw(
        &w.s.worker,
        &format!("booking-{good}"),
        "BookingConfirmed",
        json!({ "confirmed_at": "not a time" }),
    )
    .await;
    w.s.follow().await;
    let parked: Value =
        sqlx::query_scalar("select parked from read.checkpoints where name = 'bookings'")
            .fetch_one(&w.s.people)
            .await
            .unwrap();
    let poison = parked["position"].as_i64().unwrap();
    let excerpt = parked["excerpt"].as_str().unwrap();
    assert!(
        excerpt.contains("not a time") && excerpt.ends_with('^'),
        "{excerpt}"
    );

    // A rebuild meets it as well, and waits for a person.
    let id = w.whole("bookings", "rebuild").await;
    w.work_until(id, "paused").await;
    assert!(w.state(id).await.2.unwrap().contains(&poison.to_string()));

    assert_eq!(
        w.projection("bookings", "skip", Some(poison - 1)).await,
        "other_event"
    );
    assert_eq!(w.projection("bookings", "retry", None).await, "done");
    w.s.follow().await;
    assert_eq!(w.projection("bookings", "skip", Some(poison)).await, "done");
    w.s.follow().await;
    let behind: i64 = sqlx::query_scalar(
        "select api.safe_position() - position from read.checkpoints where name = 'bookings'",
    )
    .fetch_one(&w.s.people)
    .await
    .unwrap();
    assert_eq!(behind, 0);
    assert_eq!(w.change(id, "resume").await, "done");
    same(&w.work_until(id, "waits_for_swap").await);
    let desk = crate::reading::desk(&w.s, w.s.people.clone(), Group::Admin);
    let report = get_rebuild(&desk, GetRebuild { rebuild_id: id }).await;
    let report = report.unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert_eq!(
        (
            report.skipped[0].position,
            report.skipped[0].event_name.as_deref(),
            report.skipped[0].reason.as_str()
        ),
        (poison, Some("BookingConfirmed"), WHY)
    );
    let event: i64 = sqlx::query_scalar("select count(*) from core.events where position = $1")
        .bind(poison)
        .fetch_one(&w.s.worker)
        .await
        .unwrap();
    assert_eq!(event, 1, "the event itself is untouched");
}

#[tokio::test]
async fn streams_share_a_part_until_it_is_full() {
    let w = World::new().await;
    for (from, position) in [
        (json!({ "from": "start" }), 0),
        (json!({ "from": "position", "position": 1 }), 1),
    ] {
        let id = w.ask("bookings", from, position, None, "dry_run").await;
        w.work_until(id, "done").await;
        let (parts, events): (i64, i64) = sqlx::query_as(
            "select count(*), sum(events)::bigint from read.rebuild_parts where rebuild_id = $1",
        )
        .bind(id)
        .fetch_one(&w.s.people)
        .await
        .unwrap();
        assert!(events > 1_000, "{events}");
        assert_eq!(parts, 1 + events / 20_000, "of {events} events");
    }
}

#[tokio::test]
async fn a_worker_killed_inside_the_swap_leaves_what_was_read_and_the_next_one_swaps() {
    let w = World::new().await;
    let right = w.rows("bookings").await;
    let id = w.whole("bookings", "rebuild").await;
    w.work_until(id, "waits_for_swap").await;
    let before = w.generation("bookings").await;
    assert_eq!(w.change(id, "swap").await, "done");

    // Somebody reads the list for a while: the swap waits for them in the middle of its transaction, and dies there.
    let superuser = w.s.db.superuser_pool().await;
    let mut reader = w.s.people.begin().await.unwrap();
    sqlx::query("select count(*) from read.bookings_v1")
        .execute(&mut *reader)
        .await
        .unwrap();
    let killed = wait_until("a swap", Duration::from_secs(60), || async {
        let killed: Option<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and query like 'select core.swap_rebuild%' and wait_event_type = 'Lock'",
        )
        .fetch_optional(&superuser)
        .await
        .unwrap();
        killed == Some(true)
    });
    let rebuilder = w.rebuilder();
    let (ended, ()) = tokio::join!(rebuilder.round(), killed);
    assert!(ended.is_err(), "its connection was cut: {ended:?}");
    assert_eq!(w.generation("bookings").await, before);
    assert_eq!(w.state(id).await.0, "running");
    reader.rollback().await.unwrap();
    assert_eq!(w.rows("bookings").await, right);

    w.work_until(id, "done").await;
    assert!(w.generation("bookings").await > before);
    assert_eq!(w.rows("bookings").await, right);
}

#[tokio::test]
async fn two_workers_race_for_one_rebuild_and_one_has_it() {
    let w = World::new().await;
    let id = w.whole("timeline", "dry_run").await;
    let (a, b) = (w.rebuilder(), w.rebuilder());
    let (x, y) = tokio::join!(a.round(), b.round());
    assert!(x.unwrap() ^ y.unwrap(), "exactly one of them claims it");
    let (state, compare, _) = w.state(id).await;
    assert_eq!(state, "done");
    same(&compare.unwrap());
}

/// Twenty workers die at random points of one rebuild, their server processes with them, while the log grows and a
/// window reads. Nothing may be missing or counted twice, and the window must not notice, the swap included.
#[tokio::test]
async fn workers_killed_at_random_points_while_the_log_grows_lose_and_double_nothing() {
    let w = World::new().await;
    let ids: Vec<Uuid> = sqlx::query_scalar("select booking_id from read.bookings_v1")
        .fetch_all(&w.s.people)
        .await
        .unwrap();
    let rows = ids.len() as i64;

    let stop = CancellationToken::new();
    let mut others = JoinSet::new();
    let (worker, done) = (w.s.worker.clone(), stop.clone());
    others.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        // On a busy machine the log is not to grow faster than its readers can follow.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for (n, id) in ids.iter().cycle().enumerate() {
            if done.is_cancelled() {
                return;
            }
            pace.tick().await;
            let sent = json!({ "delivery_id": Uuid::now_v7(), "template": "booking_confirmed", "channel": "email",
                               "provider_message_id": format!("<{n}@halcyon.example>"), "attempt": 1 });
            append_raw(&worker, &format!("booking-{id}"), "NotificationSent", sent).await;
        }
    });
    let (tail, done) = (w.s.tail(), stop.clone());
    others.spawn(async move {
        while !done.is_cancelled() {
            if !tail.round().await.unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let (window, done) = (w.s.people.clone(), stop.clone());
    others.spawn(async move {
        while !done.is_cancelled() {
            let seen: i64 = sqlx::query_scalar("select count(*) from read.bookings_v1")
                .fetch_one(&window)
                .await
                .expect("no read fails");
            assert_eq!(seen, rows, "no reader sees half a table");
        }
    });

    let superuser = w.s.db.superuser_pool().await;
    let mut id = w.whole("bookings", "rebuild").await;
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let mut dice: u64 = seed.unwrap_or_else(|| Uuid::now_v7().as_u128() as u64 | 1);
    println!("SEED={dice}");
    let mut lives = 0;
    let mut died_in = BTreeMap::<String, u32>::new();
    while lives < 20 {
        if w.state(id).await.0 == "waits_for_swap" {
            assert_eq!(w.change(id, "cancel").await, "done");
            w.work_until(id, "cancelled").await;
            id = w.whole("bookings", "rebuild").await;
        }
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let pool = projection::pool(&w.s.worker, 4).await.unwrap();
        let doomed = Rebuilder::new(pool, Hints::default());
        let life = tokio::spawn(async move { while let Ok(true) = doomed.round().await {} });
        tokio::time::sleep(Duration::from_millis(10 + dice % 800)).await;
        life.abort();
        // The server's side of that worker: what it had open is rolled back, as after kill -9.
        sqlx::query(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity a
              where datname = current_database() and application_name = 'bizing-desk projections'
                and pid <> all($1)",
        )
        .bind(backends(&w.projector).await)
        .execute(&superuser)
        .await
        .unwrap();
        let phase: String =
            sqlx::query_scalar("select phase from read.rebuilds where rebuild_id = $1")
                .bind(id)
                .fetch_one(&w.s.people)
                .await
                .unwrap();
        *died_in.entry(phase).or_default() += 1;
        sqlx::query("update read.rebuilds set lease_until = null")
            .execute(&w.projector)
            .await
            .unwrap();
        lives += 1;
    }
    println!("{lives} workers died: {died_in:?}");
    assert!(
        lives >= 3,
        "a rebuild that nobody could disturb proves nothing"
    );
    w.work_until(id, "waits_for_swap").await;
    assert_eq!(w.change(id, "swap").await, "done");
    w.work_until(id, "done").await;
    stop.cancel();
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }

    // At rest, a rebuild from nothing says what is right.
    w.s.follow().await;
    let id = w.whole("bookings", "dry_run").await;
    same(&w.work_until(id, "done").await);
}

/// Server processes of a pool that is to live.
async fn backends(pool: &PgPool) -> Vec<i32> {
    let mut held = vec![];
    let mut pids = vec![];
    for _ in 0..pool.size().max(1) {
        let mut conn = pool.acquire().await.unwrap();
        pids.push(
            sqlx::query_scalar("select pg_backend_pid()")
                .fetch_one(&mut *conn)
                .await
                .unwrap(),
        );
        held.push(conn);
    }
    pids
}
