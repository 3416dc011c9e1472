//! A customer's bank disputes a payment: the events say so once, the ledger follows the money, and a person has a case with
//! the last day for evidence, however the provider tells of it.

use std::time::Duration;

use bizing_engine::app::wire::*;
use bizing_engine::app::{bookings, sagas, session};
use bizing_engine::webhook::inbox;
use bizing_sandbox::DisputeAct;
use uuid::Uuid;

use super::hands::{ask, caught_up, look, saga_of};
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

struct Paid {
    booking: Uuid,
    saga: Uuid,
    intent: String,
}

async fn paid(t: &TestDesk, worker: &crate::support::desk::TestWorker) -> Paid {
    let request = CreateBooking {
        payment_method: Some("pm_card_visa".to_owned()),
        ..booking(&slot(0))
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let intent = sqlx::query_scalar("select provider_object from saga.effect e join saga.instance i using (saga_id) where i.booking_id = $1 and e.operation = 'capture'")
        .bind(booked.booking_id)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    Paid {
        booking: booked.booking_id,
        saga: saga_of(t, booked.booking_id).await,
        intent,
    }
}

/// Times that the booking's events name it.
async fn count(t: &TestDesk, booking: Uuid, name: &str) -> usize {
    let events = t.events(booking).await;
    events.iter().filter(|e| *e == name).count()
}

async fn wait_for_event(t: &TestDesk, booking: Uuid, name: &str) {
    wait_until(name, Duration::from_secs(20), || async {
        count(t, booking, name).await > 0
    })
    .await;
}

async fn page(t: &TestDesk, booking: Uuid) -> BookingPage {
    caught_up(t).await;
    let request = GetBooking {
        booking: booking.to_string(),
    };
    bookings::page::page(&t.desk(None), request).await.unwrap()
}

/// What the page says lies with the bank, and what the business keeps.
fn kept(page: &BookingPage) -> (i64, i64) {
    let money = &page.money;
    (money.disputed.amount_minor, money.kept.amount_minor)
}

/// What the rail counts.
async fn need_person(t: &TestDesk) -> i64 {
    let status = session::status(&t.desk(None), Empty {}).await.unwrap();
    status.counts.sagas_need_person
}

/// Of a booking: what lies at the provider, what fees took.
async fn balances(t: &TestDesk, booking: Uuid) -> (i64, Option<i64>, i64) {
    sqlx::query_as("select at_provider_minor, fees_minor, receivable_minor from read.ledger_balances_v1 where booking_id = $1")
        .bind(booking)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

async fn open_cases(t: &TestDesk) -> Vec<serde_json::Value> {
    sqlx::query_scalar(
        "select fact from saga.attention where kind like 'dispute:%' and closed_at is null",
    )
    .fetch_all(&t.worker_pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_dispute_is_told_once_and_the_ledger_follows_the_money_until_it_is_won() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let other = t.work().await;
    let it = paid(&t, &worker).await;
    let id = t
        .sandbox
        .dispute(&it.intent, "product_not_received", false)
        .unwrap();
    wait_for_event(&t, it.booking, "DisputeFundsWithdrawn").await;
    let cases = open_cases(&t).await;
    assert_eq!(cases.len(), 1);
    assert_eq!(cases[0]["dispute"], id);
    assert!(cases[0]["evidence_due_at"].is_string(), "{cases:?}");
    let shown = page(&t, it.booking).await;
    assert_eq!(shown.row.payment, PaymentState::Disputed);
    assert_eq!(kept(&shown), (8000, 0));
    assert_eq!(need_person(&t).await, 1);
    assert_eq!(shown.disputes.len(), 1);
    let dispute = &shown.disputes[0];
    assert_eq!(dispute.status.as_deref(), Some("needs_response"));
    let left = dispute.evidence_due_at.unwrap() - chrono::Utc::now();
    assert!((8..=9).contains(&left.num_days()), "{left}");
    let told: Vec<&str> = shown.timeline.iter().map(|i| i.what.as_str()).collect();
    assert!(told.contains(&"PaymentDisputed"), "{told:?}");
    // The price is given up, and Stripe keeps 20.00 on top.
    assert_eq!(balances(&t, it.booking).await, (-2000, Some(2000), 0));
    let list = ListSagas::first(SagaTab::NeedsPerson, 50);
    let listed = sagas::list(&t.desk(None), list.clone()).await.unwrap();
    assert_eq!(listed.disputes.len(), 1);
    assert_eq!(
        listed.disputes[0].reference.as_deref(),
        Some(shown.row.reference.as_str())
    );

    assert!(t.sandbox.act_on_dispute(&id, DisputeAct::Answer));
    wait_until("answered", Duration::from_secs(20), || async {
        page(&t, it.booking).await.disputes[0].answered
    })
    .await;
    assert_eq!(need_person(&t).await, 0);
    assert!(t.sandbox.act_on_dispute(&id, DisputeAct::Win));
    wait_for_event(&t, it.booking, "DisputeClosed").await;
    let shown = page(&t, it.booking).await;
    assert_eq!(shown.row.payment, PaymentState::Paid);
    assert_eq!(kept(&shown), (0, 8000));
    assert!(shown.disputes[0].closed_at.is_some());
    assert_eq!(balances(&t, it.booking).await, (8000, Some(0), 0));
    assert_eq!(open_cases(&t).await.len(), 0);
    let listed = sagas::list(&t.desk(None), list).await.unwrap();
    assert_eq!(listed.disputes.len(), 0);

    // Told again, in the other order, it is known.
    sqlx::query("update saga.disputes set look_at = now(), told = told + 1")
        .execute(&t.worker_pool)
        .await
        .unwrap();
    wait_until("looked at again", Duration::from_secs(20), || async {
        sqlx::query_scalar("select look_at is null from saga.disputes")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
    })
    .await;
    for name in [
        "PaymentDisputed",
        "DisputeFundsWithdrawn",
        "DisputeFundsReinstated",
        "DisputeClosed",
    ] {
        assert_eq!(count(&t, it.booking, name).await, 1, "{name}");
    }
    let _ = it.saga;
    worker.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_dispute_that_is_heard_of_when_it_is_lost_is_told_whole_and_stays_refused_a_refund() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let it = paid(&t, &worker).await;
    // Nobody works while all of it happens; the list of events is read newest first or oldest first, it does not matter.
    worker.close().await;
    let id = t.sandbox.dispute(&it.intent, "fraudulent", true).unwrap();
    assert!(t.sandbox.act_on_dispute(&id, DisputeAct::Escalate));
    assert!(t.sandbox.act_on_dispute(&id, DisputeAct::Lose));
    let worker = t.work().await;
    wait_for_event(&t, it.booking, "DisputeClosed").await;
    let events = t.events(it.booking).await;
    let told: Vec<&str> = events
        .iter()
        .map(String::as_str)
        .filter(|e| e.contains("Disput"))
        .collect();
    assert_eq!(
        told,
        ["PaymentDisputed", "DisputeFundsWithdrawn", "DisputeClosed"]
    );
    let shown = page(&t, it.booking).await;
    assert_eq!(shown.row.payment, PaymentState::DisputeLost);
    assert_eq!(balances(&t, it.booking).await.0, -2000);
    assert_eq!(open_cases(&t).await.len(), 0);
    // The arrivals name the booking and what followed.
    let list: Vec<(String, String)> = sqlx::query_as("select kind, result from read.inbox_v1 where kind like 'charge.dispute.%' order by inbox_id")
        .fetch_all(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(list.len(), 4, "{list:?}");
    assert!(list.iter().all(|(_, result)| result == "done"), "{list:?}");
    assert_eq!(inbox::process(&t.worker_pool, 100).await.unwrap(), 0);
    worker.close().await;
}

#[tokio::test]
async fn a_refund_beside_a_dispute_is_refused_by_the_preview_which_names_each_of_them() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = paid(&t, &worker).await;
    assert_eq!(look(&desk, it.saga, "cancel").await.code, None);
    let before = look(&desk, it.saga, "cancel").await;
    let id = t.sandbox.dispute(&it.intent, "fraudulent", false).unwrap();
    wait_for_event(&t, it.booking, "PaymentDisputed").await;
    // Another one about a part of the same payment.
    sqlx::query("insert into saga.disputes (dispute_id, saga_id, booking_id, look_at, status, reason, amount_minor, currency) values ('dp_second', $1, $2, null, 'needs_response', 'duplicate', 2000, 'EUR')")
        .bind(it.saga)
        .bind(it.booking)
        .execute(&t.worker_pool)
        .await
        .unwrap();
    let plan = look(&desk, it.saga, "cancel").await;
    assert_eq!(plan.code.as_deref(), Some("disputed"));
    assert!(plan.refused.as_deref().unwrap().contains("pay twice"));
    let named: Vec<(&str, i64)> = plan
        .operations
        .iter()
        .filter(|o| o.op == "disputed")
        .map(|o| {
            let sum = o.amount.as_ref().unwrap().amount_minor;
            (o.object.as_deref().unwrap(), sum)
        })
        .collect();
    assert_eq!(named, [(id.as_str(), 8000), ("dp_second", 2000)]);
    // Neither the plan that is seen now nor the one from before may be pressed.
    for seen in [&plan, &before] {
        let pressed = sagas::command(&desk, ask(it.saga, "cancel", seen)).await;
        assert!(pressed.is_err());
    }
    assert_eq!(count(&t, it.booking, "BookingCancelled").await, 0);

    // Won: it may be refunded again.
    assert!(t.sandbox.act_on_dispute(&id, DisputeAct::Win));
    wait_for_event(&t, it.booking, "DisputeClosed").await;
    sqlx::query(
        "update saga.disputes set closed_at = now(), status = 'won' where dispute_id = 'dp_second'",
    )
    .execute(&t.worker_pool)
    .await
    .unwrap();
    let plan = look(&desk, it.saga, "cancel").await;
    assert_eq!(plan.code, None);
    // Lost: the bank has it.
    sqlx::query("update saga.disputes set status = 'lost' where dispute_id = 'dp_second'")
        .execute(&t.worker_pool)
        .await
        .unwrap();
    let plan = look(&desk, it.saga, "cancel").await;
    assert_eq!(plan.code.as_deref(), Some("dispute_lost"));
    worker.close().await;
}
