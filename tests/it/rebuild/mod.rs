//! Rebuilds: the new rows are the live ones, nobody sees the change, and nothing that stops them loses anything.

mod asking;
mod backwards;
mod builds;
mod headless;
mod killed;
mod shapes;
mod withdrawn;

use std::collections::BTreeMap;
use std::time::Duration;

use bizing_engine::app::projections::{get_rebuild, list};
use bizing_engine::app::wire::{Empty, GetRebuild, Group, Projection};
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

    /// Of bookings.
    async fn board(&self) -> Projection {
        let desk = crate::reading::desk(&self.s, self.s.people.clone(), Group::Admin);
        let board = list(&desk, Empty {}).await.unwrap();
        let mut rows = board.rows.into_iter();
        rows.find(|p| p.name == "bookings").unwrap()
    }

    /// New rows of bookings, swapped in.
    async fn swapped(&self, from: Value, position: i64) -> Uuid {
        let id = self.ask("bookings", from, position, None, "rebuild").await;
        self.work_until(id, "waits_for_swap").await;
        assert_eq!(self.change(id, "swap").await, "done");
        self.work_until(id, "done").await;
        id
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
        self.work_until_as(&projection::ALL, id, state).await
    }

    /// The same, by a build that knows these.
    async fn work_until_as(&self, known: projection::Known, id: Uuid, state: &str) -> Value {
        let mut rebuilder = self.rebuilder();
        rebuilder.known = known;
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
