//! Asking Stripe: a person's window has no key, a worker has, and the answer is a look.

use std::sync::Arc;
use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::domain::ids::WorkerId;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::saga::ask::Asks;
use bizing_engine::saga::definition::Policy;
use bizing_sandbox::{Fault, Options, Rule, Sandbox, When};
use bizing_stripe::{Config, Operation, Secret, Stripe};
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::{TestDesk, booking, quick_policy, slot};
use crate::support::wait_until;

async fn ask_about(desk: &Desk, saga: Uuid) -> Result<StripeAsk, AppError> {
    let request = AskStripe {
        ask_id: Uuid::now_v7(),
        saga_id: saga,
    };
    sagas::ask(desk, request).await
}

/// What came of a question.
async fn told(desk: &Desk, ask: Uuid) -> StripeAsk {
    wait_until("an answer", Duration::from_secs(15), || async {
        let seen = sagas::get_ask(desk, GetAsk { ask_id: ask }).await.unwrap();
        seen.state != "open"
    })
    .await;
    sagas::get_ask(desk, GetAsk { ask_id: ask }).await.unwrap()
}

#[tokio::test]
async fn what_stripe_has_is_told_beside_the_ledger_and_nothing_changes() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = desk_of(&t, "staff").await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    assert_eq!(page(&desk, saga).await.ask_refused, None);

    let asked = ask_about(&desk, saga).await.unwrap();
    let seen = told(&desk, asked.ask_id).await;
    assert_eq!(seen.state, "answered", "{seen:?}");
    let answer = seen.answer.unwrap();
    assert!(answer.agrees, "{answer:?}");
    assert_eq!(answer.captured.stripe.amount_minor, 8000);
    assert_eq!(answer.intent.as_ref().unwrap().status, "succeeded");

    // Somebody gives the money back on Stripe's own pages.
    let before = (t.events(booked.booking_id).await, page(&desk, saga).await);
    let refund = Operation::Refund {
        payment_intent: answer.intent.unwrap().id,
        amount_minor: 3000,
        metadata: [("by".to_owned(), "hand".to_owned())].into(),
    };
    t.stripe()
        .send(&refund.encode(), "by hand")
        .await
        .expect("a refund");
    let asked = ask_about(&desk, saga).await.unwrap();
    let answer = told(&desk, asked.ask_id).await.answer.unwrap();
    assert!(!answer.agrees);
    assert_eq!(
        (
            answer.refunded.stripe.amount_minor,
            answer.refunded.ledger.amount_minor
        ),
        (3000, 0)
    );
    assert!(!answer.refunds[0].known, "no call of ours asked for it");
    let after = page(&desk, saga).await;
    assert_eq!(t.events(booked.booking_id).await, before.0);
    assert_eq!(after.row.version, before.1.row.version);
    assert_eq!(after.money, before.1.money, "the ledger is not guessed at");
    assert_eq!(after.asks.len(), 2);
    assert!(after.asks[0].at >= after.asks[1].at, "newest first");
    worker.close().await;
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_told_to_have_happened_and_stays_open() {
    // It is not looked up again while we look: a pause is anything between nothing and its ceiling, so the ceiling is far
    // off, and what ends the pause below is the event that tells of the capture.
    let patient = Policy {
        backoff_base: Duration::from_secs(24 * 3600),
        backoff_cap: Duration::from_secs(24 * 3600),
        ..quick_policy()
    };
    let t = TestDesk::with(patient).await;
    let desk = t.desk(None);
    let worker = t.work().await;
    // The capture is done, its answer does not come back, and no event tells of it.
    for (operation, fault) in [
        ("capture", Fault::LostAfterEffect),
        ("list_events", Fault::LostBefore),
    ] {
        t.sandbox.faults().add(Rule {
            operation: operation.to_owned(),
            when: When::Nth {
                nth: 1,
                times: 1_000,
            },
            fault,
        });
    }
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    let saga = saga_of(&t, booked.booking_id).await;
    wait_until("an open capture", Duration::from_secs(20), || async {
        page(&desk, saga)
            .await
            .effects
            .iter()
            .any(|e| e.step == "capture" && e.outcome == "unknown")
    })
    .await;
    let asked = ask_about(&desk, saga).await.unwrap();
    let answer = told(&desk, asked.ask_id).await.answer.unwrap();
    assert_eq!(answer.captured.stripe.amount_minor, 8000);
    assert_eq!(answer.captured.ledger.amount_minor, 0);
    let call = answer.calls.first().expect("the open capture");
    assert_eq!(
        (call.operation.as_str(), call.found.as_str()),
        ("capture", "happened")
    );
    let shown = page(&desk, saga).await;
    let effect = shown.effects.iter().find(|e| e.step == "capture").unwrap();
    assert_eq!(effect.outcome, "unknown", "an answer resolves nothing");
    t.sandbox.faults().clear();
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
}

