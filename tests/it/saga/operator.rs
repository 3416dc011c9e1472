//! What a person does with a saga, through the desk that they sit at: look first, act once, never on stale facts.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use uuid::Uuid;

use super::referee;
use crate::support::desk::{TestDesk, TestWorker, booking, slot};

fn to_nobody(n: u32) -> CreateBooking {
    CreateBooking {
        customer: ForCustomer::New {
            name: format!("Bo {n}"),
            email: Some(format!("bounce{n}@example.com")),
            phone: None,
        },
        ..booking(&slot(n))
    }
}

/// From this sum on, in EUR minor units, a second person decides; and what becomes of a message that reaches nobody.
async fn policy(t: &TestDesk, notify: &str, approval_minor: i64, blast: i64, late_hours: i32) {
    let told: String = sqlx::query_scalar("select api.put_saga_policy((select max(version) from read.saga_policy_v1), $1, 'as this test needs it')")
        .bind(serde_json::json!({ "notify_on_exhausted": notify, "approval_minor": { "*": approval_minor }, "blast_sagas": blast, "blast_minutes": 10, "late_hours": late_hours }))
        .fetch_one(&t.people)
        .await
        .unwrap();
    assert_eq!(told, "done");
}

struct Stuck {
    saga: Uuid,
    booking: Uuid,
}

/// A booking that is paid and confirmed, and whose message reached nobody: a person decides.
async fn stuck(t: &TestDesk, worker: &TestWorker, n: u32) -> Stuck {
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), to_nobody(n))
        .await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    Stuck {
        saga: saga_of(t, booked.booking_id).await,
        booking: booked.booking_id,
    }
}

