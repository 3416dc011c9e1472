//! The registry of schemas and old shapes of events, against real Postgres.

use bizing_engine::app::demo;
use bizing_engine::domain::event::{Event, TYPES};
use bizing_engine::domain::ids::StreamId;
use bizing_engine::projection::Tail;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::store::read::{self, ReadError};
use bizing_engine::store::schema::{self, RegisterError};
use bizing_engine::store::upcast::Unreplayable;
use serde_json::{Value, json};

use super::*;
use crate::support::db::TestDb;

#[tokio::test]
async fn the_database_holds_the_schema_of_each_version_as_it_was_committed() {
    let db = TestDb::new().await;
    let rows: Vec<(String, i16, Value, String)> = sqlx::query_as(
        "select name, schema_version, json_schema, fingerprint from read.event_types_v1",
    )
    .fetch_all(&db.pool("viewer").await)
    .await
    .unwrap();
    let known: usize = TYPES.iter().map(|t| t.versions.len()).sum();
    assert_eq!(rows.len(), known);
    for (name, version, schema, fingerprint) in rows {
        assert_eq!(
            schema,
            schema::json_schema(&name, version).unwrap(),
            "{name} version {version}"
        );
        assert_eq!(schema::fingerprint(&schema), fingerprint);
    }
}

#[tokio::test]
async fn a_registered_schema_is_never_changed_by_anybody() {
    let db = TestDb::new().await;
    let superuser = db.superuser_pool().await;
    for change in [
        "update core.event_schemas set json_schema = '{}'",
        "delete from core.event_schemas",
        "truncate core.event_schemas",
    ] {
        let refused = state(sqlx::query(change).execute(&superuser).await);
        assert_eq!(refused, "23514", "{change}");
    }
    let mut conn = superuser.acquire().await.unwrap();
    schema::register(&mut conn)
        .await
        .expect("registering again changes nothing");
    // Another program's idea of a shape that this database knows: refused by name, before anything is written with it.
    sqlx::query("set session_replication_role = replica")
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query("update core.event_schemas set fingerprint = repeat('0', 64) where type_no = (select type_no from core.event_types where name = 'BookingExpired')")
        .execute(&mut *conn)
        .await
        .unwrap();
    let refused = schema::register(&mut conn).await.unwrap_err();
    assert!(
        matches!(&refused, RegisterError::Changed { name, version: 1 } if name == "BookingExpired"),
        "{refused}"
    );
}

async fn append_v(pool: &PgPool, stream: &str, name: &str, version: i16, data: Value) {
    sqlx::query(
        "select api.append(array[$1], array[null::bigint], array[null::uuid], array[null::bytea], array[1], array[$2], array[$3],
                           array[$4], array[now()], array[$2], array[null::uuid], array['{}'::jsonb], array[$5])",
    )
    .bind(stream)
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(version)
    .bind(data)
    .execute(pool)
    .await
    .unwrap();
}

fn cancelled_v1() -> Value {
    json!({ "cancelled_by": "system", "reason_code": "not_told", "reason": "550 no such mailbox", "refund_due": null, "sequence": 1 })
}

