//! News of refunds for sagas that are over: one that had succeeded comes back days later, or one goes through that a person
//! had settled otherwise. The ledger says so, or a person is told.

use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;

use bizing_sandbox::{Fault, Rule};
use bizing_stripe::Operation;
use uuid::Uuid;

use super::hands::*;
use super::orphans::{cases, fresh, walk};
use super::referee;
use crate::support::desk::{TestDesk, TestWorker, booking, slot};
use crate::support::wait_until;

#[tokio::test]
async fn a_refund_that_comes_back_opens_the_saga_again_once_and_the_ledger_tells() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    let worker = t.work().await;
    // A second worker hears the same news.
    let other = t.work().await;
    let desk = t.desk(None);
    let request = CreateBooking {
        payment_method: Some("pm_card_refundReturns".to_owned()),
        ..to_nobody(0)
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let saga = saga_of(&t, booked.booking_id).await;
    let plan = look(&desk, saga, "compensate").await;
    sagas::command(&desk, ask(saga, "compensate", &plan))
        .await
        .unwrap();
    t.wait_for_saga(booked.booking_id, "compensated").await;
    assert_eq!(look(&desk, saga, "note").await.kept.amount_minor, 0);

    t.sandbox.advance_clock(3 * 24 * 3600);
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("refund_returned")
    );
    let events = t.events(booked.booking_id).await;
    let count = |name: &str| events.iter().filter(|e| *e == name).count();
    assert_eq!(count("RefundReturned"), 1, "{events:?}");
    assert_eq!(look(&desk, saga, "note").await.kept.amount_minor, 8000);
    caught_up(&t).await;
    assert_eq!(page(&desk, saga).await.money.kept.amount_minor, 8000);
    assert_eq!(at_provider(&t, booked.booking_id).await, 8000);
    let open: i64 = sqlx::query_scalar(
        "select count(*) from saga.attention where saga_id = $1 and closed_at is null",
    )
    .bind(saga)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(open, 1, "one case");

    // It went back another way, and that is said with evidence.
    let params = SagaParams {
        outcome: Some("done".to_owned()),
        ..SagaParams::default()
    };
    let plan = sagas::preview(
        &desk,
        PreviewSaga {
            saga_id: saga,
            action: "resolve_step".to_owned(),
            params: params.clone(),
        },
    )
    .await
    .unwrap();
    assert_eq!(plan.refused, None);
    let request = CommandSaga {
        params: SagaParams {
            evidence: Some("paid out in cash, receipt 12".to_owned()),
            ..params
        },
        ..ask(saga, "resolve_step", &plan)
    };
    sagas::command(&desk, request).await.unwrap();
    t.wait_for_saga(booked.booking_id, "compensated").await;
    caught_up(&t).await;
    assert_eq!(page(&desk, saga).await.money.kept.amount_minor, 0);
    worker.close().await;
    other.close().await;
}

/// What lies at the provider, as the ledger tells.
async fn at_provider(t: &TestDesk, booking: uuid::Uuid) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(case when debit = 'provider_clearing' then amount_minor when credit = 'provider_clearing' then -amount_minor end), 0)::bigint
           from read.ledger_transfers_v1 where booking_id = $1",
    )
    .bind(booking)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}

