//! Giving up a confirmed booking: the terms that were shown are what happens, in their order, once; and nobody takes it back.

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::saga::definition::KNOWN;
use serde_json::json;
use uuid::Uuid;

use super::hands::*;
use super::referee;
use crate::support::desk::{TestDesk, TestWorker, booking};

/// Free until 24 h before, then half, then everything: the tests book far away, so the first limit is moved.
async fn terms(t: &TestDesk, free_hours: u32, percent: u32, approval_minor: i64) {
    let told: String = sqlx::query_scalar("select api.put_saga_policy((select max(version) from read.saga_policy_v1), $1, 'as this test needs it')")
        .bind(json!({ "notify_on_exhausted": "compensate", "approval_minor": { "*": approval_minor }, "blast_sagas": 3, "blast_minutes": 10, "late_hours": 24,
                      "cancel_free_hours": free_hours, "cancel_fee_percent": percent, "cancel_late_hours": 0, "cancel_late_percent": 100 }))
        .fetch_one(&t.people)
        .await
        .unwrap();
    assert_eq!(told, "done");
}

/// The `n`-th free slot of next month.
fn soon(n: i64) -> String {
    let day = chrono::Utc::now() + chrono::TimeDelta::days(30 + n);
    format!("{}T10:00", day.format("%Y-%m-%d"))
}

/// A year: every booking of these tests is closer than that.
const FAR: u32 = 8760;
const NEVER: i64 = 1_000_000;

async fn confirmed(t: &TestDesk, worker: &TestWorker, request: CreateBooking) -> Made {
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    Made {
        saga: saga_of(t, booked.booking_id).await,
        booking: booked.booking_id,
    }
}

async fn give_up(desk: &Desk, it: &Made) -> Uuid {
    let plan = look(desk, it.saga, "cancel").await;
    assert_eq!(plan.refused, None);
    let request = ask(it.saga, "cancel", &plan);
    sagas::command(desk, request.clone()).await.unwrap();
    // Pressed twice, it is cancelled once.
    sagas::command(desk, request.clone()).await.unwrap();
    request.command_id
}

