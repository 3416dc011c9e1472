//! What Stripe has and the ledger does not know, and the reverse: each is a case for a person, once, and no money moves.

use std::sync::Arc;
use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::domain::ids::WorkerId;
use bizing_engine::saga::orphans::{Pace, Sweep};
use bizing_sandbox::{Fault, Rule, When};
use bizing_stripe::Operation;
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

pub fn walk(t: &TestDesk) -> Sweep {
    Sweep {
        pool: t.worker_pool.clone(),
        worker: WorkerId(Uuid::now_v7()),
        stripe: Arc::new(t.stripe()),
        installation: t.db.installation.id.clone(),
        pace: Pace {
            every: Duration::ZERO,
            grace: Duration::ZERO,
            ..Pace::default()
        },
    }
}

/// As before any walk: the worker's own may have been cut off.
pub async fn fresh(t: &TestDesk) {
    sqlx::raw_sql("update saga.sweep set since = null, after = null, list = 'intents', lease_owner = null, lease_expires_at = null; delete from saga.sweep_seen;")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
}

pub async fn cases(desk: &Desk) -> Vec<Orphan> {
    let request = ListSagas::first(SagaTab::NeedsPerson, 10);
    sagas::list(desk, request).await.unwrap().orphans
}

fn intent(saga: Uuid, effect: Uuid) -> Operation {
    Operation::CreateIntent {
        amount_minor: 8000,
        currency: "eur".to_owned(),
        payment_method: "pm_card_visa".to_owned(),
        customer: None,
        description: None,
        metadata: [
            ("saga_id".to_owned(), saga.to_string()),
            ("effect_id".to_owned(), effect.to_string()),
        ]
        .into(),
    }
}

#[tokio::test]
async fn what_the_ledger_does_not_know_is_a_case_once_and_is_left_alone() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let saga = completed(&t).await.saga;
    let owner = t.db.superuser_pool().await;
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 0, "all fits");
    assert!(cases(&desk).await.is_empty());

    // As after a restored backup: Stripe has a payment that the ledger lost. And somebody paid back on Stripe's own pages.
    let stripe = t.stripe();
    stripe
        .send(&intent(saga, Uuid::now_v7()).encode(), "lost one")
        .await
        .expect("a payment");
    let known: String = sqlx::query_scalar("select provider_object from saga.effect where saga_id = $1 and operation = 'create_intent'")
        .bind(saga)
        .fetch_one(&owner)
        .await
        .unwrap();
    let refund = Operation::Refund {
        payment_intent: known,
        amount_minor: 3000,
        metadata: [("by".to_owned(), "hand".to_owned())].into(),
    };
    stripe
        .send(&refund.encode(), "by hand")
        .await
        .expect("a refund");
    // Of somebody else, in the same account: none of ours.
    let mut foreign = intent(saga, Uuid::now_v7());
    if let Operation::CreateIntent { metadata, .. } = &mut foreign {
        *metadata = [("shop".to_owned(), "another".to_owned())].into();
    }
    stripe
        .send(&foreign.encode(), "foreign")
        .await
        .expect("a payment of another shop");
    let before = t.sandbox.ledger();
    assert_eq!(walk(&t).round().await.unwrap(), 2);
    let found = cases(&desk).await;
    let mut told: Vec<(&str, &str, Option<i64>)> = found
        .iter()
        .map(|o| {
            (
                o.what.as_str(),
                o.why.as_str(),
                o.amount.as_ref().map(|m| m.amount_minor),
            )
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            ("intent", "unknown", Some(8000)),
            ("refund", "unknown", Some(3000))
        ]
    );
    assert!(found.iter().all(|o| o.saga_id == Some(saga)));
    assert_eq!(walk(&t).round().await.unwrap(), 0, "told once");
    let after = t.sandbox.ledger();
    assert_eq!(
        before.payments.len(),
        after.payments.len(),
        "nothing was made"
    );
    assert!(
        before
            .payments
            .iter()
            .zip(&after.payments)
            .all(|(a, b)| (a.captured, a.refunded) == (b.captured, b.refunded)),
        "and no money moved"
    );

    // A person looks, says what it was, and it does not come back.
    let close = |reason: &str| CloseOrphan {
        case_id: found[0].case_id,
        reason: reason.to_owned(),
        evidence: "mail of the owner, 3 May".to_owned(),
    };
    let staff = desk_of(&t, "staff").await;
    let refused = sagas::close_orphan(&staff, close("looked at it at Stripe")).await;
    assert_eq!(refused.unwrap_err().code, Code::Forbidden);
    let short = sagas::close_orphan(&desk, close("ok")).await.unwrap_err();
    assert_eq!(short.field.as_deref(), Some("reason"));
    let bare = CloseOrphan {
        evidence: " ".to_owned(),
        ..close("looked at it at Stripe")
    };
    let bare = sagas::close_orphan(&desk, bare).await.unwrap_err();
    assert_eq!(bare.field.as_deref(), Some("evidence"));
    sagas::close_orphan(&desk, close("looked at it at Stripe"))
        .await
        .unwrap();
    let kept: String = sqlx::query_scalar("select fact->>'evidence' from saga.attention where closed_reason = 'looked at it at Stripe'")
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(kept, "mail of the owner, 3 May");
    let again = sagas::close_orphan(&desk, close("looked at it at Stripe")).await;
    assert_eq!(again.unwrap_err().code, Code::Conflict);
    assert_eq!(walk(&t).round().await.unwrap(), 0);
    assert_eq!(cases(&desk).await.len(), 1);
}