/// A refund of which no answer comes, given up for a person: its saga, and the request as it was sent.
async fn unanswered(t: &TestDesk, worker: &TestWorker) -> (Made, String, Operation) {
    policy(t, "park", 1_000_000, 3, 24).await;
    rules(t, serde_json::json!({ "undo_tries": 1 })).await;
    let it = stuck(t, worker, 0).await;
    t.sandbox
        .faults()
        .add(Rule::rate("refund", 1.0, 1, Fault::LostBefore));
    let desk = t.desk(None);
    let plan = look(&desk, it.saga, "compensate").await;
    sagas::command(&desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    parked_again(&desk, &it, plan.version).await;
    let (key, operation) = open_request(t, it.saga).await;
    (it, key, operation)
}

/// The one request of a saga of which no answer came, as it was sent.
async fn open_request(t: &TestDesk, saga: Uuid) -> (String, Operation) {
    let (key, operation): (String, serde_json::Value) = sqlx::query_as(
        "select idempotency_key, request->'operation' from saga.effect where saga_id = $1 and resolved_at is null",
    )
    .bind(saga)
    .fetch_one(&t.db.superuser_pool().await)
    .await
    .unwrap();
    (key, serde_json::from_value(operation).unwrap())
}

/// The request was on its way all the time, and arrives.
async fn arrives(t: &TestDesk, key: &str, operation: &Operation) {
    t.sandbox.faults().clear();
    t.stripe()
        .send(&operation.encode(), key)
        .await
        .expect("it goes through");
}

async fn settle(desk: &bizing_engine::app::desk::Desk, saga: Uuid, evidence: &str) {
    let params = SagaParams {
        outcome: Some("done".to_owned()),
        ..SagaParams::default()
    };
    let request = PreviewSaga {
        saga_id: saga,
        action: "resolve_step".to_owned(),
        params: params.clone(),
    };
    let plan = sagas::preview(desk, request).await.unwrap();
    let request = CommandSaga {
        params: SagaParams {
            evidence: Some(evidence.to_owned()),
            ..params
        },
        ..ask(saga, "resolve_step", &plan)
    };
    sagas::command(desk, request).await.unwrap();
}

#[tokio::test]
async fn a_refund_that_goes_through_after_it_was_settled_by_hand_is_a_case_at_once() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    // A second worker hears the same news.
    let other = t.work().await;
    let desk = t.desk(None);
    let (it, key, operation) = unanswered(&t, &worker).await;
    settle(&desk, it.saga, "paid out in cash, receipt 12").await;
    t.wait_for_saga(it.booking, "compensated").await;
    assert!(cases(&desk).await.is_empty());

    arrives(&t, &key, &operation).await;
    wait_until("a person is told", Duration::from_secs(60), || async {
        !cases(&desk).await.is_empty()
    })
    .await;
    let found = cases(&desk).await;
    let told: Vec<(&str, Option<i64>, Option<Uuid>)> = found
        .iter()
        .map(|c| {
            (
                c.why.as_str(),
                c.amount.as_ref().map(|m| m.amount_minor),
                c.saga_id,
            )
        })
        .collect();
    assert_eq!(told, [("settled", Some(8000), Some(it.saga))]);
    // The books have given it back already, so they do not take it a second time; the customer has it twice.
    let says = found[0].adopt_refused.as_deref().unwrap();
    assert!(says.contains("twice"), "{says}");
    caught_up(&t).await;
    assert_eq!(page(&desk, it.saga).await.money.kept.amount_minor, 0);
    let state: String = sqlx::query_scalar("select state from saga.instance where saga_id = $1")
        .bind(it.saga)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(state, "compensated", "nothing is done by itself");
    worker.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_refund_that_was_settled_by_its_own_name_is_no_news() {
    let t = TestDesk::new().await;
    let worker = t.work_without_news(Default::default()).await;
    let desk = t.desk(None);
    let (it, key, operation) = unanswered(&t, &worker).await;
    arrives(&t, &key, &operation).await;
    let intent: String = sqlx::query_scalar("select provider_object from saga.effect where saga_id = $1 and operation = 'create_intent'")
        .bind(it.saga)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    let made = t.stripe().refunds_of(&intent).await.expect("refunds");
    settle(&desk, it.saga, &format!("seen at Stripe: {}", made[0].id)).await;
    t.wait_for_saga(it.booking, "compensated").await;
    worker.close().await;
    // Who hears of it now looks, and finds that it is the one that was named.
    let hears = t.work().await;
    wait_until("it was heard", Duration::from_secs(60), || async {
        sqlx::query_scalar("select exists (select from saga.signal where type = 'charge.refunded') and not exists (select from saga.signal where type in ('charge.refunded', 'refund.created') and consumed_at is null)")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
    })
    .await;
    hears.close().await;
    assert!(cases(&desk).await.is_empty());
}

#[tokio::test]
async fn a_refund_that_goes_through_after_its_saga_was_ended_by_hand_is_told_and_can_be_taken_into_the_books()
 {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let (it, key, operation) = unanswered(&t, &worker).await;
    let plan = look(&desk, it.saga, "resolve").await;
    let mut end = ask(it.saga, "resolve", &plan);
    end.params.evidence = Some("she said that we may keep it".to_owned());
    end.params.checked = checked();
    let told = sagas::command(&desk, end).await.unwrap();
    assert!(told.awaits_approval, "her money stays");
    let bea = desk_of(&t, "manager").await;
    let command_id = told.command_id;
    let seen = sagas::approval(&bea, GetApproval { command_id })
        .await
        .unwrap();
    let yes = DecideCommand {
        command_id,
        approve: true,
        plan_hash: seen.plan.hash,
        reason: String::new(),
    };
    sagas::decide(&bea, yes).await.unwrap();
    arrives(&t, &key, &operation).await;
    wait_until("a person is told", Duration::from_secs(60), || async {
        !cases(&desk).await.is_empty()
    })
    .await;
    let case = cases(&desk).await.remove(0);
    assert_eq!(
        (case.why.as_str(), case.saga_id),
        ("settled", Some(it.saga))
    );
    let decision = super::adopting::decision(&case, "adopt");
    let asked = sagas::decide_orphan(&desk, decision).await.unwrap();
    wait_until("it is in the books", Duration::from_secs(60), || async {
        let get = GetAsk {
            ask_id: asked.ask_id,
        };
        let told = sagas::get_ask(&desk, get).await.unwrap();
        assert_eq!(told.problem, None);
        told.state == "answered"
    })
    .await;
    caught_up(&t).await;
    let shown = page(&desk, it.saga).await;
    assert_eq!(shown.money.kept.amount_minor, 0, "as at Stripe");
    assert!(cases(&desk).await.is_empty());
    worker.close().await;
}

/// A capture of which no answer comes, and a saga that an admin ended over it; the request as it was sent.
async fn ended_at_the_capture(t: &TestDesk, worker: &TestWorker) -> (Made, String, Operation) {
    rules(t, serde_json::json!({ "capture_tries": 1 })).await;
    t.sandbox
        .faults()
        .add(Rule::rate("capture", 1.0, 1, Fault::LostBefore));
    let it = {
        let desk = t.desk(Some(worker.worker.clone()));
        let booked = t.book(&desk, booking(&slot(0))).await;
        t.wait_for_saga(booked.booking_id, "parked").await;
        Made {
            saga: saga_of(t, booked.booking_id).await,
            booking: booked.booking_id,
        }
    };
    let (key, operation) = open_request(t, it.saga).await;
    let desk = t.desk(None);
    let plan = look(&desk, it.saga, "resolve").await;
    let mut end = ask(it.saga, "resolve", &plan);
    end.params.evidence = Some("Stripe shows no payment".to_owned());
    end.params.checked = checked();
    sagas::command(&desk, end).await.unwrap();
    t.wait_for_saga(it.booking, "resolved").await;
    (it, key, operation)
}

/// The money stands in the books, once, and a person who undoes gives it back.
async fn opened_by_money(t: &TestDesk, it: &Made) {
    t.wait_for_saga(it.booking, "parked").await;
    assert_eq!(
        park_code(t, it.booking).await.as_deref(),
        Some("money_came")
    );
    let severe: i64 = sqlx::query_scalar("select count(*) from saga.attention where saga_id = $1 and severity = 1 and closed_at is null")
        .bind(it.saga)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(severe, 1, "one case");
    let events = t.events(it.booking).await;
    let received = events.iter().filter(|e| *e == "PaymentReceived").count();
    assert_eq!(received, 1, "{events:?}");
    let desk = t.desk(None);
    let plan = look(&desk, it.saga, "compensate").await;
    assert_eq!(plan.kept.amount_minor, 8000);
    sagas::command(&desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(t, it.booking).await;
}

#[tokio::test]
async fn a_capture_that_lands_after_its_saga_was_ended_by_hand_opens_it_again() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    let worker = t.work().await;
    // A second worker hears the same news.
    let other = t.work().await;
    let (it, key, operation) = ended_at_the_capture(&t, &worker).await;
    arrives(&t, &key, &operation).await;
    opened_by_money(&t, &it).await;
    worker.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_capture_of_which_nothing_is_told_is_found_by_the_walk_along_stripes_lists() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    let worker = t.work_without_news(Default::default()).await;
    let (it, key, operation) = ended_at_the_capture(&t, &worker).await;
    arrives(&t, &key, &operation).await;
    for _ in 0..2 {
        fresh(&t).await;
        let found = walk(&t).round().await.unwrap();
        assert_eq!(found, 0, "it is no orphan: its own saga is told");
    }
    opened_by_money(&t, &it).await;
    worker.close().await;
}
