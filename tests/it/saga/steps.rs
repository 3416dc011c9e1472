//! The four tests that every saga gets, over its steps: run twice, fail, undo twice, crash after the effect (see `crash`).

use bizing_engine::app::wire::{CreateBooking, ForCustomer};
use bizing_sandbox::{Fault, Rule};

use super::referee;
use crate::support::desk::{TestDesk, booking, slot};

fn to_nobody() -> CreateBooking {
    CreateBooking {
        customer: ForCustomer::New {
            name: "Bo".to_owned(),
            email: Some("bounce@example.com".to_owned()),
            phone: None,
        },
        ..booking(&slot(0))
    }
}

/// Books with these faults armed and waits for the end.
async fn check(faults: &[Rule], request: CreateBooking, end: &str) {
    let t = TestDesk::new().await;
    for rule in faults {
        t.sandbox.faults().add(rule.clone());
    }
    let worker = t.work().await;
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, end).await;
    assert_eq!(
        t.sandbox.faults().fired().len(),
        faults.len(),
        "every fault was met"
    );
    referee::check(&t, booked.booking_id).await;
    worker.close().await;
}

#[tokio::test]
async fn each_step_asked_twice_happens_once() {
    // The work is done and the answer lost: the step is asked again, under the same key.
    for operation in ["create_intent", "capture"] {
        check(
            &[Rule::nth(operation, 1, Fault::LostAfterEffect)],
            booking(&slot(0)),
            "completed",
        )
        .await;
    }
}

#[tokio::test]
async fn each_undo_asked_twice_happens_once() {
    check(
        &[Rule::nth("refund", 1, Fault::LostAfterEffect)],
        to_nobody(),
        "compensated",
    )
    .await;
}

#[tokio::test]
async fn a_stored_error_is_looked_up_and_never_sent_again_under_its_key() {
    for effect in [false, true] {
        for operation in ["create_intent", "capture"] {
            check(
                &[Rule::nth(operation, 1, Fault::Stored500 { effect })],
                booking(&slot(0)),
                "completed",
            )
            .await;
        }
        check(
            &[Rule::nth("refund", 1, Fault::Stored500 { effect })],
            to_nobody(),
            "compensated",
        )
        .await;
    }
}

#[tokio::test]
async fn a_provider_that_is_busy_away_or_late_only_costs_time() {
    for operation in ["create_intent", "capture"] {
        check(
            &[Rule::nth(
                operation,
                1,
                Fault::TooManyRequests { retry_after_s: 0 },
            )],
            booking(&slot(0)),
            "completed",
        )
        .await;
        check(
            &[Rule::nth(operation, 1, Fault::LostBefore)],
            booking(&slot(0)),
            "completed",
        )
        .await;
        check(
            &[Rule::nth(operation, 1, Fault::Late { ms: 1500 })],
            booking(&slot(0)),
            "completed",
        )
        .await;
    }
}

#[tokio::test]
async fn each_step_that_fails_for_good_unwinds_to_a_clean_world() {
    // Capture: the authorisation was cancelled behind our back.
    let t = TestDesk::new().await;
    t.sandbox
        .faults()
        .add(Rule::nth("capture", 1, Fault::LostBefore));
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_event(booked.booking_id, "PaymentAuthorized")
        .await;
    let intent = t.sandbox.ledger().payments[0].payment_intent.clone();
    reqwest::Client::new()
        .post(format!(
            "{}/v1/payment_intents/{intent}/cancel",
            t.sandbox.url()
        ))
        .bearer_auth("sk_test_sandbox")
        .send()
        .await
        .unwrap();
    crate::support::wait_until("an end", std::time::Duration::from_secs(20), || async {
        ["completed", "compensated"].contains(&t.saga_state(booked.booking_id).await.as_str())
    })
    .await;
    referee::check(&t, booked.booking_id).await;
    worker.close().await;

    // Notify: nobody can be told.
    check(&[], to_nobody(), "compensated").await;
}
