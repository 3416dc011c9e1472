use bizing_stripe::{CancelReason, Failure, IntentStatus, Operation, RefundStatus};

use crate::support::*;

#[tokio::test]
async fn money_is_held_then_taken_then_given_back() {
    let world = world().await;
    let held = world.authorised("k1").await;
    assert_eq!(held.status, IntentStatus::RequiresCapture);
    assert_eq!(
        (held.amount, held.amount_capturable, held.amount_received),
        (8000, 8000, 0)
    );
    assert_eq!(
        (held.currency.as_str(), held.metadata),
        ("eur", metadata("effect-1"))
    );
    let days = (held.capture_before.unwrap() - now()) / 86_400;
    assert!(
        (6..=7).contains(&days),
        "the authorisation lasts {days} days"
    );
    assert_eq!(
        world.stripe.intent(&held.id).await.unwrap().capture_before,
        held.capture_before
    );

    let taken = intent(world.stripe.send(&capture(&held.id), "k2").await);
    assert_eq!(taken.status, IntentStatus::Succeeded);
    assert_eq!((taken.amount_capturable, taken.amount_received), (0, 8000));

    let part = refunded(world.stripe.send(&refund(&held.id, 3000), "k3").await);
    assert_eq!(
        (part.status, part.amount, part.payment_intent),
        (RefundStatus::Succeeded, 3000, Some(held.id.clone()))
    );
    refunded(world.stripe.send(&refund(&held.id, 5000), "k4").await);
    let amounts: Vec<i64> = world
        .stripe
        .refunds_of(&held.id)
        .await
        .unwrap()
        .iter()
        .map(|r| r.amount)
        .collect();
    assert_eq!(amounts, [5000, 3000]);

    let ledger = world.sandbox.ledger();
    ledger.check().unwrap();
    let payment = ledger.payment(&held.id).unwrap();
    assert_eq!(
        (payment.authorised, payment.captured, payment.refunded),
        (8000, 8000, 8000)
    );
}

#[tokio::test]
async fn a_part_can_be_captured_and_the_rest_goes_back() {
    let world = world().await;
    let held = world.authorised("k1").await;
    let part = Operation::Capture {
        payment_intent: held.id.clone(),
        amount_minor: Some(2000),
    }
    .encode();
    let taken = intent(world.stripe.send(&part, "k2").await);
    assert_eq!((taken.amount_received, taken.amount_capturable), (2000, 0));
    assert_eq!(
        refused(world.stripe.send(&refund(&held.id, 2001), "k3").await),
        "invalid_request_error"
    );
}

