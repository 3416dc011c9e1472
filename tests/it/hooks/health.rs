//! Endpoints that fail, slow down, ask for time or are gone; and what people do about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, message_id, wait_until};

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

#[tokio::test]
async fn nothing_but_failures_warns_and_then_turns_an_endpoint_off() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|_, _| Say::Code(500)).await;
    let made = hooks
        .endpoint(
            &sink.url(),
            json!({ "schedule_s": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }),
        )
        .await;
    let worker = hooks.desk.work().await;
    let superuser = hooks.desk.db.superuser_pool().await;
    for (days, expected) in [
        (2.6, "warned"),
        (3.6, "warned"),
        (4.6, "warned"),
        (5.1, "disabled"),
    ] {
        // Before the clock is moved: tries that are still made may be the ones that tell.
        let before: i64 =
            sqlx::query_scalar("select count(*) from read.delivery_changes_v1 where what = $1")
                .bind(expected)
                .fetch_one(&superuser)
                .await
                .unwrap();
        sqlx::query("update delivery.health set failing_since = now() - interval '9 days', failed_for = make_interval(secs => $2 * 86400), counted_at = now(), breaker = 'closed', failures = 0, window_from = null where destination_id = $1")
            .bind(made.id)
            .bind(days)
            .execute(&superuser)
            .await
            .unwrap();
        hooks.append(Uuid::now_v7(), 1).await;
        wait_until(&format!("{expected} after {days} days"), SOON, async || {
            let now: i64 =
                sqlx::query_scalar("select count(*) from read.delivery_changes_v1 where what = $1")
                    .bind(expected)
                    .fetch_one(&superuser)
                    .await
                    .unwrap();
            now > before
        })
        .await;
    }
    let percents: Vec<i32> = sqlx::query_scalar("select (after->>'percent')::int from read.delivery_changes_v1 where what = 'warned' order by change_id")
        .fetch_all(&superuser)
        .await
        .unwrap();
    assert_eq!(percents, [50, 70, 90]);
    assert_eq!(
        hooks.health(made.id).await["state_reason"],
        "days_of_failures"
    );
    worker.close().await;
}

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
async fn the_deliveries_of_one_booking_follow_one_another_where_that_is_asked_for() {
    let hooks = Hooks::new().await;
    let failed = Arc::new(AtomicUsize::new(0));
    let count = failed.clone();
    // The first two tries fail: what comes later must wait.
    let sink = Sink::saying(move |_, _| {
        Say::Code(if count.fetch_add(1, Ordering::SeqCst) < 2 {
            503
        } else {
            200
        })
    })
    .await;
    let made = hooks
        .endpoint(
            &sink.url(),
            json!({ "ordered_by": "stream", "schedule_s": [0, 0, 0, 0, 0] }),
        )
        .await;
    let booking = Uuid::now_v7();
    let mut events = vec![];
    for _ in 0..6 {
        events.extend(hooks.append(booking, 1).await);
    }
    let worker = hooks.desk.work().await;
    hooks.wait_for_states(made.id, &[("delivered", 6)]).await;
    let mut got = sink.ids();
    got.dedup();
    assert_eq!(got, events.into_iter().map(message_id).collect::<Vec<_>>());
    worker.close().await;
}

#[tokio::test]
async fn a_desk_that_closes_gives_back_what_it_has_not_sent_and_uses_up_no_try() {
    let hooks = Hooks::new().await;
    let sink = Sink::saying(|_, _| Say::Never).await;
    let made = hooks
        .endpoint(
            &sink.url(),
            json!({ "max_in_flight": 2, "timeout_ms": 30_000 }),
        )
        .await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 10).await;
    sink.wait_for(2).await;
    worker.close().await;
    // Had it waited for the answers, these two would be recorded as failures.
    let states = hooks.states(made.id).await;
    assert_eq!(
        states,
        [("scheduled".to_owned(), 8), ("sending".to_owned(), 2)]
    );
    let used: i64 = sqlx::query_scalar(
        "select count(*) from read.deliveries_v2 where state = 'scheduled' and attempt > 0",
    )
    .fetch_one(&hooks.desk.people)
    .await
    .unwrap();
    assert_eq!(used, 0);
}

