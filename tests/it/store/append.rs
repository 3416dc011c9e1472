//! Appending: versions, commands, whole or nothing, and what is owed.

use bizing_engine::domain::booking;
use bizing_engine::domain::ids::{CommandId, StreamId};
use bizing_engine::store::append::{Append, AppendError, Expected};
use bizing_engine::store::read;
use chrono::Utc;
use uuid::Uuid;

use super::*;
use crate::support::db::TestDb;

#[tokio::test]
async fn a_writer_that_expects_the_right_version_is_taken_and_any_other_hears_the_actual_one() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let booking = new_booking();
    let check = async |expected: Expected, taken: Result<i64, i64>| {
        let got = one(&pool, notes(booking, expected, &["x"])).await;
        match (&got, taken) {
            (Ok(a), Ok(version)) => assert_eq!(a.version, version, "{expected:?}"),
            (Err(AppendError::Conflict { actual, stream, .. }), Err(version)) => {
                assert_eq!(
                    (*actual, stream.as_str()),
                    (version, format!("booking-{booking}").as_str()),
                    "{expected:?}"
                )
            }
            _ => panic!("{expected:?}: {got:?}, not {taken:?}"),
        }
    };
    check(Expected::Exists, Err(0)).await;
    check(Expected::Version(1), Err(0)).await;
    check(Expected::Version(0), Ok(1)).await;
    check(Expected::Version(0), Err(1)).await;
    check(Expected::Version(1), Ok(2)).await;
    check(Expected::Version(1), Err(2)).await;
    check(Expected::Version(9), Err(2)).await;
    check(Expected::Exists, Ok(3)).await;
    check(Expected::Any, Ok(4)).await;
    assert_eq!(
        one(&pool, notes(new_booking(), Expected::Any, &["a", "b"]))
            .await
            .unwrap()
            .version,
        2
    );
}

#[tokio::test]
async fn a_conflict_burns_no_position_and_leaves_nothing_even_when_it_is_committed() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let booking = new_booking();
    let first = one(&pool, notes(booking, Expected::Version(0), &["a"]))
        .await
        .unwrap();
    let stranger = new_booking();
    for refused in [
        notes(booking, Expected::Version(0), &["b"]),
        notes(stranger, Expected::Version(3), &["b"]),
        notes(stranger, Expected::Exists, &["b"]),
    ] {
        let mut tx = pool.begin().await.unwrap();
        let command = CommandId(Uuid::now_v7());
        append_in(&mut tx, &context(), vec![refused.with_command(command)])
            .await
            .unwrap_err();
        tx.commit().await.unwrap();
    }
    assert_eq!(
        (
            count(&pool, "core.streams").await,
            count(&pool, "core.commands").await
        ),
        (1, 0)
    );
    let next = one(&pool, notes(booking, Expected::Version(1), &["c"]))
        .await
        .unwrap();
    assert_eq!(next.first_position, first.last_position.map(|p| p + 1));
    assert_eq!(texts(&pool, booking).await, ["a", "c"]);
}

#[tokio::test]
async fn several_streams_are_written_whole_or_not_at_all() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let (a, b, c) = (new_booking(), new_booking(), new_booking());
    let done = append(
        &pool,
        vec![
            notes(c, Expected::Version(0), &["c1", "c2"]),
            notes(a, Expected::Version(0), &["a1"]),
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        done.iter().map(|d| d.version).collect::<Vec<_>>(),
        [1, 2],
        "answers stand in the order of the streams"
    );
    let refused = append(
        &pool,
        vec![
            notes(b, Expected::Version(0), &["b1"]),
            notes(c, Expected::Version(7), &["c3"]),
        ],
    )
    .await
    .unwrap_err();
    assert!(
        matches!(refused, AppendError::Conflict { actual: 2, .. }),
        "{refused:?}"
    );
    assert_eq!(
        (
            texts(&pool, a).await.len(),
            texts(&pool, b).await.len(),
            texts(&pool, c).await.len()
        ),
        (1, 0, 2)
    );
}

