//! What a person corrects before the step is tried once more: an address, a card. And a saga that goes over to another version of its
//! definition.

use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use serde_json::json;
use uuid::Uuid;

use super::hands::*;
use super::referee;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

fn field(name: &str, payment_method: Option<&str>) -> SagaParams {
    SagaParams {
        field: Some(name.to_owned()),
        payment_method: payment_method.map(str::to_owned),
        ..SagaParams::default()
    }
}

async fn planned(
    desk: &bizing_engine::app::desk::Desk,
    saga: Uuid,
    action: &str,
    params: &SagaParams,
) -> SagaPlan {
    let request = PreviewSaga {
        saga_id: saga,
        action: action.to_owned(),
        params: params.clone(),
    };
    sagas::preview(desk, request).await.unwrap()
}

#[tokio::test]
async fn a_corrected_address_is_told_and_stands_in_no_audit() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let worker = t.work().await;
    let staff = desk_of(&t, "staff").await;
    let it = stuck(&t, &worker, 0).await;
    let params = field("email", None);
    let plan = planned(&staff, it.saga, "correct", &params).await;
    assert_eq!(plan.refused, None);
    let ops: Vec<&str> = plan.operations.iter().map(|o| o.op.as_str()).collect();
    assert_eq!(ops, ["correct_email", "send_again"]);
    let request = |email: &str| CommandSaga {
        params: params.clone(),
        email: Some(email.to_owned()),
        ..ask(it.saga, "correct", &plan)
    };
    for bad in ["", "no-address", "bounce0@example.com"] {
        let refused = sagas::command(&staff, request(bad)).await.unwrap_err();
        assert_eq!(
            refused.field.as_deref(),
            Some("email"),
            "{bad}: {refused:?}"
        );
        assert_eq!(t.saga_state(it.booking).await, "parked", "{bad}");
    }
    let right = "bo.right@example.com";
    sagas::command(&staff, request(right)).await.unwrap();
    t.wait_for_saga(it.booking, "completed").await;
    referee::check(&t, it.booking).await;
    let owner = t.db.superuser_pool().await;
    let letters: i64 = sqlx::query_scalar("select count(*) from delivery.deliveries where stream_id = $1 and template = 'booking_confirmed' and state = 'delivered'")
        .bind(format!("booking-{}", it.booking))
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(letters, 1);
    // Who they are stands sealed in their own history and nowhere else.
    let told: i64 = sqlx::query_scalar("select (select count(*) from saga.command c where c::text like '%bo.right%') + (select count(*) from saga.attempt a where a::text like '%bo.right%') + (select count(*) from core.events e where e.data::text like '%bo.right%')")
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(told, 0);
    let shown = page(&staff, it.saga).await;
    let command = shown.commands.last().unwrap();
    assert_eq!(
        (command.action.as_str(), command.status.as_str()),
        ("correct", "applied")
    );
    // What arrived is not sent to another address.
    let plan = planned(&staff, it.saga, "correct", &params).await;
    assert!(plan.refused.is_some(), "{plan:?}");
    worker.close().await;
}

#[tokio::test]
async fn an_address_that_was_missing_is_told_later_and_the_saga_goes_on_by_itself() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    let worker = t.work().await;
    let staff = desk_of(&t, "staff").await;
    let nowhere = CreateBooking {
        customer: ForCustomer::New {
            name: "Bo".to_owned(),
            email: None,
            phone: Some("+351 912 345 678".to_owned()),
        },
        ..booking(&slot(0))
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), nowhere).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let saga = saga_of(&t, booked.booking_id).await;

    // Without one, trying again finds that there is none, and no more.
    let plan = look(&staff, saga, "retry").await;
    let before = page(&staff, saga).await.row.version;
    sagas::command(&staff, ask(saga, "retry", &plan))
        .await
        .unwrap();
    let it = Made {
        saga,
        booking: booked.booking_id,
    };
    parked_again(&staff, &it, before).await;

    let params = field("email", None);
    let plan = planned(&staff, saga, "correct", &params).await;
    assert_eq!(plan.refused, None);
    let request = CommandSaga {
        params,
        email: Some("bo@example.com".to_owned()),
        ..ask(saga, "correct", &plan)
    };
    sagas::command(&staff, request).await.unwrap();
    t.wait_for_saga(booked.booking_id, "completed").await;
    referee::check(&t, booked.booking_id).await;
    let outcome: Option<String> =
        sqlx::query_scalar("select outcome from saga.instance where saga_id = $1")
            .bind(saga)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert_ne!(outcome.as_deref(), Some("completed_with_warnings"));
    let letters: Vec<String> = sqlx::query_scalar("select state from delivery.deliveries where stream_id = $1 and template = 'booking_confirmed'")
        .bind(format!("booking-{}", booked.booking_id))
        .fetch_all(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert_eq!(letters, ["delivered"]);
    worker.close().await;
}

