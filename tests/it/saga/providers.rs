//! What people set for steps and providers, and opening a gate by hand.

use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::domain::ids::WorkerId;
use bizing_engine::worker::{Kind, presence};
use bizing_sandbox::{Fault, Rule, When};
use uuid::Uuid;

use super::hands::*;
use super::referee;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

fn limits(of: &Provider, rate_per_s: f32, max_in_flight: u32) -> PutProvider {
    PutProvider {
        provider: of.provider.clone(),
        seen_rate_per_s: of.rate_per_s,
        seen_max_in_flight: of.max_in_flight,
        rate_per_s,
        max_in_flight,
        reason: "Stripe asked us to be slower".to_owned(),
    }
}

#[tokio::test]
async fn a_hold_lasts_as_long_as_people_set_it() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let now = sagas::get_policy(&desk, Empty {}).await.unwrap();
    assert_eq!(now.steps.hold_card_minutes, 15, "as configured");
    let why = "customers need longer on the phone".to_owned();
    let put = PutSagaPolicy {
        steps: StepRules {
            hold_card_minutes: 45,
            ..now.steps.clone()
        },
        ..put(&now, why)
    };
    let bad = PutSagaPolicy {
        steps: StepRules {
            backoff_cap_s: 3601,
            ..put.steps.clone()
        },
        ..put.clone()
    };
    let refused = sagas::put_policy(&desk, bad).await.unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("backoff_cap_s"));
    let kept = sagas::put_policy(&desk, put).await.unwrap();
    assert_eq!(kept.steps.hold_card_minutes, 45);
    let booked = t.book(&desk, booking(&slot(0))).await;
    let minutes: f64 = sqlx::query_scalar("select extract(epoch from hold_expires_at - created_at)::float8 / 60 from saga.instance where booking_id = $1")
        .bind(booked.booking_id)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert!((44.0..=46.0).contains(&minutes), "{minutes}");
    // The database refuses what no form would send.
    let by_hand = sqlx::query("select api.put_saga_policy(p.version, p.value || '{\"capture_tries\": 0}', 'never try at all') from read.saga_policy_v1 p order by p.version desc limit 1")
        .execute(&t.people)
        .await;
    assert!(by_hand.is_err());
}

#[tokio::test]
async fn limits_are_an_admins_with_a_reason_and_never_over_somebody_elses() {
    let t = TestDesk::new().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let seen = sagas::list_providers(&bea, Empty {}).await.unwrap();
    assert_eq!(seen.limits_refused.as_deref(), Some("This needs an admin."));
    let stripe = &seen.rows[0];
    let refused = sagas::put_provider(&bea, limits(stripe, 5.0, 2)).await;
    assert_eq!(refused.unwrap_err().code, Code::Forbidden);
    for (bad, field) in [
        (limits(stripe, 0.0, 2), "rate_per_s"),
        (limits(stripe, 5.0, 101), "max_in_flight"),
        (
            PutProvider {
                reason: "slow".to_owned(),
                ..limits(stripe, 5.0, 2)
            },
            "reason",
        ),
    ] {
        let refused = sagas::put_provider(&ana, bad).await.unwrap_err();
        assert_eq!(refused.field.as_deref(), Some(field));
    }
    let kept = sagas::put_provider(&ana, limits(stripe, 5.0, 2))
        .await
        .unwrap();
    let now = &kept.rows[0];
    assert_eq!((now.rate_per_s, now.max_in_flight), (5.0, 2));
    assert_eq!(now.change.as_deref(), Some("limits"));
    let late = sagas::put_provider(&ana, limits(stripe, 9.0, 9)).await;
    assert_eq!(late.unwrap_err().code, Code::Conflict);
    let by_hand = sqlx::query("update saga.provider_gate set max_in_flight = 0")
        .execute(&t.db.superuser_pool().await)
        .await;
    assert!(by_hand.is_err(), "nobody could ever ask again");
    // With two at once, all the same, everybody gets through.
    let worker = t.work().await;
    let mut booked = vec![];
    for n in 0..6 {
        booked.push(t.book(&t.desk(None), booking(&slot(n))).await.booking_id);
    }
    for id in booked {
        t.wait_for_saga(id, "completed").await;
        referee::check(&t, id).await;
    }
    worker.close().await;
}

