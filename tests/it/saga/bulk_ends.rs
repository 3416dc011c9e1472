//! One decision for many: which set it is for, who says yes or no, whose turn it is, and how it ends.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_sandbox::{Fault, Rule};
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::TestDesk;
use crate::support::wait_until;

const NO: &str = "the bank settles these by itself";

async fn some_stuck(t: &TestDesk, count: u32) -> Vec<Uuid> {
    let worker = t.work().await;
    let mut ids = vec![];
    for n in 0..count {
        ids.push(stuck(t, &worker, n).await.saga);
    }
    worker.close().await;
    ids
}

async fn begun(desk: &Desk, action: &str, ids: &[Uuid]) -> SagaBatch {
    let request = PreviewBatch {
        action: action.to_owned(),
        saga_ids: ids.to_vec(),
        filter: None,
    };
    let plan = sagas::preview_batch(desk, request).await.unwrap();
    let start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: action.to_owned(),
        typed: plan.typed.then_some(plan.members.len() as u32),
        members: plan.members,
        to: None,
        reason: "the mail server was down, all were called".to_owned(),
    };
    sagas::start_batch(desk, start).await.unwrap()
}

async fn now(desk: &Desk, batch: Uuid) -> SagaBatch {
    let request = GetBatch { batch_id: batch };
    sagas::get_batch(desk, request).await.unwrap().batch
}

async fn change(desk: &Desk, batch: Uuid, to: &str, reason: &str) -> Result<SagaBatch, AppError> {
    let request = ChangeBatch {
        batch_id: batch,
        change: to.to_owned(),
        reason: reason.to_owned(),
    };
    sagas::change_batch(desk, request).await
}

async fn in_inbox(desk: &Desk, batch: Uuid) -> bool {
    let list = ListSagas::first(SagaTab::NeedsPerson, 10);
    let shown = sagas::list(desk, list).await.unwrap().batches;
    shown.iter().any(|one| one.batch_id == batch)
}

async fn a_turn(t: &TestDesk) -> i32 {
    sqlx::query_scalar("select saga.work_batches(10)")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_decision_whose_refunds_are_refused_one_after_the_other_stops_and_can_be_ended() {
    let t = TestDesk::new().await;
    policy(&t, "park", 100_000_000, 1000, 24).await;
    let ids = some_stuck(&t, 8).await;
    let desk = t.desk(None);
    t.sandbox
        .faults()
        .add(Rule::rate("refund", 1.0, 1, Fault::Refused));
    let worker = t.work().await;
    let batch = begun(&desk, "compensate", &ids).await.batch_id;
    wait_until("it stops", Duration::from_secs(60), || async {
        now(&desk, batch).await.state != "running"
    })
    .await;
    let stopped = now(&desk, batch).await;
    assert_eq!(stopped.state, "stopped");
    // Three in a row, and at most one more that was on its way beside the third.
    assert!((3..=4).contains(&stopped.applied), "{stopped:?}");
    assert!(
        stopped.parked >= 3 && stopped.left == 8 - stopped.applied,
        "{stopped:?}"
    );

    let ended = change(&desk, batch, "end", "").await.unwrap();
    assert_eq!((ended.state.as_str(), ended.left), ("done", 0));
    assert_eq!(ended.refused.len() as u32, stopped.left);
    assert_eq!(
        ended.refused[0].reason,
        "It was left when the decision for many was ended."
    );
    let again = change(&desk, batch, "go_on", "").await.unwrap_err();
    assert_eq!(again.code, Code::Conflict);
    worker.close().await;
}

#[tokio::test]
async fn a_throttled_decision_does_not_hold_up_one_that_came_later() {
    let t = TestDesk::new().await;
    policy(&t, "park", 100_000_000, 1000, 24).await;
    let ids = some_stuck(&t, 4).await;
    let desk = t.desk(None);
    let first = begun(&desk, "compensate", &ids[..3]).await.batch_id;
    let second = begun(&desk, "skip", &ids[3..]).await.batch_id;
    // Nobody works at the sagas, so that two of the first stay on their way.
    for _ in 0..3 {
        a_turn(&t).await;
    }
    assert_eq!(now(&desk, first).await.applied, 2, "its throttle");
    assert_eq!(now(&desk, second).await.state, "done");
}

#[tokio::test]
async fn whoever_says_yes_or_no_for_many_sees_it_as_it_is_now_and_a_no_tells_why() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 1000, 24).await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let ids = some_stuck(&t, 3).await;
    let asked = begun(&ana, "compensate", &ids).await;
    assert_eq!(asked.approval, "pending");

    let settled = look(&ana, ids[1], "skip").await;
    sagas::command(&ana, ask(ids[1], "skip", &settled))
        .await
        .unwrap();
    let request = PreviewAskedBatch {
        batch_id: asked.batch_id,
    };
    let seen = sagas::preview_asked_batch(&bea, request).await.unwrap();
    assert_eq!(
        (seen.members.len(), seen.refunds[0].amount_minor),
        (2, 16_000)
    );
    assert_eq!(seen.refused[0].saga_id, ids[1]);
    assert_eq!(seen.refused[0].reason, "It changed while you looked.");

    let bare = change(&bea, asked.batch_id, "reject", "no")
        .await
        .unwrap_err();
    assert_eq!(bare.field.as_deref(), Some("reason"));
    change(&bea, asked.batch_id, "reject", NO).await.unwrap();
    let told = now(&ana, asked.batch_id).await;
    assert_eq!(
        (told.state.as_str(), told.refusal.as_deref()),
        ("rejected", Some(NO))
    );
}

