//! One decision for many: the set that was seen, frozen, item by item.

use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::TestDesk;

#[tokio::test]
async fn one_decision_for_many_is_for_those_that_were_seen_and_refuses_what_changed_by_name() {
    let t = TestDesk::new().await;
    policy(&t, "park", 50_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let mut all = vec![];
    for n in 0..5 {
        all.push(stuck(&t, &worker, n).await);
    }
    let ids: Vec<Uuid> = all.iter().map(|s| s.saga).collect();
    let request = PreviewBatch {
        action: "compensate".to_owned(),
        saga_ids: ids.clone(),
    };
    let plan = sagas::preview_batch(&desk, request).await.unwrap();
    assert_eq!((plan.members.len(), plan.refund_count), (5, 5));
    assert_eq!(plan.refunds[0].amount_minor, 5 * 8000);
    assert!(plan.typed && !plan.needs_approval);

    // Between looking and pressing one is settled otherwise, and a new one gets stuck: it never joins.
    let one = look(&desk, ids[2], "skip").await;
    sagas::command(&desk, ask(ids[2], "skip", &one))
        .await
        .unwrap();
    let later = stuck(&t, &worker, 5).await;

    let mut start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: "compensate".to_owned(),
        members: plan.members,
        typed: None,
        reason: "the mail server was down, all were called".to_owned(),
    };
    let untyped = sagas::start_batch(&desk, start.clone()).await.unwrap_err();
    assert_eq!(untyped.field.as_deref(), Some("typed"));
    start.typed = Some(5);
    let begun = sagas::start_batch(&desk, start.clone()).await.unwrap();
    assert_eq!((begun.count, begun.approval.as_str()), (5, "not_needed"));
    // The window asks twice: it begins once.
    sagas::start_batch(&desk, start.clone()).await.unwrap();

    let list = ListSagas {
        tab: SagaTab::NeedsPerson,
        group: None,
        who: None,
        search: None,
        after: None,
        limit: 10,
    };
    crate::support::wait_until("the batch is done", Duration::from_secs(40), || async {
        let shown = sagas::list(&desk, list.clone()).await.unwrap();
        shown.batches[0].state == "done"
    })
    .await;
    let shown = sagas::list(&desk, list).await.unwrap();
    let batch = &shown.batches[0];
    assert_eq!((batch.applied, batch.left, batch.refused.len()), (4, 0, 1));
    assert_eq!(batch.refused[0].saga_id, ids[2]);
    assert_eq!(shown.rows.len(), 1, "what got stuck later is untouched");
    assert_eq!(shown.rows[0].saga_id, later.saga);
    for it in all.iter().filter(|it| it.saga != ids[2]) {
        t.wait_for_saga(it.booking, "compensated").await;
    }
    let refunded: i64 = t.sandbox.ledger().payments.iter().map(|p| p.refunded).sum();
    assert_eq!(refunded, 4 * 8000, "the preview less what was refused");
    let audit: i64 = sqlx::query_scalar("select count(*) from saga.command where batch_id is not null and status = 'applied' and before is not null")
        .fetch_one(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert_eq!(audit, 4, "each has its own line in the audit");
    worker.close().await;
}

#[tokio::test]
async fn many_small_refunds_are_much_money_and_need_a_second_person() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let mut ids = vec![];
    for n in 0..2 {
        ids.push(stuck(&t, &worker, n).await.saga);
    }
    let request = PreviewBatch {
        action: "compensate".to_owned(),
        saga_ids: ids,
    };
    let plan = sagas::preview_batch(&ana, request).await.unwrap();
    assert!(plan.needs_approval, "€80 twice is above €150");
    let start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: "compensate".to_owned(),
        members: plan.members,
        typed: Some(2),
        reason: "the mail server was down, all were called".to_owned(),
    };
    let batch = sagas::start_batch(&ana, start).await.unwrap();
    assert_eq!(batch.approval, "pending");
    let change = |what: &str| ChangeBatch {
        batch_id: batch.batch_id,
        change: what.to_owned(),
    };
    let own = sagas::change_batch(&ana, change("approve"))
        .await
        .unwrap_err();
    assert_eq!(own.code, Code::Refused);
    let parked = "select count(*) from saga.instance where state = 'parked'";
    let owner = t.db.superuser_pool().await;
    assert_eq!(
        sqlx::query_scalar::<_, i64>(parked)
            .fetch_one(&owner)
            .await
            .unwrap(),
        2,
        "nothing begins before"
    );
    sagas::change_batch(&bea, change("approve")).await.unwrap();
    crate::support::wait_until("both are undone", Duration::from_secs(30), || async {
        sqlx::query_scalar::<_, i64>(
            "select count(*) from saga.instance where state = 'compensated'",
        )
        .fetch_one(&owner)
        .await
        .unwrap()
            == 2
    })
    .await;
    worker.close().await;
}
