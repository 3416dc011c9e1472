//! An admin decides that a part goes back and the rest stays: of an undoing and of a cancellation, before the refund and after it
//! failed. What was decided is what happens, once, and every book says what stayed and by whom.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::wire::*;
use bizing_engine::app::{events, sagas};
use bizing_sandbox::{Fault, Rule, When};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::hands::*;
use super::headless::run;
use super::orphans::cases;
use super::referee;
use crate::support::desk::{TestDesk, TestWorker};
use crate::support::wait_until;

/// More than any of these bookings costs.
const NEVER: i64 = 1_000_000;

fn part(minor: i64) -> SagaParams {
    SagaParams {
        refund_minor: Some(minor),
        ..SagaParams::default()
    }
}

async fn planned(desk: &Desk, saga: Uuid, params: SagaParams) -> SagaPlan {
    let request = PreviewSaga {
        saga_id: saga,
        action: "refund_part".to_owned(),
        params,
    };
    sagas::preview(desk, request).await.unwrap()
}

fn wanted(saga: Uuid, minor: i64, plan: &SagaPlan) -> CommandSaga {
    CommandSaga {
        params: part(minor),
        ..ask(saga, "refund_part", plan)
    }
}

/// Decided by one person alone, as soon as nothing moves beneath their look.
pub async fn give_part(desk: &Desk, saga: Uuid, minor: i64) {
    for _ in 0..100 {
        let plan = planned(desk, saga, part(minor)).await;
        assert_eq!((plan.code.as_deref(), plan.needs_approval), (None, false));
        match sagas::command(desk, wanted(saga, minor, &plan)).await {
            Err(refused) if refused.code == Code::Conflict => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => {
                answer.unwrap();
                return;
            }
        }
    }
    panic!("something moves for five seconds");
}

fn ops(plan: &SagaPlan) -> Vec<(&str, Option<i64>)> {
    let sum = |op: &PlannedOp| op.amount.as_ref().map(|m| m.amount_minor);
    let mut all = plan.operations.iter();
    all.by_ref().map(|op| (op.op.as_str(), sum(op))).collect()
}

fn fault(when: When, fault: Fault) -> Rule {
    Rule {
        operation: "refund".to_owned(),
        when,
        fault,
    }
}

fn first(times: u64) -> When {
    When::Nth { nth: 1, times }
}

/// A saga that goes back, whose refund met this fault and waits for a person.
async fn undoing(t: &TestDesk, desk: &Desk, worker: &TestWorker, met: &[Rule]) -> Made {
    policy(t, "park", NEVER, 3, 24).await;
    rules(t, json!({ "undo_tries": 1 })).await;
    let it = stuck(t, worker, 0).await;
    for rule in met {
        t.sandbox.faults().add(rule.clone());
    }
    let plan = look(desk, it.saga, "compensate").await;
    sagas::command(desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    parked_again(desk, &it, plan.version).await;
    t.sandbox.faults().clear();
    it
}

fn returned(t: &TestDesk) -> i64 {
    t.sandbox.ledger().payments.iter().map(|p| p.refunded).sum()
}

/// Generations of the refund: what was asked, what became of it, under which key.
async fn refunds(owner: &PgPool, saga: Uuid) -> Vec<(i64, String, String)> {
    sqlx::query_as(
        "select (request#>>'{operation,amount_minor}')::bigint, outcome, idempotency_key from saga.effect where saga_id = $1 and operation = 'refund' order by generation",
    )
    .bind(saga)
    .fetch_all(owner)
    .await
    .unwrap()
}

async fn told(t: &TestDesk, booking: Uuid, name: &str) -> Vec<Value> {
    sqlx::query_scalar("select data from api.read_stream($1, 0) where name = $2 order by version")
        .bind(format!("booking-{booking}"))
        .bind(name)
        .fetch_all(&t.worker_pool)
        .await
        .unwrap()
}

/// What an account of the ledger holds of this booking.
async fn held(t: &TestDesk, booking: Uuid, account: &str) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(case $2 when debit then amount_minor when credit then -amount_minor end), 0)::bigint from read.ledger_transfers_v1 where booking_id = $1",
    )
    .bind(booking)
    .bind(account)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}

