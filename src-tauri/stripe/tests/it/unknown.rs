//! What happens to an effect whose answer didn't come: never two of it, never a guess.

use bizing_sandbox::{Fault, Rule};
use bizing_stripe::{Failure, IntentStatus};

use crate::support::*;

/// The saga may repeat what was unknown and isn't stored.
fn may_send_again(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Unknown { stored: false, .. } | Failure::Busy { .. } | Failure::NotSent { .. }
    )
}

#[tokio::test]
async fn the_same_key_repeats_the_stored_answer() {
    let world = world().await;
    let request = create("pm_card_visa");
    let first = world.stripe.send(&request, "k").await.unwrap();
    let second = world.stripe.send(&request, "k").await.unwrap();
    assert!(!first.replayed && second.replayed);
    assert_eq!((&first.object, &first.raw), (&second.object, &second.raw));
    assert_ne!(first.request_id, second.request_id);
    assert_eq!(world.sandbox.ledger().totals.payments, 1);
}

#[tokio::test]
async fn the_same_key_with_other_parameters_is_refused() {
    let world = world().await;
    world.authorised("k").await;
    let other = world
        .stripe
        .send(&create_for(9000, "pm_card_visa", "effect-1"), "k")
        .await;
    assert_eq!(refused(other), "idempotency_error");
    let elsewhere = world.stripe.send(&capture("pi_any"), "k").await;
    assert_eq!(refused(elsewhere), "idempotency_error");
    assert_eq!(world.sandbox.ledger().totals.payments, 1);
}

#[tokio::test]
async fn an_invalid_request_leaves_its_key_free() {
    let world = world().await;
    assert_eq!(
        refused(
            world
                .stripe
                .send(&create_for(-5, "pm_card_visa", "e"), "k")
                .await
        ),
        "parameter_invalid_integer"
    );
    assert_eq!(
        refused(world.stripe.send(&create("pm_card_nobody"), "k").await),
        "resource_missing"
    );
    world.authorised("k").await;
}

#[tokio::test]
async fn a_declined_key_stays_declined() {
    let world = world().await;
    for _ in 0..2 {
        let failure = world
            .stripe
            .send(&create("pm_card_chargeDeclined"), "k")
            .await
            .unwrap_err();
        assert!(matches!(&failure, Failure::Declined { .. }), "{failure:?}");
    }
    assert_eq!(world.sandbox.ledger().totals.payments, 1);
}

#[tokio::test]
async fn an_answer_lost_after_the_effect_is_got_by_sending_again() {
    let world = world().await;
    for (operation, n) in [("create_intent", 1), ("capture", 1), ("refund", 1)] {
        world
            .sandbox
            .faults()
            .add(Rule::nth(operation, n, Fault::LostAfterEffect));
    }
    let request = create("pm_card_visa");
    let lost = world.stripe.send(&request, "k").await.unwrap_err();
    assert!(
        matches!(
            &lost,
            Failure::Unknown {
                status: None,
                stored: false,
                ..
            }
        ),
        "{lost:?}"
    );
    let again = world.stripe.send(&request, "k").await.unwrap();
    assert!(again.replayed);
    let held = intent(Ok(again));

    for (request, key) in [(capture(&held.id), "c"), (refund(&held.id, 8000), "r")] {
        let lost = world.stripe.send(&request, key).await.unwrap_err();
        assert!(may_send_again(&lost), "{lost:?}");
        assert!(world.stripe.send(&request, key).await.unwrap().replayed);
    }
    let ledger = world.sandbox.ledger();
    assert_eq!(
        (
            ledger.totals.payments,
            ledger.totals.captured,
            ledger.totals.refunded
        ),
        (1, 8000, 8000)
    );
    assert_eq!(ledger.payments[0].refunds, 1);
}