#[tokio::test]
async fn without_a_worker_that_holds_the_key_nothing_is_asked_and_it_says_so() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    worker.close().await;
    let says = "No worker with Stripe's key is running.";
    assert_eq!(page(&desk, saga).await.ask_refused.as_deref(), Some(says));
    // One that works without the key is no such worker.
    let other = t.work_without_stripe(CrashPoints::default()).await;
    let refused = ask_about(&desk, saga).await.unwrap_err();
    assert_eq!(refused.message, says);
    let asked: i64 = sqlx::query_scalar("select count(*) from admin.ask")
        .fetch_one(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert_eq!(asked, 0);
    other.close().await;

    // Nothing was ever asked of Stripe for a booking that is paid at the venue.
    let worker = t.work().await;
    let venue = CreateBooking {
        payment_mode: PaymentMode::Venue,
        payment_method: None,
        ..booking(&slot(1))
    };
    let booked = t.book(&t.desk(None), venue).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    let refused = ask_about(&desk, saga).await.unwrap_err();
    assert_eq!(refused.message, "Nothing of this booking is at Stripe.");
    worker.close().await;
}

#[tokio::test]
async fn two_who_ask_at_once_get_one_answer_and_a_worker_that_died_over_it_is_followed() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    worker.close().await;
    let owner = t.db.superuser_pool().await;
    // A worker that seems alive, took the question, and died.
    sqlx::query("insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid, asks) values (gen_random_uuid(), 'elsewhere', '', '0', '[]', 'headless', 1, '{stripe}')")
        .execute(&owner)
        .await
        .unwrap();
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let (a, b) = tokio::join!(ask_about(&ana, saga), ask_about(&bea, saga));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.ask_id, b.ask_id, "one question");
    sqlx::query("update admin.ask set taken_by = gen_random_uuid(), taken_at = now() - interval '11 seconds'")
        .execute(&owner)
        .await
        .unwrap();
    let worker = t.work().await;
    assert_eq!(told(&ana, a.ask_id).await.state, "answered");
    worker.close().await;

    // The dead one's late answer is nobody's.
    let late: bool =
        sqlx::query_scalar("select admin.answer_ask($1, gen_random_uuid(), '{}', null)")
            .bind(a.ask_id)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert!(!late);
}

#[tokio::test]
async fn what_stripe_says_instead_of_an_answer_is_shown() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    t.sandbox.faults().add(Rule {
        operation: "get_intent".to_owned(),
        when: When::Nth { nth: 1, times: 10 },
        fault: Fault::Unauthorized,
    });
    let asked = ask_about(&desk, saga).await.unwrap();
    let seen = told(&desk, asked.ask_id).await;
    assert_eq!(seen.state, "failed");
    assert!(seen.answer.is_none() && seen.problem.is_some(), "{seen:?}");
    worker.close().await;
}

#[tokio::test]
async fn a_payment_that_stripe_does_not_know_is_an_answer_in_plain_words_and_no_raw_404() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    let saga = saga_of(&t, booked.booking_id).await;
    worker.close().await;
    let owner = t.db.superuser_pool().await;
    // The key of another account, where nothing of this is.
    sqlx::query("insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid, asks) values (gen_random_uuid(), 'elsewhere', '', '0', '[]', 'headless', 1, '{stripe}')")
        .execute(&owner)
        .await
        .unwrap();
    let elsewhere = Sandbox::start(Options::default()).await.unwrap();
    let config = Config {
        base_url: elsewhere.url(),
        secret_key: Secret::new("sk_test_sandbox"),
        timeout: Duration::from_secs(5),
    };
    let other = Asks {
        pool: t.worker_pool.clone(),
        worker: WorkerId(Uuid::now_v7()),
        stripe: Arc::new(Stripe::new(reqwest::Client::new(), config)),
        installation: t.db.installation.id.clone(),
    };
    let asked = ask_about(&desk, saga).await.unwrap();
    assert_eq!(other.round().await.unwrap(), 1);
    let seen = told(&desk, asked.ask_id).await;
    assert_eq!(
        (seen.state.as_str(), seen.problem.as_deref()),
        ("answered", None)
    );
    let answer = seen.answer.unwrap();
    let absent = answer.absent.expect("what the books name");
    assert!(absent.id.starts_with("pi_") && !absent.example);
    assert!(!answer.agrees);
    assert_eq!(answer.captured.ledger.amount_minor, 8000);

    // Of the example's past, which was written before the desk was there.
    sqlx::query(
        "update saga.effect set intended_at = (select created_at from admin.installation) - interval '1 day'",
    )
    .execute(&owner)
    .await
    .unwrap();
    let asked = ask_about(&desk, saga).await.unwrap();
    assert_eq!(other.round().await.unwrap(), 1);
    let answer = told(&desk, asked.ask_id).await.answer.unwrap();
    assert!(answer.absent.expect("still absent").example);
}