#[tokio::test]
async fn another_card_is_asked_only_when_the_first_is_known_to_have_given_nothing() {
    let t = TestDesk::new().await;
    rules(&t, json!({ "card_declined": "park" })).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let declined = CreateBooking {
        payment_method: Some("pm_card_chargeDeclined".to_owned()),
        ..booking(&slot(0))
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), declined).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("declined")
    );
    let saga = saga_of(&t, booked.booking_id).await;
    let params = field("payment_method", Some("pm_card_visa"));
    let staff = desk_of(&t, "staff").await;
    assert_eq!(
        planned(&staff, saga, "correct", &params)
            .await
            .code
            .as_deref(),
        Some("needs_manager")
    );
    let plan = planned(&desk, saga, "correct", &params).await;
    assert_eq!(plan.refused, None);
    let other = CommandSaga {
        params: field("payment_method", Some("pm_card_mastercard")),
        ..ask(saga, "correct", &plan)
    };
    assert_eq!(
        sagas::command(&desk, other).await.unwrap_err().code,
        Code::Conflict,
        "another card is another plan"
    );
    let right = CommandSaga {
        params: params.clone(),
        ..ask(saga, "correct", &plan)
    };
    sagas::command(&desk, right).await.unwrap();
    t.wait_for_saga(booked.booking_id, "completed").await;
    referee::check(&t, booked.booking_id).await;
    let keys: Vec<String> = sqlx::query_scalar("select idempotency_key from saga.effect where saga_id = $1 and step = 'payment' order by generation")
        .bind(saga)
        .fetch_all(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1], "a new question has a new key");
    assert!(
        t.events(booked.booking_id)
            .await
            .contains(&"PaymentMethodCorrected".to_owned())
    );

    // A page that is open could be paid beside it; an open outcome may still become one.
    let link = CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(1))
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), link).await;
    t.wait_for_saga(booked.booking_id, "waiting").await;
    let saga = saga_of(&t, booked.booking_id).await;
    wait_until("a page", Duration::from_secs(20), || async {
        page(&desk, saga)
            .await
            .effects
            .iter()
            .any(|e| e.outcome == "confirmed")
    })
    .await;
    worker.close().await;
    let code = |plan: SagaPlan| plan.code.unwrap_or_default();
    assert_eq!(
        code(planned(&desk, saga, "correct", &params).await),
        "page_open"
    );
    sqlx::query("update saga.effect set outcome = 'unknown', resolved_at = null, resolved_via = null where saga_id = $1")
        .bind(saga)
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert_eq!(
        code(planned(&desk, saga, "correct", &params).await),
        "outcome_open"
    );
}

