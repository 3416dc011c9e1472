//! What waits behind another, beside one that hangs, or while a desk closes; and what signs it while secrets change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, SOON, message_id, wait_until};

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
