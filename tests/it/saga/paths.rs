//! The ways a booking can go when nothing crashes.

use bizing_engine::app::wire::{Code, PaymentMode};

use crate::support::desk::{TestDesk, booking, slot};

#[tokio::test]
async fn a_booking_on_a_saved_card_reaches_confirmed_in_three_commits() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;

    assert_eq!(
        t.events(booked.booking_id).await,
        [
            "BookingCreated",
            "InventoryHeld",
            "PaymentRequested",
            "PaymentAuthorized",
            "PaymentReceived",
            "BookingConfirmed",
            "NotificationSent"
        ]
    );
    let ledger = t.sandbox.ledger();
    assert_eq!(
        (ledger.payments.len(), ledger.payments[0].captured),
        (1, 8000)
    );
    assert_eq!(t.live_claims(booked.booking_id).await, 1 + 1);
    // Transactions that wrote to the saga's rows up to "messages owed": the start and the saga's own two.
    let commits: i64 = sqlx::query_scalar(
        "select count(distinct e.xmin::text) from core.events e join core.streams s using (stream_no) join core.event_types k using (type_no)
          where s.stream_id = $1 and k.name <> 'NotificationSent'",
    )
    .bind(format!("booking-{}", booked.booking_id))
    .fetch_one(&t.db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(commits, 3);
    worker.close().await;
}

#[tokio::test]
async fn a_booking_made_without_a_worker_goes_on_when_one_comes() {
    let t = TestDesk::new().await;
    let booked = t.book(&t.desk(None), booking(&slot(0))).await;
    assert_eq!(t.saga_state(booked.booking_id).await, "running");
    let worker = t.work().await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
}

#[tokio::test]
async fn a_declined_card_leaves_the_customer_a_link_and_the_hold() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let mut request = booking(&slot(0));
    request.payment_method = Some("pm_card_visa_chargeDeclined".to_owned());
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    let events = t.events(booked.booking_id).await;
    assert!(events.contains(&"PaymentFailed".to_owned()), "{events:?}");
    assert_eq!(t.live_claims(booked.booking_id).await, 2);
    // One link, one message: the declined card's own request is not announced.
    t.wait_for_event(booked.booking_id, "NotificationSent")
        .await;
    let sent: i64 = sqlx::query_scalar("select count(*) from delivery.deliveries where template = 'payment_link' and state = 'delivered'").fetch_one(&t.worker_pool).await.unwrap();
    assert_eq!(sent, 1);
    assert_eq!(
        t.sandbox
            .ledger()
            .payments
            .iter()
            .map(|p| p.captured)
            .sum::<i64>(),
        0
    );
    worker.close().await;
}

#[tokio::test]
async fn a_message_that_reaches_nobody_takes_everything_back_in_reverse() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let mut request = booking(&slot(0));
    request.customer = bizing_engine::app::wire::ForCustomer::New {
        name: "Bo Bounce".to_owned(),
        email: Some("bounce@example.com".to_owned()),
        phone: None,
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "compensated").await;
    let events = t.events(booked.booking_id).await;
    let order: Vec<&str> = events
        .iter()
        .map(String::as_str)
        .filter(|e| {
            [
                "BookingConfirmed",
                "BookingCancelled",
                "RefundRequested",
                "PaymentRefunded",
                "InventoryReleased",
            ]
            .contains(e)
        })
        .collect();
    assert_eq!(
        order,
        [
            "BookingConfirmed",
            "BookingCancelled",
            "RefundRequested",
            "PaymentRefunded",
            "InventoryReleased"
        ]
    );
    let ledger = t.sandbox.ledger();
    assert_eq!(
        (ledger.payments[0].captured, ledger.payments[0].refunded),
        (8000, 8000)
    );
    assert_eq!(t.live_claims(booked.booking_id).await, 0);
    worker.close().await;
}

#[tokio::test]
async fn a_booking_paid_at_the_venue_asks_stripe_nothing() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let mut request = booking(&slot(0));
    request.payment_mode = PaymentMode::Venue;
    request.payment_method = None;
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    assert_eq!(t.sandbox.ledger().payments.len(), 0);
    worker.close().await;
}

