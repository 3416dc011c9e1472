//! From an event to a message received, and what may go wrong on the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bizing_engine::runtime::crash::CrashPoints;
use serde_json::{Value, json};
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, message_id, wait_until};
use crate::support::desk::{booking, slot};

#[tokio::test]
async fn an_event_reaches_each_endpoint_that_wants_it_signed_and_recorded() {
    let hooks = Hooks::new().await;
    let (all, some, none) = (
        Sink::start().await,
        Sink::start().await,
        Sink::start().await,
    );
    let a = hooks.endpoint(&all.url(), json!({ "events": ["*"] })).await;
    let b = hooks
        .endpoint(&some.url(), json!({ "events": ["Calendar*"] }))
        .await;
    let c = hooks
        .endpoint(&none.url(), json!({ "events": ["Payment*"] }))
        .await;
    let worker = hooks.desk.work().await;
    let booking = Uuid::now_v7();
    let event = hooks.append(booking, 1).await[0];

    for (sink, made) in [(&all, &a), (&some, &b)] {
        let got = sink.wait_for(1).await.remove(0);
        assert_eq!(got.id(), message_id(event));
        assert_eq!(got.verify(std::slice::from_ref(&made.secret)), Ok(()));
        assert!(got.verify(std::slice::from_ref(&c.secret)).is_err());
        assert_eq!(got.header("bizing-attempt"), "1");
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(
            (&body["id"], &body["type"]),
            (&json!(event), &json!("CalendarSynced"))
        );
        assert_eq!(body["stream"], json!(format!("booking-{booking}")));
        hooks.wait_for_states(made.id, &[("delivered", 1)]).await;
    }
    let tries = hooks.tries(a.id).await;
    assert_eq!(
        (tries.len(), tries[0].result.as_deref(), tries[0].status),
        (1, Some("accepted"), Some(200))
    );
    assert_eq!(hooks.states(c.id).await, []);
    assert_eq!(none.count(), 0);
    let hour: (i64, i64) = sqlx::query_as(
        "select sum(ok), sum(failed) from read.destination_hours_v1 where destination_id = $1",
    )
    .bind(a.id)
    .fetch_one(&hooks.desk.people)
    .await
    .unwrap();
    assert_eq!(hour, (1, 0));
    worker.close().await;
}

#[tokio::test]
async fn a_try_whose_record_was_lost_is_made_again_with_the_same_id() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    // Dies between the answer and its record, once.
    let dead = Arc::new(AtomicBool::new(false));
    let died = dead.clone();
    let worker = hooks
        .desk
        .work_with(CrashPoints::new(Arc::new(move |point| {
            let died = died.clone();
            Box::pin(async move {
                if point == "before_record" {
                    died.store(true, Ordering::SeqCst);
                    std::future::pending().await
                }
            })
        })))
        .await;
    let event = hooks.append(Uuid::now_v7(), 1).await[0];
    sink.wait_for(1).await;
    wait_until("the worker is at the point", SOON, async || {
        dead.load(Ordering::SeqCst)
    })
    .await;
    // All of it, or the rest of the dead one could take the delivery over before the living one does.
    worker.tasks.shut_down().await;
    hooks.desk.break_connections().await;
    sqlx::query("update delivery.leases set expires_at = now() - interval '1 second'")
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();

    let worker = hooks.desk.work().await;
    let got = sink.wait_for(2).await;
    assert_eq!(sink.ids(), [message_id(event), message_id(event)]);
    assert_eq!(got[0].body, got[1].body, "the same bytes");
    hooks.wait_for_states(made.id, &[("delivered", 1)]).await;
    let results: Vec<_> = hooks
        .tries(made.id)
        .await
        .into_iter()
        .map(|t| (t.no, t.result.unwrap()))
        .collect();
    assert_eq!(
        results,
        [(1, "interrupted".to_owned()), (2, "accepted".to_owned())]
    );
    worker.close().await;
}

