//! When a saga asks a person: guards and the policies that name their figures.

use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::saga::definition::Policy;
use bizing_engine::saga::notify;
use bizing_sandbox::{Fault, Rule};
use serde_json::json;

use super::hands::*;
use crate::support::desk::{TestDesk, booking, quick_policy, slot};
use crate::support::wait_until;

#[tokio::test]
async fn each_guard_turns_undoing_into_a_question() {
    // G1: much money.
    let t = TestDesk::new().await;
    policy(&t, "compensate", 8_000, 3, 24).await;
    let worker = t.work().await;
    let it = stuck(&t, &worker, 0).await;
    assert_eq!(
        park_code(&t, it.booking).await.as_deref(),
        Some("guard_money")
    );
    // G3: the service is about to begin, as far as this policy goes.
    let years = 24 * 30;
    policy(&t, "compensate", 15_000, 1000, years).await;
    worker.close().await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::hours(60);
    let request = CreateBooking {
        starts: format!("{}T10:00", soon.format("%Y-%m-%d")),
        ..to_nobody(1)
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("guard_late")
    );
    // G2: several for one cause. The two above count.
    policy(&t, "compensate", 15_000, 3, 24).await;
    let it = stuck(&t, &worker, 2).await;
    assert_eq!(
        park_code(&t, it.booking).await.as_deref(),
        Some("guard_blast")
    );
    let cases: i64 = sqlx::query_scalar(
        "select count(*) from saga.attention where kind = 'parked' and closed_at is null",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(cases, 3, "each stands open until somebody decides");

    let list = sagas::list(&t.desk(None), ListSagas::first(SagaTab::NeedsPerson, 100))
        .await
        .unwrap();
    assert_eq!((list.rows.len(), list.counts.needs_person), (3, 3));
    assert_eq!(
        list.groups.len(),
        1,
        "one step, one cause: {:?}",
        list.groups
    );
    assert_eq!(list.groups[0].kept[0].amount_minor, 3 * 8000);
    worker.close().await;
}

#[tokio::test]
async fn policies_are_versions_and_a_lost_race_changes_nothing() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let now = sagas::get_policy(&desk, Empty {}).await.unwrap();
    let put = |late_hours, reason: &str| PutSagaPolicy {
        version: now.version,
        on_exhausted: OnExhausted::Park,
        approval: now.approval.clone(),
        blast_sagas: now.blast_sagas,
        blast_minutes: now.blast_minutes,
        late_hours,
        cancel_free_hours: 48,
        cancel_fee_percent: 20,
        cancel_late_hours: 12,
        cancel_late_percent: 80,
        steps: now.steps.clone(),
        reason: reason.to_owned(),
    };
    let refused = sagas::put_policy(&desk, put(721, "as long as it gets"))
        .await
        .unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("late_hours"));
    let refused = sagas::put_policy(&desk, put(12, "short"))
        .await
        .unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("reason"));
    let kept = sagas::put_policy(&desk, put(12, "people cancel late here"))
        .await
        .unwrap();
    assert_eq!(
        (kept.version, kept.late_hours, kept.on_exhausted),
        (now.version + 1, 12, OnExhausted::Park)
    );
    let lost = sagas::put_policy(&desk, put(6, "decided on what was before"))
        .await
        .unwrap_err();
    assert_eq!(lost.code, Code::Conflict);
    let manager = desk_of(&t, "manager").await;
    assert!(
        sagas::get_policy(&manager, Empty {})
            .await
            .unwrap()
            .refused
            .is_some()
    );
    let refused = sagas::put_policy(
        &manager,
        PutSagaPolicy {
            version: kept.version,
            ..put(6, "decided by a manager")
        },
    )
    .await
    .unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
}

