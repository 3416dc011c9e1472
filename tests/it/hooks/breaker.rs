//! Endpoints that fail or ask for time: when sending to them stops, slows down and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, wait_until};

#[tokio::test]
async fn a_breaker_that_is_open_uses_no_tries_and_one_real_delivery_goes_ahead() {
    let hooks = Hooks::new().await;
    let works = Arc::new(AtomicBool::new(false));
    let answers = works.clone();
    let sink = Sink::saying(move |_, _| {
        Say::Code(if answers.load(Ordering::SeqCst) {
            200
        } else {
            500
        })
    })
    .await;
    // One at a time, so that not more are under way than the breaker needs to open.
    let made = hooks
        .endpoint(
            &sink.url(),
            json!({ "max_in_flight": 1, "schedule_s": [0, 3600, 3600] }),
        )
        .await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 20).await;
    wait_until("the breaker is open", SOON, async || {
        hooks.health(made.id).await["breaker"] == "open"
    })
    .await;
    wait_until("those that wait have used up nothing", SOON, async || {
        let untried: i64 = sqlx::query_scalar("select count(*) from read.deliveries_v2 where destination_id = $1 and attempt = 0 and state = 'scheduled'")
            .bind(made.id)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
        untried + sink.count() as i64 == 20
    })
    .await;
    // Some more may have been sent before the fifth failure was on the disk, but by far not all.
    let tried = sink.count();
    assert!((5..20).contains(&tried), "{tried}");

    // Still failing: one is sent ahead, and the pause doubles.
    hooks.change(made.id, "try_now").await;
    wait_until("one went ahead", SOON, async || sink.count() == tried + 1).await;
    wait_until("and it is open again", SOON, async || {
        hooks.health(made.id).await["breaker"] == "open"
    })
    .await;
    assert_eq!(sink.count(), tried + 1);

    works.store(true, Ordering::SeqCst);
    hooks.change(made.id, "try_now").await;
    wait_until("three got through and the rest follows", SOON, async || {
        hooks.hurry(made.id).await;
        hooks.states(made.id).await == [("delivered".to_owned(), 20)]
    })
    .await;
    let health = hooks.health(made.id).await;
    assert_eq!(
        (&health["breaker"], &health["failures"]),
        (&json!("closed"), &json!(0))
    );
    assert_eq!(health["failing_since"], json!(null));
    worker.close().await;
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_gets_it_and_one_that_is_gone_is_turned_off() {
    let hooks = Hooks::new().await;
    let busy = Sink::saying(|_, _| {
        Say::With(429, vec![("retry-after", "3600".to_owned())], String::new())
    })
    .await;
    let gone = Sink::saying(|_, _| Say::Code(410)).await;
    let a = hooks
        .endpoint(&busy.url(), json!({ "schedule_s": [0, 0, 0, 0] }))
        .await;
    let b = hooks.endpoint(&gone.url(), json!({})).await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 1).await;

    wait_until("it is left alone", SOON, async || {
        !hooks.health(a.id).await["paused_until"].is_null()
    })
    .await;
    let limit = hooks.health(a.id).await["limit_now"].clone();
    assert_eq!(limit, json!(4), "half of eight");
    wait_until("it is turned off", SOON, async || {
        hooks.health(b.id).await["state"] == "disabled"
    })
    .await;
    let health = hooks.health(b.id).await;
    assert_eq!(
        (&health["active"], &health["state_reason"]),
        (&json!(false), &json!("gone"))
    );
    let said: Vec<String> = sqlx::query_scalar(
        "select what from read.delivery_changes_v1 where destination_id = $1 order by change_id",
    )
    .bind(b.id)
    .fetch_all(&hooks.desk.people)
    .await
    .unwrap();
    assert_eq!(said, ["created", "disabled"]);

    // Nothing is owed to what is off, and nothing is sent to what waits, though its next try is due at once.
    hooks.append(Uuid::now_v7(), 1).await;
    hooks.wait_for_states(a.id, &[("scheduled", 2)]).await;
    assert_eq!(hooks.states(b.id).await, [("gave_up".to_owned(), 1)]);
    assert_eq!((busy.count(), gone.count()), (1, 1));

    // Turned on again, it is owed what it missed since a time.
    gone.say(|_, _| Say::Code(200));
    sqlx::query_scalar::<_, serde_json::Value>(
        "select api.change_endpoint($1, (select version from read.destinations_v1 where destination_id = $1), 'enable', now() - interval '1 hour', 'works again')",
    )
    .bind(b.id)
    .fetch_one(&hooks.desk.people)
    .await
    .unwrap();
    hooks.desk.bell.ring();
    hooks.wait_for_states(b.id, &[("delivered", 2)]).await;
    worker.close().await;
}

/// As workers tell it: so many got through, so many did not, so many of those at the end, so many with "slow down".
async fn noted(hooks: &Hooks, id: Uuid, ok: i32, failed: i32, tail: i32, slow: i32) {
    sqlx::query("select delivery.note_results(array[$1::uuid], array[$2], array[$3], array[$4], array[$5], '{null}', '{f}', '{x}', '{status}', '{503}')")
        .bind(id)
        .bind(ok)
        .bind(failed)
        .bind(tail)
        .bind(slow)
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn half_of_twenty_within_a_minute_open_the_breaker_though_never_five_fail_in_a_row() {
    let hooks = Hooks::new().await;
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await
        .id;
    for round in 1..=10 {
        assert_eq!(hooks.health(id).await["breaker"], "closed", "{round}");
        noted(&hooks, id, 1, 1, 1, 0).await;
    }
    assert_eq!(hooks.health(id).await["breaker"], "open");
}

#[tokio::test]
async fn an_endpoint_told_us_to_slow_down_gets_one_more_at_once_for_twenty_that_get_through() {
    let hooks = Hooks::new().await;
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await
        .id;
    let limit = async || hooks.health(id).await["limit_now"].clone();
    noted(&hooks, id, 9, 1, 1, 1).await;
    assert_eq!(limit().await, json!(4), "half of eight");
    noted(&hooks, id, 19, 0, 0, 0).await;
    assert_eq!(limit().await, json!(4));
    noted(&hooks, id, 1, 0, 0, 0).await;
    assert_eq!(limit().await, json!(5));
    noted(&hooks, id, 60, 0, 0, 0).await;
    assert_eq!(limit().await, json!(null), "all eight again");
}