#[tokio::test]
async fn events_of_one_append_keep_their_order_in_the_log_whatever_their_types() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    // Types in the reverse of their numbers, also once the planner knows how few types there are.
    for round in 0..2 {
        let booking = new_booking();
        let mixed = |n: usize| {
            if n.is_multiple_of(2) {
                note(&n.to_string())
            } else {
                confirmed()
            }
        };
        one(
            &pool,
            Append::new(
                booking,
                Expected::Version(0),
                (0..40).map(mixed).collect(),
                Utc::now(),
            ),
        )
        .await
        .unwrap();
        let expected: Vec<String> = (0..40)
            .map(|n: usize| {
                if n.is_multiple_of(2) {
                    n.to_string()
                } else {
                    "BookingConfirmed".to_owned()
                }
            })
            .collect();
        assert_eq!(texts(&pool, booking).await, expected, "round {round}");
        sqlx::query("analyze").execute(&pool).await.unwrap();
    }
}

#[tokio::test]
async fn sixteen_writers_on_one_stream_leave_versions_without_gap_or_double() {
    const WRITERS: usize = 16;
    const EACH: usize = 15;
    let db = TestDb::new().await;
    let booking = new_booking();
    let mut writers = tokio::task::JoinSet::new();
    let pools = [
        db.pool("worker").await,
        db.pool("worker").await,
        db.pool("worker").await,
    ];
    for w in 0..WRITERS {
        let pool = pools[w % pools.len()].clone();
        writers.spawn(async move {
            let (mut done, mut known, mut conflicts) = (0, 0, 0);
            while done < EACH {
                match one(
                    &pool,
                    notes(booking, Expected::Version(known), &[&format!("{w}.{done}")]),
                )
                .await
                {
                    Ok(a) => {
                        assert_eq!(a.version, known + 1);
                        known = a.version;
                        done += 1;
                    }
                    Err(AppendError::Conflict { actual, .. }) => {
                        assert!(
                            actual > known,
                            "a conflict tells of somebody who was faster"
                        );
                        known = actual;
                        conflicts += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            conflicts
        });
    }
    let conflicts: i32 = writers.join_all().await.iter().sum();
    assert!(conflicts > 0, "the writers met");
    let versions: Vec<i64> =
        sqlx::query_scalar("select version from api.read_stream($1, 0) order by version")
            .bind(format!("booking-{booking}"))
            .fetch_all(&pools[0])
            .await
            .unwrap();
    assert_eq!(versions, (1..=(WRITERS * EACH) as i64).collect::<Vec<_>>());
    let mut own: Vec<Vec<usize>> = vec![vec![]; WRITERS];
    for text in texts(&pools[0], booking).await {
        let (writer, n) = text.split_once('.').unwrap();
        own[writer.parse::<usize>().unwrap()].push(n.parse().unwrap());
    }
    assert!(
        own.iter().all(|seen| seen.iter().copied().eq(0..EACH)),
        "each writer's events stand in its own order"
    );
}

#[tokio::test]
async fn opposite_orders_of_two_streams_meet_without_a_deadlock() {
    let db = TestDb::new().await;
    let pools = [db.pool("worker").await, db.pool("worker").await];
    let (a, b) = (new_booking(), new_booking());
    let mut writers = tokio::task::JoinSet::new();
    for w in 0..12 {
        let pool = pools[w % 2].clone();
        writers.spawn(async move {
            for _ in 0..10 {
                let (x, y) = if w % 2 == 0 { (a, b) } else { (b, a) };
                append(
                    &pool,
                    vec![
                        notes(x, Expected::Any, &["x"]),
                        notes(y, Expected::Any, &["y"]),
                    ],
                )
                .await
                .expect("no deadlock");
            }
        });
    }
    writers.join_all().await;
    assert_eq!(
        (
            texts(&pools[0], a).await.len(),
            texts(&pools[0], b).await.len()
        ),
        (120, 120)
    );
}

#[tokio::test]
async fn an_event_type_that_is_not_registered_is_refused() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    for (name, schema) in [("SlotMoved", 1_i16), ("BookingConfirmed", 2)] {
        let refused = raw_append(&pool, name, schema, serde_json::json!({})).await;
        assert_eq!(state(refused), "22023", "{name} version {schema}");
    }
    assert_eq!(count(&pool, "core.streams").await, 0);
}

#[tokio::test]
async fn what_an_event_owes_to_whom_is_written_by_the_function_itself() {
    let db = TestDb::new().await;
    let (pool, superuser) = (db.pool("worker").await, db.superuser_pool().await);
    let booking = new_booking();
    one(
        &pool,
        Append::new(
            booking,
            Expected::Version(0),
            vec![note("nobody subscribes"), confirmed()],
            Utc::now(),
        ),
    )
    .await
    .unwrap();
    let owed: Vec<(String, String, i64, String)> =
        sqlx::query_as("select d.template, d.state, d.position, t.name from delivery.deliveries d join core.events e using (event_id) join core.event_types t using (type_no)").fetch_all(&pool).await.unwrap();
    assert_eq!(
        owed,
        [(
            "booking_confirmed".to_owned(),
            "scheduled".to_owned(),
            2,
            "BookingConfirmed".to_owned()
        )]
    );

    // Rolled back with its event.
    let mut tx = pool.begin().await.unwrap();
    append_in(
        &mut tx,
        &context(),
        vec![Append::new(
            new_booking(),
            Expected::Any,
            vec![confirmed()],
            Utc::now(),
        )],
    )
    .await
    .unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(count(&pool, "delivery.deliveries").await, 1);

    // Nothing is owed to a destination that is switched off.
    sqlx::query("update delivery.destinations set active = false")
        .execute(&superuser)
        .await
        .unwrap();
    one(
        &pool,
        Append::new(new_booking(), Expected::Any, vec![confirmed()], Utc::now()),
    )
    .await
    .unwrap();
    assert_eq!(count(&pool, "delivery.deliveries").await, 1);
}

#[tokio::test]
async fn a_stream_reads_back_as_it_was_written_and_folds_to_its_booking() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let booking = new_booking();
    let events = vec![confirmed(), note("told")];
    let ctx = Context {
        causation: Some(Uuid::from_u128(5)),
        ..context()
    };
    append_as(
        &pool,
        &ctx,
        vec![Append::new(
            booking,
            Expected::Version(0),
            events.clone(),
            Utc::now(),
        )],
    )
    .await
    .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let read = read::stream(&mut conn, &StreamId::from(booking), 0)
        .await
        .unwrap();
    assert_eq!(
        read.iter()
            .map(|r| r.event().unwrap().clone())
            .collect::<Vec<_>>(),
        events
    );
    assert!(read.iter().all(|r| r.correlation_id == ctx.correlation.0
        && r.causation_id == ctx.causation
        && r.schema_version == 1));
    assert_eq!(
        read::booking(&mut conn, booking).await.unwrap(),
        (booking::replay(&events), 2)
    );
    assert_eq!(
        read::stream(&mut conn, &StreamId::from(booking), 1)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn requests_of_one_stream_in_one_append_follow_each_other_or_are_refused() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let (a, b) = (
        format!("booking-{}", new_booking()),
        format!("booking-{}", new_booking()),
    );
    let send = async |streams: [&String; 3], expected: [Option<i64>; 3], order: [i32; 3]| {
        sqlx::query_as::<_, (String, i64)>(
            "select status, version from api.append($1::text[], $2, array_fill(null::uuid, array[3]), array_fill(null::bytea, array[3]), $3::int[],
               array[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], array_fill('NotificationSent'::text, array[3]), array[1, 1, 1]::smallint[],
               array_fill(now(), array[3]), array_fill(gen_random_uuid(), array[3]), array_fill(null::uuid, array[3]),
               array_fill('{}'::jsonb, array[3]), array_fill('{}'::jsonb, array[3]))",
        )
        .bind(streams.map(String::as_str).to_vec())
        .bind(expected.to_vec())
        .bind(order.to_vec())
        .fetch_all(&pool)
        .await
    };
    let any = [None; 3];
    assert_eq!(state(send([&a, &b, &a], any, [1, 2, 3]).await), "22023");
    assert_eq!(state(send([&a, &a, &b], any, [2, 1, 3]).await), "22023");
    assert_eq!(state(send([&a, &a, &b], any, [1, 2, 4]).await), "22023");
    assert_eq!(count(&pool, "core.events").await, 0);
    // Each finds the stream as the one before left it; a refused one changes nothing for the next.
    let done = send([&a, &a, &a], [Some(0), Some(0), Some(1)], [1, 2, 3])
        .await
        .unwrap();
    let say = |s: &str, v| (s.to_owned(), v);
    assert_eq!(
        done,
        [say("appended", 1), say("conflict", 1), say("appended", 2)]
    );
    let done = send([&a, &a, &b], [Some(2), None, Some(0)], [1, 2, 3])
        .await
        .unwrap();
    assert_eq!(
        done,
        [say("appended", 3), say("appended", 4), say("appended", 1)]
    );
    let bounds: Vec<(i64, i64, i64)> = sqlx::query_as(
        "select version, first_position, last_position from core.streams order by stream_no",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(bounds, [(4, 1, 4), (1, 5, 5)]);
}
