//! When a saga asks a person: guards and the policies that name their figures.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;

use super::hands::*;
use crate::support::desk::TestDesk;

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

    let list = sagas::list(
        &t.desk(None),
        ListSagas {
            tab: SagaTab::NeedsPerson,
            group: None,
            who: None,
            search: None,
            after: None,
            limit: 100,
        },
    )
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