async fn saga_of(t: &TestDesk, booking: Uuid) -> Uuid {
    sqlx::query_scalar("select saga_id from saga.instance where booking_id = $1")
        .bind(booking)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

async fn park_code(t: &TestDesk, booking: Uuid) -> Option<String> {
    sqlx::query_scalar("select park_code from saga.instance where booking_id = $1")
        .bind(booking)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

async fn look(desk: &Desk, saga: Uuid, action: &str) -> SagaPlan {
    let request = PreviewSaga {
        saga_id: saga,
        action: action.to_owned(),
        params: SagaParams::default(),
    };
    sagas::preview(desk, request).await.unwrap()
}

fn ask(saga: Uuid, action: &str, plan: &SagaPlan) -> CommandSaga {
    CommandSaga {
        command_id: Uuid::now_v7(),
        saga_id: saga,
        action: action.to_owned(),
        version: plan.version,
        plan_hash: Some(plan.hash.clone()),
        params: SagaParams::default(),
        reason: "called the customer, who agreed".to_owned(),
    }
}

/// A desk at which somebody of this group sits.
async fn desk_of(t: &TestDesk, group: &str) -> Desk {
    let mut parts = t.desk(None);
    let own = std::sync::Arc::get_mut(&mut parts.0).expect("nobody else has it yet");
    own.people = t.db.pool(group).await;
    own.group = match group {
        "staff" => Group::Staff,
        "manager" => Group::Manager,
        _ => Group::Admin,
    };
    parts
}

/// Back with a person, with something written in between that was not theirs.
async fn parked_again(desk: &Desk, it: &Stuck, version: i32) {
    crate::support::wait_until("parked again", Duration::from_secs(30), || async {
        let page = page(desk, it.saga).await;
        page.row.parked.is_some() && page.row.version > version + 1
    })
    .await;
}

async fn page(desk: &Desk, saga: Uuid) -> SagaPage {
    sagas::page(desk, GetSaga { saga_id: saga }).await.unwrap()
}

#[tokio::test]
async fn what_the_preview_lists_is_what_compensating_does() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;

    let plan = look(&desk, it.saga, "compensate").await;
    let ops: Vec<(&str, Option<i64>)> = plan
        .operations
        .iter()
        .map(|o| (o.op.as_str(), o.amount.as_ref().map(|m| m.amount_minor)))
        .collect();
    assert_eq!(
        ops,
        [
            ("nothing", None),
            ("cancel_booking", None),
            ("refund", Some(8000)),
            ("nothing", None),
            ("release", None)
        ]
    );
    assert_eq!(plan.refund.as_ref().unwrap().amount_minor, 8000);
    assert!(!plan.needs_approval, "below the threshold");

    let request = ask(it.saga, "compensate", &plan);
    let done = sagas::command(&desk, request.clone()).await.unwrap();
    assert!(!done.awaits_approval);
    t.wait_for_saga(it.booking, "compensated").await;
    // Pressed twice, it acted once.
    sagas::command(&desk, request).await.unwrap();
    let events = t.events(it.booking).await;
    let tail: Vec<&str> = events
        .iter()
        .map(String::as_str)
        .filter(|e| {
            [
                "BookingCancelled",
                "PaymentRefunded",
                "PaymentVoided",
                "InventoryReleased",
            ]
            .contains(e)
        })
        .collect();
    assert_eq!(
        tail,
        ["BookingCancelled", "PaymentRefunded", "InventoryReleased"]
    );
    referee::check(&t, it.booking).await;

    let shown = page(&desk, it.saga).await;
    assert_eq!(shown.commands.len(), 1);
    assert_eq!(shown.commands[0].status, "applied");
    assert_eq!(shown.commands[0].outcome.as_deref(), Some("undone"));
    assert_eq!(shown.money.kept.amount_minor, 0);
    let audit: i64 = sqlx::query_scalar("select count(*) from saga.command c join saga.instance i using (saga_id) where c.reason <> '' and c.before->>'state' = 'parked' and c.after->>'state' = 'compensating'").fetch_one(&t.db.superuser_pool().await).await.unwrap();
    assert_eq!(audit, 1);
    worker.close().await;
}

#[tokio::test]
async fn one_fact_that_changes_between_looking_and_pressing_refuses_it() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let owner = t.db.superuser_pool().await;

    // Each fact that a plan rests on, changed for one look: the version of the booking's stream, an effect's outcome, the slot.
    for change in [
        "update booking.inventory_claim set released_at = now(), release_reason = 'test' where claim_id = (select claim_id from booking.inventory_claim where released_at is null limit 1)",
        "update saga.effect set outcome = 'rejected' where step = 'capture'",
        "insert into saga.policy (version, value, reason) select version + 1, value || '{\"late_hours\": 3}', 'another policy' from saga.policy order by version desc limit 1",
    ] {
        let plan = look(&desk, it.saga, "compensate").await;
        sqlx::query(change).execute(&owner).await.unwrap();
        let refused = sagas::command(&desk, ask(it.saga, "compensate", &plan))
            .await
            .expect_err(change);
        assert_eq!(refused.code, Code::Conflict, "{change}: {refused:?}");
        assert_eq!(t.saga_state(it.booking).await, "parked", "{change}");
    }
    let refused: i64 = sqlx::query_scalar(
        "select count(*) from saga.command where status = 'refused' and refusal = 'plan_changed'",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(refused, 3, "what was refused stays in the audit");
}

#[tokio::test]
async fn of_two_who_press_at_once_one_is_told_who_was_faster() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let plan = look(&ana, it.saga, "compensate").await;
    let (a, b) = tokio::join!(
        sagas::command(&ana, ask(it.saga, "compensate", &plan)),
        sagas::command(&bea, ask(it.saga, "compensate", &plan)),
    );
    let lost = match (a, b) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        other => panic!("one of them: {other:?}"),
    };
    assert_eq!(lost.code, Code::Conflict);
    assert!(lost.message.contains("changed this"), "{}", lost.message);
}