#[tokio::test]
async fn a_slot_that_was_just_taken_is_refused_and_nothing_is_written() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    t.book(&desk, booking("2030-06-01T11:00")).await;
    let before = everything(&t).await;
    let refused = bizing_engine::app::bookings::create::create(&desk, booking("2030-06-01T11:30"))
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::SlotTaken);
    assert!(
        refused
            .message
            .starts_with("Ana Beltrão is taken 11:00–12:15")
            || refused
                .message
                .starts_with("Quiet room is taken 11:00–12:15"),
        "{}",
        refused.message
    );
    assert_eq!(everything(&t).await, before);
}

#[tokio::test]
async fn a_slip_of_the_hand_is_refused_at_its_field_and_nothing_is_written() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let paid_with = |method: &str| bizing_engine::app::wire::CreateBooking {
        payment_method: Some(method.to_owned()),
        ..booking(&slot(0))
    };
    for (request, field) in [
        (booking("2020-06-01T11:00"), "starts"),
        (booking("9999-06-01T11:00"), "starts"),
        (paid_with("pm_"), "payment_method"),
        (paid_with("pm_x'; drop"), "payment_method"),
    ] {
        let refused = bizing_engine::app::bookings::create::create(&desk, request)
            .await
            .unwrap_err();
        assert_eq!(refused.field.as_deref(), Some(field), "{refused:?}");
    }
    let bookings: i64 = sqlx::query_scalar("select count(*) from booking.booking")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(bookings, 0);
}

#[tokio::test]
async fn two_places_are_two_bookings_at_one_time_and_a_third_is_refused() {
    let t = TestDesk::new().await;
    sqlx::query("update booking.resource set capacity = 2")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    let desk = t.desk(None);
    let at_once = (0..5)
        .map(|_| bizing_engine::app::bookings::create::create(&desk, booking("2030-06-01T11:00")));
    let (taken, refused): (Vec<_>, Vec<_>) = futures_util::future::join_all(at_once)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (2, 3));
    for refused in refused {
        assert_eq!(refused.unwrap_err().code, Code::SlotTaken);
    }
    let held: Vec<(String, i16)> = sqlx::query_as(
        "select r.kind, c.unit from booking.inventory_claim c join booking.resource r using (resource_id) where released_at is null order by 1, 2",
    )
    .fetch_all(&t.worker_pool)
    .await
    .unwrap();
    let unit = |kind: &str, n| (kind.to_owned(), n);
    assert_eq!(
        held,
        [
            unit("room", 1),
            unit("room", 2),
            unit("staff", 1),
            unit("staff", 2)
        ]
    );
    let told: Vec<i16> = sqlx::query_scalar(
        "select (c->>'unit')::smallint from read.events_v1, jsonb_array_elements(data->'claims') c where name = 'InventoryHeld' order by 1",
    )
    .fetch_all(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(told, [1, 1, 2, 2], "the event says what is held");
}

#[tokio::test]
async fn the_same_command_sent_twice_books_once() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let request = booking(&slot(0));
    let first = t.book(&desk, request.clone()).await;
    assert_eq!(t.book(&desk, request.clone()).await, first);
    let other = bizing_engine::app::wire::CreateBooking {
        starts: slot(3),
        ..request
    };
    let refused = bizing_engine::app::bookings::create::create(&desk, other)
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::CommandReused);
}

#[tokio::test]
async fn the_same_command_sent_from_several_windows_at_once_books_once_and_each_hears_the_same() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let request = booking(&slot(0));
    let at_once =
        (0..6).map(|_| bizing_engine::app::bookings::create::create(&desk, request.clone()));
    let booked = futures_util::future::join_all(at_once).await;
    let first = booked[0].as_ref().expect("it is booked");
    for other in &booked {
        assert_eq!(other.as_ref().expect("it is the same booking"), first);
    }
    assert_eq!(t.live_claims(first.booking_id).await, 2);
}

/// Rows that a booking writes: saga, tries, effects, bookings, claims, streams, events, keys of people.
async fn everything(t: &TestDesk) -> Vec<i64> {
    sqlx::query_scalar(
        "select count(*) from saga.instance union all select count(*) from saga.attempt union all select count(*) from saga.effect
         union all select count(*) from booking.booking union all select count(*) from booking.inventory_claim
         union all select count(*) from core.streams union all select count(*) from core.events union all select count(*) from core.subject_keys",
    )
    .fetch_all(&t.db.superuser_pool().await)
    .await
    .unwrap()
}
