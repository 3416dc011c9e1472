use std::time::Duration;

use bizing_stripe::{
    CancelReason, Encoded, Failure, IntentStatus, Object, Operation, RefundStatus, Secret,
};

use crate::support::*;

#[test]
fn an_operation_always_gives_the_same_bytes() {
    let first = create("pm_card_visa");
    for _ in 0..50 {
        assert_eq!(create("pm_card_visa").sha256(), first.sha256());
    }
    assert_eq!(
        (first.method.as_str(), first.path.as_str()),
        ("POST", "/v1/payment_intents")
    );
    let expected = "amount=8000&capture_method=manual&confirm=true&currency=eur&\
                    description=Booking+7K2M,+cut+%26+colour&expand[0]=latest_charge&\
                    metadata[booking_id]=booking-1&metadata[effect_id]=effect-1&metadata[saga_id]=saga-1&\
                    off_session=true&payment_method=pm_card_visa";
    assert_eq!(first.body.replace("%5B", "[").replace("%5D", "]"), expected);
    assert_ne!(
        first.sha256(),
        create_for(8001, "pm_card_visa", "effect-1").sha256()
    );
}

#[test]
fn an_operation_and_its_bytes_survive_the_ledger() {
    let operations = [
        Operation::Capture {
            payment_intent: "pi_1".into(),
            amount_minor: Some(5),
        },
        Operation::CancelIntent {
            payment_intent: "pi_1".into(),
            reason: CancelReason::RequestedByCustomer,
        },
        Operation::ExpireCheckout {
            session: "cs_1".into(),
        },
        Operation::Refund {
            payment_intent: "pi_1".into(),
            amount_minor: 5,
            metadata: metadata("e"),
        },
    ];
    let paths = [
        "payment_intents/pi_1/capture",
        "payment_intents/pi_1/cancel",
        "checkout/sessions/cs_1/expire",
        "refunds",
    ];
    for (operation, path) in operations.iter().zip(paths) {
        let stored = serde_json::to_string(operation).unwrap();
        assert!(
            serde_json::from_str::<Operation>(&stored).unwrap() == *operation,
            "{stored}"
        );
        let encoded = operation.encode();
        assert_eq!(encoded.path, format!("/v1/{path}"));
        let stored = serde_json::to_string(&encoded).unwrap();
        assert!(serde_json::from_str::<Encoded>(&stored).unwrap() == encoded);
    }
}

#[test]
fn nothing_that_is_secret_is_printed() {
    let secret = Secret::new("sk_live_abc");
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    let printed = format!("{:?}", stripe("http://127.0.0.1:9", "sk_live_abc"));
    assert!(!printed.contains("sk_live_abc"), "{printed}");
    let request = create_checkout(0, "e");
    assert!(!format!("{request:?}").contains("ada"), "{request:?}");
}

#[tokio::test]
async fn an_answer_is_printed_and_stored_without_client_secrets() {
    let world = world().await;
    let answer = world
        .stripe
        .send(&create("pm_card_visa"), "k")
        .await
        .unwrap();
    assert!(
        !answer.raw.to_string().contains("_secret_"),
        "{}",
        answer.raw
    );
    assert_eq!(answer.raw["metadata"]["booking_id"], "booking-1");
    assert!(!format!("{answer:?}").contains("client_secret"));
    let event = world
        .stripe
        .events_after(None, &[], 1)
        .await
        .unwrap()
        .events
        .remove(0);
    assert!(!event.raw.to_string().contains("_secret_"), "{}", event.raw);
}

#[test]
fn a_status_from_the_future_is_kept_as_it_is() {
    for text in ["requires_capture", "requires_telepathy"] {
        let status: IntentStatus = serde_json::from_value(text.into()).unwrap();
        assert_eq!(serde_json::to_value(&status).unwrap(), text);
    }
    assert_eq!(
        IntentStatus::from("requires_telepathy"),
        IntentStatus::Unknown("requires_telepathy".into())
    );
    assert_eq!(
        RefundStatus::from("requires_action"),
        RefundStatus::RequiresAction
    );
}

#[tokio::test]
async fn a_request_that_must_not_leave_does_not() {
    let world = world().await;
    let not_sent =
        |failure: Failure| assert!(matches!(&failure, Failure::NotSent { .. }), "{failure:?}");
    not_sent(
        world
            .stripe
            .send(&create("pm_card_visa"), "")
            .await
            .unwrap_err(),
    );
    not_sent(
        world
            .stripe
            .send(&create("pm_card_visa"), &"k".repeat(256))
            .await
            .unwrap_err(),
    );
    not_sent(
        world
            .stripe
            .send(&capture("../refunds"), "k")
            .await
            .unwrap_err(),
    );
    not_sent(
        world
            .stripe
            .send(&capture("pi_1?amount=1"), "k")
            .await
            .unwrap_err(),
    );
    not_sent(world.stripe.intent("pi_1?x=").await.unwrap_err());
    not_sent(world.stripe.checkout("cs_1?x=").await.unwrap_err());
    not_sent(
        stripe("http://127.0.0.1:9", KEY)
            .send(&create("pm_card_visa"), "k")
            .await
            .unwrap_err(),
    );
    assert!(world.sandbox.ledger().payments.is_empty());
}

#[tokio::test]
async fn a_wrong_key_and_a_rate_limit_are_told_apart() {
    let world = world().await;
    let wrong = stripe(&world.sandbox.url(), "sk_test_other")
        .send(&create("pm_card_visa"), "k")
        .await
        .unwrap_err();
    assert!(matches!(&wrong, Failure::Unauthorized { .. }), "{wrong:?}");
    let rule = bizing_sandbox::Rule::nth(
        "*",
        1,
        bizing_sandbox::Fault::TooManyRequests { retry_after_s: 7 },
    );
    world.sandbox.faults().add(rule);
    let busy = world
        .stripe
        .send(&create("pm_card_visa"), "k")
        .await
        .unwrap_err();
    assert_eq!(
        busy,
        Failure::Busy {
            retry_after: Some(Duration::from_secs(7)),
            same_key: false,
        }
    );
    assert!(matches!(
        world
            .stripe
            .send(&create("pm_card_visa"), "k")
            .await
            .unwrap()
            .object,
        Object::Intent(_)
    ));
}