#[tokio::test]
async fn much_money_goes_back_only_when_a_second_person_agrees() {
    let t = TestDesk::new().await;
    policy(&t, "park", 5_000, 3, 24).await;
    let worker = t.work().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let it = stuck(&t, &worker, 0).await;
    let plan = look(&ana, it.saga, "compensate").await;
    assert!(plan.needs_approval);
    let asked = sagas::command(&ana, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    assert!(asked.awaits_approval);
    assert_eq!(
        t.saga_state(it.booking).await,
        "parked",
        "nothing is done yet"
    );

    let seen = sagas::approval(
        &bea,
        GetApproval {
            command_id: asked.command_id,
        },
    )
    .await
    .unwrap();
    assert!(!seen.changed && !seen.command.own);
    let decide = |approve, hash: &str| DecideCommand {
        command_id: asked.command_id,
        approve,
        plan_hash: hash.to_owned(),
        reason: String::new(),
    };
    let own = sagas::decide(&ana, decide(true, &seen.plan.hash))
        .await
        .unwrap_err();
    assert!(own.message.contains("yourself"), "{own:?}");
    let by_hand = sqlx::query("update saga.command set approved_by = requested_by")
        .execute(&t.db.superuser_pool().await)
        .await;
    assert!(by_hand.is_err(), "the database refuses it too");
    let stale = sagas::decide(&bea, decide(true, "another")).await;
    assert!(stale.is_err());

    // That press ended the request: it is asked for again, and approved.
    let plan = look(&ana, it.saga, "compensate").await;
    let asked = sagas::command(&ana, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    let done = sagas::decide(
        &bea,
        DecideCommand {
            command_id: asked.command_id,
            approve: true,
            plan_hash: plan.hash.clone(),
            reason: String::new(),
        },
    )
    .await
    .unwrap();
    assert_eq!(done.status, "applied");
    assert_ne!(done.approved_by.as_deref(), Some(done.by.as_str()));
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    worker.close().await;
}

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
async fn a_message_that_was_told_by_hand_ends_the_saga_and_keeps_the_booking() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    let plan = look(&desk, it.saga, "skip").await;
    sagas::command(&desk, ask(it.saga, "skip", &plan))
        .await
        .unwrap();
    assert_eq!(t.saga_state(it.booking).await, "completed");
    referee::check(&t, it.booking).await;
    let shown = page(&desk, it.saga).await;
    assert_eq!(shown.saga.state, SagaState::DoneWithWarnings);
    worker.close().await;
}

#[tokio::test]
async fn a_retry_that_fails_again_never_shows_success() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    let before = page(&desk, it.saga).await;
    let plan = look(&desk, it.saga, "retry").await;
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    // The message is sent once more, and refused once more; then it is a person's again.
    parked_again(&desk, &it, before.row.version).await;
    let after = page(&desk, it.saga).await;
    let messages = |p: &SagaPage| p.attempts.iter().filter(|a| a.kind == "message").count();
    assert_eq!(messages(&after), messages(&before) + 1);
    let outcome = after.commands.last().unwrap().outcome.clone();
    assert_ne!(outcome.as_deref(), Some("done"), "{:?}", after.commands);
    assert_eq!(after.row.parked.unwrap().code, "not_told");
    worker.close().await;
}

