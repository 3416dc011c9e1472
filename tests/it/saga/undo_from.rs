//! An undoing that waits for a person goes on from a step that the person chooses, and never over one that is not undone.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::adopting::{done, found, key_elsewhere, paid, taken_back};
use super::hands::*;
use super::referee;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

fn from(step: Option<&str>) -> SagaParams {
    SagaParams {
        step: step.map(str::to_owned),
        ..SagaParams::default()
    }
}

async fn planned(desk: &Desk, saga: Uuid, params: &SagaParams) -> SagaPlan {
    let request = PreviewSaga {
        saga_id: saga,
        action: "undo_from".to_owned(),
        params: params.clone(),
    };
    sagas::preview(desk, request).await.unwrap()
}

async fn refused(desk: &Desk, saga: Uuid, step: Option<&str>) -> Option<String> {
    planned(desk, saga, &from(step)).await.code
}

fn wanted(saga: Uuid, params: SagaParams, plan: &SagaPlan) -> CommandSaga {
    CommandSaga {
        params,
        ..ask(saga, "undo_from", plan)
    }
}

fn lost(operation: &str) -> bizing_sandbox::Rule {
    bizing_sandbox::Rule {
        operation: operation.to_owned(),
        when: bizing_sandbox::When::Nth { nth: 1, times: 100 },
        fault: bizing_sandbox::Fault::LostBefore,
    }
}

/// What became of the call that is open.
async fn resolve(owner: &PgPool, saga: Uuid, outcome: &str) {
    sqlx::query(
        "update saga.effect set outcome = $2, resolved_at = now(), resolved_via = 'response' where saga_id = $1 and resolved_at is null",
    )
    .bind(saga)
    .bind(outcome)
    .execute(owner)
    .await
    .unwrap();
}

async fn parked_as(t: &TestDesk, booking: Uuid, code: &str) {
    wait_until("it waits for a person", Duration::from_secs(60), || async {
        park_code(t, booking).await.as_deref() == Some(code)
    })
    .await;
}

#[tokio::test]
async fn an_undoing_goes_on_from_the_step_that_was_chosen_and_passes_over_nothing_that_is_open() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    rules(&t, json!({ "undo_tries": 2 })).await;
    let worker = t.work().await;
    let (desk, staff) = (t.desk(None), desk_of(&t, "staff").await);
    let it = stuck(&t, &worker, 0).await;
    assert_eq!(
        refused(&desk, it.saga, None).await.as_deref(),
        Some("not_undoing")
    );
    t.sandbox.faults().add(lost("refund"));
    let plan = look(&desk, it.saga, "compensate").await;
    sagas::command(&desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    parked_as(&t, it.booking, "exhausted").await;

    // Where it stands, unless another is named. What is above is done, and what is below waits for the call above it.
    let plan = planned(&desk, it.saga, &from(None)).await;
    assert_eq!(
        (plan.code.as_deref(), plan.step.as_deref()),
        (None, Some("capture"))
    );
    assert_eq!(plan.choices, ["capture", "payment", "hold"]);
    for (step, code) in [
        ("confirm", "undone_already"),
        ("hold", "outcome_open"),
        ("deposit", "no_step"),
    ] {
        assert_eq!(
            refused(&desk, it.saga, Some(step)).await.as_deref(),
            Some(code),
            "{step}"
        );
    }
    let over = planned(&desk, it.saga, &from(Some("hold"))).await;
    let ops: Vec<(&str, &str)> = over
        .operations
        .iter()
        .map(|o| (o.step.as_deref().unwrap_or(""), o.op.as_str()))
        .collect();
    assert_eq!(
        ops,
        [
            ("capture", "undo_open"),
            ("payment", "passed"),
            ("hold", "release")
        ]
    );

    let denied = sagas::command(&staff, wanted(it.saga, from(Some("capture")), &plan)).await;
    assert_eq!(denied.unwrap_err().code, Code::Forbidden);
    let forced = sagas::command(&desk, wanted(it.saga, from(Some("hold")), &over)).await;
    assert_eq!(
        forced.unwrap_err().code,
        Code::Refused,
        "the database refuses it, whatever the window does"
    );

    t.sandbox.faults().clear();
    let params = from(Some("capture"));
    let plan = planned(&desk, it.saga, &params).await;
    sagas::command(&desk, wanted(it.saga, params, &plan))
        .await
        .unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    let events = t.events(it.booking).await;
    let cancelled = events.iter().filter(|e| *e == "BookingCancelled").count();
    assert_eq!(cancelled, 1, "what was undone is not undone twice");
    let shown = page(&desk, it.saga).await;
    let acts: Vec<(&str, &str)> = shown
        .commands
        .iter()
        .map(|c| (c.action.as_str(), c.status.as_str()))
        .collect();
    assert_eq!(
        acts,
        [
            ("compensate", "applied"),
            ("undo_from", "refused"),
            ("undo_from", "applied")
        ]
    );
    assert!(
        shown.commands[2].outcome.is_some(),
        "told by the next try, and not by the press"
    );
    assert_eq!(
        refused(&desk, it.saga, None).await.as_deref(),
        Some("finished")
    );
    worker.close().await;
}

