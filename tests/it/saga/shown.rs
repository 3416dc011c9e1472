//! What a person is shown of a saga before they decide.

use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

fn by_link() -> CreateBooking {
    CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(0))
    }
}

/// Waits for its customer, with a slot that is held.
async fn unpaid(t: &TestDesk) -> Made {
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), by_link())
        .await;
    pay_page(t, booked.booking_id).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    worker.close().await;
    Made {
        saga: saga_of(t, booked.booking_id).await,
        booking: booked.booking_id,
    }
}

#[tokio::test]
async fn undoing_what_was_never_confirmed_says_that_the_customer_is_told() {
    let t = TestDesk::new().await;
    let it = unpaid(&t).await;
    let desk = t.desk(None);
    let plan = look(&desk, it.saga, "compensate").await;
    let ops: Vec<&str> = plan.operations.iter().map(|o| o.op.as_str()).collect();
    assert_eq!(ops, ["void", "cancel_booking", "release"]);
    let many = PreviewBatch {
        action: "compensate".to_owned(),
        saga_ids: vec![it.saga],
        filter: None,
    };
    let many = sagas::preview_batch(&desk, many).await.unwrap();
    assert_eq!(
        (many.bookings_cancelled, many.messages, many.slots_freed),
        (1, 1, 1)
    );

    // And so it is.
    sagas::command(&desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    let worker = t.work().await;
    t.wait_for_saga(it.booking, "compensated").await;
    let told = "select count(*) from delivery.deliveries where template = 'booking_cancelled'";
    wait_until("the customer is told", Duration::from_secs(10), || async {
        sqlx::query_scalar::<_, i64>(told)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
            == 1
    })
    .await;
    worker.close().await;
}

#[tokio::test]
async fn a_pause_says_until_when_the_slot_is_held_all_the_same() {
    let t = TestDesk::new().await;
    let it = unpaid(&t).await;
    let plan = look(&t.desk(None), it.saga, "pause").await;
    let clock = plan.operations.iter().find(|o| o.op == "clock_hold");
    let ends = clock.and_then(|o| o.at.as_ref()).unwrap().utc;
    let held: chrono::DateTime<Utc> =
        sqlx::query_scalar("select hold_expires_at from saga.instance")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert_eq!(ends, held);
}

#[tokio::test]
async fn each_call_shows_its_request_as_it_was_written_down() {
    let t = TestDesk::new().await;
    let it = completed(&t).await;
    let page = page(&desk_of(&t, "viewer").await, it.saga).await;
    let create = page
        .effects
        .iter()
        .find(|e| e.operation == "create_intent")
        .unwrap();
    let request = create.request.as_ref().unwrap();
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/payment_intents")
    );
    let field = |name: &str| {
        let mut named = request.fields.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (field("amount"), field("currency")),
        (Some("8000"), Some("eur"))
    );
    assert_eq!(
        field("metadata[saga_id]"),
        Some(it.saga.to_string().as_str())
    );
}

#[tokio::test]
async fn what_was_put_off_is_counted_and_found_until_it_wakes() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    policy(&t, "park", 100_000_000, 1000, 24).await;
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let desk = t.desk(None);
    let mut later = ask(it.saga, "snooze", &look(&desk, it.saga, "snooze").await);
    later.params.until = Some(Utc::now() + TimeDelta::hours(2));
    sagas::command(&desk, later).await.unwrap();
    let shown = async |tab: SagaTab| {
        let list = ListSagas::first(tab, 10);
        let list = sagas::list(&desk, list).await.unwrap();
        let ids: Vec<Uuid> = list.rows.iter().map(|row| row.saga_id).collect();
        (ids, list.counts.needs_person, list.counts.snoozed)
    };
    assert_eq!(shown(SagaTab::NeedsPerson).await, (vec![], 0, 1));
    assert_eq!(shown(SagaTab::Snoozed).await, (vec![it.saga], 0, 1));
    sqlx::query("update saga.instance set snoozed_until = now() - interval '1 second'")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert_eq!(shown(SagaTab::NeedsPerson).await, (vec![it.saga], 1, 0));
}