#[tokio::test]
async fn a_request_that_nobody_answered_in_a_day_is_over_and_cannot_go_on() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 1000, 24).await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let ids = some_stuck(&t, 2).await;
    let batch = begun(&ana, "compensate", &ids).await.batch_id;
    assert!(in_inbox(&bea, batch).await);
    sqlx::query("update saga.batch set requested_at = now() - interval '25 hours'")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    // Nobody needs to press anything for that.
    assert_eq!(now(&bea, batch).await.approval, "expired");
    assert!(!in_inbox(&bea, batch).await);
    assert!(in_inbox(&ana, batch).await, "whoever asked hears of it");
    for to in ["approve", "go_on"] {
        let error = change(&bea, batch, to, "").await.unwrap_err();
        assert!(error.code != Code::Internal, "{to}: {error:?}");
    }
    let over = now(&bea, batch).await;
    assert_eq!(
        (over.state.as_str(), over.approval.as_str()),
        ("stopped", "expired")
    );
    assert_eq!(a_turn(&t).await, 0);
}

#[tokio::test]
async fn a_decision_for_a_group_is_for_all_of_it_whatever_the_window_has_loaded() {
    let t = TestDesk::new().await;
    policy(&t, "park", 100_000_000, 1000, 24).await;
    let ids = some_stuck(&t, 4).await;
    let desk = t.desk(None);
    let list = ListSagas::first(SagaTab::NeedsPerson, 1);
    let shown = sagas::list(&desk, list).await.unwrap();
    assert_eq!(shown.rows.len(), 1);
    let preview = async |group: &str| {
        let filter = SagaFilter {
            group: Some(group.to_owned()),
            ..SagaTab::NeedsPerson.into()
        };
        let request = PreviewBatch {
            action: "skip".to_owned(),
            saga_ids: vec![],
            filter: Some(filter),
        };
        sagas::preview_batch(&desk, request).await
    };
    let plan = preview(&shown.groups[0].key).await.unwrap();
    let frozen: Vec<Uuid> = plan.members.iter().map(|m| m.saga_id).collect();
    assert_eq!(frozen, ids, "the oldest first, as the list has them");
    assert_eq!(plan.seen[3].kept.amount_minor, 8000);
    let none = preview("capture:C:refund_failed").await.unwrap_err();
    assert_eq!(none.field.as_deref(), Some("saga_ids"));
}
