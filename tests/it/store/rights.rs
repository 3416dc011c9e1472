//! Who wrote it, that nobody can rewrite it, and that a rewrite would show.

use bizing_engine::store::append::{Append, AppendError, Context, Expected};
use chrono::Utc;
use serde_json::json;

use super::*;
use crate::support::db::{GROUPS, TestDb};

#[tokio::test]
async fn the_actor_is_the_login_whatever_the_metadata_says() {
    let db = TestDb::new().await;
    for group in ["staff", "worker"] {
        let pool = db.pool(group).await;
        raw_append(
            &pool,
            "InventoryHeld",
            1,
            json!({ "actor": "boss", "on_behalf_of": "boss", "note": "kept" }),
        )
        .await
        .unwrap();
    }
    let rows: Vec<(String, serde_json::Value)> =
        sqlx::query_as("select actor, metadata from core.events order by position")
            .fetch_all(&db.pool("worker").await)
            .await
            .unwrap();
    let login = |group: &str| format!("test_{group}_{}", db.installation.id);
    assert_eq!(rows[0].0, login("staff"));
    assert_eq!(rows[1].0, login("worker"));
    assert_eq!(
        rows[0].1,
        json!({ "actor": "boss", "note": "kept" }),
        "only a worker acts on behalf of somebody"
    );
    assert_eq!(rows[1].1["on_behalf_of"], "boss");
}

#[tokio::test]
async fn on_behalf_of_is_kept_for_a_worker_and_dropped_for_people() {
    let db = TestDb::new().await;
    for (group, kept) in [("worker", Some("ana")), ("staff", None), ("admin", None)] {
        let pool = db.pool(group).await;
        let booking = new_booking();
        let held = bizing_engine::domain::event::Event::InventoryHeld(
            bizing_engine::domain::event::InventoryHeld {
                claims: vec![],
                expires_at: None,
            },
        );
        let ctx = Context {
            on_behalf_of: Some("ana".to_owned()),
            ..context()
        };
        append_as(
            &pool,
            &ctx,
            vec![Append::new(booking, Expected::Any, vec![held], Utc::now())],
        )
        .await
        .unwrap();
        let read = bizing_engine::store::read::stream(
            &mut pool.acquire().await.unwrap(),
            &booking.into(),
            0,
        )
        .await
        .unwrap();
        assert_eq!(read[0].on_behalf_of().as_deref(), kept, "{group}");
    }
}

#[tokio::test]
async fn people_write_what_they_ask_for_and_never_what_follows_from_it() {
    let db = TestDb::new().await;
    let worker = db.pool("worker").await;
    let every: Vec<String> = sqlx::query_scalar("select name from core.event_types order by name")
        .fetch_all(&worker)
        .await
        .unwrap();
    for group in ["staff", "manager", "admin"] {
        let pool = db.pool(group).await;
        let mut may = vec![];
        for name in &every {
            match raw_append(&pool, name, 1, json!({})).await {
                Ok(()) => may.push(name.as_str()),
                Err(e) => assert_eq!(
                    e.as_database_error().unwrap().code().as_deref(),
                    Some("42501"),
                    "{group} {name}: {e}"
                ),
            }
        }
        let mut expected = vec![
            "BookingCreated",
            "CustomerRegistered",
            "HoldExtended",
            "InventoryHeld",
            "NoShowRecorded",
            "NoShowWithdrawn",
        ];
        if group != "staff" {
            // What cannot be taken back, or charges another card, is decided by a manager.
            expected.insert(1, "CustomerErased");
            expected.push("PaymentMethodCorrected");
        }
        assert_eq!(may, expected, "{group}");
    }
    let staff = db.pool("staff").await;
    let refused = one(&staff, notes(new_booking(), Expected::Any, &["x"]))
        .await
        .unwrap_err();
    assert!(matches!(refused, AppendError::Forbidden(_)), "{refused:?}");
    let viewer = db.pool("viewer").await;
    assert_eq!(
        state(raw_append(&viewer, "BookingCreated", 1, json!({})).await),
        "42501"
    );
}

