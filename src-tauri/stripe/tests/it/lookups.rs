use bizing_stripe::{Failure, IntentStatus};

use crate::support::*;

#[tokio::test]
async fn an_intent_is_found_by_its_effect_among_many() {
    let world = world().await;
    for n in 0..130 {
        let request = create_for(1000 + n, "pm_card_visa", &format!("effect-{n}"));
        intent(world.stripe.send(&request, &format!("k{n}")).await);
    }
    let since = now() - 60;
    let find = |effect: &'static str| {
        world
            .stripe
            .find_intent_by_metadata("effect_id", effect, since)
    };
    assert_eq!(find("effect-3").await.unwrap().unwrap().amount, 1003);
    assert_eq!(
        find("effect-129").await.unwrap().unwrap().status,
        IntentStatus::RequiresCapture
    );
    assert_eq!(find("effect-none").await.unwrap(), None);
    let later = world
        .stripe
        .find_intent_by_metadata("effect_id", "effect-3", now() + 60)
        .await
        .unwrap();
    assert_eq!(later, None);
}

#[tokio::test]
async fn a_session_is_found_by_its_effect() {
    let world = world().await;
    let made = checkout(
        world
            .stripe
            .send(&create_checkout(now() + 3600, "effect-c"), "k")
            .await,
    );
    let found = world
        .stripe
        .find_checkout_by_metadata("effect_id", "effect-c", now() - 60)
        .await
        .unwrap();
    assert_eq!(found.unwrap(), made);
}

#[tokio::test]
async fn what_is_not_there_is_refused_and_what_cannot_be_reached_is_not_missing() {
    let world = world().await;
    assert_eq!(
        refused(world.stripe.intent("pi_none").await),
        "resource_missing"
    );
    assert_eq!(
        refused(world.stripe.checkout("cs_none").await),
        "resource_missing"
    );
    assert_eq!(
        refused(world.stripe.send(&capture("pi_none"), "k").await),
        "resource_missing"
    );
    let url = world.sandbox.url();
    world.sandbox.stop().await;
    let failure = stripe(&url, KEY)
        .find_intent_by_metadata("a", "b", 0)
        .await
        .unwrap_err();
    assert!(matches!(failure, Failure::NotSent { .. }), "{failure:?}");
}