#[tokio::test]
async fn what_the_ledger_believes_and_stripe_does_not_show_is_a_case_too() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    let owner = t.db.superuser_pool().await;
    sqlx::query("update saga.effect set provider_object = 'pi_that_never_was', resolved_at = now() - interval '1 minute' where operation = 'create_intent'")
        .execute(&owner)
        .await
        .unwrap();
    fresh(&t).await;
    // Its real payment is still named by the effect's id, so that one is no case.
    assert_eq!(walk(&t).round().await.unwrap(), 1);
    let found = cases(&desk).await;
    assert_eq!(
        (found[0].why.as_str(), found[0].object.as_str()),
        ("missing", "pi_that_never_was")
    );
}

#[tokio::test]
async fn a_past_that_was_written_is_not_missed_at_stripe() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    // As the example's: from before the desk was set up.
    sqlx::query(
        "update saga.effect set provider_object = 'pi_demo', resolved_at = now() - interval '1 minute',
                intended_at = (select created_at from admin.installation) - interval '1 day' where operation = 'create_intent'",
    )
    .execute(&t.db.superuser_pool().await)
    .await
    .unwrap();
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 0);
    let walked: bool = sqlx::query_scalar("select ended_at is not null from read.sweeps_v1")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert!(walked);
    assert_eq!(cases(&t.desk(None)).await.len(), 0);
}

#[tokio::test]
async fn a_walk_that_is_cut_off_goes_on_where_it_was_and_two_never_walk_at_once() {
    let t = TestDesk::new().await;
    let stripe = t.stripe();
    let saga = Uuid::now_v7();
    for n in 0..130 {
        stripe
            .send(&intent(saga, Uuid::now_v7()).encode(), &format!("lost {n}"))
            .await
            .expect("a payment");
    }
    // The second page is not answered.
    t.sandbox.faults().add(Rule {
        operation: "list_intents".to_owned(),
        when: When::Nth { nth: 2, times: 1 },
        fault: Fault::LostBefore,
    });
    assert_eq!(walk(&t).round().await.unwrap(), 100, "a page");
    assert_eq!(walk(&t).round().await.unwrap(), 0, "not at once again");
    let owner = t.db.superuser_pool().await;
    let (after, problem): (Option<String>, Option<String>) =
        sqlx::query_as("select after, problem from saga.sweep")
            .fetch_one(&owner)
            .await
            .unwrap();
    assert!(after.is_some() && problem.is_some());
    sqlx::query("update saga.sweep set lease_expires_at = now()")
        .execute(&owner)
        .await
        .unwrap();
    let (a, b) = (walk(&t), walk(&t));
    let (a, b) = tokio::join!(a.round(), b.round());
    assert_eq!(a.unwrap() + b.unwrap(), 30, "the rest, once");
    let looked: i64 = sqlx::query_scalar("select looked from saga.sweep where since is null")
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(looked, 130, "nothing twice");
}

