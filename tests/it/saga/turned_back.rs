//! A booking that somebody takes back, or whose time is over, while an answer of the provider is missing: what became of the
//! request is looked up. It is never sent again, and nobody's wish is forgotten over it.

use std::time::Duration;

use bizing_engine::app::bookings::cancel::cancel;
use bizing_engine::app::wire::*;
use bizing_engine::saga::definition::Policy;
use bizing_sandbox::{Fault, Rule};
use uuid::Uuid;

use super::hands::{ask, look, rules, saga_of};
use super::referee;
use crate::support::desk::{TestDesk, TestWorker, booking, quick_policy, slot};
use crate::support::wait_until;

/// Nothing is tried again by itself while this goes on.
fn slow_to_retry() -> Policy {
    Policy {
        backoff_base: Duration::from_secs(3600),
        backoff_cap: Duration::from_secs(3600),
        ..quick_policy()
    }
}

/// A booking whose request of this kind met the fault, and which waits without an answer.
async fn unanswered(t: &TestDesk, worker: &TestWorker, operation: &str, fault: Fault) -> Uuid {
    t.sandbox.faults().add(Rule::nth(operation, 1, fault));
    let desk = t.desk(Some(worker.worker.clone()));
    let booked = t.book(&desk, booking(&slot(0))).await;
    wait_until("it has no answer", Duration::from_secs(20), || async {
        sqlx::query_scalar("select exists (select from saga.effect e join saga.instance i using (saga_id) where i.booking_id = $1 and e.operation = $2 and e.outcome = 'unknown' and i.state = 'waiting')")
            .bind(booked.booking_id)
            .bind(operation)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
    })
    .await;
    booked.booking_id
}

async fn ask_to_stop(t: &TestDesk, booking_id: Uuid) {
    asked_to_stop(t, booking_id).await.expect("it is asked");
}

async fn asked_to_stop(t: &TestDesk, booking_id: Uuid) -> Result<CancelAsked, AppError> {
    let version = t.events(booking_id).await.len() as i64;
    let request = CancelBooking {
        command_id: Uuid::now_v7(),
        booking_id,
        reason: "the customer called it off".to_owned(),
        expected_version: version,
    };
    cancel(&t.desk(None), request).await
}

/// What the provider has of the booking: taken, given back, held.
fn money(t: &TestDesk) -> (i64, i64, i64) {
    let ledger = t.sandbox.ledger();
    let sum = |of: fn(&bizing_sandbox::Payment) -> i64| ledger.payments.iter().map(of).sum();
    (sum(|p| p.captured), sum(|p| p.refunded), sum(|p| p.held))
}

async fn sendings(t: &TestDesk, operation: &str) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(sends), 0)::bigint from saga.effect where operation = $1",
    )
    .bind(operation)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_wish_to_stop_at_an_open_capture_is_carried_out_and_the_capture_is_not_sent_again() {
    for (fault, taken) in [(Fault::LostBefore, 0), (Fault::LostAfterEffect, 8_000)] {
        let t = TestDesk::with(slow_to_retry()).await;
        // Nobody tells it: what it learns it learns by looking.
        let worker = t.work_without_news(Default::default()).await;
        let id = unanswered(&t, &worker, "capture", fault).await;
        ask_to_stop(&t, id).await;
        t.wait_for_saga(id, "compensated").await;
        assert_eq!(money(&t), (taken, taken, 0), "{fault:?}");
        assert_eq!(sendings(&t, "capture").await, 1, "{fault:?}");
        let events = t.events(id).await;
        assert!(
            events.iter().any(|e| e == "BookingCancelled"),
            "{fault:?}: {events:?}"
        );
        referee::check(&t, id).await;
        worker.close().await;
    }
}

#[tokio::test]
async fn a_capture_that_arrives_while_it_is_taken_back_is_given_back() {
    let t = TestDesk::with(slow_to_retry()).await;
    let worker = t.work_without_news(Default::default()).await;
    // Its caller hangs up after a second.
    let id = unanswered(&t, &worker, "capture", Fault::Late { ms: 1_800 }).await;
    t.sandbox
        .faults()
        .add(Rule::nth("cancel_intent", 1, Fault::Late { ms: 900 }));
    ask_to_stop(&t, id).await;
    t.wait_for_saga(id, "compensated").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (taken, back, held) = money(&t);
    assert_eq!((taken - back, held), (0, 0));
    referee::check(&t, id).await;
    worker.close().await;
}

#[tokio::test]
async fn a_card_that_was_not_reached_is_not_charged_after_the_hold_or_a_wish_to_stop() {
    for wish in [true, false] {
        let t = TestDesk::with(slow_to_retry()).await;
        let worker = t.work_without_news(Default::default()).await;
        let id = unanswered(&t, &worker, "create_intent", Fault::LostBefore).await;
        if wish {
            ask_to_stop(&t, id).await;
        } else {
            sqlx::query("update saga.instance set hold_expires_at = now(), wake_at = now()")
                .execute(&t.db.superuser_pool().await)
                .await
                .unwrap();
        }
        t.wait_for_saga(id, "compensated").await;
        assert_eq!(
            t.sandbox.ledger().payments.len(),
            0,
            "no card was authorised (asked to stop: {wish})"
        );
        assert_eq!(sendings(&t, "create_intent").await, 1);
        referee::check(&t, id).await;
        worker.close().await;
    }
}

#[tokio::test]
async fn a_late_authorisation_is_found_before_the_hold_is_let_go() {
    let t = TestDesk::with(Policy {
        quarantine: Duration::from_secs(5),
        ..slow_to_retry()
    })
    .await;
    let worker = t.work_without_news(Default::default()).await;
    let id = unanswered(&t, &worker, "create_intent", Fault::Late { ms: 3_500 }).await;
    ask_to_stop(&t, id).await;
    t.wait_for_saga(id, "compensated").await;
    assert_eq!(t.sandbox.ledger().payments.len(), 1, "it arrived");
    assert_eq!(money(&t), (0, 0, 0), "and nothing is held any more");
    referee::check(&t, id).await;
    worker.close().await;
}

#[tokio::test]
async fn who_asks_to_cancel_what_waits_for_a_person_is_sent_to_its_page_and_told_no_confirmation() {
    let t = TestDesk::new().await;
    rules(&t, serde_json::json!({ "card_declined": "park" })).await;
    let worker = t.work().await;
    let declined = CreateBooking {
        payment_method: Some("pm_card_chargeDeclined".to_owned()),
        ..booking(&slot(0))
    };
    let desk = t.desk(None);
    let booked = t.book(&t.desk(Some(worker.worker.clone())), declined).await;
    let id = booked.booking_id;
    t.wait_for_saga(id, "parked").await;

    let told = asked_to_stop(&t, id).await.unwrap_err();
    assert_eq!(
        told.message,
        "The booking stands still until a person decides about it. Nothing was cancelled."
    );
    assert!(told.hint.unwrap().contains("\"Undo all\""));
    let asked: i64 = sqlx::query_scalar("select count(*) from saga.command")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!((asked, t.saga_state(id).await.as_str()), (0, "parked"));

    // What it names is there, and does it.
    let saga = saga_of(&t, id).await;
    let plan = look(&desk, saga, "compensate").await;
    bizing_engine::app::sagas::command(&desk, ask(saga, "compensate", &plan))
        .await
        .unwrap();
    t.wait_for_saga(id, "compensated").await;
    let told = asked_to_stop(&t, id).await.unwrap_err();
    assert_eq!(
        told.message,
        "The booking is taken back already. Nothing was cancelled."
    );
    worker.close().await;
}