/// What the booking's state says was kept.
async fn said_kept(desk: &Desk, booking: Uuid) -> i64 {
    let latest = StateAsOf {
        stream: format!("booking-{booking}"),
        at: AsOf::Latest,
    };
    let state = events::state_as_of(desk, latest).await.unwrap();
    let kept = state.facts.iter().find(|fact| fact.name == "kept");
    kept.and_then(|fact| fact.at.as_ref()?["amount_minor"].as_i64())
        .unwrap_or(0)
}

/// Every book says that this much stayed, and that nobody owes anybody anything.
async fn stays(t: &TestDesk, desk: &Desk, it: &Made, kept: i64) {
    caught_up(t).await;
    let money = page(desk, it.saga).await.money;
    assert_eq!(
        (money.kept.amount_minor, money.kept_by_decision.amount_minor),
        (kept, kept)
    );
    assert_eq!(said_kept(desk, it.booking).await, kept);
    assert_eq!(returned(t), 8000 - kept);
    for (account, sum) in [
        ("provider_clearing", kept),
        ("customer_receivable", 0),
        ("revenue", -kept),
        ("refunds", 0),
    ] {
        assert_eq!(held(t, it.booking, account).await, sum, "{account}");
    }
    let open: i64 =
        sqlx::query_scalar("select count(*) from saga.attention where closed_at is null")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert_eq!(open, 0, "nobody has to look at anything");
}

#[tokio::test]
async fn a_part_goes_back_and_every_book_says_what_stays_and_by_whom() {
    let t = TestDesk::new().await;
    policy(&t, "park", NEVER, 3, 24).await;
    let worker = t.work().await;
    let (desk, manager) = (t.desk(None), desk_of(&t, "manager").await);
    let it = stuck(&t, &worker, 0).await;

    // Without a sum it says what the whole would be.
    let whole = planned(&desk, it.saga, SagaParams::default()).await;
    assert_eq!(whole.whole.as_ref().unwrap().amount_minor, 8000);
    let plan = planned(&desk, it.saga, part(5000)).await;
    let sums = |sum: &Option<Money>| sum.clone().map(|m| (m.amount_minor, m.currency));
    assert_eq!(sums(&plan.refund), Some((5000, "EUR".to_owned())));
    assert_eq!(sums(&plan.keeps), Some((3000, "EUR".to_owned())));
    assert_eq!(
        ops(&plan),
        [
            ("nothing", None),
            ("cancel_booking", None),
            ("refund", Some(5000)),
            ("keep_part", Some(3000)),
            ("nothing", None),
            ("release", None)
        ]
    );

    // What the database refuses, whatever the window does: a plan of it promises no money.
    for (minor, code) in [
        (8001, "sum_too_large"),
        (0, "sum_not_positive"),
        (-100, "sum_not_positive"),
        (i64::MAX, "sum_too_large"),
    ] {
        let odd = planned(&desk, it.saga, part(minor)).await;
        if minor != i64::MAX {
            assert_eq!(odd.code.as_deref(), Some(code), "{minor}");
            let promised = ops(&odd).iter().any(|(_, sum)| sum.is_some());
            assert!(!promised && odd.refund.is_none(), "{minor}: {odd:?}");
        }
        let sent = sagas::command(&desk, wanted(it.saga, minor, &odd)).await;
        assert!(sent.is_err(), "{minor}");
    }
    let none = sagas::command(&desk, ask(it.saga, "refund_part", &whole)).await;
    assert_eq!(none.unwrap_err().field.as_deref(), Some("refund_minor"));
    let other = sagas::command(&desk, wanted(it.saga, 6000, &plan)).await;
    assert_eq!(
        other.unwrap_err().code,
        Code::Conflict,
        "another sum, another plan"
    );
    let terse = CommandSaga {
        reason: "because".to_owned(),
        ..wanted(it.saga, 5000, &plan)
    };
    let terse = sagas::command(&desk, terse).await.unwrap_err();
    assert_eq!(terse.field.as_deref(), Some("reason"));
    let seen = planned(&manager, it.saga, part(5000)).await;
    assert_eq!(seen.code.as_deref(), Some("needs_admin"));
    let denied = sagas::command(&manager, wanted(it.saga, 5000, &plan)).await;
    assert_eq!(denied.unwrap_err().code, Code::Forbidden);
    assert_eq!(returned(&t), 0);

    sagas::command(&desk, wanted(it.saga, 5000, &plan))
        .await
        .unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    stays(&t, &desk, &it, 3000).await;
    let kept = told(&t, it.booking, "RemainderKept").await.remove(0);
    assert_eq!(kept["amount"]["amount_minor"], 3000);
    assert_eq!(kept["before"]["amount_minor"], 0);
    assert_eq!(kept["reason"], "called the customer, who agreed");
    assert!(kept["decided_by"].as_str().is_some_and(|by| !by.is_empty()));
    assert_eq!(kept["approved_by"], Value::Null);
    // Decided before the cancellation, it is what the cancellation says is due.
    let cancelled = told(&t, it.booking, "BookingCancelled").await.remove(0);
    assert_eq!(cancelled["refund_due"]["amount_minor"], 5000);
    let line = page(&desk, it.saga).await.commands.pop().unwrap();
    assert_eq!(
        (line.action.as_str(), sums(&line.keeps)),
        ("refund_part", Some((3000, "EUR".to_owned())))
    );
    worker.close().await;
}

