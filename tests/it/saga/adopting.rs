//! Money at Stripe that the ledger does not know is taken into the books or given back by a person's word, once, whenever a
//! worker dies over it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::domain::ids::WorkerId;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::saga::adopt::Deeds;
use bizing_stripe::{Object, Operation};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::hands::*;
use super::orphans::{cases, fresh, walk};
use crate::support::desk::{TestDesk, booking, slot};

/// A worker's hands alone, which may die at the points that are armed.
pub fn deeds(t: &TestDesk, crash: CrashPoints) -> Deeds {
    Deeds {
        pool: t.worker_pool.clone(),
        worker: WorkerId(Uuid::now_v7()),
        stripe: Arc::new(t.stripe()),
        installation: t.db.installation.id.clone(),
        crash,
    }
}

/// Nobody works; somebody with a key seems alive, so that people may decide.
pub async fn key_elsewhere(owner: &PgPool) {
    sqlx::query("insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid, asks) values (gen_random_uuid(), 'elsewhere', '', '0', '[]', 'headless', 1, '{stripe}')")
        .execute(owner)
        .await
        .unwrap();
}

/// A payment that is taken, with our marks, which no call of ours made.
pub async fn paid(t: &TestDesk, saga: Uuid, amount_minor: i64, key: &str) -> String {
    let ask = Operation::CreateIntent {
        amount_minor,
        currency: "eur".to_owned(),
        payment_method: "pm_card_visa".to_owned(),
        customer: None,
        description: None,
        metadata: [("saga_id".to_owned(), saga.to_string())].into(),
    };
    let stripe = t.stripe();
    let made = stripe
        .send(&ask.encode(), key)
        .await
        .expect("a payment")
        .object;
    let Object::Intent(intent) = made else {
        panic!("no payment")
    };
    let take = Operation::Capture {
        payment_intent: intent.id.clone(),
        amount_minor: Some(amount_minor),
    };
    stripe
        .send(&take.encode(), &format!("{key} taken"))
        .await
        .expect("taken");
    intent.id
}

pub fn decision(case: &Orphan, deed: &str) -> DecideOrphan {
    DecideOrphan {
        ask_id: Uuid::now_v7(),
        case_id: case.case_id,
        deed: deed.to_owned(),
        reason: "looked at it at Stripe with the customer".to_owned(),
    }
}

/// Decides, lets a worker do it, and says what came of it.
pub async fn done(t: &TestDesk, desk: &Desk, case: &Orphan, deed: &str) -> StripeAsk {
    let asked = sagas::decide_orphan(desk, decision(case, deed))
        .await
        .unwrap();
    deeds(t, CrashPoints::default()).round().await.unwrap();
    let get = GetAsk {
        ask_id: asked.ask_id,
    };
    sagas::get_ask(desk, get).await.unwrap()
}

pub async fn found(t: &TestDesk, desk: &Desk) -> Orphan {
    fresh(t).await;
    assert_eq!(walk(t).round().await.unwrap(), 1);
    cases(desk).await.remove(0)
}

/// Whatever a person changed of a saga stands in the audit, with where it stood before and after.
pub async fn no_change_without_a_command(owner: &PgPool) {
    let missing: Vec<Uuid> = sqlx::query_scalar(
        "select a.saga_id from saga.attempt a
          where a.kind in ('operator', 'skip')
            and not exists (select from saga.command c where c.saga_id = a.saga_id and c.status = 'applied' and c.command_id = (a.output->>'command_id')::uuid)
         union all
         select c.saga_id from saga.command c where c.status = 'applied' and (c.before is null or c.applied_version is null and c.action <> 'cancel')",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Paid, and taken back again since nobody could be told; no worker is left.
pub async fn taken_back(t: &TestDesk) -> Made {
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), by_link(0))
        .await;
    let saga = saga_of(t, booked.booking_id).await;
    pay_page(t, booked.booking_id).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    command_when_free(&t.desk(None), saga, "compensate").await;
    t.wait_for_saga(booked.booking_id, "compensated").await;
    worker.close().await;
    Made {
        saga,
        booking: booked.booking_id,
    }
}

fn by_link(n: u32) -> CreateBooking {
    CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(n))
    }
}

