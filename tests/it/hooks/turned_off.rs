//! Endpoints that turn themselves off after days of nothing but failures, and which hours are no part of those.

use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, wait_until};

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
    // Whoever is there all the while was there just now; the database itself may be older than that.
    let seen = if attended {
        "update delivery.attendance set seen_at = now() where $1 > 0"
    } else {
        "update delivery.attendance set seen_at = seen_at - make_interval(hours => $1)"
    };
    let superuser = hooks.desk.db.superuser_pool().await;
    for statement in [
        "update delivery.health set failing_since = failing_since - make_interval(hours => $1), counted_at = counted_at - make_interval(hours => $1), last_failed_at = last_failed_at - make_interval(hours => $1)",
        seen,
    ] {
        sqlx::query(statement)
            .bind(hours)
            .execute(&superuser)
            .await
            .unwrap();
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