#[tokio::test]
async fn as_much_as_needs_a_second_person_needs_one_whatever_part_of_it_goes_back() {
    let t = TestDesk::new().await;
    policy(&t, "park", 8000, 3, 24).await;
    let worker = t.work().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let it = stuck(&t, &worker, 0).await;
    let plan = planned(&ana, it.saga, part(1000)).await;
    assert!(plan.needs_approval, "seven of eight stay");
    let request = wanted(it.saga, 1000, &plan);
    assert!(
        sagas::command(&ana, request.clone())
            .await
            .unwrap()
            .awaits_approval
    );
    let get = GetApproval {
        command_id: request.command_id,
    };
    let seen = sagas::approval(&bea, get).await.unwrap();
    assert_eq!(
        ops(&seen.plan)[2..4],
        [("refund", Some(1000)), ("keep_part", Some(7000))]
    );
    let yes = DecideCommand {
        command_id: request.command_id,
        approve: true,
        plan_hash: seen.plan.hash,
        reason: String::new(),
    };
    let own = sagas::decide(&ana, yes.clone()).await.unwrap_err();
    assert!(own.message.contains("yourself"), "{own:?}");
    assert_eq!(returned(&t), 0);
    sagas::decide(&bea, yes).await.unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    stays(&t, &ana, &it, 7000).await;
    let kept = told(&t, it.booking, "RemainderKept").await.remove(0);
    assert!(kept["approved_by"].is_string() && kept["approved_by"] != kept["decided_by"]);
    worker.close().await;
}

#[tokio::test]
async fn after_a_refusal_a_part_is_asked_for_under_a_key_of_its_own() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = undoing(&t, &desk, &worker, &[fault(first(1), Fault::Refused)]).await;
    assert_eq!(
        park_code(&t, it.booking).await.as_deref(),
        Some("refund_refused")
    );
    // A fact changes between the look and the press.
    let plan = planned(&desk, it.saga, part(5000)).await;
    command_when_free(&desk, it.saga, "retry").await;
    wait_until("it is over", Duration::from_secs(30), || async {
        sagas::command(&desk, wanted(it.saga, 5000, &plan))
            .await
            .is_err_and(|e| e.code == Code::Conflict)
    })
    .await;
    t.wait_for_saga(it.booking, "compensated").await;
    assert_eq!(returned(&t), 8000, "the retry gave all of it back");
    worker.close().await;

    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = undoing(&t, &desk, &worker, &[fault(first(1), Fault::Refused)]).await;
    give_part(&desk, it.saga, 5000).await;
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    let owner = t.db.superuser_pool().await;
    let asked = refunds(&owner, it.saga).await;
    let outcomes: Vec<(i64, &str)> = asked
        .iter()
        .map(|(sum, outcome, _)| (*sum, outcome.as_str()))
        .collect();
    assert_eq!(outcomes, [(8000, "rejected"), (5000, "confirmed")]);
    assert_ne!(asked[0].2, asked[1].2);
    // What was asked for first is given up by name, so that nothing is on its way twice.
    let failed = told(&t, it.booking, "RefundFailed").await.remove(0);
    assert_eq!(failed["reason"], "another sum was decided");
    // The booking was cancelled when all of it was due; what stays since is owed back no more.
    stays(&t, &desk, &it, 3000).await;
    worker.close().await;
}