#[tokio::test]
async fn a_request_lost_on_the_way_is_executed_once_when_sent_again() {
    let world = world().await;
    world
        .sandbox
        .faults()
        .add(Rule::nth("create_intent", 1, Fault::LostBefore));
    let request = create("pm_card_visa");
    assert!(may_send_again(
        &world.stripe.send(&request, "k").await.unwrap_err()
    ));
    assert!(!world.stripe.send(&request, "k").await.unwrap().replayed);
    assert_eq!(world.sandbox.ledger().totals.payments, 1);
}

#[tokio::test]
async fn a_stored_500_never_changes_and_a_look_up_decides() {
    let world = world().await;
    for (effect, key, effect_id) in [
        (true, "k-true", "effect-true"),
        (false, "k-false", "effect-false"),
    ] {
        world.sandbox.faults().clear();
        world
            .sandbox
            .faults()
            .add(Rule::nth("create_intent", 1, Fault::Stored500 { effect }));
        let request = create_for(8000, "pm_card_visa", effect_id);
        for _ in 0..3 {
            let failure = world.stripe.send(&request, key).await.unwrap_err();
            assert!(
                matches!(
                    &failure,
                    Failure::Unknown {
                        status: Some(500),
                        stored: true,
                        ..
                    }
                ),
                "{failure:?}"
            );
        }
        let found = world
            .stripe
            .find_intent_by_metadata("effect_id", effect_id, now() - 60)
            .await
            .unwrap();
        assert_eq!(
            found.map(|intent| intent.status),
            effect.then_some(IntentStatus::RequiresCapture)
        );
    }
}

#[tokio::test]
async fn a_time_out_is_unknown_and_the_key_is_busy_until_the_work_is_done() {
    let world = world().await;
    world
        .sandbox
        .faults()
        .add(Rule::nth("create_intent", 1, Fault::Late { ms: 3_000 }));
    let request = create("pm_card_visa");
    let late = world.stripe.send(&request, "k").await.unwrap_err();
    assert!(
        matches!(
            &late,
            Failure::Unknown {
                status: None,
                stored: false,
                ..
            }
        ),
        "{late:?}"
    );
    let busy = world.stripe.send(&request, "k").await.unwrap_err();
    assert_eq!(
        busy,
        Failure::Busy {
            retry_after: None,
            same_key: true
        }
    );
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match world.stripe.send(&request, "k").await {
            Ok(answer) => break assert!(answer.replayed),
            Err(failure) => assert!(may_send_again(&failure), "{failure:?}"),
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the answer never came"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.sandbox.ledger().totals.payments, 1);
}

#[tokio::test]
async fn any_mixture_of_faults_ends_in_one_payment() {
    for seed in 1..=8 {
        let world = world().await;
        let faults = world.sandbox.faults();
        faults.add(Rule::rate("*", 0.3, seed, Fault::LostAfterEffect));
        faults.add(Rule::rate("*", 0.2, seed + 100, Fault::LostBefore));
        faults.add(Rule::rate(
            "*",
            0.2,
            seed + 200,
            Fault::TooManyRequests { retry_after_s: 0 },
        ));
        let held = persist(&world, &create("pm_card_visa"), "k", seed).await;
        persist(&world, &capture(&held), "c", seed).await;
        persist(&world, &refund(&held, 8000), "r", seed).await;
        let ledger = world.sandbox.ledger();
        ledger.check().unwrap();
        let totals = ledger.totals;
        assert_eq!(
            (totals.payments, totals.captured, totals.refunded),
            (1, 8000, 8000),
            "seed {seed}"
        );
        assert_eq!(ledger.payments[0].refunds, 1, "seed {seed}");
    }
}

/// What the saga does: the same bytes under the same key until the answer is known. Gives the object's id.
async fn persist(world: &World, request: &bizing_stripe::Encoded, key: &str, seed: u64) -> String {
    for _ in 0..100 {
        match world.stripe.send(request, key).await {
            Ok(answer) => return answer.raw["id"].as_str().unwrap().to_owned(),
            Err(failure) => assert!(may_send_again(&failure), "seed {seed}: {failure:?}"),
        }
    }
    panic!("seed {seed}: no answer in 100 tries");
}