#[tokio::test]
async fn a_message_is_tried_as_often_and_as_long_as_the_policy_says() {
    let t = TestDesk::new().await;
    rules(
        &t,
        json!({ "message_tries": 2, "message_minutes": 1, "notify_on_exhausted": "park" }),
    )
    .await;
    let worker = t.work().await;
    let mut request = to_nobody(0);
    if let ForCustomer::New { email, .. } = &mut request.customer {
        *email = Some("later@example.com".to_owned());
    }
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let tries: Vec<(i32, f64)> = sqlx::query_as(
        "select a.no, extract(epoch from a.started_at - min(a.started_at) over ())::float8 from delivery.attempts a join delivery.deliveries d using (delivery_id)
          where d.template = 'booking_confirmed' order by a.no",
    )
    .fetch_all(&t.db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(tries.len(), 2, "eight by default: {tries:?}");
    // A thirtieth of the usual time: the five seconds before the second try shrink with it.
    assert!(tries[1].1 < 4.0, "{tries:?}");
    worker.close().await;
}

#[tokio::test]
async fn money_that_cannot_be_taken_asks_a_person_or_is_let_go_as_the_policy_says() {
    for (then, state) in [("park", "parked"), ("undo", "compensated")] {
        let t = TestDesk::new().await;
        rules(&t, json!({ "capture_tries": 2, "capture_exhausted": then })).await;
        for nth in 1..=3 {
            t.sandbox
                .faults()
                .add(Rule::nth("capture", nth, Fault::LostBefore));
        }
        let worker = t.work().await;
        let booked = t
            .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
            .await;
        t.wait_for_saga(booked.booking_id, state).await;
        let money = &t.sandbox.ledger().payments[0];
        assert_eq!(
            money.captured - money.refunded,
            0,
            "{then}: nothing is kept"
        );
        if then == "undo" {
            assert_eq!(money.captured, 0, "nothing is taken only to be given back");
            assert_eq!(t.live_claims(booked.booking_id).await, 0);
            assert_eq!(money.held, 0, "and nothing is kept back from the customer");
        } else {
            assert_eq!(
                park_code(&t, booked.booking_id).await.as_deref(),
                Some("exhausted")
            );
            assert_eq!(t.live_claims(booked.booking_id).await, 2);
        }
        worker.close().await;
    }
}

#[tokio::test]
async fn a_message_wakes_the_saga_that_waits_for_it_and_no_other() {
    let t = TestDesk::new().await;
    let booked = t.book(&t.desk(None), booking(&slot(0))).await;
    let owner = t.db.superuser_pool().await;
    let wakes = async |step: &str, template: &str| {
        // Past the rule that nothing moves by itself: only where it stands counts here.
        let mut tx = bizing_engine::store::begin(&owner).await.unwrap();
        sqlx::query("set local session_replication_role = replica")
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query("update saga.instance set state = 'waiting', step = $2, wake_at = now() + interval '1 hour' where booking_id = $1")
            .bind(booked.booking_id)
            .bind(step)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut conn = t.worker_pool.acquire().await.unwrap();
        notify::wake(&mut conn, booked.booking_id, template)
            .await
            .unwrap();
        sqlx::query_scalar::<_, bool>(
            "select wake_at <= now() from saga.instance where booking_id = $1",
        )
        .bind(booked.booking_id)
        .fetch_one(&owner)
        .await
        .unwrap()
    };
    assert!(wakes("notify", "booking_confirmed").await);
    assert!(!wakes("notify", "booking_cancelled").await, "another's");
    for before in ["payment", "capture", "confirm"] {
        let early = wakes(before, "booking_confirmed").await;
        assert!(!early, "a pause before a call goes on ({before})");
    }
}

#[tokio::test]
async fn the_database_refuses_policies_out_of_range() {
    let t = TestDesk::new().await;
    for bad in [
        json!({ "message_tries": 0 }),
        json!({ "message_minutes": 1441 }),
        json!({ "capture_exhausted": "give it away" }),
        json!({ "end_exhausted": "compensate" }),
    ] {
        let told = sqlx::query_scalar::<_, String>("select api.put_saga_policy(p.version, p.value || $1, 'as this test needs it') from read.saga_policy_v1 p order by p.version desc limit 1")
            .bind(&bad)
            .fetch_one(&t.people)
            .await;
        let code = told.unwrap_err();
        let code = code.as_database_error().and_then(|e| e.code()).unwrap();
        assert_eq!(code, "23514", "{bad}");
    }
}

/// Nothing comes back of the first tries, and more of them than are counted are needed.
fn silent_at_first(t: &TestDesk, operation: &str) {
    t.sandbox.faults().add(Rule {
        operation: operation.to_owned(),
        when: bizing_sandbox::When::Nth { nth: 1, times: 3 },
        fault: Fault::LostBefore,
    });
}

#[tokio::test]
async fn a_refund_is_tried_for_hours_before_a_person_is_asked() {
    for (budget, state) in [(Some(3600), "compensated"), (None, "parked")] {
        let t = TestDesk::with(Policy {
            undo_tries: 2,
            undo_budget: budget.map(Duration::from_secs),
            patient_cap: Duration::from_millis(200),
            ..quick_policy()
        })
        .await;
        policy(&t, "park", 1_000_000, 3, 24).await;
        let worker = t.work().await;
        let desk = t.desk(None);
        let it = stuck(&t, &worker, 0).await;
        silent_at_first(&t, "refund");
        let plan = look(&desk, it.saga, "compensate").await;
        sagas::command(&desk, ask(it.saga, "compensate", &plan))
            .await
            .unwrap();
        parked_or(&t, &it, state).await;
        worker.close().await;
    }
}

async fn parked_or(t: &TestDesk, it: &Made, state: &str) {
    wait_until(state, Duration::from_secs(30), || async {
        let exhausted = park_code(t, it.booking).await.as_deref() == Some("exhausted");
        match state {
            "parked" => exhausted,
            _ => t.saga_state(it.booking).await == state,
        }
    })
    .await;
}

#[tokio::test]
async fn a_capture_is_tried_until_the_authorisation_is_about_to_end() {
    let day = 24 * 3600;
    // The sandbox's authorisations hold for seven days.
    for (margin, state) in [(day / 2, "completed"), (day * 8, "parked")] {
        let t = TestDesk::with(Policy {
            capture_tries: 2,
            capture_margin: Some(Duration::from_secs(margin)),
            patient_cap: Duration::from_millis(200),
            ..quick_policy()
        })
        .await;
        silent_at_first(&t, "capture");
        let worker = t.work_without_news(Default::default()).await;
        let booked = t
            .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
            .await;
        let it = Made {
            saga: saga_of(&t, booked.booking_id).await,
            booking: booked.booking_id,
        };
        parked_or(&t, &it, state).await;
        worker.close().await;
    }
}

#[tokio::test]
async fn a_customer_without_an_address_is_a_warning_or_a_call_as_the_policy_says_and_never_undone()
{
    for (then, state) in [
        ("compensate", "completed"),
        ("continue", "completed"),
        ("park", "parked"),
    ] {
        let t = TestDesk::new().await;
        policy(&t, then, 1_000_000, 3, 24).await;
        let worker = t.work().await;
        let request = CreateBooking {
            customer: ForCustomer::New {
                name: "Bo".to_owned(),
                email: None,
                phone: Some("+351 912 345 678".to_owned()),
            },
            ..booking(&slot(0))
        };
        let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
        t.wait_for_saga(booked.booking_id, state).await;
        let (outcome, code): (Option<String>, Option<String>) =
            sqlx::query_as("select outcome, park_code from saga.instance where booking_id = $1")
                .bind(booked.booking_id)
                .fetch_one(&t.worker_pool)
                .await
                .unwrap();
        match state {
            "parked" => assert_eq!(code.as_deref(), Some("not_told")),
            _ => assert_eq!(
                outcome.as_deref(),
                Some("completed_with_warnings"),
                "{then}"
            ),
        }
        worker.close().await;
    }
}