/// Looks at the case's object again, through the worker, and waits for what came of it.
pub async fn check(desk: &Desk, case: Uuid) -> Result<StripeAsk, AppError> {
    let request = CheckOrphan {
        ask_id: Uuid::now_v7(),
        case_id: case,
    };
    let asked = sagas::check_orphan(desk, request).await?;
    let get = || {
        sagas::get_ask(
            desk,
            GetAsk {
                ask_id: asked.ask_id,
            },
        )
    };
    wait_until("an answer", Duration::from_secs(15), || async {
        get().await.unwrap().state != "open"
    })
    .await;
    get().await
}

#[tokio::test]
async fn another_desk_on_the_same_account_is_no_case_and_ours_is_named_on_each_object() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), to_nobody(0))
        .await;
    // Nobody can be told, so it is refunded: a payment and a refund of ours.
    t.wait_for_saga(booked.booking_id, "compensated").await;
    worker.close().await;
    let ours = &t.db.installation.id;
    let ledger = t.sandbox.ledger();
    assert_eq!(ledger.payments[0].metadata["installation"], *ours);
    assert_eq!(
        ledger.payments[0].refund_metadata[0]["installation"], *ours,
        "refunds too"
    );

    let stripe = t.stripe();
    let mut theirs = intent(Uuid::now_v7(), Uuid::now_v7());
    if let Operation::CreateIntent { metadata, .. } = &mut theirs {
        metadata.insert("installation".to_owned(), "another1".to_owned());
    }
    stripe
        .send(&theirs.encode(), "of another desk")
        .await
        .expect("a payment");
    // Of this desk, as far as its marks say, and older than these marks.
    stripe
        .send(
            &intent(Uuid::now_v7(), Uuid::now_v7()).encode(),
            "of nobody",
        )
        .await
        .expect("a payment");
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 1);
    let found = cases(&t.desk(None)).await;
    let lost = &ledger.payments[0].payment_intent;
    assert!(found.iter().all(|o| o.object != *lost), "{found:?}");
}

#[tokio::test]
async fn a_case_that_is_looked_at_again_after_its_refund_closes_by_itself() {
    let t = TestDesk::new().await;
    let desk = desk_of(&t, "staff").await;
    let stripe = t.stripe();
    let lost = stripe
        .send(&intent(Uuid::now_v7(), Uuid::now_v7()).encode(), "lost")
        .await
        .expect("a payment");
    let bizing_stripe::Object::Intent(lost) = lost.object else {
        panic!("no payment")
    };
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 1);
    let case = cases(&desk).await.remove(0);
    assert_eq!(case.object, lost.id);
    let refused = check(&desk, case.case_id).await.unwrap_err();
    assert!(
        refused.message.contains("No worker"),
        "nobody here holds a key: {refused:?}"
    );
    assert_eq!(case.check_refused.as_deref(), Some(&*refused.message));

    let worker = t.work().await;
    wait_until(
        "a worker holds the key",
        Duration::from_secs(15),
        || async { cases(&desk).await[0].check_refused.is_none() },
    )
    .await;
    assert_eq!(check(&desk, case.case_id).await.unwrap().state, "answered");
    let still = cases(&desk).await.remove(0);
    assert!(still.checked_at.is_some() && still.checked_by.is_some());
    assert_eq!(still.status.as_deref(), Some("requires_capture"));

    // Somebody lets it go on Stripe's own pages.
    let cancel = Operation::CancelIntent {
        payment_intent: lost.id,
        reason: bizing_stripe::CancelReason::Abandoned,
    };
    stripe.send(&cancel.encode(), "by hand").await.expect("ok");
    check(&desk, case.case_id).await.unwrap();
    assert!(cases(&desk).await.is_empty());
    let (reason, by): (String, String) = sqlx::query_as(
        "select closed_reason, acked_by from saga.attention where kind like 'orphan:%'",
    )
    .fetch_one(&t.db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(reason, "Stripe holds nothing of it: canceled");
    assert!(!by.is_empty(), "who asked is who closed it");
    let again = check(&desk, case.case_id).await.unwrap_err();
    assert_eq!(again.code, Code::Conflict);
    worker.close().await;
}
