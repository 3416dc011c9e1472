//! What is refused, with the field and the rule, and nothing half-written: by the program before it asks, and by the database
//! whoever asks.

use bizing_engine::domain::ids::StreamId;
use bizing_engine::store::append::{AppendError, Expected, MAX_DATA_BYTES};
use serde_json::json;

use super::*;
use crate::support::db::TestDb;

#[tokio::test]
async fn the_program_refuses_with_the_field_and_the_rule_and_writes_nothing() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let fine = || notes(new_booking(), Expected::Any, &["fine"]);
    let named = |stream: &str| {
        let mut append = fine();
        append.stream = StreamId(stream.to_owned());
        append
    };
    let text = |text: &str| notes(new_booking(), Expected::Any, &["fine", text]);
    let large = "x".repeat(MAX_DATA_BYTES);
    let cases = [
        (named("booking"), "stream", "category and an id"),
        (named(""), "stream", "category and an id"),
        (
            named(&format!("{}-{}", "b".repeat(41), Uuid::nil())),
            "stream",
            "category and an id",
        ),
        (named("booking-xyz"), "stream", "category and an id"),
        (text(&large), "events[1].data", "up to 1 MB"),
        (text("a\0b"), "events[1].data", "U+0000"),
    ];
    for (append, field, rule) in cases {
        let shown = append.stream.0.chars().take(50).collect::<String>();
        // A neighbour in the same call is not written either.
        let refused = super::append(&pool, vec![fine(), append])
            .await
            .unwrap_err();
        match &refused {
            AppendError::Invalid { field: f, rule: r } => {
                assert!(f == field && r.contains(rule), "{shown}: {refused}");
            }
            other => panic!("{shown}: {other:?}"),
        }
    }
    // The rest of the character set is no reason to refuse.
    let odd = "\u{1}\u{7f}\u{fffd}\u{10ffff}é\"\\u0000";
    let booking = new_booking();
    one(&pool, notes(booking, Expected::Any, &[odd]))
        .await
        .unwrap();
    assert_eq!(texts(&pool, booking).await, [odd]);
    assert_eq!(count(&pool, "core.events").await, 1);
}

#[tokio::test]
async fn an_append_of_too_many_events_is_refused_and_one_of_a_thousand_is_not() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let many = |n: usize| {
        Append::new(
            new_booking(),
            Expected::Any,
            (0..n).map(|i| note(&i.to_string())).collect(),
            Utc::now(),
        )
    };
    let refused = one(&pool, many(10_001)).await.unwrap_err();
    assert!(
        matches!(&refused, AppendError::Invalid { field, rule } if field == "events" && rule.contains("10000")),
        "{refused:?}"
    );
    assert_eq!(one(&pool, many(1_000)).await.unwrap().version, 1_000);
    let streams = (0..1_001)
        .map(|_| notes(new_booking(), Expected::Any, &["x"]))
        .collect();
    let refused = super::append(&pool, streams).await.unwrap_err();
    assert!(
        matches!(&refused, AppendError::Invalid { field, .. } if field == "events"),
        "{refused:?}"
    );
    assert_eq!(count(&pool, "core.events").await, 1_000);
}

#[tokio::test]
async fn an_event_id_that_is_in_the_log_is_named_and_not_written_again() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let first = notes(new_booking(), Expected::Any, &["a"]);
    let id = first.events[0].id;
    one(&pool, first).await.unwrap();
    let with_its_id = |texts: &[&str]| {
        let mut append = notes(new_booking(), Expected::Any, texts);
        append.events[0].id = id;
        append
    };
    let mut twice_itself = notes(new_booking(), Expected::Any, &["b", "c"]);
    twice_itself.events[1].id = twice_itself.events[0].id;
    let own = twice_itself.events[0].id.0;
    for (append, named) in [
        (with_its_id(&["b"]), id.0),
        (with_its_id(&["b", "c"]), id.0),
        (twice_itself, own),
    ] {
        let refused = one(&pool, append).await.unwrap_err();
        assert!(
            matches!(refused, AppendError::DuplicateEvent { event } if event == named),
            "{refused:?}"
        );
    }
    assert_eq!(count(&pool, "core.events").await, 1);
    assert_eq!(count(&pool, "core.streams").await, 1);
}