#[tokio::test]
async fn a_failed_try_is_made_again_by_the_schedule_and_the_last_one_gives_up() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|_, _| Say::Code(500)).await;
    let made = hooks
        .endpoint(&sink.url(), json!({ "schedule_s": [0, 0, 0, 0] }))
        .await;
    let worker = hooks.desk.work().await;
    let event = hooks.append(Uuid::now_v7(), 1).await[0];
    hooks.wait_for_states(made.id, &[("gave_up", 1)]).await;
    assert_eq!(sink.ids(), vec![message_id(event); 4]);
    let tries = hooks.tries(made.id).await;
    assert_eq!(tries.iter().map(|t| t.no).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(
        tries
            .iter()
            .all(|t| t.status == Some(500) && t.result.as_deref() == Some("later"))
    );

    // By hand, what gave up is sent again with the same id, and its schedule begins anew.
    sink.say(|_, _| Say::Code(204));
    let id: Uuid =
        sqlx::query_scalar("select delivery_id from read.deliveries_v2 where destination_id = $1")
            .bind(made.id)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    let again: (Option<Uuid>, Option<String>) =
        sqlx::query_as("select made, refusal from api.redeliver($1, 'because')")
            .bind(id)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    assert_eq!(again, (Some(id), None));
    hooks.desk.bell.ring();
    hooks.wait_for_states(made.id, &[("delivered", 1)]).await;
    assert_eq!(sink.ids(), vec![message_id(event); 5]);

    // What was delivered is a delivery of its own, once more with the same id.
    let again: (Option<Uuid>, Option<String>) =
        sqlx::query_as("select made, refusal from api.redeliver($1, 'because')")
            .bind(id)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    assert_ne!(again.0, Some(id));
    hooks.desk.bell.ring();
    hooks.wait_for_states(made.id, &[("delivered", 2)]).await;
    let got = sink.wait_for(6).await;
    assert_eq!(
        (got[5].id(), got[5].header("bizing-replay")),
        (message_id(event), "1")
    );
    worker.close().await;
}

#[tokio::test]
async fn a_filter_lets_through_what_it_says_and_a_wrong_one_is_refused_with_its_place() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let wanted = Uuid::now_v7();
    let filter = json!({ "$or": [{ "stream": format!("booking-{wanted}") }, { "data": { "nothing.here": { "$gt": 5 } } }] });
    let made = hooks
        .endpoint(&sink.url(), json!({ "filter": filter }))
        .await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 3).await;
    let events = hooks.append(wanted, 2).await;
    hooks.wait_for_states(made.id, &[("delivered", 2)]).await;
    let got: BTreeSet<_> = sink.ids().into_iter().collect();
    assert_eq!(got, events.into_iter().map(message_id).collect());

    for (filter, problem) in [
        (
            json!({ "data": { "price": { "$foo": 1 } } }),
            "$.data.price: $foo is no operator",
        ),
        (json!({ "$or": [] }), "$.$or: takes a list of filters"),
        (
            json!({ "$or": [{ "type": "x" }, 5] }),
            "$.$or[1]: takes filters",
        ),
        (
            json!({ "data": { "a": { "$gt": true } } }),
            "$.data.a.$gt: takes a number or a text",
        ),
        (json!({ "price": 5 }), "$: an event has no field price"),
        (json!([]), "$: a filter is an object"),
        (json!({ "data": {} }), "$.data: says nothing"),
    ] {
        let said: Option<String> = sqlx::query_scalar("select delivery.filter_problem($1)")
            .bind(&filter)
            .fetch_one(&hooks.desk.db.superuser_pool().await)
            .await
            .unwrap();
        let said = said.unwrap_or_default();
        assert!(said.starts_with(problem), "{filter}: {said}");
    }
    worker.close().await;
}

