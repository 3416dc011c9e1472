//! What people pause, try, send and cancel, and what waits until they decide.

use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, message_id, wait_until};

#[tokio::test]
async fn what_is_paused_keeps_its_queue_and_one_that_a_person_asks_for_goes_all_the_same() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    hooks.change(made.id, "pause").await;
    let worker = hooks.desk.work().await;
    let events = hooks.append(Uuid::now_v7(), 3).await;
    hooks.wait_for_states(made.id, &[("scheduled", 3)]).await;
    let second: Uuid =
        sqlx::query_scalar("select delivery_id from read.deliveries_v2 where event_id = $1")
            .bind(events[1])
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    sqlx::query("select api.redeliver($1, 'now')")
        .bind(second)
        .execute(&hooks.desk.people)
        .await
        .unwrap();
    hooks.desk.bell.ring();
    hooks
        .wait_for_states(made.id, &[("delivered", 1), ("scheduled", 2)])
        .await;
    assert_eq!(sink.ids(), [message_id(events[1])]);
    hooks.change(made.id, "resume").await;
    hooks.wait_for_states(made.id, &[("delivered", 3)]).await;
    worker.close().await;
}

#[tokio::test]
async fn what_a_person_tries_uses_up_no_try_and_the_next_is_the_schedules_again() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|_, _| Say::Code(500)).await;
    let made = hooks
        .endpoint(&sink.url(), json!({ "schedule_s": [0, 3600, 7200] }))
        .await;
    let worker = hooks.desk.work().await;
    let event = hooks.append(Uuid::now_v7(), 1).await[0];
    let one: Uuid =
        sqlx::query_scalar("select delivery_id from read.deliveries_v2 where event_id = $1")
            .bind(event)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    let tried = async |n: usize| {
        wait_until(&format!("{n} tries are recorded"), SOON, async || {
            hooks.tries(made.id).await.len() == n
        })
        .await;
        sqlx::query_as::<_, (String, i32, i32, String)>(
            "select d.trigger, d.attempt - d.tries_from, round(extract(epoch from d.next_at - now()) / 3600)::int,
                    (select t.trigger from read.delivery_tries_v1 t where t.delivery_id = d.delivery_id and t.no = d.attempt)
               from read.deliveries_v2 d where d.delivery_id = $1",
        )
        .bind(one)
        .fetch_one(&hooks.desk.people)
        .await
        .unwrap()
    };
    let (auto, manual) = ("auto".to_owned(), "manual".to_owned());
    assert_eq!(tried(1).await, (auto.clone(), 1, 1, auto.clone()));
    for n in 2..=4 {
        sqlx::query("select api.redeliver($1, 'they say it is fixed')")
            .bind(one)
            .execute(&hooks.desk.people)
            .await
            .unwrap();
        hooks.desk.bell.ring();
        // Still the first of three is used up, an hour before the second.
        assert_eq!(tried(n).await, (auto.clone(), 1, 1, manual.clone()));
    }
    hooks.hurry(made.id).await;
    assert_eq!(tried(5).await, (auto.clone(), 2, 2, auto.clone()));
    hooks.hurry(made.id).await;
    hooks.wait_for_states(made.id, &[("gave_up", 1)]).await;
    let failures = hooks.health(made.id).await["failures"].clone();
    assert_eq!(
        failures,
        json!(3),
        "the person's tries say nothing about it"
    );
    worker.close().await;
}

#[tokio::test]
async fn after_a_long_absence_what_waited_is_held_until_a_person_decides() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    hooks.append(one, 3).await;
    let last = hooks.append(one, 1).await;
    let lone = hooks.append(other, 1).await;
    let superuser = hooks.desk.db.superuser_pool().await;
    for statement in [
        "update delivery.attendance set seen_at = now() - interval '26 hours'",
        "update delivery.deliveries set next_at = now() - interval '25 hours'",
    ] {
        sqlx::query(statement).execute(&superuser).await.unwrap();
    }
    // What fell due within the last day goes out, as does what happens from now on.
    let fresh = hooks.append(other, 1).await;
    let worker = hooks.desk.work().await;
    hooks
        .wait_for_states(made.id, &[("delivered", 1), ("held", 5)])
        .await;
    assert_eq!(sink.ids(), [message_id(fresh[0])]);

    let done = hooks.change(made.id, "send_held_newest").await;
    assert_eq!((&done["sent"], &done["cancelled"]), (&json!(2), &json!(3)));
    hooks
        .wait_for_states(made.id, &[("cancelled", 3), ("delivered", 3)])
        .await;
    let mut got = sink.ids();
    got.sort();
    let mut wanted: Vec<_> = [fresh[0], last[0], lone[0]].map(message_id).into();
    wanted.sort();
    assert_eq!(got, wanted);
    worker.close().await;
}

#[tokio::test]
async fn what_is_held_is_sent_or_cancelled_as_a_whole_and_one_is_cancelled_by_itself() {
    let hooks = Hooks::new().await;
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await
        .id;
    hooks.append(Uuid::now_v7(), 4).await;
    let superuser = hooks.desk.db.superuser_pool().await;
    let hold = async || {
        sqlx::query("update delivery.deliveries set state = 'held' where state = 'scheduled'")
            .execute(&superuser)
            .await
            .unwrap()
    };
    hold().await;
    assert_eq!(hooks.change(id, "send_held").await["sent"], json!(4));
    hooks.wait_for_states(id, &[("scheduled", 4)]).await;

    let one: Uuid = sqlx::query_scalar(
        "select min(delivery_id::text)::uuid from read.deliveries_v2 where destination_id = $1",
    )
    .bind(id)
    .fetch_one(&hooks.desk.people)
    .await
    .unwrap();
    let cancel = async || -> Option<String> {
        sqlx::query_scalar("select api.cancel_delivery($1, 'of no use any more')")
            .bind(one)
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap()
    };
    assert_eq!(cancel().await, None);
    assert_eq!(cancel().await.as_deref(), Some("cancelled"), "once");
    hold().await;
    assert_eq!(hooks.change(id, "cancel_held").await["cancelled"], json!(3));
    hooks.wait_for_states(id, &[("cancelled", 4)]).await;
}