#[tokio::test]
async fn a_second_capture_is_refused_and_shows_that_it_is_done() {
    let world = world().await;
    let taken = world.captured("k").await;
    match world
        .stripe
        .send(&capture(&taken.id), "another")
        .await
        .unwrap_err()
    {
        Failure::Refused {
            code,
            status,
            intent,
            request_id,
            ..
        } => {
            assert_eq!(
                (code.as_str(), status),
                ("payment_intent_unexpected_state", 400)
            );
            assert_eq!(intent.unwrap().status, IntentStatus::Succeeded);
            assert!(request_id.unwrap().starts_with("req_"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.sandbox.ledger().totals.captured, 8000);
}

#[tokio::test]
async fn more_than_was_captured_is_never_refunded() {
    let world = world().await;
    let held = world.authorised("k").await;
    assert_eq!(
        refused(world.stripe.send(&refund(&held.id, 1), "r0").await),
        "charge_not_captured"
    );
    intent(world.stripe.send(&capture(&held.id), "c").await);
    assert_eq!(
        refused(world.stripe.send(&refund(&held.id, 8001), "r1").await),
        "invalid_request_error"
    );
    refunded(world.stripe.send(&refund(&held.id, 8000), "r2").await);
    assert_eq!(
        refused(world.stripe.send(&refund(&held.id, 1), "r3").await),
        "charge_already_refunded"
    );
}

#[tokio::test]
async fn a_failed_refund_leaves_the_money_to_be_refunded_again() {
    let world = world().await;
    let held = intent(world.stripe.send(&create("pm_card_refundFail"), "k").await);
    intent(world.stripe.send(&capture(&held.id), "c").await);
    assert_eq!(
        refunded(world.stripe.send(&refund(&held.id, 8000), "r").await).status,
        RefundStatus::Pending
    );
    world.sandbox.advance_clock(60);
    let after = &world.stripe.refunds_of(&held.id).await.unwrap()[0];
    assert_eq!(after.status, RefundStatus::Failed);
    assert_eq!(
        after.failure_reason.as_deref(),
        Some("expired_or_canceled_card")
    );
    assert_eq!(world.sandbox.ledger().totals.refunded, 0);
    assert_eq!(
        refunded(world.stripe.send(&refund(&held.id, 8000), "r2").await).amount,
        8000
    );
}

#[tokio::test]
async fn a_decline_says_why_and_leaves_an_intent_behind() {
    let world = world().await;
    for (card, expected) in [
        (
            "pm_card_visa_chargeDeclined",
            ("card_declined", "generic_decline"),
        ),
        (
            "pm_card_chargeDeclined",
            ("card_declined", "generic_decline"),
        ),
        (
            "pm_card_visa_chargeDeclinedInsufficientFunds",
            ("card_declined", "insufficient_funds"),
        ),
        (
            "pm_card_chargeDeclinedExpiredCard",
            ("expired_card", "expired_card"),
        ),
        (
            "pm_card_authenticationRequired",
            ("authentication_required", "authentication_required"),
        ),
    ] {
        match world.stripe.send(&create(card), card).await.unwrap_err() {
            Failure::Declined {
                code,
                decline_code,
                message,
                intent,
                request_id,
            } => {
                assert_eq!(
                    (code.as_str(), decline_code.as_deref()),
                    (expected.0, Some(expected.1))
                );
                let intent = intent.unwrap();
                assert_eq!(intent.status, IntentStatus::RequiresPaymentMethod);
                assert_eq!(intent.metadata, metadata("effect-1"));
                let error = intent.last_payment_error.unwrap();
                assert_eq!((error.code.as_str(), error.message), (expected.0, message));
                assert!(request_id.is_some());
            }
            other => panic!("{card}: {other:?}"),
        }
    }
    assert_eq!(world.sandbox.ledger().totals.authorised, 0);
}

#[tokio::test]
async fn an_authorisation_is_let_go_by_cancelling() {
    let world = world().await;
    let held = world.authorised("k").await;
    let cancel = |reason| {
        Operation::CancelIntent {
            payment_intent: held.id.clone(),
            reason,
        }
        .encode()
    };
    let gone = intent(
        world
            .stripe
            .send(&cancel(CancelReason::Abandoned), "c1")
            .await,
    );
    assert_eq!(gone.status, IntentStatus::Canceled);
    assert_eq!(gone.cancellation_reason.as_deref(), Some("abandoned"));
    let again = world
        .stripe
        .send(&cancel(CancelReason::Duplicate), "c2")
        .await;
    assert_eq!(refused(again), "payment_intent_unexpected_state");
    let payment = world.sandbox.ledger().payments.remove(0);
    assert!(payment.cancelled && payment.held == 0 && payment.captured == 0);
}

#[tokio::test]
async fn an_authorisation_lapses_after_seven_days() {
    let world = world().await;
    let held = world.authorised("k").await;
    world.sandbox.advance_clock(7 * 86_400 - 60);
    assert_eq!(
        world.stripe.intent(&held.id).await.unwrap().status,
        IntentStatus::RequiresCapture
    );
    world.sandbox.advance_clock(120);
    let lapsed = world.stripe.intent(&held.id).await.unwrap();
    assert_eq!(lapsed.status, IntentStatus::Canceled);
    assert_eq!(lapsed.cancellation_reason.as_deref(), Some("expired"));
    assert_eq!(
        refused(world.stripe.send(&capture(&held.id), "c").await),
        "payment_intent_unexpected_state"
    );
}

#[tokio::test]
async fn the_fee_of_a_payment_is_known_once_it_is_captured() {
    let world = world().await;
    let held = world.authorised("held").await;
    assert_eq!(world.stripe.fee(&held.id).await.unwrap(), None);
    let paid = world.captured("paid").await;
    let fee = world.stripe.fee(&paid.id).await.unwrap().unwrap();
    // 1.5 % of 80.00, and 0.25.
    assert_eq!((fee.amount, fee.currency.as_str()), (145, "eur"));
    assert!(fee.balance_transaction.starts_with("txn_"), "{fee:?}");
    assert_eq!(
        refused(world.stripe.fee("pi_none").await),
        "resource_missing"
    );
}