/// What the database says to somebody who calls the function by other means: SQLSTATE, field, rule.
#[tokio::test]
async fn the_database_refuses_the_same_whoever_calls_it() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let large = json!({ "text": "x".repeat(MAX_DATA_BYTES + 1) });
    let ok = json!({});
    let good = format!("booking-{}", new_booking());
    // stream, name, version, metadata, data -> SQLSTATE, field, part of the rule
    let cases = [
        (
            good.as_str(),
            "SlotMoved",
            1_i16,
            &ok,
            &ok,
            "22023",
            "type",
            "not registered",
        ),
        (
            &good,
            "NotificationSent",
            99,
            &ok,
            &ok,
            "22023",
            "schema_version",
            "from the future",
        ),
        (
            &good,
            "NotificationSent",
            0,
            &ok,
            &ok,
            "22023",
            "schema_version",
            "no version 0",
        ),
        (
            "booking",
            "NotificationSent",
            1,
            &ok,
            &ok,
            "22023",
            "stream",
            "category and an id",
        ),
        (
            "Booking-1",
            "NotificationSent",
            1,
            &ok,
            &ok,
            "22023",
            "stream",
            "category and an id",
        ),
        (
            &good,
            "NotificationSent",
            1,
            &ok,
            &large,
            "54000",
            "data",
            "1 MB",
        ),
        (
            &good,
            "NotificationSent",
            1,
            &large,
            &ok,
            "54000",
            "metadata",
            "64 KB",
        ),
    ];
    for (stream, name, schema, metadata, data, code, field, rule) in cases {
        let error = sqlx::query(
            "select * from api.append(array[$1], array[null]::bigint[], array[null]::uuid[], array[null]::bytea[], array[1], array[gen_random_uuid()],
                                      array[$2], array[$3], array[now()], array[gen_random_uuid()], array[null]::uuid[], array[$4], array[$5])",
        )
        .bind(stream)
        .bind(name)
        .bind(schema)
        .bind(metadata)
        .bind(data)
        .execute(&pool)
        .await
        .unwrap_err();
        let said = error
            .as_database_error()
            .unwrap()
            .downcast_ref::<sqlx::postgres::PgDatabaseError>();
        assert_eq!(
            (said.code(), said.column()),
            (code, Some(field)),
            "{stream} {name} {schema}: {}",
            said.message()
        );
        assert!(said.message().contains(rule), "{}", said.message());
    }
    // Bytes that are no UTF-8 do not even reach the function.
    let bytes = sqlx::query("select convert_from($1, 'UTF8')")
        .bind(&b"\xff\xfe"[..])
        .execute(&pool)
        .await;
    assert_eq!(state(bytes), "22021");
    assert_eq!(
        (
            count(&pool, "core.events").await,
            count(&pool, "core.streams").await
        ),
        (0, 0)
    );
}

/// A table holds ten megabytes of one letter in a hundredth of them, and hands them out as they lie there.
#[tokio::test]
async fn data_out_of_a_table_is_measured_as_it_is_and_not_as_it_lies_there() {
    let db = TestDb::new().await;
    let staff = db.pool("staff").await;
    let mut conn = db.superuser_pool().await.acquire().await.unwrap();
    // People may not make tables, but what they read and hand on may lie in one.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create temp table lying as select jsonb_build_object('n', repeat('x', 10000000)) as large, '{{}}'::jsonb as small;
         grant select on lying to public;
         set session authorization {};",
        staff.connect_options().get_username()
    )))
    .execute(&mut *conn)
    .await
    .unwrap();
    let lying: i32 = sqlx::query_scalar("select pg_column_size(large) from lying")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert!(lying < 1_048_576, "{lying}: nothing is compressed here");
    for (metadata, data, field) in [("small", "large", "data"), ("large", "small", "metadata")] {
        let one = format!(
            "'BookingCreated', 1::smallint, now(), gen_random_uuid(), null, {metadata}, {data}"
        );
        let run = format!(
            "array['BookingCreated'], array[1]::smallint[], now(), gen_random_uuid(), null, {metadata}, array[{data}]"
        );
        let each = format!(
            "array['BookingCreated'], array[1]::smallint[], array[now()], array[gen_random_uuid()], array[null]::uuid[], array[{metadata}], array[{data}]"
        );
        for call in [
            format!("append_one('booking-1', null, gen_random_uuid(), {one})"),
            format!("append_run('booking-1', 0, array[gen_random_uuid()], {run})"),
            format!("append_each(array['booking-1'], array[0], array[gen_random_uuid()], {each})"),
        ] {
            // The text is made of our own names.
            let refused = sqlx::query(sqlx::AssertSqlSafe(format!(
                "select a.* from lying cross join lateral api.{call} a"
            )))
            .execute(&mut *conn)
            .await
            .expect_err(&call);
            let said = refused
                .as_database_error()
                .unwrap()
                .downcast_ref::<sqlx::postgres::PgDatabaseError>();
            assert_eq!(
                (said.code(), said.column()),
                ("54000", Some(field)),
                "{call}: {}",
                said.message()
            );
        }
    }
    assert_eq!(count(&db.superuser_pool().await, "core.events").await, 0);
}
