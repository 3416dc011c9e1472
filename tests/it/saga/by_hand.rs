//! What a person settles by hand: tries again, says what became of a call, ends it with evidence.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use uuid::Uuid;

use super::hands::*;
use super::referee;
use crate::support::desk::{TestDesk, booking, slot};

#[tokio::test]
async fn a_message_that_was_told_by_hand_ends_the_saga_and_keeps_the_booking() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    let plan = look(&desk, it.saga, "skip").await;
    sagas::command(&desk, ask(it.saga, "skip", &plan))
        .await
        .unwrap();
    assert_eq!(t.saga_state(it.booking).await, "completed");
    referee::check(&t, it.booking).await;
    let shown = page(&desk, it.saga).await;
    assert_eq!(shown.saga.state, SagaState::DoneWithWarnings);
    worker.close().await;
}

#[tokio::test]
async fn a_retry_that_fails_again_never_shows_success() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    let before = page(&desk, it.saga).await;
    let plan = look(&desk, it.saga, "retry").await;
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    // The message is sent once more, and refused once more; then it is a person's again.
    parked_again(&desk, &it, before.row.version).await;
    let after = page(&desk, it.saga).await;
    let messages = |p: &SagaPage| p.attempts.iter().filter(|a| a.kind == "message").count();
    assert_eq!(messages(&after), messages(&before) + 1);
    let outcome = after.commands.last().unwrap().outcome.clone();
    assert_ne!(outcome.as_deref(), Some("done"), "{:?}", after.commands);
    assert_eq!(after.row.parked.unwrap().code, "not_told");
    worker.close().await;
}

#[tokio::test]
async fn a_refund_that_fails_is_settled_by_hand_with_evidence() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let request = CreateBooking {
        payment_method: Some("pm_card_refundFail".to_owned()),
        ..to_nobody(0)
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let it = Made {
        saga: saga_of(&t, booked.booking_id).await,
        booking: booked.booking_id,
    };
    assert_eq!(
        park_code(&t, it.booking).await.as_deref(),
        Some("refund_failed")
    );

    // A retry asks again, under a new generation, and it fails again.
    let plan = look(&desk, it.saga, "retry").await;
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    parked_again(&desk, &it, plan.version).await;
    let generations: i64 = sqlx::query_scalar(
        "select count(*) from saga.effect where step = 'capture' and direction = 'C'",
    )
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(generations, 2);

    let mut request = ask(
        it.saga,
        "resolve_step",
        &look(&desk, it.saga, "resolve_step").await,
    );
    let without = sagas::command(&desk, request.clone()).await.unwrap_err();
    assert_eq!(without.field.as_deref(), Some("evidence"));
    request.params = SagaParams {
        outcome: Some("done".to_owned()),
        evidence: Some("bank transfer 2026-11-25 ref 4711".to_owned()),
        ..SagaParams::default()
    };
    request.command_id = Uuid::now_v7();
    request.plan_hash = Some(
        sagas::preview(
            &desk,
            PreviewSaga {
                saga_id: it.saga,
                action: "resolve_step".to_owned(),
                params: request.params.clone(),
            },
        )
        .await
        .unwrap()
        .hash,
    );
    sagas::command(&desk, request).await.unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    let told: String = sqlx::query_scalar("select data->>'provider_refund' from api.read_stream($1, 0) where name = 'PaymentRefunded'")
        .bind(format!("booking-{}", it.booking))
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(told, "bank transfer 2026-11-25 ref 4711");
    assert_eq!(t.live_claims(it.booking).await, 0);
    worker.close().await;
}

#[tokio::test]
async fn a_saga_that_ends_its_workers_is_left_to_a_person() {
    let t = TestDesk::new().await;
    let booked = t.book(&t.desk(None), booking(&slot(0))).await;
    sqlx::query("update saga.instance set take_overs = 5")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    let worker = t.work().await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("poison")
    );
    worker.close().await;
}

#[tokio::test]
async fn what_is_over_can_be_opened_again_and_ended_with_evidence() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = desk_of(&t, "admin").await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    sagas::command(
        &desk,
        ask(saga, "reopen", &look(&desk, saga, "reopen").await),
    )
    .await
    .unwrap();
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("reopened")
    );
    let mut end = ask(saga, "resolve", &look(&desk, saga, "resolve").await);
    end.params.evidence = Some("dispute dp_1 won".to_owned());
    end.params.checked = Some(vec!["money".to_owned(), "slot".to_owned()]);
    let lacks = sagas::command(&desk, end.clone()).await.unwrap_err();
    assert_eq!(lacks.field.as_deref(), Some("checked"), "not the booking");
    end.params.checked = checked();
    let asked = sagas::command(&desk, end).await.unwrap();
    assert!(
        asked.awaits_approval,
        "money is with the business: two people end it"
    );
    worker.close().await;
}