#[tokio::test]
async fn a_gate_that_is_opened_by_hand_sends_one_ahead_and_the_others_follow() {
    let t = TestDesk::new().await;
    let desk = desk_of(&t, "manager").await;
    let nothing = OpenGate {
        provider: "stripe".to_owned(),
        reason: "the key is right again".to_owned(),
    };
    let refused = sagas::open_gate(&desk, nothing.clone()).await.unwrap_err();
    assert_eq!(refused.message, "It is not paused: sagas ask it already.");
    t.sandbox.faults().add(Rule {
        operation: "*".to_owned(),
        when: When::Nth {
            nth: 1,
            times: 1_000_000,
        },
        fault: Fault::Unauthorized,
    });
    let mut booked = vec![];
    for n in 0..5 {
        booked.push(t.book(&t.desk(None), booking(&slot(n))).await.booking_id);
    }
    let worker = t.work().await;
    let shut = async || {
        let seen = sagas::list_providers(&desk, Empty {}).await.unwrap();
        seen.rows[0].state != "closed"
    };
    wait_until("the gate is shut", Duration::from_secs(20), || async {
        shut().await
    })
    .await;
    t.sandbox.faults().clear();
    let began = std::time::Instant::now();
    sagas::open_gate(&desk, nothing).await.unwrap();
    for id in booked {
        t.wait_for_saga(id, "completed").await;
    }
    // By itself it would have asked again after 30 s.
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(!shut().await);
    worker.close().await;
}

#[tokio::test]
async fn workers_share_the_calls_that_a_provider_bears() {
    let t = TestDesk::new().await;
    let desk = desk_of(&t, "admin").await;
    let seen = sagas::list_providers(&desk, Empty {}).await.unwrap();
    let stripe = seen.rows.iter().find(|p| p.provider == "stripe").unwrap();
    sagas::put_provider(&desk, limits(stripe, stripe.rate_per_s, 5))
        .await
        .unwrap();
    let pool = &t.worker_pool;
    let all = [(); 3].map(|()| WorkerId(Uuid::now_v7()));
    presence::register(pool, all[0], Kind::Headless, &["stripe"])
        .await
        .unwrap();
    assert_eq!(presence::beat_once(pool, all[0]).await.unwrap(), Some(5));
    for id in &all[1..] {
        presence::register(pool, *id, Kind::Desktop, &["stripe"])
            .await
            .unwrap();
    }
    // One without the key asks nobody, and takes nobody's share.
    let keyless = WorkerId(Uuid::now_v7());
    presence::register(pool, keyless, Kind::Desktop, &[])
        .await
        .unwrap();
    let mut shares = vec![];
    for id in all {
        shares.push(presence::beat_once(pool, id).await.unwrap().unwrap());
    }
    assert_eq!(shares, [2, 2, 1], "the sum is what people set");
    presence::leave(pool, all[0]).await;
    assert_eq!(presence::beat_once(pool, all[1]).await.unwrap(), Some(3));
    assert_eq!(presence::beat_once(pool, all[2]).await.unwrap(), Some(2));
    let one = limits(stripe, stripe.rate_per_s, 1);
    let seen_max = 5;
    sagas::put_provider(
        &desk,
        PutProvider {
            seen_max_in_flight: seen_max,
            ..one
        },
    )
    .await
    .unwrap();
    assert_eq!(
        presence::beat_once(pool, all[2]).await.unwrap(),
        Some(1),
        "nobody is shut out for good"
    );
}