#[tokio::test]
async fn money_that_is_here_below_the_refund_goes_back_from_there_and_nowhere_else() {
    let t = TestDesk::new().await;
    policy(&t, "park", 5_000, 3, 24).await;
    let it = taken_back(&t).await;
    let owner = t.db.superuser_pool().await;
    paid(&t, it.saga, 8000, "lost").await;
    key_elsewhere(&owner).await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let case = found(&t, &ana).await;
    assert_eq!(done(&t, &ana, &case, "adopt").await.problem, None);
    // As one that was opened again by hand stands: at its first step, with nothing below the refund left to do.
    sqlx::query(
        r#"update saga.instance set "cursor" = 0, version = version + 1, fence = fence + 1, by_fence = fence + 1 where saga_id = $1"#,
    )
    .bind(it.saga)
    .execute(&owner)
    .await
    .unwrap();
    let retry = look(&ana, it.saga, "retry").await;
    assert_eq!(retry.code.as_deref(), Some("money_here"));
    assert_eq!(
        refused(&ana, it.saga, Some("hold")).await.as_deref(),
        Some("money_here")
    );

    // Should one go on there all the same, it is a person's again and not over.
    let worker = t.work().await;
    sqlx::query(
        "update saga.instance set state = 'compensating', park_code = null, park_reason = null, parked_at = null, version = version + 1, fence = fence + 1,
                by_fence = fence + 1, wake_at = now() where saga_id = $1",
    )
    .bind(it.saga)
    .execute(&owner)
    .await
    .unwrap();
    parked_as(&t, it.booking, "money_here").await;

    let plan = planned(&ana, it.saga, &from(None)).await;
    assert_eq!(plan.step.as_deref(), Some("capture"));
    assert_eq!(plan.refund.as_ref().unwrap().amount_minor, 8000);
    assert!(plan.needs_approval, "above the sum of one");
    let request = wanted(it.saga, from(None), &plan);
    let asked = sagas::command(&ana, request.clone()).await.unwrap();
    assert!(asked.awaits_approval);
    let seen = sagas::approval(
        &bea,
        GetApproval {
            command_id: request.command_id,
        },
    )
    .await
    .unwrap();
    assert!(!seen.changed);
    let yes = DecideCommand {
        command_id: request.command_id,
        approve: true,
        plan_hash: seen.plan.hash,
        reason: String::new(),
    };
    sagas::decide(&bea, yes).await.unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    let refunded: i64 = t.sandbox.ledger().payments.iter().map(|p| p.refunded).sum();
    assert_eq!(refunded, 8000);
    caught_up(&t).await;
    assert_eq!(page(&ana, it.saga).await.money.kept.amount_minor, 0);
    worker.close().await;
}

#[tokio::test]
async fn a_payment_that_cannot_be_cancelled_is_settled_by_hand_with_evidence() {
    let t = TestDesk::new().await;
    rules(&t, json!({ "capture_tries": 2, "undo_tries": 2 })).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    t.sandbox.faults().add(lost("capture"));
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    parked_as(&t, booked.booking_id, "exhausted").await;
    let it = Made {
        saga: saga_of(&t, booked.booking_id).await,
        booking: booked.booking_id,
    };
    // Nothing of it reached Stripe; the payment is authorised, and letting it go does not get there either.
    let owner = t.db.superuser_pool().await;
    resolve(&owner, it.saga, "not_executed").await;
    t.sandbox.faults().add(lost("cancel_intent"));
    let plan = look(&desk, it.saga, "compensate").await;
    sagas::command(&desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    wait_until("the undo waits", Duration::from_secs(60), || async {
        let shown = page(&desk, it.saga).await.row;
        shown.parked.is_some() && shown.undoing && shown.step.as_deref() == Some("payment")
    })
    .await;
    // As Stripe says it for good.
    resolve(&owner, it.saga, "rejected").await;
    let params = SagaParams {
        outcome: Some("done".to_owned()),
        ..SagaParams::default()
    };
    let preview = PreviewSaga {
        saga_id: it.saga,
        action: "resolve_step".to_owned(),
        params: params.clone(),
    };
    let plan = sagas::preview(&desk, preview).await.unwrap();
    assert_eq!(plan.code, None);
    let request = CommandSaga {
        params: SagaParams {
            evidence: Some("Stripe support, ticket 4711".to_owned()),
            ..params
        },
        ..ask(it.saga, "resolve_step", &plan)
    };
    sagas::command(&desk, request).await.unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    let why: String = sqlx::query_scalar(
        "select data->>'reason' from api.read_stream($1, 0) where name = 'PaymentVoided'",
    )
    .bind(format!("booking-{}", it.booking))
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(why, "settled_by_hand");
    assert_eq!(t.live_claims(it.booking).await, 0);
    worker.close().await;
}
