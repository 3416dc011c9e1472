//! From the inbox to the sagas: once each, whatever else lies there.

use std::time::Duration;

use bizing_engine::saga::definition::Policy;
use bizing_engine::webhook::inbox::{self, Came};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::{event, record};
use crate::support::desk::{TestDesk, booking, quick_policy, slot};
use crate::support::wait_until;

async fn keep(pool: &PgPool, events: &[serde_json::Value]) {
    let records: Vec<_> = events.iter().map(record).collect();
    let mut conn = pool.acquire().await.unwrap();
    inbox::keep(&mut conn, &records, Came::Poll).await.unwrap();
}

async fn states(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("select external_id, state from delivery.inbox order by inbox_id")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// A saga that is over, with its id.
async fn done(t: &TestDesk) -> Uuid {
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    sqlx::query_scalar("select saga_id from saga.instance where booking_id = $1")
        .bind(booked.booking_id)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_came_is_told_apart_by_what_it_is_about() {
    let t = TestDesk::new().await;
    let saga = done(&t).await;
    sqlx::query("delete from delivery.inbox")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    let about = |saga: &str| json!({ "id": "pi_x", "object": "payment_intent", "metadata": { "saga_id": saga } });
    keep(
        &t.worker_pool,
        &[
            event(
                "evt_over",
                "payment_intent.succeeded",
                about(&saga.to_string()),
            ),
            event(
                "evt_other",
                "payment_intent.succeeded",
                about(&Uuid::now_v7().to_string()),
            ),
            event(
                "evt_nonsense",
                "payment_intent.succeeded",
                about("' or 1=1"),
            ),
            event("evt_moon", "moon.phase_changed", json!([])),
        ],
    )
    .await;
    assert_eq!(inbox::process(&t.worker_pool, 100).await.unwrap(), 4);
    assert_eq!(inbox::process(&t.worker_pool, 100).await.unwrap(), 0);
    let expected = [
        ("evt_over", "nothing_new"),
        ("evt_other", "not_ours"),
        ("evt_nonsense", "not_ours"),
        ("evt_moon", "kept"),
    ];
    assert_eq!(
        states(&t.worker_pool).await,
        expected.map(|(id, state)| (id.to_owned(), state.to_owned()))
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_processed_is_put_aside_and_holds_up_nobody() {
    let t = TestDesk::new().await;
    let saga = done(&t).await;
    let root = t.db.superuser_pool().await;
    sqlx::raw_sql(
        "delete from delivery.inbox;
         create function saga.choke() returns trigger language plpgsql as $$ begin
           if new.signal_id = 'evt_bad' then raise exception 'it is bad' using errcode = 'data_exception'; end if; return new; end $$;
         create trigger choke before insert on saga.signal for each row execute function saga.choke();",
    )
    .execute(&root)
    .await
    .unwrap();
    let about =
        json!({ "id": "pi_x", "object": "payment_intent", "metadata": { "saga_id": saga } });
    let sent = ["evt_before", "evt_bad", "evt_after"]
        .map(|id| event(id, "payment_intent.succeeded", about.clone()));
    keep(&t.worker_pool, &sent).await;
    for tries in 1..=8 {
        let before: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select now()")
            .fetch_one(&root)
            .await
            .unwrap();
        inbox::process(&t.worker_pool, 100).await.unwrap();
        let (state, made, problem, waits_s): (String, i32, Option<String>, f64) = sqlx::query_as(
            "select state, tries, problem, extract(epoch from next_at - $1)::float8 from delivery.inbox where external_id = 'evt_bad'",
        )
        .bind(before)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
        assert_eq!((made, problem.as_deref()), (tries, Some("it is bad")));
        assert_eq!(state, if tries < 8 { "waiting" } else { "quarantined" });
        let longer = 2_f64.powi(tries - 1);
        assert!(
            waits_s >= longer,
            "it waits longer each time: {waits_s} s after {tries}"
        );
        sqlx::query(
            "update delivery.inbox set next_at = now() + interval '1 hour' where state = 'waiting'",
        )
        .execute(&root)
        .await
        .unwrap();
        assert_eq!(
            inbox::process(&t.worker_pool, 100).await.unwrap(),
            0,
            "until then it is left alone"
        );
        sqlx::query("update delivery.inbox set next_at = now() where state = 'waiting'")
            .execute(&root)
            .await
            .unwrap();
    }
    let others = states(&t.worker_pool).await;
    assert_eq!(
        (others[0].1.as_str(), others[2].1.as_str()),
        ("nothing_new", "nothing_new"),
        "{others:?}"
    );

    // Mended, and done again by a person: through the same door.
    sqlx::query("drop trigger choke on saga.signal")
        .execute(&root)
        .await
        .unwrap();
    let desk = t.desk(None);
    let bad: i64 = sqlx::query_scalar(
        "select arrival_id from delivery.arrivals where external_id = 'evt_bad'",
    )
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    let request =
        serde_json::from_value(json!({ "arrival_ids": [bad], "reason": "the cause is mended" }))
            .unwrap();
    assert_eq!(
        bizing_engine::app::inbox::reprocess(&desk, request)
            .await
            .unwrap()
            .count,
        1
    );
    inbox::process(&t.worker_pool, 100).await.unwrap();
    let page = bizing_engine::app::inbox::get(
        &desk,
        serde_json::from_value(json!({ "arrival_id": bad })).unwrap(),
    )
    .await
    .unwrap();
    let steps: Vec<&str> = page.steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(steps, ["came_by_poll", "reprocessed", "nothing_new"]);
    assert_eq!(page.steps[1].text.as_deref(), Some("the cause is mended"));
}

#[tokio::test]
async fn what_an_event_led_to_is_told_from_the_log() {
    // The saga asks its provider when the event tells it to, and not by itself before that.
    let t = TestDesk::with(Policy {
        look_every: Duration::from_secs(3_600),
        ..quick_policy()
    })
    .await;
    let worker = t.work().await;
    let by_link = bizing_engine::app::wire::CreateBooking {
        payment_mode: bizing_engine::app::wire::PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(0))
    };
    let desk = t.desk(Some(worker.worker.clone()));
    let booked = t.book(&desk, by_link).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    let page: String = sqlx::query_scalar("select data->>'pay_url' from api.read_stream($1, 0) where name = 'PaymentRequested' order by version desc limit 1")
        .bind(format!("booking-{}", booked.booking_id))
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    reqwest::Client::new()
        .post(page)
        .form(&[("action", "pay")])
        .send()
        .await
        .unwrap();
    t.wait_for_saga(booked.booking_id, "completed").await;
    let mut led = None;
    wait_until(
        "an arrival tells of the payment",
        Duration::from_secs(120),
        async || {
            let request = serde_json::from_value(
                json!({ "filter": { "booking_id": booked.booking_id }, "limit": 50 }),
            )
            .unwrap();
            for row in bizing_engine::app::inbox::list(&desk, request)
                .await
                .unwrap()
                .rows
            {
                let request =
                    serde_json::from_value(json!({ "arrival_id": row.arrival_id })).unwrap();
                let page = bizing_engine::app::inbox::get(&desk, request)
                    .await
                    .unwrap();
                if page
                    .steps
                    .iter()
                    .any(|step| step.name.as_deref() == Some("PaymentReceived"))
                {
                    led = Some(page);
                }
            }
            led.is_some()
        },
    )
    .await;
    let led = led.unwrap();
    assert_eq!(led.row.booking_id, Some(booked.booking_id));
    // The row names the last of them, where the list has room for one.
    let events: Vec<_> = led.steps.iter().filter(|s| s.what == "event").collect();
    let shown = led.row.led_to.clone().unwrap();
    let last = events.iter().max_by_key(|s| s.position).unwrap();
    assert_eq!(
        (Some(shown.position), Some(shown.event_name)),
        (last.position, last.name.clone())
    );
    assert_eq!(shown.before as usize, events.len() - 1);
    let raw = led.raw.unwrap();
    assert!(
        raw.contains("\"object\": \"event\"") && !raw.contains("client_secret"),
        "{raw}"
    );
    // Another of the same saga, consumed in the very moment in which the first was: it led to nothing, and says so.
    let root = t.db.superuser_pool().await;
    let first = led.row.external_id.unwrap();
    keep(
        &t.worker_pool,
        &[event(
            "evt_silent",
            "payment_intent.succeeded",
            json!({ "id": "pi_silent", "object": "payment_intent" }),
        )],
    )
    .await;
    sqlx::query(
        "insert into saga.signal (signal_id, correlation_key, type, payload, saga_id) select 'evt_silent', correlation_key, type, '{}', saga_id from saga.signal where signal_id = $1",
    )
    .bind(&first)
    .execute(&root)
    .await
    .unwrap();
    sqlx::query("update saga.signal set consumed_at = (select consumed_at from saga.signal where signal_id = $1) where signal_id = 'evt_silent' and consumed_at is null")
        .bind(&first)
        .execute(&root)
        .await
        .unwrap();
    let arrival: i64 = sqlx::query_scalar(
        "select arrival_id from read.arrivals_v1 where external_id = 'evt_silent'",
    )
    .fetch_one(&root)
    .await
    .unwrap();
    let request = serde_json::from_value(json!({ "arrival_id": arrival })).unwrap();
    let silent = bizing_engine::app::inbox::get(&desk, request)
        .await
        .unwrap();
    assert!(
        silent.row.led_to.is_none() && !silent.steps.iter().any(|step| step.what == "event"),
        "{:?}",
        silent.steps
    );
    // What else came of it meanwhile is nobody's, or rang the same saga.
    wait_until(
        "nothing waits to be processed",
        Duration::from_secs(60),
        async || {
            let waits: i64 = sqlx::query_scalar(
                "select count(*) from delivery.inbox where processed_at is null",
            )
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
            waits == 0
        },
    )
    .await;
    worker.close().await;
}

/// The plan is kept from when the table was empty, and nobody has counted the rows since.
#[tokio::test]
async fn an_event_is_taken_in_without_looking_through_those_that_came_before() {
    let t = TestDesk::new().await;
    let many = 400;
    let mut conn = PgConnection::connect_with(&t.db.login("worker"))
        .await
        .unwrap();
    for n in 0..many {
        let about = json!({ "id": format!("pi_{n}"), "object": "payment_intent" });
        let came = event(&format!("evt_{n:04}"), "payment_intent.succeeded", about);
        // Each comes twice, by both ways of the plan.
        for _ in 0..2 {
            inbox::keep(&mut conn, &[record(&came)], Came::Poll)
                .await
                .unwrap();
        }
    }
    conn.close().await.unwrap();
    let owner = t.db.superuser_pool().await;
    let mut read = 0;
    wait_until("all is counted", Duration::from_secs(30), async || {
        let (scans, entries): (i64, i64) = sqlx::query_as(
            "select idx_scan, idx_tup_read from pg_stat_user_indexes where indexrelname = 'inbox_source_external_id_key'",
        )
        .fetch_one(&owner)
        .await
        .unwrap();
        read = entries;
        scans >= many
    })
    .await;
    assert!(read <= 4 * many, "{read} entries for {many} events");
}

#[tokio::test]
async fn an_event_that_the_database_refuses_is_set_aside_and_its_neighbours_are_kept() {
    let t = TestDesk::new().await;
    let about = |n: i32, note: &str| json!({ "id": format!("pi_{n}"), "object": "payment_intent", "description": note });
    let events = [(1, "fine"), (2, "a NUL: \u{0}"), (3, "fine")].map(|(n, note)| {
        event(
            &format!("evt_{n}"),
            "payment_intent.succeeded",
            about(n, note),
        )
    });
    keep(&t.worker_pool, &events).await;
    // It comes again with every look at the last minutes.
    keep(&t.worker_pool, &events).await;
    let kept: Vec<(String, String, bool)> = sqlx::query_as("select external_id, state, problem like '%cannot be kept%' is true from delivery.inbox order by external_id")
        .fetch_all(&t.worker_pool)
        .await
        .unwrap();
    let row = |id: &str, state: &str, told| (id.to_owned(), state.to_owned(), told);
    assert_eq!(
        kept,
        [
            row("evt_1", "waiting", false),
            row("evt_2", "quarantined", true),
            row("evt_3", "waiting", false)
        ]
    );
}