#[tokio::test]
async fn a_refund_made_at_stripes_pages_is_taken_into_the_books_once_whoever_dies_over_it() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let Made { saga, booking } = completed(&t).await;
    let owner = t.db.superuser_pool().await;
    let intent: String = sqlx::query_scalar("select provider_object from saga.effect where saga_id = $1 and operation = 'create_intent'")
        .bind(saga)
        .fetch_one(&owner)
        .await
        .unwrap();
    let by_hand = Operation::Refund {
        payment_intent: intent,
        amount_minor: 3000,
        metadata: [("by".to_owned(), "hand".to_owned())].into(),
    };
    t.stripe()
        .send(&by_hand.encode(), "by hand")
        .await
        .expect("a refund");
    let case = found(&t, &desk).await;
    assert!(
        case.adopt_refused.as_deref().unwrap().contains("No worker"),
        "{case:?}"
    );
    key_elsewhere(&owner).await;
    let case = cases(&desk).await.remove(0);
    assert_eq!(case.adopt_refused, None);
    assert_eq!(
        case.give_back_refused.as_deref(),
        Some("This is a refund: it has gone back already.")
    );
    let staff = desk_of(&t, "staff").await;
    assert_eq!(
        cases(&staff).await[0].adopt_refused.as_deref(),
        Some("This is a manager's decision.")
    );
    let forbidden = sagas::decide_orphan(&staff, decision(&case, "adopt")).await;
    assert_eq!(forbidden.unwrap_err().code, Code::Forbidden);

    // One worker dies after it looked, another with everything written and nothing committed.
    let mut request = decision(&case, "adopt");
    let asked = sagas::decide_orphan(&desk, request.clone()).await.unwrap();
    for point in ["deed_seen", "adopt_before_commit"] {
        let reached = Arc::new(Mutex::new(false));
        let seen = reached.clone();
        let crash = CrashPoints::new(Arc::new(move |name| {
            let seen = seen.clone();
            Box::pin(async move {
                if name == point {
                    *seen.lock().unwrap() = true;
                    std::future::pending::<()>().await;
                }
            })
        }));
        let dies = deeds(&t, crash);
        let task = tokio::time::timeout(Duration::from_secs(5), dies.round());
        assert!(task.await.is_err() && *reached.lock().unwrap(), "{point}");
        sqlx::query("update admin.ask set taken_at = now() - interval '1 minute'")
            .execute(&owner)
            .await
            .unwrap();
    }
    let before = t.events(booking).await;
    let (a, b) = (
        deeds(&t, CrashPoints::default()),
        deeds(&t, CrashPoints::default()),
    );
    let (a, b) = tokio::join!(a.round(), b.round());
    assert_eq!(a.unwrap() + b.unwrap(), 1, "one does it");
    let get = GetAsk {
        ask_id: asked.ask_id,
    };
    let told = sagas::get_ask(&desk, get).await.unwrap();
    assert_eq!((told.state.as_str(), told.problem), ("answered", None));
    let after = t.events(booking).await;
    assert_eq!(
        after[before.len()..],
        ["RefundRequested", "PaymentRefunded"]
    );
    caught_up(&t).await;
    let shown = page(&desk, saga).await;
    assert_eq!(shown.money.refunded.amount_minor, 3000);
    assert!(cases(&desk).await.is_empty());
    let last = shown.attempts.last().unwrap();
    assert_eq!(last.result.as_deref(), Some("adopted"));
    // A command of its saga like all others, once, with where it stood before and after.
    let line = shown.commands.last().unwrap();
    assert_eq!(
        (line.action.as_str(), line.status.as_str()),
        ("adopt", "applied")
    );
    assert_eq!(line.object.as_deref(), Some(case.object.as_str()));
    let kept: Vec<(Uuid, bool)> = sqlx::query_as("select command_id, before->>'state' = 'completed' and after->>'state' = 'completed' and plan is not null from saga.command where saga_id = $1")
        .bind(saga)
        .fetch_all(&owner)
        .await
        .unwrap();
    assert_eq!(kept, [(asked.ask_id, true)]);
    no_change_without_a_command(&owner).await;

    // Asked again it is the same one; another decision finds the case closed; and no walk finds it anew.
    let again = sagas::decide_orphan(&desk, request.clone()).await.unwrap();
    assert_eq!(again.ask_id, asked.ask_id);
    request.ask_id = Uuid::now_v7();
    let closed = sagas::decide_orphan(&desk, request).await.unwrap_err();
    assert_eq!(closed.code, Code::Conflict);
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 0);
    deeds(&t, CrashPoints::default()).round().await.unwrap();
    assert_eq!(t.events(booking).await, after);
}