#[tokio::test]
async fn an_event_of_version_1_reads_as_todays_and_projects_as_it_always_did() {
    let db = TestDb::new().await;
    let (people, worker) = (db.pool("admin").await, db.pool("worker").await);
    demo::seed(&people, &worker, Utc::now()).await.unwrap();
    let streams: Vec<String> = sqlx::query_scalar(
        "select stream_id from read.events_v1 where name = 'BookingConfirmed' order by position limit 2",
    )
    .fetch_all(&worker)
    .await
    .unwrap();
    let mut v2 = cancelled_v1();
    v2["notice_min"] = json!(90);
    v2["was_confirmed"] = json!(true);
    append_v(&worker, &streams[0], "BookingCancelled", 1, cancelled_v1()).await;
    append_v(&worker, &streams[1], "BookingCancelled", 2, v2).await;

    let mut conn = worker.acquire().await.unwrap();
    let mut said = vec![];
    for stream in &streams {
        let events = read::stream(&mut conn, &StreamId(stream.clone()), 0)
            .await
            .unwrap();
        let last = events.last().unwrap();
        // What is stored stays what it was.
        assert_eq!(
            last.data.value().get("notice_min").is_some(),
            last.schema_version == 2
        );
        match last.event().unwrap() {
            Event::BookingCancelled(e) => said.push((e.notice_min, e.was_confirmed)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said, [(None, Some(true)), (Some(90), Some(true))]);

    let tail = Tail::new(worker.clone(), Hints::default());
    while tail.round().await.unwrap() {}
    let rows: Vec<(String, Value)> = sqlx::query_as(
        "select state, cancelled from read.bookings_v1 where 'booking-' || booking_id = any($1)",
    )
    .bind(&streams)
    .fetch_all(&worker)
    .await
    .unwrap();
    let one = json!({ "by": "system", "reason_code": "not_told", "reason": "550 no such mailbox" });
    assert_eq!(rows, vec![("cancelled".to_owned(), one); 2]);
}

#[tokio::test]
async fn a_cancellation_is_written_in_the_shape_of_today_and_fits_its_schema() {
    let db = TestDb::new().await;
    let (people, worker) = (db.pool("admin").await, db.pool("worker").await);
    demo::seed(&people, &worker, Utc::now()).await.unwrap();
    let rows: Vec<(String, i16, Value)> =
        sqlx::query_as("select name, schema_version, data from read.events_v1")
            .fetch_all(&worker)
            .await
            .unwrap();
    assert!(
        rows.iter()
            .any(|(name, version, _)| name == "BookingCancelled" && *version == 2)
    );
    for (name, version, data) in rows {
        schema::validate(&name, version, &data).unwrap();
    }
}

#[tokio::test]
async fn a_type_from_the_future_is_named_at_once_and_stops_only_what_meets_it() {
    let db = TestDb::new().await;
    let (people, worker) = (db.pool("admin").await, db.pool("worker").await);
    demo::seed(&people, &worker, Utc::now()).await.unwrap();
    let viewer = db.pool("viewer").await;
    let mut conn = viewer.acquire().await.unwrap();
    assert_eq!(schema::unreplayable(&mut conn).await.unwrap(), []);

    // A later version of the app has migrated and written.
    let superuser = db.superuser_pool().await;
    sqlx::query("insert into core.event_types (name, schema_version) values ('BookingConfirmed', 3), ('SlotMoved', 1)")
        .execute(&superuser)
        .await
        .unwrap();
    sqlx::query("insert into core.event_rights values ('SlotMoved', 'worker')")
        .execute(&superuser)
        .await
        .unwrap();
    let unread = schema::unreplayable(&mut conn).await.unwrap();
    assert_eq!(
        unread
            .iter()
            .map(|u| (u.to_string(), u.why))
            .collect::<Vec<_>>(),
        [
            (
                "BookingConfirmed version 3".to_owned(),
                Unreplayable::FromTheFuture { knows: 1 }
            ),
            ("SlotMoved version 1".to_owned(), Unreplayable::UnknownType),
        ]
    );

    let stream: String = sqlx::query_scalar(
        "select stream_id from read.events_v1 where name = 'BookingCreated' limit 1",
    )
    .fetch_one(&worker)
    .await
    .unwrap();
    append_v(
        &worker,
        &stream,
        "BookingConfirmed",
        3,
        json!({ "by": "telepathy" }),
    )
    .await;
    let events = read::stream(&mut conn, &StreamId(stream), 0).await.unwrap();
    let refused = events.last().unwrap().event().unwrap_err();
    assert!(
        matches!(&refused, ReadError::Unreplayable { name, version: 3, source: Unreplayable::FromTheFuture { knows: 1 }, .. } if name == "BookingConfirmed"),
        "{refused:?}"
    );

    let tail = Tail::new(worker.clone(), Hints::default());
    while tail.round().await.unwrap() {}
    let parked: Vec<(String, bool, Option<String>)> = sqlx::query_as(
        "select name, position = api.safe_position(), parked->>'error' from read.checkpoints order by name",
    )
    .fetch_all(&worker)
    .await
    .unwrap();
    for (name, whole, error) in &parked {
        match name.as_str() {
            "bookings" => assert!(
                error
                    .as_ref()
                    .is_some_and(|e| e.contains("knows versions up to 1"))
                    && !whole,
                "{parked:?}"
            ),
            // They show what is stored, or want other types.
            "timeline" | "customers" => assert!(error.is_none() && *whole, "{parked:?}"),
            _ => {}
        }
    }
}
