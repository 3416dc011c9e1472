//! The read models: nothing skipped, nothing twice, one poison parks one.

use std::time::Duration;

use bizing_engine::app::wire::{Empty, Group};
use bizing_engine::app::{demo, metrics, projections, session};
use bizing_engine::projection::{self, Tail};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::store::read::{self, Reads};
use chrono::Utc;
use futures_util::TryStreamExt;
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::db::TestDb;
use crate::support::wait_until;

/// A database with the demo in it, and the two logins of a desk.
pub struct Seeded {
    pub db: TestDb,
    pub people: PgPool,
    pub worker: PgPool,
}

pub async fn seeded() -> Seeded {
    let db = TestDb::new().await;
    let (people, worker) = (db.pool("admin").await, db.pool("worker").await);
    demo::seed(&people, &worker, Utc::now()).await.unwrap();
    Seeded { db, people, worker }
}

impl Seeded {
    pub fn tail(&self) -> Tail {
        Tail::new(self.worker.clone(), Hints::default())
    }

    pub async fn follow(&self) {
        while self.tail().round().await.unwrap() {}
    }
}

async fn rows(pool: &PgPool, sql: &'static str) -> Vec<Value> {
    sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
}

async fn everything(pool: &PgPool) -> [Vec<Value>; 3] {
    [
        rows(
            pool,
            "select to_jsonb(b) from p_bookings_g1.bookings b order by booking_id",
        )
        .await,
        rows(
            pool,
            "select to_jsonb(c) from p_customers_g1.customers c order by customer_id",
        )
        .await,
        rows(
            pool,
            "select to_jsonb(t) from p_timeline_g1.timeline t order by booking_id, position",
        )
        .await,
    ]
}

async fn position(pool: &PgPool, name: &str) -> i64 {
    sqlx::query_scalar("select position from read.checkpoints where name = $1")
        .bind(name)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// An event appended by the worker as any program might have written it.
pub async fn append_raw(pool: &PgPool, stream: &str, name: &str, data: Value) {
    let status: String = sqlx::query_scalar(
        "select status from api.append(array[$1], array[null::bigint], array[null::uuid], array[null::bytea], array[1], array[$2], array[$3],
                                       array[1::smallint], array[now()], array[$2], array[null::uuid], array['{}'::jsonb], array[$4])",
    )
    .bind(stream)
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(data)
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(status, "appended");
}