#[tokio::test]
async fn a_refund_that_fails_is_settled_by_hand_with_evidence() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let request = CreateBooking {
        payment_method: Some("pm_card_refundFail".to_owned()),
        ..to_nobody(0)
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let it = Stuck {
        saga: saga_of(&t, booked.booking_id).await,
        booking: booked.booking_id,
    };
    assert_eq!(
        park_code(&t, it.booking).await.as_deref(),
        Some("refund_failed")
    );

    // A retry asks again, under a new generation, and it fails again.
    let plan = look(&desk, it.saga, "retry").await;
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    parked_again(&desk, &it, plan.version).await;
    let generations: i64 = sqlx::query_scalar(
        "select count(*) from saga.effect where step = 'capture' and direction = 'C'",
    )
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(generations, 2);

    let mut request = ask(
        it.saga,
        "resolve_step",
        &look(&desk, it.saga, "resolve_step").await,
    );
    let without = sagas::command(&desk, request.clone()).await.unwrap_err();
    assert_eq!(without.field.as_deref(), Some("evidence"));
    request.params = SagaParams {
        outcome: Some("done".to_owned()),
        evidence: Some("bank transfer 2026-11-25 ref 4711".to_owned()),
        ..SagaParams::default()
    };
    request.command_id = Uuid::now_v7();
    request.plan_hash = Some(
        sagas::preview(
            &desk,
            PreviewSaga {
                saga_id: it.saga,
                action: "resolve_step".to_owned(),
                params: request.params.clone(),
            },
        )
        .await
        .unwrap()
        .hash,
    );
    sagas::command(&desk, request).await.unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    let told: String = sqlx::query_scalar("select data->>'provider_refund' from api.read_stream($1, 0) where name = 'PaymentRefunded'")
        .bind(format!("booking-{}", it.booking))
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(told, "bank transfer 2026-11-25 ref 4711");
    assert_eq!(t.live_claims(it.booking).await, 0);
    worker.close().await;
}

#[tokio::test]
async fn a_pause_takes_the_pen_from_whoever_writes_and_resuming_loses_nothing() {
    let t = TestDesk::new().await;
    let booked = t.book(&t.desk(None), booking(&slot(0))).await;
    let desk = t.desk(None);
    let saga = saga_of(&t, booked.booking_id).await;
    let plan = look(&desk, saga, "pause").await;
    sagas::command(&desk, ask(saga, "pause", &plan))
        .await
        .unwrap();
    let worker = t.work().await;
    let other = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(1)))
        .await;
    t.wait_for_saga(other.booking_id, "completed").await;
    assert_eq!(
        t.saga_state(booked.booking_id).await,
        "running",
        "paused: nobody went on"
    );
    let shown = page(&desk, saga).await;
    assert!(shown.paused.is_some());
    let plan = look(&desk, saga, "resume").await;
    sagas::command(&desk, ask(saga, "resume", &plan))
        .await
        .unwrap();
    t.wait_for_saga(booked.booking_id, "completed").await;
    referee::check(&t, booked.booking_id).await;
    worker.close().await;
}

#[tokio::test]
async fn who_may_not_decide_is_refused_by_the_database() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let staff = desk_of(&t, "staff").await;
    let it = stuck(&t, &worker, 0).await;
    let plan = look(&staff, it.saga, "compensate").await;
    let refused = sagas::command(&staff, ask(it.saga, "compensate", &plan))
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
    let shown = page(&staff, it.saga).await;
    let offer = shown
        .offers
        .iter()
        .find(|o| o.action == "compensate")
        .unwrap();
    assert_eq!(
        offer.refused.as_deref(),
        Some("This is a manager's decision.")
    );
    let without_reason = CommandSaga {
        reason: "no".to_owned(),
        ..ask(it.saga, "compensate", &plan)
    };
    let refused = sagas::command(&t.desk(None), without_reason)
        .await
        .unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("reason"));
    worker.close().await;
}

#[tokio::test]
async fn a_saga_that_ends_its_workers_is_left_to_a_person() {
    let t = TestDesk::new().await;
    let booked = t.book(&t.desk(None), booking(&slot(0))).await;
    sqlx::query("update saga.instance set take_overs = 5")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    let worker = t.work().await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("poison")
    );
    worker.close().await;
}

#[tokio::test]
async fn what_is_over_can_be_opened_again_and_ended_with_evidence() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = desk_of(&t, "admin").await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    sagas::command(
        &desk,
        ask(saga, "reopen", &look(&desk, saga, "reopen").await),
    )
    .await
    .unwrap();
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("reopened")
    );
    let mut end = ask(saga, "resolve", &look(&desk, saga, "resolve").await);
    end.params.evidence = Some("dispute dp_1 won".to_owned());
    let asked = sagas::command(&desk, end).await.unwrap();
    assert!(
        asked.awaits_approval,
        "money is with the business: two people end it"
    );
    worker.close().await;
}

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