#[tokio::test]
async fn every_operator_of_a_filter_does_what_it_is_called() {
    let hooks = Hooks::new().await;
    let pool = hooks.desk.db.superuser_pool().await;
    let value = json!({ "data": { "n": 5, "s": "room-2", "list": [1, 2], "rooms": [{ "role": "staff" }, { "role": "room" }], "no": null, "deep": { "er": true } } });
    for (filter, passes) in [
        (json!({ "data": { "n": 5 } }), true),
        (json!({ "data": { "n": 5.0 } }), true),
        (json!({ "data": { "n": "5" } }), false),
        (json!({ "data": { "n": { "$eq": 5 } } }), true),
        (json!({ "data": { "n": { "$ne": 5 } } }), false),
        (json!({ "data": { "missing": { "$ne": 5 } } }), true),
        (json!({ "data": { "n": { "$gt": 4, "$lt": 6 } } }), true),
        (json!({ "data": { "n": { "$gte": 5, "$lte": 4 } } }), false),
        (json!({ "data": { "n": { "$gt": "4" } } }), false),
        (json!({ "data": { "s": { "$gt": "room-1" } } }), true),
        (json!({ "data": { "s": { "$startsWith": "room-" } } }), true),
        (json!({ "data": { "s": { "$startsWith": "oom" } } }), false),
        (json!({ "data": { "s": { "$in": ["a", "room-2"] } } }), true),
        (json!({ "data": { "s": { "$in": ["a"] } } }), false),
        (json!({ "data": { "missing": { "$in": ["a"] } } }), false),
        (json!({ "data": { "missing": { "$exist": false } } }), true),
        (json!({ "data": { "no": { "$exist": true } } }), true),
        (
            json!({ "data": { "missing": { "deeper": { "$exist": false } } } }),
            true,
        ),
        (json!({ "data": { "list": 2 } }), true),
        (json!({ "data": { "list": { "$gt": 1 } } }), true),
        (json!({ "data": { "list": [1, 2] } }), true),
        (json!({ "data": { "list": [2, 1] } }), false),
        (json!({ "data": { "rooms": { "role": "room" } } }), true),
        (json!({ "data": { "rooms": { "role": "garden" } } }), false),
        (json!({ "data.deep.er": true }), true),
        (json!({ "data": { "deep.er": { "$ne": true } } }), false),
        (json!({ "$not": { "data": { "n": 5 } } }), false),
        (
            json!({ "$or": [{ "data": { "n": 1 } }, { "data": { "n": 5 } }] }),
            true,
        ),
        (
            json!({ "$and": [{ "data": { "n": 5 } }, { "data": { "s": "x" } }] }),
            false,
        ),
        (json!({ "data": { "n": { "$foo": 1 } } }), false),
    ] {
        let passed: bool = sqlx::query_scalar("select delivery.matches($1, $2)")
            .bind(&filter)
            .bind(&value)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(passed, passes, "{filter}");
    }
}

#[tokio::test]
async fn an_erasure_takes_what_receivers_answered_about_the_person() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|_, _| Say::With(200, vec![], "thanks, Inês".to_owned())).await;
    let made = hooks
        .endpoint(
            &sink.url(),
            json!({ "events": ["BookingCreated", "CustomerRegistered"] }),
        )
        .await;
    let desk = hooks.desk.desk(None);
    let booked = hooks.desk.book(&desk, booking(&slot(1))).await;
    let worker = hooks.desk.work().await;
    hooks.wait_for_states(made.id, &[("delivered", 2)]).await;
    let text = |got: &super::sink::Got| String::from_utf8(got.body.to_vec()).unwrap();
    let all: String = sink.got().iter().map(text).collect();
    assert!(
        all.contains(r#""personal":"sealed""#) && !all.contains("Inês"),
        "{all}"
    );

    let kept = async || {
        let tries = hooks.tries(made.id).await;
        tries.iter().map(|t| (t.status, t.kept)).collect::<Vec<_>>()
    };
    let answer = Some("thanks, Inês".len() as i32);
    assert_eq!(kept().await, [(Some(200), answer), (Some(200), answer)]);
    let customer: Uuid =
        sqlx::query_scalar("select customer_id from saga.instance where booking_id = $1")
            .bind(booked.booking_id)
            .fetch_one(&hooks.desk.worker_pool)
            .await
            .unwrap();
    sqlx::query("select * from api.erase_subject($1, true)")
        .bind(customer)
        .execute(&hooks.desk.people)
        .await
        .unwrap();
    assert_eq!(kept().await, [(Some(200), None), (Some(200), None)]);
    worker.close().await;
}

/// Lists go by ids, and what is old enough to be forgotten is found by them.
#[tokio::test]
async fn ids_of_deliveries_tell_when_each_was_owed_and_stay_apart() {
    let hooks = Hooks::new().await;
    for _ in 0..12 {
        hooks.endpoint("https://receiver.example/", json!({})).await;
    }
    let clock = "select floor(extract(epoch from clock_timestamp()) * 1000)::bigint";
    let mut owed = BTreeSet::new();
    for n in 1..=20 {
        let before: i64 = sqlx::query_scalar(clock)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
        let events = hooks.append(Uuid::now_v7(), 1).await;
        let after: i64 = sqlx::query_scalar(clock)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select delivery_id from read.deliveries_v2 where event_id = any($1)",
        )
        .bind(events)
        .fetch_all(&hooks.desk.people)
        .await
        .unwrap();
        for id in &ids {
            assert_eq!(
                (id.get_version_num(), id.get_variant()),
                (7, uuid::Variant::RFC4122)
            );
            let (s, ns) = id.get_timestamp().unwrap().to_unix();
            let at = s as i64 * 1_000 + i64::from(ns) / 1_000_000;
            assert!((before..=after).contains(&at), "{id}: {before} {after}");
        }
        owed.extend(ids);
        assert_eq!(owed.len(), 12 * n);
    }
}