async fn state_of(t: &TestDesk, saga: Uuid) -> String {
    sqlx::query_scalar("select state from saga.instance where saga_id = $1")
        .bind(saga)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

async fn ends(t: &TestDesk, saga: Uuid, state: &str) {
    crate::support::wait_until(
        &format!("{saga} is {state}"),
        std::time::Duration::from_secs(20),
        || async { state_of(t, saga).await == state },
    )
    .await;
}

#[tokio::test]
async fn the_program_and_the_database_know_the_same_definitions() {
    let t = TestDesk::new().await;
    type Row = (String, i32, Vec<String>, Option<String>, Option<i32>);
    let rows: Vec<Row> = sqlx::query_as(
        "select name, version, array(select s->>'name' from jsonb_array_elements(spec->'steps') s), spec->>'message', (spec->>'forward_only_from')::int
           from saga.definition order by 1",
    )
    .fetch_all(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(rows.len(), KNOWN.len());
    for ((name, version, steps, message, only), known) in rows.iter().zip(KNOWN) {
        assert_eq!((name.as_str(), *version), (known.name, known.version));
        let ours: Vec<&str> = known.steps.iter().map(|s| s.name()).collect();
        assert_eq!(steps, &ours);
        assert_eq!(
            message.as_deref().unwrap_or("booking_confirmed"),
            known.message
        );
        assert_eq!(*only, known.forward_only_from.map(i32::from));
    }
}

#[tokio::test]
async fn the_fee_stays_the_rest_goes_back_and_the_customer_is_told_in_this_order() {
    let t = TestDesk::new().await;
    terms(&t, FAR, 30, NEVER).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = confirmed(&t, &worker, booking(&soon(0))).await;

    let plan = look(&desk, it.saga, "cancel").await;
    let ops: Vec<(&str, Option<i64>)> = plan
        .operations
        .iter()
        .map(|o| (o.op.as_str(), o.amount.as_ref().map(|m| m.amount_minor)))
        .collect();
    assert_eq!(
        ops,
        [
            ("cancel_booking", None),
            ("keep_fee", Some(2400)),
            ("refund", Some(5600)),
            ("release", None),
            ("tell_cancelled", None)
        ]
    );
    let saga = give_up(&desk, &it).await;
    ends(&t, saga, "completed").await;

    let events = t.events(it.booking).await;
    let tail: Vec<&str> = events
        .iter()
        .map(String::as_str)
        .skip_while(|e| *e != "BookingCancelled")
        .filter(|e| *e != "NotificationSent")
        .collect();
    assert_eq!(
        tail,
        [
            "BookingCancelled",
            "RefundRequested",
            "PaymentRefunded",
            "InventoryReleased"
        ]
    );
    assert_eq!(t.live_claims(it.booking).await, 0);
    let ledger = t.sandbox.ledger();
    assert_eq!(
        (ledger.payments[0].captured, ledger.payments[0].refunded),
        (8000, 5600)
    );
    let told: i64 = sqlx::query_scalar("select count(*) from delivery.deliveries where template = 'booking_cancelled' and state = 'delivered'").fetch_one(&t.worker_pool).await.unwrap();
    assert_eq!(told, 1);
    let shown = page(&desk, saga).await;
    assert_eq!(shown.saga.definition, "cancellation@1");
    // Its own message, and not the one that had confirmed the booking before.
    let tries = shown.attempts.iter().filter(|a| a.kind == "message");
    assert_eq!(tries.count(), 1);
    let begun = shown.attempts.iter().position(|a| a.step != "notify");
    assert_eq!(begun, Some(0), "nothing was told before it began");
    assert_eq!(look(&desk, saga, "note").await.kept.amount_minor, 2400);
    assert!(shown.saga.steps.iter().all(|s| s.state == StepState::Done));
    // What is over is not taken back, and not cancelled again.
    for (of, action) in [
        (saga, "compensate"),
        (it.saga, "cancel"),
        (it.saga, "reopen"),
    ] {
        assert!(look(&desk, of, action).await.refused.is_some(), "{action}");
    }
    worker.close().await;
}

#[tokio::test]
async fn in_time_all_goes_back_and_what_was_not_paid_asks_stripe_nothing() {
    let t = TestDesk::new().await;
    terms(&t, 24, 50, NEVER).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = confirmed(&t, &worker, booking(&soon(0))).await;
    let saga = give_up(&desk, &it).await;
    ends(&t, saga, "completed").await;
    let ledger = t.sandbox.ledger();
    assert_eq!(
        (ledger.payments[0].captured, ledger.payments[0].refunded),
        (8000, 8000)
    );

    let at_venue = CreateBooking {
        payment_mode: PaymentMode::Venue,
        payment_method: None,
        ..booking(&soon(1))
    };
    let it = confirmed(&t, &worker, at_venue).await;
    let definition: String =
        sqlx::query_scalar("select definition from saga.instance where saga_id = $1")
            .bind(it.saga)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert_eq!(definition, "booking_free");
    let saga = give_up(&desk, &it).await;
    ends(&t, saga, "completed").await;
    let shown = page(&desk, saga).await;
    assert_eq!(shown.saga.steps[1].state, StepState::NotNeeded);
    assert_eq!(t.sandbox.ledger().payments.len(), 1);
    assert_eq!(t.live_claims(it.booking).await, 0);
    worker.close().await;
}

#[tokio::test]
async fn a_fee_that_rose_since_it_was_shown_is_another_plan() {
    let t = TestDesk::new().await;
    terms(&t, 24, 50, NEVER).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = confirmed(&t, &worker, booking(&soon(0))).await;
    let plan = look(&desk, it.saga, "cancel").await;
    terms(&t, FAR, 50, NEVER).await;
    let refused = sagas::command(&desk, ask(it.saga, "cancel", &plan))
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(
        !t.events(it.booking)
            .await
            .contains(&"BookingCancelled".to_owned())
    );
    worker.close().await;
}

#[tokio::test]
async fn only_a_manager_lets_a_fee_go_and_much_money_needs_a_second_person() {
    let t = TestDesk::new().await;
    terms(&t, FAR, 100, 5_000).await;
    let worker = t.work().await;
    let (staff, ana, bea) = (
        desk_of(&t, "staff").await,
        desk_of(&t, "admin").await,
        desk_of(&t, "manager").await,
    );
    let it = confirmed(&t, &worker, booking(&soon(0))).await;
    let waived = PreviewSaga {
        saga_id: it.saga,
        action: "cancel".to_owned(),
        params: SagaParams {
            waive_fee: Some(true),
            ..SagaParams::default()
        },
    };
    let plan = sagas::preview(&staff, waived.clone()).await.unwrap();
    assert_eq!(plan.code.as_deref(), Some("waive_manager"));
    let plan = sagas::preview(&ana, waived.clone()).await.unwrap();
    assert!(plan.needs_approval);
    assert_eq!(plan.refund.as_ref().unwrap().amount_minor, 8000);
    let request = CommandSaga {
        params: waived.params.clone(),
        ..ask(it.saga, "cancel", &plan)
    };
    let asked = sagas::command(&ana, request.clone()).await.unwrap();
    assert!(asked.awaits_approval);
    let decide = DecideCommand {
        command_id: asked.command_id,
        approve: true,
        plan_hash: plan.hash,
        reason: String::new(),
    };
    sagas::decide(&bea, decide).await.unwrap();
    ends(&t, request.command_id, "completed").await;
    assert_eq!(t.sandbox.ledger().payments[0].refunded, 8000);
    worker.close().await;
}

#[tokio::test]
async fn what_has_not_begun_can_be_called_off_and_the_booking_stands() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = confirmed(&t, &worker, booking(&soon(0))).await;
    worker.close().await;
    let saga = give_up(&desk, &it).await;
    let plan = look(&desk, saga, "compensate").await;
    assert_eq!(plan.refused, None);
    sagas::command(&desk, ask(saga, "compensate", &plan))
        .await
        .unwrap();
    let worker = t.work().await;
    ends(&t, saga, "compensated").await;
    let events = t.events(it.booking).await;
    assert!(
        !events.contains(&"BookingCancelled".to_owned()),
        "{events:?}"
    );
    assert!(t.live_claims(it.booking).await > 0);
    referee::check_of(&t, it.saga, it.booking).await;
    // And given up again, for good.
    let saga = give_up(&desk, &it).await;
    ends(&t, saga, "completed").await;
    worker.close().await;
}

#[tokio::test]
async fn a_refund_that_fails_waits_for_a_person_while_the_cancellation_stands() {
    let t = TestDesk::new().await;
    terms(&t, FAR, 25, NEVER).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let request = CreateBooking {
        payment_method: Some("pm_card_refundFail".to_owned()),
        ..booking(&soon(0))
    };
    let it = confirmed(&t, &worker, request).await;
    let saga = give_up(&desk, &it).await;
    ends(&t, saga, "waiting").await;
    t.sandbox.advance_clock(10);
    ends(&t, saga, "parked").await;
    assert!(
        t.events(it.booking)
            .await
            .contains(&"BookingCancelled".to_owned())
    );
    let settle = SagaParams {
        outcome: Some("done".to_owned()),
        ..SagaParams::default()
    };
    let plan = sagas::preview(
        &desk,
        PreviewSaga {
            saga_id: saga,
            action: "resolve_step".to_owned(),
            params: settle.clone(),
        },
    )
    .await
    .unwrap();
    let recorded = plan.operations.iter().find(|o| o.op == "record_refund");
    assert_eq!(
        recorded.unwrap().amount.as_ref().unwrap().amount_minor,
        6000
    );
    let request = CommandSaga {
        params: SagaParams {
            evidence: Some("bank transfer 4711".to_owned()),
            ..settle
        },
        ..ask(saga, "resolve_step", &plan)
    };
    sagas::command(&desk, request).await.unwrap();
    ends(&t, saga, "completed").await;
    assert_eq!(look(&desk, saga, "note").await.kept.amount_minor, 2000);
    worker.close().await;
}

#[tokio::test]
async fn a_fee_is_rounded_half_up_and_to_ten_where_stripe_wants_that() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    for (kept, percent, currency, fee, back) in [
        (105_i64, 50, "EUR", 53_i64, 52_i64),
        (105, 49, "EUR", 51, 54),
        (5_010, 50, "KWD", 2_510, 2_500),
        (5_010, 33, "KWD", 1_650, 3_360),
        (5_010, 100, "KWD", 5_010, 0),
        (5_010, 0, "KWD", 0, 5_010),
    ] {
        let terms: (i64, i64) = sqlx::query_as(
            "select (t->>'fee_minor')::bigint, (t->>'refund_minor')::bigint
               from saga.cancel_terms(jsonb_build_object('cancel_free_hours', 24, 'cancel_fee_percent', $2::int, 'cancel_late_hours', 0, 'cancel_late_percent', 100),
                                      $1, $3, now() + interval '5 hours', false) t",
        )
        .bind(kept)
        .bind(percent)
        .bind(currency)
        .fetch_one(&owner)
        .await
        .unwrap();
        assert_eq!(terms, (fee, back), "{percent} % of {kept} {currency}");
    }
}
