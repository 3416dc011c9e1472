//! What a person does with a saga, through the desk that they sit at: look first, act once, never on stale facts.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;

use super::hands::*;
use super::referee;
use crate::support::desk::{TestDesk, booking, slot};

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
async fn who_may_not_is_told_by_the_preview_and_not_after_pressing() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let actions: Vec<(String, String)> =
        sqlx::query_as("select action, group_name from saga.action order by ordinal")
            .fetch_all(&t.db.superuser_pool().await)
            .await
            .unwrap();
    assert!(actions.len() > 15);
    let groups = ["viewer", "staff", "manager", "admin"];
    let rank = |group: &str| groups.iter().position(|g| *g == group).unwrap();
    for group in groups {
        let desk = desk_of(&t, group).await;
        for (action, needs) in &actions {
            let plan = look(&desk, it.saga, action).await;
            let denied = format!("needs_{needs}");
            if rank(group) >= rank(needs) {
                assert_ne!(plan.code, Some(denied), "{group} may {action}");
                continue;
            }
            assert_eq!(plan.code, Some(denied), "{group} may not {action}");
            assert!(plan.refused.is_some() && !plan.needs_approval);
            let pressed = sagas::command(&desk, ask(it.saga, action, &plan))
                .await
                .expect_err(action);
            assert_eq!(pressed.code, Code::Forbidden, "{group} {action}");
        }
        let many = PreviewBatch {
            action: "compensate".to_owned(),
            saga_ids: vec![it.saga],
            filter: None,
        };
        let plan = sagas::preview_batch(&desk, many).await.unwrap();
        let may = usize::from(rank(group) >= rank("manager"));
        assert_eq!((plan.members.len(), plan.refused.len()), (may, 1 - may));
        let policy = sagas::get_policy(&desk, Empty {}).await.unwrap();
        assert_eq!(policy.refused.is_none(), group == "admin", "{group}");
    }
    // A part of an act that its group does not cover: a fee that only a manager lets go.
    let fee = PreviewSaga {
        saga_id: it.saga,
        action: "cancel".to_owned(),
        params: SagaParams {
            waive_fee: Some(true),
            ..SagaParams::default()
        },
    };
    let viewer = sagas::preview(&desk_of(&t, "viewer").await, fee.clone()).await;
    assert_eq!(viewer.unwrap().code.as_deref(), Some("needs_staff"));
}