#[tokio::test]
async fn a_saga_goes_over_to_another_version_between_two_steps_and_back() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    let to = |version| SagaParams {
        to_version: version,
        ..SagaParams::default()
    };
    let code = |plan: SagaPlan| plan.code.unwrap_or_default();
    assert_eq!(
        code(planned(&desk, it.saga, "migrate", &to(None)).await),
        "no_other_version"
    );
    // A newer program brings a version with a step more.
    sqlx::query(r#"insert into saga.definition (name, version, spec)
                   select name, 2, jsonb_set(spec, '{steps}', jsonb_build_array(spec->'steps'->0, '{"name": "deposit", "kind": "local"}'::jsonb,
                     spec->'steps'->1, spec->'steps'->2, spec->'steps'->3, spec->'steps'->4)) from saga.definition where name = 'booking' and version = 1"#)
        .execute(&owner)
        .await
        .unwrap();
    assert_eq!(
        code(planned(&desk, it.saga, "migrate", &to(Some(7))).await),
        "no_version"
    );
    assert_eq!(
        code(planned(&desk, it.saga, "migrate", &to(None)).await),
        "no_worker_for_it"
    );
    sqlx::query(r#"insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid) values (gen_random_uuid(), 'elsewhere', '', '9', '[{"definition": "booking", "version": 2}]', 'headless', 1)"#)
        .execute(&owner)
        .await
        .unwrap();
    let plan = planned(&desk, it.saga, "migrate", &to(None)).await;
    assert_eq!(plan.refused, None);
    let ops: Vec<(&str, Option<&str>)> = plan
        .operations
        .iter()
        .map(|o| (o.op.as_str(), o.step.as_deref()))
        .collect();
    assert_eq!(
        ops,
        [("migrate", Some("notify")), ("gains_step", Some("deposit"))]
    );
    let staff = desk_of(&t, "manager").await;
    assert_eq!(
        sagas::command(&staff, ask(it.saga, "migrate", &plan))
            .await
            .unwrap_err()
            .code,
        Code::Forbidden
    );

    let go = CommandSaga {
        params: to(None),
        ..ask(it.saga, "migrate", &plan)
    };
    sagas::command(&desk, go).await.unwrap();
    let place = async || -> (i32, i16, String, String) {
        sqlx::query_as(
            r#"select def_version, "cursor", step, state from saga.instance where saga_id = $1"#,
        )
        .bind(it.saga)
        .fetch_one(&owner)
        .await
        .unwrap()
    };
    assert_eq!(
        place().await,
        (2, 5, "notify".to_owned(), "parked".to_owned())
    );

    // With a call open the database refuses, whoever writes.
    sqlx::query("insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256) values (gen_random_uuid(), $1, 'capture', 'C', 0, 'stripe', 'refund', 'k', '{}', '')")
        .bind(it.saga)
        .execute(&owner)
        .await
        .unwrap();
    assert_eq!(
        code(planned(&desk, it.saga, "migrate", &to(Some(1))).await),
        "call_open"
    );
    let by_hand = sqlx::query("update saga.instance set def_version = 1, \"cursor\" = 4, version = version + 1, fence = fence + 1, by_fence = fence + 1 where saga_id = $1")
        .bind(it.saga)
        .execute(&owner)
        .await;
    assert!(by_hand.is_err(), "not over an open call");
    sqlx::query("update saga.effect set outcome = 'not_executed', resolved_at = now(), resolved_via = 'lookup' where saga_id = $1 and direction = 'C'")
        .bind(it.saga)
        .execute(&owner)
        .await
        .unwrap();
    let plan = planned(&desk, it.saga, "migrate", &to(Some(1))).await;
    let back = CommandSaga {
        params: to(Some(1)),
        ..ask(it.saga, "migrate", &plan)
    };
    sagas::command(&desk, back).await.unwrap();
    assert_eq!(place().await.0, 1);
    let plan = look(&desk, it.saga, "skip").await;
    sagas::command(&desk, ask(it.saga, "skip", &plan))
        .await
        .unwrap();
    t.wait_for_saga(it.booking, "completed").await;
    worker.close().await;
}

#[tokio::test]
async fn an_undo_that_parked_goes_on_from_where_it_is() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    // The refund is refused for good, in the middle of the undo.
    t.sandbox.faults().add(bizing_sandbox::Rule {
        operation: "refund".to_owned(),
        when: bizing_sandbox::When::Nth { nth: 1, times: 100 },
        fault: bizing_sandbox::Fault::LostBefore,
    });
    rules(&t, json!({ "undo_tries": 2 })).await;
    let plan = look(&desk, it.saga, "compensate").await;
    sagas::command(&desk, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    wait_until("the undo parks", Duration::from_secs(30), || async {
        park_code(&t, it.booking).await.as_deref() == Some("exhausted")
    })
    .await;
    let cancelled = t
        .events(it.booking)
        .await
        .iter()
        .filter(|e| *e == "BookingCancelled")
        .count();
    t.sandbox.faults().clear();
    let plan = look(&desk, it.saga, "retry").await;
    assert_eq!(plan.refused, None);
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    t.wait_for_saga(it.booking, "compensated").await;
    referee::check(&t, it.booking).await;
    let after = t
        .events(it.booking)
        .await
        .iter()
        .filter(|e| *e == "BookingCancelled")
        .count();
    assert_eq!(
        (cancelled, after),
        (1, 1),
        "what was undone is not undone twice"
    );
    worker.close().await;
}

#[tokio::test]
async fn a_saga_of_a_version_that_no_running_program_knows_is_left_alone_and_stands_at_risk() {
    let t = TestDesk::new().await;
    policy(&t, "park", 15_000, 3, 24).await;
    let owner = t.db.superuser_pool().await;
    let worker = t.work().await;
    let desk = t.desk(None);
    let it = stuck(&t, &worker, 0).await;
    // What the icon shows is what the rail counts.
    let icon = bizing_engine::app::session::decisions(&desk).await.unwrap();
    let status = bizing_engine::app::session::status(&desk, Empty {})
        .await
        .unwrap();
    assert_eq!((icon, status.counts.sagas_need_person), (1, 1));
    let run = async |sql: &'static str| sqlx::query(sql).execute(&owner).await.unwrap();
    run("insert into saga.definition (name, version, spec) select name, 2, spec from saga.definition where name = 'booking' and version = 1").await;
    run(r#"insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid) values (gen_random_uuid(), 'elsewhere', '', '9', '[{"definition": "booking", "version": 2}]', 'headless', 1)"#).await;
    let to = |version| SagaParams {
        to_version: Some(version),
        ..SagaParams::default()
    };
    let go_over = async |version| {
        let plan = planned(&desk, it.saga, "migrate", &to(version)).await;
        let go = CommandSaga {
            params: to(version),
            ..ask(it.saga, "migrate", &plan)
        };
        sagas::command(&desk, go).await.unwrap();
    };
    go_over(2).await;
    let plan = look(&desk, it.saga, "retry").await;
    sagas::command(&desk, ask(it.saga, "retry", &plan))
        .await
        .unwrap();
    let place = async || -> (String, i64, i32) {
        sqlx::query_as("select state, fence, version from saga.instance where saga_id = $1")
            .bind(it.saga)
            .fetch_one(&owner)
            .await
            .unwrap()
    };
    let before = place().await;
    // The newer program is gone. Others' sagas go on, by all their steps; this one is not touched.
    run("delete from saga.worker where host = 'elsewhere'").await;
    run("update saga.instance set wake_at = now() - interval '2 minutes' where def_version = 2")
        .await;
    let other = t
        .book(
            &t.desk(Some(worker.worker.clone())),
            crate::support::desk::booking(&crate::support::desk::slot(1)),
        )
        .await;
    t.wait_for_saga(other.booking_id, "completed").await;
    assert_eq!(place().await, before);
    assert!(!page(&desk, it.saga).await.supported);
    let risk = ListSagas::first(SagaTab::AtRisk, 10);
    let shown = sagas::list(&desk, risk).await.unwrap();
    assert_eq!(
        shown.rows.iter().map(|r| r.saga_id).collect::<Vec<_>>(),
        [it.saga]
    );
    assert_eq!(shown.counts.at_risk, 1);

    // Back by the version that is known, it goes on.
    go_over(1).await;
    wait_until(
        "its worker has it again",
        Duration::from_secs(30),
        || async { place().await.2 > before.2 + 1 },
    )
    .await;
    worker.close().await;
}
