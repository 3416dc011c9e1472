//! What the provider keeps of a payment: asked for by itself, told once, and never in the way of the money.

use std::sync::Arc;

use bizing_engine::app::bookings;
use bizing_engine::app::wire::*;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::saga::fees::Fees;
use bizing_sandbox::{Fault, Rule};
use uuid::Uuid;

use super::hands::caught_up;
use crate::support::desk::{TestDesk, booking, slot};

fn fees(t: &TestDesk) -> Fees {
    Fees {
        pool: t.worker_pool.clone(),
        stripe: Arc::new(t.stripe()),
        crash: CrashPoints::default(),
    }
}

/// Paid by card and confirmed, and nobody works any more.
async fn paid(t: &TestDesk, n: u32) -> Uuid {
    let worker = t.work().await;
    let request = CreateBooking {
        payment_method: Some("pm_card_visa".to_owned()),
        ..booking(&slot(n))
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.tasks.shut_down().await;
    booked.booking_id
}

/// A round as if every pause were over.
async fn round(t: &TestDesk, fees: &Fees) -> usize {
    sqlx::query("select saga.note_payments(500)")
        .execute(&t.worker_pool)
        .await
        .unwrap();
    sqlx::query("update saga.fees set look_at = now() where look_at is not null")
        .execute(&t.worker_pool)
        .await
        .unwrap();
    fees.round().await.unwrap()
}

async fn told(t: &TestDesk, booking: Uuid) -> usize {
    let events = t.events(booking).await;
    events.iter().filter(|e| *e == "ProviderFeeCharged").count()
}

async fn money(t: &TestDesk, booking: Uuid) -> MoneyLine {
    caught_up(t).await;
    let request = GetBooking {
        booking: booking.to_string(),
    };
    let page = bookings::page::page(&t.desk(None), request).await.unwrap();
    page.money
}

#[tokio::test]
async fn a_fee_is_told_once_however_many_ask_and_the_ledger_takes_it_off_what_lies_at_the_provider()
{
    let t = TestDesk::new().await;
    let it = paid(&t, 0).await;
    assert_eq!(money(&t, it).await.fee, None);
    // Whoever looks right after the payment finds its books not written yet, so nobody does.
    let (a, b) = (fees(&t), fees(&t));
    assert_eq!(a.round().await.unwrap(), 0);
    sqlx::query("update saga.fees set look_at = now()")
        .execute(&t.worker_pool)
        .await
        .unwrap();
    let (first, second) = tokio::join!(a.round(), b.round());
    assert_eq!(first.unwrap() + second.unwrap(), 1);
    assert_eq!(told(&t, it).await, 1);
    assert_eq!(round(&t, &a).await, 0, "nothing is left to ask");

    // 80.00 carries 1.5 % and 0.25.
    let line = money(&t, it).await;
    let fee = line.fee.unwrap();
    assert_eq!((fee.amount_minor, fee.currency.as_str()), (145, "EUR"));
    assert_eq!(line.kept.amount_minor, 8_000, "before fees");
    let books: (i64, Option<i64>) = sqlx::query_as(
        "select at_provider_minor, fees_minor from read.ledger_balances_v1 where booking_id = $1",
    )
    .bind(it)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(books, (7_855, Some(145)));
    let (cause, effect): (Option<Uuid>, Uuid) = sqlx::query_as(
        "select f.causation_id, p.event_id from read.timeline_v1 f join read.timeline_v1 p using (booking_id)
          where f.event_name = 'ProviderFeeCharged' and p.event_name = 'PaymentReceived'",
    )
    .fetch_one(&t.people)
    .await
    .unwrap();
    assert_eq!(cause, Some(effect));
}

#[tokio::test]
async fn a_key_that_may_not_read_the_books_takes_the_money_all_the_same_and_is_asked_again() {
    let t = TestDesk::new().await;
    let it = paid(&t, 0).await;
    let fees = fees(&t);
    t.sandbox.faults().add(Rule {
        operation: "get_intent".to_owned(),
        when: bizing_sandbox::When::Nth { nth: 1, times: 60 },
        fault: Fault::Unauthorized,
    });
    for _ in 0..60 {
        assert_eq!(round(&t, &fees).await, 1);
    }
    assert_eq!(told(&t, it).await, 0);
    let problem: String = sqlx::query_scalar("select problem from saga.fees")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert!(problem.contains("API key"), "{problem}");
    assert_eq!(round(&t, &fees).await, 1, "the key was mended");
    assert_eq!(told(&t, it).await, 1);
}

#[tokio::test]
async fn payments_of_another_account_are_asked_for_once_and_those_from_before_are_found() {
    let t = TestDesk::new().await;
    let it = paid(&t, 0).await;
    let foreign = paid(&t, 1).await;
    let fees = fees(&t);
    assert_eq!(fees.round().await.unwrap(), 0);
    // As after an import: the provider has never heard of it.
    sqlx::query(
        "update saga.fees set payment_intent = 'pi_of_another_account' where booking_id = $1",
    )
    .bind(foreign)
    .execute(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(round(&t, &fees).await, 2);
    assert_eq!((told(&t, it).await, told(&t, foreign).await), (1, 0));
    assert_eq!(round(&t, &fees).await, 0);
    let problem: String = sqlx::query_scalar("select problem from saga.fees where booking_id = $1")
        .bind(foreign)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert!(problem.contains("resource_missing"), "{problem}");
}