#[tokio::test]
async fn a_hanging_endpoint_holds_up_nobody_but_itself() {
    let hooks = Hooks::new().await;
    let (hanging, healthy) = (Sink::saying(|_, _| Say::Never).await, Sink::start().await);
    let bad = hooks
        .endpoint(&hanging.url(), json!({ "timeout_ms": 30_000 }))
        .await;
    let good = hooks.endpoint(&healthy.url(), json!({})).await;
    let worker = hooks.desk.work().await;
    hooks.append(Uuid::now_v7(), 300).await;
    hooks.wait_for_states(good.id, &[("delivered", 300)]).await;
    // Places that came free on a slow machine may have been used again.
    let begun = hanging.count();
    wait_until("no more than its places", SOON, async || {
        begun <= 8 + hooks.tries(bad.id).await.len()
    })
    .await;
    worker.close().await;
}

#[tokio::test]
async fn both_secrets_sign_while_one_replaces_the_other_and_then_only_the_new_one() {
    let hooks = Hooks::new().await;
    let sink = Sink::start().await;
    let made = hooks.endpoint(&sink.url(), json!({})).await;
    let worker = hooks.desk.work().await;
    let (new_id, new) = (
        Uuid::now_v7(),
        bizing_engine::delivery::webhook::sign::SigningSecret::random(),
    );
    let place = bizing_engine::delivery::webhook::secret_place(made.id, new_id);
    let sealed = hooks.desk.vault.seal(&place, new.bytes()).unwrap();
    let rotated: String =
        sqlx::query_scalar("select api.rotate_secret($1, $2, $3, $4, $5, '24 hours', 'yearly')")
            .bind(made.id)
            .bind(new_id)
            .bind(&sealed.bytes)
            .bind(&sealed.key_id)
            .bind(new.hint())
            .fetch_one(&hooks.desk.people)
            .await
            .unwrap();
    assert_eq!(rotated, "rotated");
    hooks.append(Uuid::now_v7(), 1).await;
    let got = sink.wait_for(1).await.remove(0);
    assert_eq!(got.header("webhook-signature").split(' ').count(), 2);
    assert_eq!(got.verify(std::slice::from_ref(&made.secret)), Ok(()));
    assert_eq!(got.verify(std::slice::from_ref(&new)), Ok(()));

    sqlx::query("update delivery.secrets set expires_at = now() where expires_at is not null")
        .execute(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap();
    sqlx::query("update delivery.destinations set version = version + 1 where destination_id = $1")
        .bind(made.id)
        .execute(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap();
    hooks.append(Uuid::now_v7(), 1).await;
    let got = sink.wait_for(2).await.remove(1);
    assert_eq!(got.verify(&[new]), Ok(()));
    assert!(got.verify(&[made.secret]).is_err());
    worker.close().await;
}

/// What counts as failing, in whole hours.
async fn failed_hours(hooks: &Hooks, id: Uuid) -> i64 {
    sqlx::query_scalar("select round(extract(epoch from failed_for) / 3600)::bigint from delivery.health where destination_id = $1")
        .bind(id)
        .fetch_one(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap()
}

/// As the worker tells it: one failure of this kind.
async fn failed(hooks: &Hooks, id: Uuid, class: &str, status: Option<i16>) {
    sqlx::query("select delivery.note_results(array[$1::uuid], '{0}', '{1}', '{1}', '{0}', '{null}', '{f}', '{x}', array[$2], array[$3::smallint])")
        .bind(id)
        .bind(class)
        .bind(status)
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();
}

async fn hours_pass(hooks: &Hooks, hours: i32, attended: bool) {
    let superuser = hooks.desk.db.superuser_pool().await;
    for (statement, wanted) in [
        (
            "update delivery.health set failing_since = failing_since - make_interval(hours => $1), counted_at = counted_at - make_interval(hours => $1), last_failed_at = last_failed_at - make_interval(hours => $1)",
            true,
        ),
        (
            "update delivery.attendance set seen_at = seen_at - make_interval(hours => $1)",
            !attended,
        ),
    ] {
        if wanted {
            sqlx::query(statement)
                .bind(hours)
                .execute(&superuser)
                .await
                .unwrap();
        }
    }
    sqlx::query("select delivery.attend()")
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn days_in_which_nobody_tried_do_not_turn_an_endpoint_off() {
    let hooks = Hooks::new().await;
    let made = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await;
    failed(&hooks, made.id, "status", Some(500)).await;
    hours_pass(&hooks, 2, true).await;
    failed(&hooks, made.id, "status", Some(500)).await;
    assert_eq!(failed_hours(&hooks, made.id).await, 2, "it was tried");
    // The desk is closed for nine days, and the endpoint fails at the first try afterwards.
    hours_pass(&hooks, 9 * 24, false).await;
    failed(&hooks, made.id, "status", Some(500)).await;
    assert_eq!(failed_hours(&hooks, made.id).await, 2, "nobody tried");
    let health = hooks.health(made.id).await;
    assert_eq!(
        (&health["state"], &health["warned"]),
        (&json!("active"), &json!(0))
    );
    // And five days in which it was tried do.
    hours_pass(&hooks, 119, true).await;
    failed(&hooks, made.id, "status", Some(500)).await;
    assert_eq!(hooks.health(made.id).await["state"], "disabled");
}

#[tokio::test]
async fn a_desk_without_a_network_turns_no_endpoint_off() {
    let hooks = Hooks::new().await;
    let a = hooks
        .endpoint("https://a.example.com/in", json!({}))
        .await
        .id;
    let b = hooks
        .endpoint("https://b.example.com/in", json!({}))
        .await
        .id;
    for id in [a, b] {
        failed(&hooks, id, "no_such_name", None).await;
    }
    hours_pass(&hooks, 6 * 24, true).await;
    sqlx::query("update delivery.health set last_failed_at = now()")
        .execute(&hooks.desk.db.superuser_pool().await)
        .await
        .unwrap();
    for id in [a, b] {
        failed(&hooks, id, "connect", None).await;
        assert_eq!(
            failed_hours(&hooks, id).await,
            0,
            "neither can be reached, and nobody answers"
        );
        assert_eq!(hooks.health(id).await["state"], "active");
    }
    // One of them answers, whatever it says: we have a network, and the other is at fault.
    failed(&hooks, b, "status", Some(500)).await;
    hours_pass(&hooks, 6 * 24, true).await;
    failed(&hooks, b, "status", Some(500)).await;
    failed(&hooks, a, "connect", None).await;
    assert_eq!(hooks.health(a).await["state"], "disabled");
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

#[tokio::test]
async fn what_a_person_keeps_on_begins_its_five_days_anew() {
    let hooks = Hooks::new().await;
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await
        .id;
    failed(&hooks, id, "status", Some(500)).await;
    hours_pass(&hooks, 100, true).await;
    failed(&hooks, id, "status", Some(500)).await;
    assert_eq!(
        (
            failed_hours(&hooks, id).await,
            hooks.health(id).await["warned"].clone()
        ),
        (100, json!(70))
    );
    hooks.change(id, "keep_on").await;
    assert_eq!(
        (
            failed_hours(&hooks, id).await,
            hooks.health(id).await["warned"].clone()
        ),
        (0, json!(0))
    );
    hours_pass(&hooks, 30, true).await;
    failed(&hooks, id, "status", Some(500)).await;
    let health = hooks.health(id).await;
    assert_eq!(
        (&health["state"], &health["warned"]),
        (&json!("active"), &json!(0))
    );
    assert_eq!(failed_hours(&hooks, id).await, 30);
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

#[tokio::test]
async fn one_endpoint_alone_does_not_count_the_hours_in_which_not_even_the_provider_could_be_reached()
 {
    let hooks = Hooks::new().await;
    let id = hooks
        .endpoint("https://hooks.example.com/in", json!({}))
        .await
        .id;
    let superuser = hooks.desk.db.superuser_pool().await;
    let provider = async |how: &str| {
        let sql = format!(
            "insert into delivery.poll_cursor (source) values ('stripe') on conflict do nothing;
             update delivery.poll_cursor set polls = true, checked_at = now(), {how} where source = 'stripe'"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&superuser)
            .await
            .unwrap();
    };
    failed(&hooks, id, "connect", None).await;

    // Not even the provider was reached: it is us.
    provider("problem = 'the request was not sent', unreached_at = now()").await;
    hours_pass(&hooks, 1, true).await;
    failed(&hooks, id, "connect", None).await;
    assert_eq!(failed_hours(&hooks, id).await, 0);

    // The provider answers, though it refuses: our network works.
    provider("problem = 'the key is not accepted', unreached_at = null").await;
    hours_pass(&hooks, 1, true).await;
    failed(&hooks, id, "connect", None).await;
    assert_eq!(failed_hours(&hooks, id).await, 1);

    // An endpoint that answers is reached, whatever else is not.
    provider("problem = 'the request was not sent', unreached_at = now()").await;
    hours_pass(&hooks, 1, true).await;
    failed(&hooks, id, "status", Some(500)).await;
    assert_eq!(failed_hours(&hooks, id).await, 2);

    // It was some time ago that the provider was not reached.
    provider("problem = 'the request was not sent', unreached_at = now() - interval '11 minutes'")
        .await;
    hours_pass(&hooks, 1, true).await;
    failed(&hooks, id, "connect", None).await;
    assert_eq!(failed_hours(&hooks, id).await, 3);
}
