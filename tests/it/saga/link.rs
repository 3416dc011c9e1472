//! Paying by link: the customer's page, the poll that hears of it, and the hold that ends.

use std::time::Duration;

use bizing_engine::app::wire::{CancelBooking, CreateBooking, PaymentMode};
use bizing_engine::saga::definition::Policy;
use bizing_sandbox::{Fault, Rule, When};
use uuid::Uuid;

use super::hands::{pay_page, press};
use super::referee;
use crate::support::desk::{TestDesk, booking, quick_policy, slot};
use crate::support::wait_until;

fn by_link() -> CreateBooking {
    CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(0))
    }
}

#[tokio::test]
async fn a_customer_who_pays_on_the_page_is_confirmed_by_what_stripe_says() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), by_link())
        .await;
    let page = pay_page(&t, booked.booking_id).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    assert!(
        !t.events(booked.booking_id)
            .await
            .contains(&"BookingConfirmed".to_owned()),
        "nothing is assumed"
    );

    press(&page, "pay").await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    referee::check(&t, booked.booking_id).await;
    worker.close().await;
}

#[tokio::test]
async fn a_declined_card_on_the_page_waits_for_another_one() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), by_link())
        .await;
    let page = pay_page(&t, booked.booking_id).await;
    press(&page, "decline").await;
    t.wait_for_event(booked.booking_id, "PaymentFailed").await;
    assert_eq!(
        t.live_claims(booked.booking_id).await,
        2,
        "the slot stays held"
    );

    press(&page, "pay").await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    referee::check(&t, booked.booking_id).await;
    worker.close().await;
}

#[tokio::test]
async fn a_hold_that_ends_closes_the_page_and_frees_the_slot() {
    let t = TestDesk::with(Policy {
        hold_with_card: Duration::from_secs(2),
        hold_with_link: Duration::from_secs(2),
        ..quick_policy()
    })
    .await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), by_link())
        .await;
    let page = pay_page(&t, booked.booking_id).await;
    press(&page, "decline").await;
    t.wait_for_saga(booked.booking_id, "compensated").await;
    let events = t.events(booked.booking_id).await;
    assert!(
        events.contains(&"BookingExpired".to_owned())
            && events.contains(&"InventoryHoldExpired".to_owned()),
        "{events:?}"
    );
    referee::check(&t, booked.booking_id).await;
    // Somebody else may have the slot now.
    t.book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    worker.close().await;
}

/// The day of the newest page is over.
async fn run_out(t: &TestDesk, booking: Uuid) {
    let session: String = sqlx::query_scalar("select data->>'checkout_session' from api.read_stream($1, 0) where name = 'PaymentRequested' order by version desc limit 1")
        .bind(format!("booking-{booking}"))
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    let ends = bizing_stripe::Operation::ExpireCheckout { session };
    t.stripe()
        .send(&ends.encode(), "as its time does")
        .await
        .expect("it ends");
}

#[tokio::test]
async fn a_page_that_runs_out_before_the_hold_is_followed_by_another_that_the_customer_is_sent() {
    let day = Duration::from_secs(24 * 3600);
    let t = TestDesk::with(Policy {
        hold_with_link: day * 7,
        ..quick_policy()
    })
    .await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    let id = t.book(&desk, by_link()).await.booking_id;
    let first = pay_page(&t, id).await;
    // Tried and declined: what was begun on the page ends with it.
    press(&first, "decline").await;
    t.wait_for_event(id, "PaymentFailed").await;
    run_out(&t, id).await;
    let requests = async |name: &'static str| {
        let events = t.events(id).await;
        events.iter().filter(|e| *e == name).count()
    };
    wait_until("a second page", Duration::from_secs(20), || async {
        requests("PaymentRequested").await == 2
    })
    .await;
    let second = pay_page(&t, id).await;
    assert_ne!(first, second);
    wait_until("two messages went out", Duration::from_secs(20), || async {
        let sent: i64 = sqlx::query_scalar(
            "select count(*) from delivery.deliveries where stream_id = $1 and template = 'payment_link' and state = 'delivered'",
        )
        .bind(format!("booking-{id}"))
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
        sent == 2
    })
    .await;
    // However often it looks, one page follows one.
    tokio::time::sleep(quick_policy().look_every * 3).await;
    assert_eq!(requests("PaymentRequested").await, 2);
    assert_eq!(requests("PaymentLinkExpired").await, 1);
    press(&second, "pay").await;
    t.wait_for_saga(id, "completed").await;
    referee::check(&t, id).await;
    worker.close().await;
}

#[tokio::test]
async fn a_page_that_runs_out_between_two_answers_is_no_payment_that_somebody_cancelled() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    let id = t.book(&desk, by_link()).await.booking_id;
    let first = pay_page(&t, id).await;
    press(&first, "decline").await;
    t.wait_for_event(id, "PaymentFailed").await;
    // The page is told open; its intent is told later, as it is by then.
    t.sandbox.faults().add(Rule {
        operation: "get_intent".to_owned(),
        when: When::Nth { nth: 1, times: 3 },
        fault: Fault::Late { ms: 700 },
    });
    wait_until("a look", Duration::from_secs(20), || async {
        !t.sandbox.faults().fired().is_empty()
    })
    .await;
    run_out(&t, id).await;
    wait_until("a second page", Duration::from_secs(20), || async {
        pay_page(&t, id).await != first
    })
    .await;
    let events = t.events(id).await;
    assert!(!events.contains(&"PaymentVoided".to_owned()), "{events:?}");
    let second = pay_page(&t, id).await;
    press(&second, "pay").await;
    t.wait_for_saga(id, "completed").await;
    referee::check(&t, id).await;
    worker.close().await;
}

#[tokio::test]
async fn a_booking_that_is_cancelled_while_it_waits_is_taken_back_and_cannot_be_paid_any_more() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    let booked = t.book(&desk, by_link()).await;
    let page = pay_page(&t, booked.booking_id).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    let version = t.events(booked.booking_id).await.len() as i64;
    let cancel = CancelBooking {
        command_id: Uuid::now_v7(),
        booking_id: booked.booking_id,
        reason: "The customer called it off.".to_owned(),
        expected_version: version,
    };
    bizing_engine::app::bookings::cancel::cancel(&desk, cancel)
        .await
        .unwrap();
    t.wait_for_saga(booked.booking_id, "compensated").await;
    referee::check(&t, booked.booking_id).await;
    let late = reqwest::Client::new()
        .post(&page)
        .form(&[("action", "pay")])
        .send()
        .await
        .unwrap();
    assert!(
        late.status().is_client_error() || t.sandbox.ledger().totals.held == 0,
        "a closed page takes no money"
    );
    worker.close().await;
}

#[tokio::test]
async fn a_second_window_goes_on_where_a_closed_one_stopped() {
    let t = TestDesk::new().await;
    let first = t.work().await;
    let booked = t.book(&t.desk(Some(first.worker.clone())), by_link()).await;
    let page = pay_page(&t, booked.booking_id).await;
    first.close().await;
    press(&page, "pay").await;
    let second = t.work().await;
    wait_until(
        "the second worker finishes it",
        Duration::from_secs(20),
        || async { t.saga_state(booked.booking_id).await == "completed" },
    )
    .await;
    referee::check(&t, booked.booking_id).await;
    second.close().await;
}
