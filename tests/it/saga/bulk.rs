//! One decision for many: the set that was seen, frozen, item by item.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::{TestDesk, booking, slot};

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
        filter: None,
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
        to: None,
        reason: "the mail server was down, all were called".to_owned(),
    };
    let untyped = sagas::start_batch(&desk, start.clone()).await.unwrap_err();
    assert_eq!(untyped.field.as_deref(), Some("typed"));
    start.typed = Some(5);
    let begun = sagas::start_batch(&desk, start.clone()).await.unwrap();
    assert_eq!((begun.count, begun.approval.as_str()), (5, "not_needed"));
    // The window asks twice: it begins once.
    sagas::start_batch(&desk, start.clone()).await.unwrap();

    let list = ListSagas::first(SagaTab::NeedsPerson, 10);
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
        filter: None,
    };
    let plan = sagas::preview_batch(&ana, request).await.unwrap();
    assert!(plan.needs_approval, "€80 twice is above €150");
    let start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: "compensate".to_owned(),
        members: plan.members,
        typed: Some(2),
        to: None,
        reason: "the mail server was down, all were called".to_owned(),
    };
    let batch = sagas::start_batch(&ana, start).await.unwrap();
    assert_eq!(batch.approval, "pending");
    let change = |what: &str| ChangeBatch {
        batch_id: batch.batch_id,
        change: what.to_owned(),
        reason: "not now, the bank settles it".to_owned(),
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

fn by_link(n: u32) -> CreateBooking {
    CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(n))
    }
}

fn many(action: &str, plan: &BatchPlan) -> StartBatch {
    StartBatch {
        batch_id: Uuid::now_v7(),
        action: action.to_owned(),
        members: plan.members.clone(),
        typed: plan
            .typed
            .then(|| u32::try_from(plan.members.len()).unwrap()),
        to: None,
        reason: "the mail server was down, all were called".to_owned(),
    }
}

async fn seen(desk: &Desk, action: &str, ids: &[Uuid]) -> BatchPlan {
    let request = PreviewBatch {
        action: action.to_owned(),
        saga_ids: ids.to_vec(),
        filter: None,
    };
    sagas::preview_batch(desk, request).await.unwrap()
}

async fn over(desk: &Desk, batch: Uuid) -> BatchPage {
    crate::support::wait_until("the batch is over", Duration::from_secs(30), || async {
        let page = sagas::get_batch(desk, GetBatch { batch_id: batch }).await;
        page.unwrap().batch.state == "done"
    })
    .await;
    sagas::get_batch(desk, GetBatch { batch_id: batch })
        .await
        .unwrap()
}