#[tokio::test]
async fn a_refund_without_an_answer_is_looked_for_and_never_sent_again_once_another_sum_was_decided()
 {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = undoing(&t, &desk, &worker, &[fault(first(100), Fault::LostBefore)]).await;
    give_part(&desk, it.saga, 5000).await;
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    let asked = refunds(&t.db.superuser_pool().await, it.saga).await;
    let outcomes: Vec<(i64, &str)> = asked
        .iter()
        .map(|(sum, outcome, _)| (*sum, outcome.as_str()))
        .collect();
    assert_eq!(outcomes, [(8000, "not_executed"), (5000, "confirmed")]);
    stays(&t, &desk, &it, 3000).await;
    worker.close().await;
}

#[tokio::test]
async fn where_the_whole_went_back_after_all_nothing_is_said_to_stay() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    // It went through, its answer was lost, and no later try gets there.
    let later = When::Nth { nth: 2, times: 100 };
    let met = [
        fault(first(1), Fault::LostAfterEffect),
        fault(later, Fault::LostBefore),
    ];
    let it = undoing(&t, &desk, &worker, &met).await;
    give_part(&desk, it.saga, 5000).await;
    t.wait_for_saga(it.booking, "compensated").await;
    assert_eq!(
        refunds(&t.db.superuser_pool().await, it.saga).await.len(),
        1,
        "nothing more is asked"
    );
    assert!(told(&t, it.booking, "RemainderKept").await.is_empty());
    stays(&t, &desk, &it, 0).await;
    worker.close().await;
}

#[tokio::test]
async fn of_a_cancellation_a_part_of_what_its_terms_give_back_can_stay_too() {
    let t = TestDesk::new().await;
    policy(&t, "park", NEVER, 3, 24).await;
    let given_up = completed(&t).await;
    let desk = t.desk(None);
    let cancel = look(&desk, given_up.saga, "cancel").await;
    let request = ask(given_up.saga, "cancel", &cancel);
    sagas::command(&desk, request.clone()).await.unwrap();
    let it = Made {
        saga: request.command_id,
        booking: given_up.booking,
    };
    let early = planned(&desk, it.saga, part(5000)).await;
    assert_eq!(early.code.as_deref(), Some("not_refunding"));
    t.sandbox.faults().add(fault(first(1), Fault::Refused));
    let worker = t.work().await;
    wait_until("the refund waits", Duration::from_secs(30), || async {
        page(&desk, it.saga).await.row.parked.is_some()
    })
    .await;
    let plan = planned(&desk, it.saga, part(5000)).await;
    assert_eq!(
        ops(&plan),
        [
            ("refund", Some(5000)),
            ("keep_part", Some(3000)),
            ("release", None),
            ("tell_cancelled", None)
        ]
    );
    let more = planned(&desk, it.saga, part(8001)).await;
    assert_eq!(more.code.as_deref(), Some("sum_too_large"));
    give_part(&desk, it.saga, 5000).await;
    wait_until("it is over", Duration::from_secs(30), || async {
        page(&desk, it.saga).await.row.step.is_none()
    })
    .await;
    referee::check_of(&t, it.saga, it.booking).await;
    stays(&t, &desk, &it, 3000).await;
    let over = planned(&desk, it.saga, part(1000)).await;
    assert_eq!(over.code.as_deref(), Some("finished"));
    worker.close().await;
}

