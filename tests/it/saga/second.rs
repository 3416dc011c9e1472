//! As much as needs a second person is given back from a case too: one asks, another says yes, and nobody to themselves.

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_stripe::Operation;
use uuid::Uuid;

use super::adopting::{decision, deeds, found, key_elsewhere, paid};
use super::hands::*;
use super::headless::run;
use super::orphans::cases;
use crate::support::desk::TestDesk;

/// Somebody paid twice, and what goes back of that needs a second person: the desks of two, and the case.
async fn paid_twice(t: &TestDesk) -> (Desk, Desk, Orphan) {
    let saga = completed(t).await.saga;
    policy(t, "park", 4000, 3, 24).await;
    paid(t, saga, 8000, "twice").await;
    let (ana, bea) = (desk_of(t, "admin").await, desk_of(t, "manager").await);
    let case = found(t, &ana).await;
    (ana, bea, case)
}

fn returned(t: &TestDesk) -> i64 {
    t.sandbox.ledger().payments.iter().map(|p| p.refunded).sum()
}

fn yes(asked: &StripeAsk, seen: &Approval) -> DecideCommand {
    DecideCommand {
        command_id: asked.ask_id,
        approve: true,
        plan_hash: seen.plan.hash.clone(),
        reason: String::new(),
    }
}

async fn seen(desk: &Desk, asked: &StripeAsk) -> Approval {
    let request = GetApproval {
        command_id: asked.ask_id,
    };
    sagas::approval(desk, request).await.unwrap()
}

async fn waiting(desk: &Desk) -> Vec<SagaCommand> {
    let request = ListSagas::first(SagaTab::NeedsPerson, 10);
    sagas::list(desk, request).await.unwrap().approvals
}

#[tokio::test]
async fn a_lost_payment_goes_back_once_when_another_person_says_yes() {
    let t = TestDesk::new().await;
    let (ana, bea, case) = paid_twice(&t).await;
    assert_eq!(
        (case.give_back_refused.as_deref(), case.give_back_waits),
        (None, true),
        "asked for without a worker too"
    );
    let asked = sagas::decide_orphan(&ana, decision(&case, "give_back"))
        .await
        .unwrap();
    assert_eq!(asked.state, "awaiting_approval");
    // Asked for again, by whomever, it is the same one; and the other deed waits for its end.
    let again = sagas::decide_orphan(&bea, decision(&case, "give_back"))
        .await
        .unwrap();
    assert_eq!(again.ask_id, asked.ask_id);
    let shown = cases(&ana).await.remove(0);
    assert!(shown.give_back_refused.unwrap().contains("second person"));
    let worker = deeds(&t, CrashPoints::default());
    assert_eq!(
        worker.round().await.unwrap(),
        0,
        "no worker takes it before"
    );

    let listed = waiting(&bea).await.remove(0);
    assert_eq!(
        (listed.command_id, listed.own, listed.object.as_deref()),
        (asked.ask_id, false, Some(case.object.as_str()))
    );
    assert_eq!(listed.refund.as_ref().unwrap().amount_minor, 8000);
    let plan = seen(&bea, &asked).await;
    assert!(!plan.changed && plan.plan.refund == listed.refund);
    let own = sagas::decide(&ana, yes(&asked, &plan)).await.unwrap_err();
    assert!(own.message.contains("yourself"), "{own:?}");
    let nobody = sagas::decide(&bea, yes(&asked, &plan)).await.unwrap_err();
    assert!(nobody.message.contains("No worker"), "{nobody:?}");
    let staff = desk_of(&t, "staff").await;
    let denied = sagas::decide(&staff, yes(&asked, &plan)).await.unwrap_err();
    assert_eq!(denied.code, Code::Forbidden);

    key_elsewhere(&t.db.superuser_pool().await).await;
    sagas::decide(&bea, yes(&asked, &plan)).await.unwrap();
    let twice = sagas::decide(&bea, yes(&asked, &plan)).await.unwrap_err();
    assert_eq!(twice.code, Code::Conflict);
    let (a, b) = (
        deeds(&t, CrashPoints::default()),
        deeds(&t, CrashPoints::default()),
    );
    let (a, b) = tokio::join!(a.round(), b.round());
    assert_eq!(a.unwrap() + b.unwrap(), 1);
    assert_eq!(returned(&t), 8000, "once");
    assert!(cases(&ana).await.is_empty() && waiting(&ana).await.is_empty());
    // It stands in the audit of its saga, with both names.
    let line = page(&ana, case.saga_id.unwrap())
        .await
        .commands
        .pop()
        .unwrap();
    assert_eq!(
        (line.action.as_str(), line.status.as_str()),
        ("give_back", "applied")
    );
    assert!(line.approved_by.is_some_and(|who| who != line.by));
}