#[tokio::test]
async fn many_end_each_with_its_own_evidence_and_with_money_left_a_second_person_agrees() {
    let t = TestDesk::new().await;
    policy(&t, "park", 50_000, 5, 24).await;
    let worker = t.work().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let mut ids = vec![];
    for n in 0..3 {
        ids.push(stuck(&t, &worker, n).await.saga);
    }
    let plan = seen(&ana, "resolve", &ids).await;
    assert!(
        plan.typed && plan.needs_approval,
        "€240 would stay, and nothing more happens"
    );
    assert_eq!(plan.kept[0].amount_minor, 3 * 8000);
    let mut start = many("resolve", &plan);
    for (n, member) in start.members.iter_mut().enumerate().take(2) {
        member.evidence = Some(format!("call of 14:0{n}, note {n}"));
    }
    let lacks = sagas::start_batch(&ana, start.clone()).await.unwrap_err();
    assert_eq!(lacks.field.as_deref(), Some("evidence"), "one has none");
    start.members[2].evidence = Some("call of 14:02, bo@example.com".to_owned());
    let begun = sagas::start_batch(&ana, start.clone()).await.unwrap();
    assert_eq!(
        (begun.approval.as_str(), begun.kept[0].amount_minor),
        ("pending", 3 * 8000)
    );
    // The second person reads the evidence before the yes.
    let asked = sagas::get_batch(
        &bea,
        GetBatch {
            batch_id: begun.batch_id,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        asked.items[1].evidence.as_deref(),
        Some("call of 14:01, note 1")
    );
    let yes = ChangeBatch {
        batch_id: begun.batch_id,
        change: "approve".to_owned(),
        reason: "not now, the bank settles it".to_owned(),
    };
    sagas::change_batch(&bea, yes).await.unwrap();
    let page = over(&ana, begun.batch_id).await;
    assert_eq!((page.batch.applied, page.batch.refused.len()), (3, 0));
    let ended: Vec<(String, String)> = sqlx::query_as(
        "select i.resolution->>'evidence', i.resolution->>'approved_by' from saga.instance i join saga.batch_item m using (saga_id)
          where i.state = 'resolved' and m.params = '{}' order by m.ordinal",
    )
    .fetch_all(&t.db.superuser_pool().await)
    .await
    .unwrap();
    let evidence: Vec<&str> = ended
        .iter()
        .map(|(evidence, _)| evidence.as_str())
        .collect();
    assert_eq!(
        evidence,
        [
            "call of 14:00, note 0",
            "call of 14:01, note 1",
            "call of 14:02, bo@example.com"
        ]
    );
    assert!(ended.iter().all(|(_, by)| by.contains("manager")));
    worker.close().await;
}

#[tokio::test]
async fn a_pause_for_many_finds_them_wherever_they_are_and_who_looks_after_them_is_anybodys_to_say()
{
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let (ana, sam) = (desk_of(&t, "manager").await, desk_of(&t, "staff").await);
    let mut all = vec![];
    for n in 0..3 {
        let booked = t
            .book(&t.desk(Some(worker.worker.clone())), by_link(n))
            .await;
        pay_page(&t, booked.booking_id).await;
        // Until then its worker is still at it.
        t.wait_for_saga(booked.booking_id, "waiting").await;
        all.push(saga_of(&t, booked.booking_id).await);
    }
    let mine = seen(&sam, "assign", &all).await;
    assert_eq!((mine.members.len(), mine.typed), (3, false));
    let mut start = many("assign", &mine);
    start.to = Some("test_ana".to_owned());
    start.reason = String::new();
    let begun = sagas::start_batch(&sam, start).await.unwrap();
    over(&sam, begun.batch_id).await;
    let owner = t.db.superuser_pool().await;
    let given: i64 = sqlx::query_scalar(
        "select count(*) from saga.instance i join saga.command c using (saga_id) where i.assigned_to = 'test_ana' and c.action = 'assign' and c.status = 'applied'",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(given, 3, "each with its line in the audit");

    let denied = seen(&sam, "pause", &all).await;
    assert_eq!((denied.members.len(), denied.refused.len()), (0, 3));
    assert_eq!(denied.refused[0].reason, "This is a manager's decision.");
    let plan = seen(&ana, "pause", &all).await;
    let forbidden = sagas::start_batch(&sam, many("pause", &plan)).await;
    assert_eq!(forbidden.unwrap_err().code, Code::Forbidden);

    // Between looking and pressing one goes on, and one is paused by somebody else.
    // The worker asks the provider now and then: what it moved since the look is looked at again, as a person would.
    let press = async |saga: Uuid, action: &str, minutes: Option<u32>| loop {
        let plan = look(&ana, saga, action).await;
        let mut pressed = ask(saga, action, &plan);
        pressed.params.minutes = minutes;
        match sagas::command(&ana, pressed).await {
            Err(error) if error.code == Code::Conflict => {}
            done => break done.map(drop).unwrap(),
        }
    };
    press(all[0], "extend_hold", Some(30)).await;
    press(all[1], "pause", None).await;
    let begun = sagas::start_batch(&ana, many("pause", &plan))
        .await
        .unwrap();
    let page = over(&ana, begun.batch_id).await;
    assert_eq!((page.batch.applied, page.batch.refused.len()), (2, 1));
    assert_eq!(page.batch.refused[0].saga_id, all[1]);
    let paused = "select count(*) from saga.instance where paused_at is not null";
    let count = async |sql| -> i64 { sqlx::query_scalar(sql).fetch_one(&owner).await.unwrap() };
    assert_eq!(count(paused).await, 3);

    let begun = sagas::start_batch(&ana, many("resume", &seen(&ana, "resume", &all).await))
        .await
        .unwrap();
    over(&ana, begun.batch_id).await;
    assert_eq!(count(paused).await, 0);
    worker.close().await;
}