#[tokio::test]
async fn what_stays_can_go_back_later_as_a_refund_of_its_own() {
    let t = TestDesk::new().await;
    policy(&t, "park", NEVER, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    give_part(&desk, it.saga, 5000).await;
    t.wait_for_saga(it.booking, "compensated").await;
    command_when_free(&desk, it.saga, "reopen").await;
    // A retry would be over at once: nothing is owed back.
    assert_eq!(look(&desk, it.saga, "retry").await.code, None);
    let plan = look(&desk, it.saga, "undo_from").await;
    assert_eq!(plan.refund.as_ref().unwrap().amount_minor, 3000);
    command_when_free(&desk, it.saga, "undo_from").await;
    t.wait_for_saga(it.booking, "compensated").await;
    stays(&t, &desk, &it, 0).await;
    let ids: Vec<Value> = told(&t, it.booking, "PaymentRefunded")
        .await
        .into_iter()
        .map(|e| e["refund_id"].clone())
        .collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    let kept: Vec<i64> = told(&t, it.booking, "RemainderKept")
        .await
        .iter()
        .map(|e| e["amount"]["amount_minor"].as_i64().unwrap())
        .collect();
    assert_eq!(kept, [3000, 0]);
    worker.close().await;
}

#[tokio::test]
async fn a_part_that_comes_back_days_later_is_tried_again_as_that_part() {
    let t = TestDesk::new().await;
    policy(&t, "park", NEVER, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let request = CreateBooking {
        payment_method: Some("pm_card_refundReturns".to_owned()),
        ..to_nobody(0)
    };
    let booked = t.book(&desk, request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let it = Made {
        saga: saga_of(&t, booked.booking_id).await,
        booking: booked.booking_id,
    };
    give_part(&desk, it.saga, 5000).await;
    t.wait_for_saga(it.booking, "compensated").await;
    t.sandbox.advance_clock(3 * 24 * 3600);
    t.wait_for_saga(it.booking, "parked").await;
    assert_eq!(
        park_code(&t, it.booking).await.as_deref(),
        Some("refund_returned")
    );
    // Settled by hand it is that part which went, and no more.
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
    assert_eq!(ops(&plan)[1], ("record_refund", Some(5000)));
    let settled = CommandSaga {
        params: SagaParams {
            evidence: Some("paid out in cash, receipt 12".to_owned()),
            ..params
        },
        ..ask(it.saga, "resolve_step", &plan)
    };
    sagas::command(&desk, settled).await.unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    caught_up(&t).await;
    let money = page(&desk, it.saga).await.money;
    assert_eq!(
        (
            money.refunded.amount_minor,
            money.kept_by_decision.amount_minor
        ),
        (5000, 3000)
    );
    worker.close().await;
}

#[tokio::test]
async fn what_stripe_tells_of_a_part_is_no_news_and_it_is_decided_without_a_window_too() {
    let t = TestDesk::new().await;
    policy(&t, "park", NEVER, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    let id = it.saga.to_string();
    let why = "one of the two visits took place";
    let all = [
        "refund-part",
        &id,
        "--minor",
        "5000",
        "--reason",
        why,
        "--yes",
    ];
    let (code, said) = run(&t, "admin", &all[..4]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("50.00 EUR goes back") && said.contains("30.00 EUR stays here by decision"),
        "{said}"
    );
    let (code, said) = run(&t, "manager", &all).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("This needs an admin."), "{said}");
    assert_eq!(returned(&t), 0);
    let (code, said) = run(&t, "admin", &all).await;
    assert_eq!(code, Some(0), "{said}");
    t.wait_for_saga(it.booking, "compensated").await;
    caught_up(&t).await;
    let (_, said) = run(&t, "admin", &["show", &id]).await;
    assert!(
        said.contains("Of that 30.00 EUR stays by decision."),
        "{said}"
    );

    wait_until(
        "Stripe told of the refund",
        Duration::from_secs(30),
        || async {
            sqlx::query_scalar::<_, bool>("select count(*) filter (where type = 'charge.refunded') > 0 and bool_and(consumed_at is not null) from saga.signal where type in ('charge.refunded', 'refund.created')")
                .fetch_one(&t.worker_pool)
                .await
                .unwrap()
        },
    )
    .await;
    assert!(cases(&desk).await.is_empty());
    stays(&t, &desk, &it, 3000).await;
    worker.close().await;
}
