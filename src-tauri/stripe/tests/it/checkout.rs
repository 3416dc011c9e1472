//! The customer's side: the page is asked for and its forms are submitted, as a browser does.

use bizing_stripe::{
    CancelReason, CheckoutStatus, Failure, IntentStatus, Operation, PaymentStatus,
};

use crate::support::*;

async fn press(url: &str, action: &str) -> String {
    let answer = http()
        .post(url)
        .form(&[("action", action)])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 303, "{action}");
    let next = answer.headers()["location"].to_str().unwrap();
    let origin = url.split("/c/").next().unwrap();
    http()
        .get(format!("{origin}{next}"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_customer_is_declined_then_pays_and_the_desk_captures() {
    let world = world().await;
    let request = create_checkout(now() + 3600, "effect-c");
    let open = checkout(world.stripe.send(&request, "k").await);
    assert_eq!(
        (open.status, open.payment_status),
        (CheckoutStatus::Open, PaymentStatus::Unpaid)
    );
    assert_eq!(
        (open.payment_intent, &open.metadata),
        (None, &metadata("effect-c"))
    );
    let url = open.url.unwrap();

    let page = http().get(&url).send().await.unwrap();
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let page = page.text().await.unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(
        page.contains("Sandbox: no money moves") && page.contains("€80.00"),
        "{page}"
    );
    assert!(
        page.contains("Cut &amp; &lt;colour&gt;") && !page.contains("<colour>"),
        "{page}"
    );

    let page = press(&url, "decline").await;
    assert!(page.contains("Your card was declined."), "{page}");
    let after = world.stripe.checkout(&open.id).await.unwrap();
    assert_eq!(after.status, CheckoutStatus::Open);
    let intent_id = after.payment_intent.unwrap();
    let declined = world.stripe.intent(&intent_id).await.unwrap();
    assert_eq!(declined.status, IntentStatus::RequiresPaymentMethod);
    assert_eq!(
        declined.last_payment_error.unwrap().decline_code.as_deref(),
        Some("generic_decline")
    );

    // A direct cancel is not allowed while the page is open.
    let cancel = Operation::CancelIntent {
        payment_intent: intent_id.clone(),
        reason: CancelReason::Abandoned,
    }
    .encode();
    assert_eq!(
        refused(world.stripe.send(&cancel, "x").await),
        "invalid_request_error"
    );

    press(&url, "pay").await;
    let page = press(&url, "pay").await;
    assert!(
        page.contains("Thank you")
            && page.contains("https://salon.example/thanks?session=cs_test_"),
        "{page}"
    );
    let paid = world.stripe.checkout(&open.id).await.unwrap();
    assert_eq!(
        (paid.status, paid.payment_status, paid.url),
        (CheckoutStatus::Complete, PaymentStatus::Unpaid, None)
    );
    assert_eq!(paid.payment_intent.as_deref(), Some(intent_id.as_str()));
    let held = world.stripe.intent(&intent_id).await.unwrap();
    assert_eq!(
        (held.status, &held.metadata),
        (IntentStatus::RequiresCapture, &metadata("effect-c"))
    );
    intent(world.stripe.send(&capture(&intent_id), "c").await);
    assert_eq!(
        world
            .stripe
            .checkout(&open.id)
            .await
            .unwrap()
            .payment_status,
        PaymentStatus::Paid
    );

    let kinds: Vec<String> = all_events(&world.stripe)
        .await
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            "payment_intent.created",
            "charge.failed",
            "payment_intent.payment_failed",
            "charge.succeeded",
            "payment_intent.amount_capturable_updated",
            "checkout.session.completed",
            "charge.captured",
            "payment_intent.succeeded"
        ]
    );
    assert_eq!(world.sandbox.ledger().totals.payments, 1);
}

#[tokio::test]
async fn three_d_secure_can_fail_and_be_approved() {
    let world = world().await;
    let open = checkout(
        world
            .stripe
            .send(&create_checkout(now() + 3600, "e"), "k")
            .await,
    );
    let url = open.url.unwrap();
    let page = press(&url, "authenticate").await;
    assert!(page.contains("Approve") && page.contains("Fail"), "{page}");
    let intent_id = world
        .stripe
        .checkout(&open.id)
        .await
        .unwrap()
        .payment_intent
        .unwrap();
    assert_eq!(
        world.stripe.intent(&intent_id).await.unwrap().status,
        IntentStatus::RequiresAction
    );
    press(&format!("{url}/authenticate"), "fail").await;
    let failed = world.stripe.intent(&intent_id).await.unwrap();
    assert_eq!(
        failed.last_payment_error.unwrap().code,
        "payment_intent_authentication_failure"
    );
    press(&url, "authenticate").await;
    press(&format!("{url}/authenticate"), "approve").await;
    assert_eq!(
        world.stripe.intent(&intent_id).await.unwrap().status,
        IntentStatus::RequiresCapture
    );
    assert_eq!(
        world.stripe.checkout(&open.id).await.unwrap().status,
        CheckoutStatus::Complete
    );
}

#[tokio::test]
async fn a_page_can_be_left_expired_and_lapse() {
    let world = world().await;
    let left = checkout(
        world
            .stripe
            .send(&create_checkout(now() + 3600, "e1"), "k1")
            .await,
    );
    let page = press(left.url.as_ref().unwrap(), "close").await;
    assert!(page.contains("Open it again"), "{page}");
    let expire = Operation::ExpireCheckout {
        session: left.id.clone(),
    }
    .encode();
    let gone = checkout(world.stripe.send(&expire, "x").await);
    assert_eq!((gone.status, gone.url), (CheckoutStatus::Expired, None));
    let page = press(left.url.as_ref().unwrap(), "pay").await;
    assert!(page.contains("expired"), "{page}");
    assert_eq!(
        refused(world.stripe.send(&expire, "y").await),
        "invalid_request_error"
    );

    let lapsing = checkout(
        world
            .stripe
            .send(&create_checkout(now() + 3600, "e2"), "k2")
            .await,
    );
    press(lapsing.url.as_ref().unwrap(), "decline").await;
    world.sandbox.advance_clock(3_700);
    let lapsed = world.stripe.checkout(&lapsing.id).await.unwrap();
    assert_eq!(lapsed.status, CheckoutStatus::Expired);
    let intent = world
        .stripe
        .intent(&lapsed.payment_intent.unwrap())
        .await
        .unwrap();
    assert_eq!(intent.status, IntentStatus::Canceled);
    assert_eq!(world.sandbox.ledger().totals.authorised, 0);
}

#[tokio::test]
async fn a_session_shorter_than_half_an_hour_is_refused() {
    let world = world().await;
    let short = world
        .stripe
        .send(&create_checkout(now() + 1_700, "e"), "k")
        .await
        .unwrap_err();
    match short {
        Failure::Refused {
            message,
            status: 400,
            ..
        } => assert!(message.contains("30 minutes"), "{message}"),
        other => panic!("{other:?}"),
    }
}