#[tokio::test]
async fn replay_from_zero_gives_identical_rows() {
    let s = seeded().await;
    s.follow().await;
    let before = everything(&s.worker).await;
    assert!(before.iter().all(|rows| rows.len() >= 60));
    for name in ["bookings", "customers", "timeline"] {
        let mut tx = s.worker.begin().await.unwrap();
        projection::reset(&mut tx, name).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert!(everything(&s.worker).await.iter().all(Vec::is_empty));
    s.follow().await;
    assert_eq!(everything(&s.worker).await, before);
}

#[tokio::test]
async fn a_long_page_says_what_short_ones_say() {
    let s = seeded().await;
    let mut conn = s.worker.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    let long = read::log(&mut conn, 0, safe, i64::MAX).await.unwrap();
    assert!(long.len() > 1_000);
    let mut short = vec![];
    while let Some(page) = {
        let after = short.last().map_or(0, |e: &read::Recorded| e.position);
        Some(read::log(&mut conn, after, safe, 400).await.unwrap()).filter(|p| !p.is_empty())
    } {
        short.extend(page);
    }
    assert_eq!(long.len(), short.len());
    for (long, short) in long.iter().zip(&short) {
        assert_eq!(format!("{long:?}"), format!("{short:?}"));
        assert_eq!(long.event().unwrap(), short.event().unwrap());
    }
    let types = ["BookingCancelled", "CustomerRegistered"];
    let some = read::log_of(&mut conn, 0, safe, Some(&types), Reads::Whole, i64::MAX);
    let some: Vec<i64> = some.await.unwrap().iter().map(|e| e.position).collect();
    let wanted = long.iter().filter(|e| types.contains(&e.name.as_str()));
    assert_eq!(some, wanted.map(|e| e.position).collect::<Vec<_>>());
    let bare = ["NotificationSent"];
    let little = read::log_of(
        &mut conn,
        0,
        safe,
        None,
        Reads::Said { bare: &bare },
        i64::MAX,
    );
    let little = little.await.unwrap();
    assert_eq!(long.len(), little.len());
    for (long, little) in long.iter().zip(&little) {
        let said = |e: &read::Recorded| (e.position, e.event_id, e.stream.clone(), e.occurred_at);
        assert_eq!(said(long), said(little));
        assert_eq!(little.is_bare(), bare.contains(&little.name.as_str()));
        if !little.is_bare() {
            assert_eq!(long.event().unwrap(), little.event().unwrap());
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_left_in_a_copy_answers_nobody_else() {
    let s = seeded().await;
    let pool = projection::pool(&s.worker, 1).await.unwrap();
    for n in 0..20_i64 {
        let mut conn = pool.acquire().await.unwrap();
        let mut copy = conn
            .copy_out_raw("copy (select * from core.events) to stdout")
            .await
            .unwrap();
        assert!(copy.try_next().await.unwrap().is_some());
        drop(copy);
        drop(conn);
        for asked in [n, n + 1_000] {
            let answer: i64 = sqlx::query_scalar("select $1::bigint")
                .bind(asked)
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(answer, asked);
        }
    }
}

#[tokio::test]
async fn two_processes_share_the_work_and_count_nothing_twice() {
    let s = seeded().await;
    let (a, b) = (s.tail(), s.tail());
    for _ in 0..20 {
        let (x, y) = tokio::join!(a.round(), b.round());
        x.unwrap();
        y.unwrap();
    }
    let counted: i64 =
        sqlx::query_scalar("select sum(bookings)::bigint from p_customers_g1.customers")
            .fetch_one(&s.worker)
            .await
            .unwrap();
    let booked: i64 = sqlx::query_scalar("select count(*) from p_bookings_g1.bookings")
        .fetch_one(&s.worker)
        .await
        .unwrap();
    let created: i64 =
        sqlx::query_scalar("select count(*) from read.events_v1 where name = 'BookingCreated'")
            .fetch_one(&s.worker)
            .await
            .unwrap();
    assert_eq!((counted, booked), (created, created));
}

#[tokio::test]
async fn a_held_open_append_makes_readers_wait_and_never_skip() {
    let s = seeded().await;
    s.follow().await;
    let before = position(&s.worker, "timeline").await;
    let stream = format!("booking-{}", Uuid::now_v7());

    // The first writer draws its position and stays open; a second one commits behind it.
    let mut open = s.worker.begin().await.unwrap();
    sqlx::query(
        "select api.append(array[$1], array[null::bigint], array[null::uuid], array[null::bytea], array[1], array[gen_random_uuid()],
                array['CalendarSynced'], array[1::smallint], array[now()], array[gen_random_uuid()], array[null::uuid], array['{}'::jsonb], array['{}'::jsonb])",
    )
    .bind(&stream)
    .execute(&mut *open)
    .await
    .unwrap();
    let other = format!("booking-{}", Uuid::now_v7());
    append_raw(
        &s.worker,
        &other,
        "NotificationFailed",
        serde_json::json!({}),
    )
    .await;
    s.follow().await;
    assert_eq!(position(&s.worker, "timeline").await, before);
    // Readers that are held do not pass for readers that have read everything.
    let behind = async || {
        let figures = metrics::figures(&s.people).await.unwrap();
        let mut live = figures.generations.iter();
        let timeline = live.find(|g| g.name == "timeline").unwrap();
        let desk = crate::reading::desk(&s, s.people.clone(), Group::Admin);
        let board = projections::list(&desk, Empty {}).await.unwrap();
        let shown = board.rows.iter().find(|p| p.name == "timeline").unwrap();
        let status = session::status(&desk, Empty {}).await.unwrap();
        let lamp = status.projections.iter().find(|p| p.name == "timeline");
        [
            timeline.lag_events,
            shown.lag_events,
            lamp.unwrap().lag_events,
        ]
    };
    assert_eq!(behind().await, [2, 2, 2]);

    open.commit().await.unwrap();
    s.follow().await;
    let names: Vec<String> = sqlx::query_scalar(
        "select event_name from p_timeline_g1.timeline where position > $1 order by position",
    )
    .bind(before)
    .fetch_all(&s.worker)
    .await
    .unwrap();
    assert_eq!(names, ["CalendarSynced", "NotificationFailed"]);
    assert_eq!(behind().await, [0, 0, 0]);
}

#[tokio::test]
async fn a_poison_event_parks_one_projection_while_the_others_go_on() {
    let s = seeded().await;
    s.follow().await;
    let good: Uuid = sqlx::query_scalar("select booking_id from p_bookings_g1.bookings limit 1")
        .fetch_one(&s.worker)
        .await
        .unwrap();
    let stream = format!("booking-{good}");
    let told = serde_json::json!({ "provider": "x", "operation": "create", "external_id": "e", "sequence": 0 });
    append_raw(&s.worker, &stream, "CalendarSynced", told.clone()).await;
    append_raw(
        &s.worker,
        &stream,
        "BookingConfirmed",
        serde_json::json!({ "confirmed_at": "not a time" }),
    )
    .await;
    append_raw(&s.worker, &stream, "CalendarSynced", told).await;
    s.follow().await;

    let (at, parked): (i64, Option<Value>) =
        sqlx::query_as("select position, parked from read.checkpoints where name = 'bookings'")
            .fetch_one(&s.worker)
            .await
            .unwrap();
    let parked = parked.expect("the bookings projection is parked");
    let poison = parked["position"].as_i64().unwrap();
    // The event before it is in, the poison is named with its cause, and nothing after it is.
    assert_eq!(at, poison - 1);
    assert!(
        parked["error"].as_str().unwrap().contains("cannot be read"),
        "{parked}"
    );
    assert!(
        position(&s.worker, "timeline").await > poison
            && position(&s.worker, "customers").await > poison
    );

    // A restart changes nothing; clearing it, once the event can be read, does.
    s.follow().await;
    assert_eq!(position(&s.worker, "bookings").await, at);
    let superuser = s.db.superuser_pool().await;
    let mut conn = superuser.acquire().await.unwrap();
    sqlx::query("set session_replication_role = replica")
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query("update core.events set data = jsonb_build_object('confirmed_at', now(), 'sequence', 0) where position = $1")
        .bind(poison)
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query("update read.checkpoints set parked = null where name = 'bookings'")
        .execute(&mut *conn)
        .await
        .unwrap();
    s.follow().await;
    assert_eq!(
        position(&s.worker, "bookings").await,
        position(&s.worker, "timeline").await
    );
}

/// A grant that is missing, say: no event is to blame, so nothing is parked, and nobody else waits for it.
#[tokio::test]
async fn one_that_cannot_be_written_says_why_and_keeps_nobody_waiting() {
    let s = seeded().await;
    s.follow().await;
    let before = position(&s.worker, "bookings").await;
    let superuser = s.db.superuser_pool().await;
    let right = async |change: &str| {
        let inst = &s.db.installation.id;
        let text = format!("{change} bizing_worker_{inst}, bizing_projector_{inst}");
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(text));
        done.execute(&superuser).await.unwrap();
    };
    let good: Uuid = sqlx::query_scalar("select booking_id from p_bookings_g1.bookings limit 1")
        .fetch_one(&s.worker)
        .await
        .unwrap();
    right("revoke insert, update, delete on p_bookings_g1.bookings from").await;
    let stream = format!("booking-{good}");
    append_raw(
        &s.worker,
        &stream,
        "BookingCancelled",
        serde_json::json!({ "cancelled_by": "customer", "reason_code": "not_told", "reason": null, "refund_due": { "amount_minor": 0, "currency": "EUR" }, "sequence": 1 }),
    )
    .await;

    let tail = s.tail();
    let desk = crate::reading::desk(&s, s.people.clone(), Group::Admin);
    let shown = async || {
        while tail.round().await.unwrap() {}
        let board = projections::list(&desk, Empty {}).await.unwrap();
        let mut rows = board.rows.into_iter();
        let row = rows.find(|p| p.name == "bookings").unwrap();
        (row.position, row.last_error, row.parked)
    };
    assert_eq!(shown().await, (before, None, None), "once is no trouble");
    assert!(position(&s.worker, "timeline").await > before);
    wait_until("it says why", Duration::from_secs(20), async || {
        let (at, error, parked) = shown().await;
        assert!(at == before && parked.is_none());
        error.is_some_and(|e| e.contains("permission denied"))
    })
    .await;
    right("grant insert, update, delete on p_bookings_g1.bookings to").await;
    wait_until("it goes on", Duration::from_secs(20), async || {
        let (at, error, _) = shown().await;
        at > before && error.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_value_that_fits_into_no_index_is_the_event_s_fault() {
    let s = seeded().await;
    s.follow().await;
    sqlx::raw_sql(
        "create function public.too_long() returns trigger language plpgsql as $$
           begin raise exception 'index row size exceeds the maximum' using errcode = 'program_limit_exceeded'; end $$;
         create trigger too_long before insert on p_timeline_g1.timeline for each row execute function public.too_long()",
    )
    .execute(&s.db.superuser_pool().await)
    .await
    .unwrap();
    let stream = format!("booking-{}", Uuid::now_v7());
    append_raw(
        &s.worker,
        &stream,
        "NotificationFailed",
        serde_json::json!({}),
    )
    .await;
    s.follow().await;
    let parked: Option<Value> =
        sqlx::query_scalar("select parked from read.checkpoints where name = 'timeline'")
            .fetch_one(&s.worker)
            .await
            .unwrap();
    assert_eq!(parked.unwrap()["event_name"], "NotificationFailed");
}

#[tokio::test]
async fn an_erased_customer_is_nobody_after_a_replay() {
    let s = seeded().await;
    s.follow().await;
    let customer: Uuid = sqlx::query_scalar(
        "select customer_id from p_customers_g1.customers where bookings > 1 limit 1",
    )
    .fetch_one(&s.worker)
    .await
    .unwrap();
    let superuser = s.db.superuser_pool().await;
    sqlx::query("delete from core.subject_keys where subject_id = $1")
        .bind(customer)
        .execute(&superuser)
        .await
        .unwrap();
    for name in ["bookings", "customers"] {
        let mut tx = s.worker.begin().await.unwrap();
        projection::reset(&mut tx, name).await.unwrap();
        tx.commit().await.unwrap();
    }
    s.follow().await;
    let (name, email, erased): (String, Option<String>, bool) = sqlx::query_as(
        "select name, email, erased from p_customers_g1.customers where customer_id = $1",
    )
    .bind(customer)
    .fetch_one(&s.worker)
    .await
    .unwrap();
    assert_eq!(
        (name.as_str(), email, erased),
        (projection::ERASED, None, true)
    );
    let shown: Vec<String> = sqlx::query_scalar(
        "select distinct customer_name from p_bookings_g1.bookings where customer_id = $1",
    )
    .bind(customer)
    .fetch_all(&s.worker)
    .await
    .unwrap();
    assert_eq!(shown, [projection::ERASED]);
}

#[tokio::test]
async fn a_commit_elsewhere_reaches_a_window_whose_bell_is_silent() {
    let s = seeded().await;
    s.follow().await;
    let stop = CancellationToken::new();
    let (here, elsewhere) = (Hints::default(), Hints::default());
    let mut heard = here.subscribe();
    let tasks = [
        tokio::spawn(projection::watch(
            s.people.clone(),
            Bell::default(),
            here.clone(),
            stop.clone(),
        )),
        tokio::spawn(projection::run(
            s.worker.clone(),
            Bell::default(),
            elsewhere,
            stop.clone(),
        )),
    ];
    let handing_on = tokio::spawn(here.clone().run());
    let booking: Uuid = sqlx::query_scalar("select booking_id from p_bookings_g1.bookings limit 1")
        .fetch_one(&s.worker)
        .await
        .unwrap();
    let topic = format!("booking:{booking}");
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        // Until one comes after the watcher's first look, which tells of nothing.
        for sequence in 0.. {
            let told = serde_json::json!({ "provider": "x", "operation": "create", "external_id": "e", "sequence": sequence });
            append_raw(
                &s.worker,
                &format!("booking-{booking}"),
                "CalendarSynced",
                told,
            )
            .await;
            let told = tokio::time::timeout(Duration::from_secs(3), async {
                while !heard.recv().await.unwrap().topics.contains(&topic) {}
            });
            if told.await.is_ok() {
                return;
            }
        }
    });
    found.await.expect("the hint comes without any bell");
    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    handing_on.abort();
}

#[tokio::test]
async fn the_runner_makes_its_checkpoints_and_catches_up_by_itself() {
    let s = seeded().await;
    let stop = CancellationToken::new();
    let bell = Bell::default();
    // As in a desk: with the rights of whoever fills read models, and no more.
    let projector = projection::pool(&s.worker, 4).await.unwrap();
    let task = tokio::spawn(projection::run(
        projector,
        bell.clone(),
        Hints::default(),
        stop.clone(),
    ));
    wait_until(
        "all are at the end of the log",
        Duration::from_secs(20),
        || async {
            sqlx::query_scalar::<_, bool>(
                "select count(*) = $1 and min(position) = api.safe_position() from read.checkpoints",
            )
            .bind(projection::ALL.len() as i64)
            .fetch_one(&s.worker)
            .await
            .unwrap()
        },
    )
    .await;
    stop.cancel();
    task.await.unwrap();
}