#[tokio::test]
async fn whoever_says_no_says_why_and_nothing_goes_back() {
    let t = TestDesk::new().await;
    let (ana, bea, case) = paid_twice(&t).await;
    let asked = sagas::decide_orphan(&ana, decision(&case, "give_back"))
        .await
        .unwrap();
    let plan = seen(&bea, &asked).await;
    let no = |reason: &str| DecideCommand {
        approve: false,
        reason: reason.to_owned(),
        ..yes(&asked, &plan)
    };
    let bare = sagas::decide(&bea, no("no")).await.unwrap_err();
    assert_eq!(bare.field.as_deref(), Some("reason"));
    let told = sagas::decide(&bea, no("that customer called us: it is a gift"))
        .await
        .unwrap();
    assert_eq!(
        (told.status.as_str(), told.refusal.as_deref()),
        ("rejected", Some("that customer called us: it is a gift"))
    );
    key_elsewhere(&t.db.superuser_pool().await).await;
    assert_eq!(deeds(&t, CrashPoints::default()).round().await.unwrap(), 0);
    assert_eq!(returned(&t), 0);
    // It can be asked for anew.
    let anew = sagas::decide_orphan(&bea, decision(&case, "give_back"))
        .await
        .unwrap();
    assert_eq!(anew.state, "awaiting_approval");
}

#[tokio::test]
async fn a_yes_is_for_what_was_seen_and_for_no_more() {
    let t = TestDesk::new().await;
    let (ana, bea, case) = paid_twice(&t).await;
    let owner = t.db.superuser_pool().await;
    key_elsewhere(&owner).await;
    let asked = sagas::decide_orphan(&ana, decision(&case, "give_back"))
        .await
        .unwrap();
    let plan = seen(&bea, &asked).await;
    // Half of it goes back at Stripe's pages, and a look sees that before the yes.
    let by_hand = Operation::Refund {
        payment_intent: case.object.clone(),
        amount_minor: 5000,
        metadata: [("by".to_owned(), "hand".to_owned())].into(),
    };
    t.stripe()
        .send(&by_hand.encode(), "by hand")
        .await
        .expect("a refund");
    sqlx::query(
        "update saga.attention set fact = fact || '{\"refunded_minor\": 5000}' where case_id = $1",
    )
    .bind(case.case_id)
    .execute(&owner)
    .await
    .unwrap();
    let changed = sagas::decide(&bea, yes(&asked, &plan)).await.unwrap_err();
    assert_eq!(changed.code, Code::Conflict, "{changed:?}");
    assert!(seen(&bea, &asked).await.changed);
    assert_eq!(deeds(&t, CrashPoints::default()).round().await.unwrap(), 0);
    assert_eq!(returned(&t), 5000);

    // Below the sum nobody else is asked, but a worker's look counts: as much as it finds there needs a second person after all.
    let no = DecideCommand {
        approve: false,
        reason: "some of it went back already".to_owned(),
        ..yes(&asked, &plan)
    };
    sagas::decide(&bea, no).await.unwrap();
    sqlx::query(
        "update saga.attention set fact = fact || '{\"refunded_minor\": 7000}' where case_id = $1",
    )
    .bind(case.case_id)
    .execute(&owner)
    .await
    .unwrap();
    policy(&t, "park", 3000, 3, 24).await;
    let small = sagas::decide_orphan(&ana, decision(&case, "give_back"))
        .await
        .unwrap();
    assert_eq!(small.state, "open");
    assert_eq!(deeds(&t, CrashPoints::default()).round().await.unwrap(), 1);
    let get = GetAsk {
        ask_id: small.ask_id,
    };
    let told = sagas::get_ask(&ana, get).await.unwrap();
    assert!(told.problem.unwrap().contains("second person"));
    assert_eq!(returned(&t), 5000);
}

#[tokio::test]
async fn the_database_refuses_a_yes_to_oneself_and_a_case_is_decided_without_a_window() {
    let t = TestDesk::new().await;
    let (ana, _, case) = paid_twice(&t).await;
    let owner = t.db.superuser_pool().await;
    key_elsewhere(&owner).await;
    let id = case.case_id.to_string();
    let why = "she was charged twice for one massage";
    let all = ["give-back", &id, "--reason", why, "--yes"];

    let (code, said) = run(&t, "manager", &["give-back", &id]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("80.00 EUR") && said.contains("second person"),
        "{said}"
    );
    assert!(said.contains("Nothing is done yet"), "{said}");
    let (code, said) = run(&t, "staff", &all).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("This is a manager's decision."), "{said}");
    let (code, said) = run(&t, "manager", &["adopt", &id, "--reason", why, "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("paid twice"), "{said}");
    let (code, said) = run(&t, "manager", &all).await;
    assert_eq!(code, Some(0), "{said}");
    let ask = waiting(&ana).await.remove(0).command_id;
    assert!(said.contains(&format!("approve {ask} --yes")), "{said}");
    let ask = ask.to_string();
    let (code, said) = run(&t, "manager", &["approve", &ask, "--yes"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("yourself"), "{said}");
    // Not even whoever owns the tables writes that.
    let told = sqlx::query("update admin.ask set approval = 'approved', approved_by = asked_by, approved_at = now() where ask_id = $1")
        .bind(ask.parse::<Uuid>().unwrap())
        .execute(&owner)
        .await
        .unwrap_err();
    assert_eq!(
        told.as_database_error().and_then(|e| e.constraint()),
        Some("another_decides")
    );
    let (code, said) = run(&t, "admin", &["approve", &ask, "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deeds(&t, CrashPoints::default()).round().await.unwrap(), 1);
    assert_eq!(returned(&t), 8000);
}