#[tokio::test]
async fn a_lost_payment_of_a_booking_that_is_over_is_adopted_and_goes_back_by_its_own_saga() {
    let t = TestDesk::new().await;
    let it = taken_back(&t).await;
    let owner = t.db.superuser_pool().await;
    let lost = paid(&t, it.saga, 8000, "lost").await;
    key_elsewhere(&owner).await;
    let desk = t.desk(None);
    let case = found(&t, &desk).await;
    assert_eq!(
        (case.adopt_refused.clone(), case.object.clone()),
        (None, lost)
    );
    let told = done(&t, &desk, &case, "adopt").await;
    assert_eq!(told.problem, None);
    no_change_without_a_command(&owner).await;
    caught_up(&t).await;
    let shown = page(&desk, it.saga).await;
    assert_eq!(shown.money.kept.amount_minor, 8000);
    assert_eq!(shown.row.parked.as_ref().unwrap().code, "adopted");

    // What gives it back is the saga's own step, with all that belongs to it.
    let worker = t.work().await;
    let plan = look(&desk, it.saga, "retry").await;
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    worker.close().await;
    let refunded: i64 = t.sandbox.ledger().payments.iter().map(|p| p.refunded).sum();
    assert_eq!(refunded, 8000);
    caught_up(&t).await;
    assert_eq!(page(&desk, it.saga).await.money.kept.amount_minor, 0);
}

#[tokio::test]
async fn who_paid_twice_gets_one_back_and_the_ledger_keeps_the_other() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let saga = completed(&t).await.saga;
    let owner = t.db.superuser_pool().await;
    paid(&t, saga, 8000, "twice").await;
    key_elsewhere(&owner).await;
    let case = found(&t, &desk).await;
    let says = case.adopt_refused.as_deref().unwrap();
    assert!(says.contains("paid twice"), "{says}");
    let refused = sagas::decide_orphan(&desk, decision(&case, "adopt")).await;
    assert_eq!(refused.unwrap_err().code, Code::Refused);

    // The worker dies with the refund made and nothing written: the next one finds it there.
    let asked = sagas::decide_orphan(&desk, decision(&case, "give_back"))
        .await
        .unwrap();
    let crash = CrashPoints::new(Arc::new(|name| {
        Box::pin(async move {
            if name == "given_back" {
                std::future::pending::<()>().await;
            }
        })
    }));
    let dies = deeds(&t, crash);
    let dead = tokio::time::timeout(Duration::from_secs(5), dies.round()).await;
    assert!(dead.is_err());
    sqlx::query("update admin.ask set taken_at = now() - interval '1 minute'")
        .execute(&owner)
        .await
        .unwrap();
    deeds(&t, CrashPoints::default()).round().await.unwrap();
    let get = GetAsk {
        ask_id: asked.ask_id,
    };
    assert_eq!(sagas::get_ask(&desk, get).await.unwrap().state, "answered");
    let back: Vec<(i64, i64)> = t
        .sandbox
        .ledger()
        .payments
        .iter()
        .map(|p| (p.captured, p.refunded))
        .collect();
    assert_eq!(back.iter().filter(|p| **p == (8000, 8000)).count(), 1);
    assert_eq!(back.iter().filter(|p| **p == (8000, 0)).count(), 1);
    assert!(cases(&desk).await.is_empty());
    let fact: serde_json::Value = sqlx::query_scalar(
        "select jsonb_build_array(closed_reason, fact->'refunded_minor') from saga.attention where fact->>'what' = 'intent'",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(
        fact,
        json!(["Given back: looked at it at Stripe with the customer", 8000])
    );
    assert_eq!(page(&desk, saga).await.money.kept.amount_minor, 8000);
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 0, "our refund is no news");
}

#[tokio::test]
async fn what_is_not_safe_is_refused_in_plain_words_and_changes_nothing() {
    let t = TestDesk::new().await;
    let it = taken_back(&t).await;
    let owner = t.db.superuser_pool().await;
    key_elsewhere(&owner).await;
    let desk = t.desk(None);
    // Another sum than the booking costs; and one that is only authorised.
    paid(&t, it.saga, 5000, "other sum").await;
    let case = found(&t, &desk).await;
    let says = case.adopt_refused.clone().unwrap();
    assert!(says.contains("another sum"), "{says}");
    let events = t.events(it.booking).await;
    // Between the decision and the worker's look the money went back at Stripe's pages: the look counts.
    let asked = sagas::decide_orphan(&desk, decision(&case, "give_back"))
        .await
        .unwrap();
    let by_hand = Operation::Refund {
        payment_intent: case.object.clone(),
        amount_minor: 5000,
        metadata: [("by".to_owned(), "hand".to_owned())].into(),
    };
    t.stripe()
        .send(&by_hand.encode(), "by hand")
        .await
        .expect("a refund");
    deeds(&t, CrashPoints::default()).round().await.unwrap();
    let get = GetAsk {
        ask_id: asked.ask_id,
    };
    assert_eq!(sagas::get_ask(&desk, get).await.unwrap().state, "answered");
    let given: i64 = t
        .sandbox
        .ledger()
        .payments
        .iter()
        .filter(|p| p.payment_intent == case.object)
        .map(|p| p.refunded)
        .sum();
    assert_eq!(given, 5000, "once");
    assert!(cases(&desk).await.is_empty());
    assert_eq!(t.events(it.booking).await, events);
}
