//! What people write when they decide has an upper length, by whatever door it comes.

use bizing_engine::app::error::{LONGEST_EVIDENCE, LONGEST_REASON};
use bizing_engine::app::wire::*;
use bizing_engine::app::{projections, sagas};
use serde_json::json;
use uuid::Uuid;

use super::hands::*;
use crate::support::desk::TestDesk;

/// Signs, not bytes: these have three each.
fn signs(n: usize) -> String {
    "因".repeat(n)
}

#[track_caller]
fn refused_at<T: std::fmt::Debug>(field: &str, told: Result<T, AppError>) {
    let error = told.expect_err(field);
    assert_eq!(
        (error.code, error.field.as_deref()),
        (Code::Invalid, Some(field)),
        "{error:?}"
    );
    assert!(error.message.contains("At most"), "{error:?}");
}

#[tokio::test]
async fn more_than_fits_is_refused_at_its_field_and_what_just_fits_is_taken() {
    let t = TestDesk::new().await;
    policy(&t, "park", 100, 3, 24).await;
    let worker = t.work().await;
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let (ana, bea) = (desk_of(&t, "admin").await, desk_of(&t, "manager").await);
    let before = page(&ana, it.saga).await;

    let note = |reason: String| CommandSaga {
        reason,
        ..ask(it.saga, "note", &look_of(&before))
    };
    refused_at(
        "reason",
        sagas::command(&ana, note(signs(LONGEST_REASON + 1))).await,
    );
    let plan = look(&ana, it.saga, "resolve").await;
    let mut ends = ask(it.saga, "resolve", &plan);
    ends.params.evidence = Some(signs(LONGEST_EVIDENCE + 1));
    ends.params.checked = checked();
    refused_at("evidence", sagas::command(&ana, ends).await);
    let after = page(&ana, it.saga).await;
    assert_eq!(after.row.version, before.row.version);
    assert!(after.commands.is_empty(), "{:?}", after.commands);
    sagas::command(&ana, note(signs(LONGEST_REASON)))
        .await
        .unwrap();

    // For many.
    let preview = PreviewBatch {
        action: "resolve".to_owned(),
        saga_ids: vec![it.saga],
        filter: None,
    };
    let mut members = sagas::preview_batch(&ana, preview).await.unwrap().members;
    members[0].evidence = Some("a note".to_owned());
    let start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: "resolve".to_owned(),
        members,
        typed: Some(1),
        to: None,
        reason: signs(LONGEST_REASON + 1),
    };
    refused_at("reason", sagas::start_batch(&ana, start.clone()).await);
    let mut long = StartBatch {
        reason: "called the customer, who agreed".to_owned(),
        ..start
    };
    long.members[0].evidence = Some(signs(LONGEST_EVIDENCE + 1));
    let told = sagas::start_batch(&ana, long).await.unwrap_err();
    assert_eq!(told.field.as_deref(), Some("evidence"));
    assert!(told.message.contains("500"), "{told:?}");

    // Whoever says no to what another asked for.
    let plan = look(&ana, it.saga, "compensate").await;
    let asked = sagas::command(&ana, ask(it.saga, "compensate", &plan))
        .await
        .unwrap();
    assert!(asked.awaits_approval);
    let no = |reason: String| DecideCommand {
        command_id: asked.command_id,
        approve: false,
        plan_hash: plan.hash.clone(),
        reason,
    };
    refused_at(
        "reason",
        sagas::decide(&bea, no(signs(LONGEST_REASON + 1))).await,
    );
    let told = sagas::decide(&bea, no(signs(LONGEST_REASON)))
        .await
        .unwrap();
    assert_eq!(told.status, "rejected");

    // And what is not of one saga.
    let now = sagas::get_policy(&ana, Empty {}).await.unwrap();
    refused_at(
        "reason",
        sagas::put_policy(&ana, put(&now, signs(LONGEST_REASON + 1))).await,
    );
    let pause = ChangeProjection {
        command_id: Uuid::now_v7(),
        projection: "bookings".to_owned(),
        reason: Some(signs(LONGEST_REASON + 1)),
    };
    refused_at("reason", projections::pause(&ana, pause).await);
}

#[tokio::test]
async fn with_a_client_of_the_database_nothing_longer_can_be_stored_either() {
    let t = TestDesk::new().await;
    policy(&t, "park", 50_000, 3, 24).await;
    let worker = t.work().await;
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let desk = t.desk(None);
    let version = page(&desk, it.saga).await.row.version;
    let long = "x".repeat(2_000_000);
    // Each by whoever may: the constraint that says no, or none and the words of the function.
    let by_command =
        "select api.command_saga(gen_random_uuid(), $1, 'note', $2, null, $3, $4, $5)::text";
    for (params, reason, client, constraint) in [
        (json!({}), long.as_str(), json!({}), "reason_length"),
        (
            json!({ "evidence": long }),
            "a note",
            json!({}),
            "evidence_length",
        ),
        (
            json!({ "anything": long }),
            "a note",
            json!({}),
            "params_length",
        ),
        (json!({}), "a note", json!({ "app": long }), "client_length"),
    ] {
        let told: Result<String, sqlx::Error> = sqlx::query_scalar(by_command)
            .bind(it.saga)
            .bind(version)
            .bind(params)
            .bind(reason)
            .bind(client)
            .fetch_one(&t.people)
            .await;
        assert_eq!(constraint_of(told), constraint);
    }
    for (sql, constraint) in [
        (
            "select api.put_saga_policy((select max(version) from read.saga_policy_v1), (select value from read.saga_policy_v1 order by version desc limit 1), $1)",
            "reason_length",
        ),
        (
            "select api.put_saga_policy(p.version, p.value || jsonb_build_object('more', $1), 'as long as it gets') from read.saga_policy_v1 p order by p.version desc limit 1",
            "value_length",
        ),
        (
            "select api.put_provider('stripe', jsonb_build_object('rate_per_s', rate_per_s, 'max_in_flight', max_in_flight), 5, 5, $1) from read.provider_gates_v1 where provider = 'stripe'",
            "reason_length",
        ),
        (
            "select api.change_projection(gen_random_uuid(), 'bookings', 'pause', null, $1)",
            "reason_length",
        ),
        (
            "select api.start_replay(gen_random_uuid(), 'bookings', 1, '{}', 0, null, 'rebuild', 'gentle', $1)",
            "reason_length",
        ),
    ] {
        let told: Result<String, sqlx::Error> = sqlx::query_scalar(sql)
            .bind(&long)
            .fetch_one(&t.people)
            .await;
        assert_eq!(constraint_of(told), constraint, "{sql}");
    }
    let longest: i64 = sqlx::query_scalar(
        "select coalesce(max(octet_length(c::text)), 0)::bigint from saga.command c where c.saga_id = $1",
    )
    .bind(it.saga)
    .fetch_one(&t.db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(longest, 0, "nothing of it is there");
}

#[track_caller]
fn constraint_of(told: Result<String, sqlx::Error>) -> String {
    let error = told.expect_err("refused");
    let error = error.as_database_error().expect("by the database");
    error.constraint().unwrap_or(error.message()).to_owned()
}

/// What a note rests on.
fn look_of(page: &SagaPage) -> SagaPlan {
    SagaPlan {
        hash: String::new(),
        version: page.row.version,
        refused: None,
        code: None,
        operations: vec![],
        refund: None,
        kept: page.row.kept.clone(),
        needs_approval: false,
        threshold: page.row.kept.clone(),
        step: None,
        choices: vec![],
        whole: None,
        keeps: None,
    }
}