#[tokio::test]
async fn nobody_updates_deletes_or_truncates_events_not_even_a_superuser() {
    let db = TestDb::new().await;
    one(
        &db.pool("worker").await,
        notes(new_booking(), Expected::Any, &["a"]),
    )
    .await
    .unwrap();
    let partition = "core.events_0000";
    let attempts = |table: &str| {
        [
            format!("update {table} set actor = 'x'"),
            format!("update {table} set actor = 'x' where false"),
            format!("delete from {table}"),
            format!("delete from {table} where false"),
            format!("truncate {table}"),
        ]
    };
    for table in ["core.events", partition] {
        for attempt in attempts(table) {
            for group in GROUPS {
                let pool = db.pool(group).await;
                assert_eq!(
                    state(
                        sqlx::query(sqlx::AssertSqlSafe(attempt.clone()))
                            .execute(&pool)
                            .await
                    ),
                    "42501",
                    "{group}: {attempt}"
                );
            }
            let refused = sqlx::query(sqlx::AssertSqlSafe(attempt.clone()))
                .execute(&db.superuser_pool().await)
                .await
                .unwrap_err();
            assert!(
                refused.to_string().contains("append-only"),
                "superuser: {attempt}: {refused}"
            );
        }
    }
    assert_eq!(count(&db.pool("worker").await, "core.events").await, 1);
}

#[tokio::test]
async fn a_partition_made_later_is_append_only_too() {
    let db = TestDb::new().await;
    let superuser = db.superuser_pool().await;
    sqlx::query("select core.ensure_partition(25000000), core.ensure_partition(25000000)")
        .execute(&superuser)
        .await
        .unwrap();
    let refused = sqlx::query("delete from core.events_0002")
        .execute(&superuser)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("append-only"), "{refused}");
}

/// Streams whose chain does not hold, as the doctor looks for them.
async fn broken<'e>(db: impl sqlx::PgExecutor<'e>) -> Vec<i64> {
    sqlx::query_scalar(
        "select distinct e.stream_no from core.events e join core.event_types t using (type_no)
           left join core.events before on before.stream_no = e.stream_no and before.version = e.version - 1
          where e.hash <> core.event_hash(coalesce(before.hash, ''), e.version, e.event_id, t.name, t.schema_version, e.correlation_id, e.causation_id,
                                          e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data)",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_hash_chain_holds_and_shows_each_thing_that_was_tampered_with() {
    let db = TestDb::new().await;
    let (worker, superuser) = (db.pool("worker").await, db.superuser_pool().await);
    for _ in 0..3 {
        let booking = new_booking();
        one(&worker, notes(booking, Expected::Any, &["a", "b"]))
            .await
            .unwrap();
        append(
            &worker,
            vec![
                notes(booking, Expected::Version(2), &["c"]),
                notes(new_booking(), Expected::Any, &["d"]),
            ],
        )
        .await
        .unwrap();
    }
    assert_eq!(broken(&worker).await, [0; 0]);
    for tampering in [
        "data = data || '{\"provider_message_id\": \"z\"}'",
        "actor = 'somebody else'",
        "metadata = metadata || '{\"on_behalf_of\": \"somebody else\"}'",
        "occurred_at = occurred_at - interval '1 day'",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "correlation_id = gen_random_uuid()",
        "causation_id = gen_random_uuid()",
        "event_id = gen_random_uuid()",
        "type_no = (select type_no from core.event_types where name = 'BookingConfirmed')",
        "hash = sha256(hash)",
        "version = 9",
    ] {
        let mut tx = superuser.begin().await.unwrap();
        sqlx::query("set local session_replication_role = replica")
            .execute(&mut *tx)
            .await
            .unwrap();
        let changed = sqlx::query(sqlx::AssertSqlSafe(format!(
            "update core.events set {tampering} where stream_no = 1 and version = 2"
        )))
        .execute(&mut *tx)
        .await
        .unwrap();
        assert_eq!(changed.rows_affected(), 1);
        let found = broken(&mut *tx).await;
        assert_eq!(found, [1], "{tampering}");
        tx.rollback().await.unwrap();
    }
    assert_eq!(broken(&worker).await, [0; 0]);
}
