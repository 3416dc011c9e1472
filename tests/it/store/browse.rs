//! Looking through the log: each filter finds what it says, from either end, by an index where that matters.

use std::time::Duration;

use bizing_engine::domain::event::Event;
use bizing_engine::domain::ids::StreamId;
use bizing_engine::store::browse::{self, BrowseError, Effort, Filter, Way, page};
use bizing_engine::store::read::{self, AsOf, Recorded, StreamWay};
use chrono::TimeDelta;
use serde_json::json;

use super::*;
use crate::support::db::TestDb;

/// Streams of ten events each, one a second, as a desk writes them: created, held, confirmed, then notes.
async fn big_log(db: &TestDb, streams: i64) -> PgPool {
    let superuser = db.superuser_pool().await;
    let mut conn = superuser.acquire().await.unwrap();
    for statement in [
        "select core.ensure_partition(0)",
        "insert into core.streams (stream_id, version, first_position, last_position)
         select 'booking-' || gen_random_uuid(), 10, (n - 1) * 10 + 1, n * 10 from generate_series(1, $1) n order by n",
        "insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at,
                                  actor, metadata, data, hash)
         select s.first_position + v - 1, s.stream_no, v, t.type_no, gen_random_uuid(), md5(s.stream_no::text)::uuid, null, at, at,
                case when s.stream_no = 7 then 'rita' else 'desk' end, '{}',
                jsonb_build_object('n', s.first_position + v - 1, 'template', 'booking_confirmed', 'flag', s.stream_no = 7), '\\x00'
           from core.streams s cross join generate_series(1, 10) v
           join core.event_types t on t.schema_version = 1 and t.name = case when v = 3 and s.stream_no % 1000 = 0 then 'BookingCancelled'
                when v = 1 then 'BookingCreated' when v = 2 then 'InventoryHeld' when v = 3 then 'BookingConfirmed' else 'NotificationSent' end
           cross join lateral (select timestamptz '2026-01-01 00:00Z' + make_interval(secs => s.first_position + v) as at) x
          where $1 > 0 order by 1",
        "select setval('core.position', $1 * 10)",
        "analyze core.events, core.streams, core.event_types",
    ] {
        let mut query = sqlx::query(statement);
        if statement.contains("$1") {
            query = query.bind(streams);
        }
        query.execute(&mut *conn).await.unwrap();
    }
    db.pool("viewer").await
}

fn positions(rows: &[Recorded]) -> Vec<i64> {
    rows.iter().map(|r| r.position).collect()
}

async fn look(pool: &PgPool, filter: &Filter, way: Way, limit: i64) -> Vec<Recorded> {
    let mut conn = pool.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    page(&mut conn, filter, way, safe, limit).await.unwrap()
}

/// What an index was used for must not grow with the log: no plan reads more than a few thousand rows.
async fn by_index(pool: &PgPool, filter: &Filter, way: Way) -> String {
    let mut conn = pool.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    let plan = browse::explain(&mut conn, filter, way, safe, 100)
        .await
        .unwrap();
    assert!(
        !plan.contains("Seq Scan on events") && !plan.contains("Seq Scan on streams"),
        "{plan}"
    );
    for line in plan
        .lines()
        .filter(|l| l.contains("Rows Removed by Filter"))
    {
        let removed: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(removed < 5_000, "{plan}");
    }
    plan
}

fn types(names: &[&str]) -> Filter {
    Filter {
        types: names.iter().map(|n| (*n).to_owned()).collect(),
        ..Filter::default()
    }
}

async fn filters_find_by_index(streams: i64) {
    let db = TestDb::new().await;
    let viewer = big_log(&db, streams).await;
    let last = streams * 10;
    let whole = Filter::default();

    // From both ends and from the middle.
    let rows = look(&viewer, &whole, Way::NEWEST, 3).await;
    assert_eq!(positions(&rows), [last, last - 1, last - 2, last - 3]);
    let rows = look(&viewer, &whole, Way::OLDEST, 2).await;
    assert_eq!(positions(&rows), [1, 2, 3]);
    let rows = look(&viewer, &whole, Way::After(last / 2), 1).await;
    assert_eq!(positions(&rows), [last / 2 + 1, last / 2 + 2]);
    for way in [
        Way::NEWEST,
        Way::OLDEST,
        Way::Before(last / 2),
        Way::After(last / 2),
    ] {
        by_index(&viewer, &whole, way).await;
    }

    // A rare type, alone and beside a common one: each by its own way through the index.
    let rare = types(&["BookingCancelled"]);
    let rows = look(&viewer, &rare, Way::NEWEST, 1000).await;
    assert_eq!(rows.len() as i64, streams / 1000);
    assert!(rows.iter().all(|r| r.name == "BookingCancelled"));
    by_index(&viewer, &rare, Way::NEWEST).await;
    let both = types(&["BookingCancelled", "BookingCreated"]);
    let rows = look(&viewer, &both, Way::Before(last / 2), 5).await;
    assert!(rows.is_sorted_by(|a, b| a.position > b.position) && rows.len() == 6);
    by_index(&viewer, &both, Way::Before(last / 2)).await;

    // One stream and one conversation.
    let stream = look(&viewer, &whole, Way::After(60), 1).await[0].clone();
    let of_stream = Filter {
        stream: Some(stream.stream.clone()),
        ..Filter::default()
    };
    assert_eq!(
        positions(&look(&viewer, &of_stream, Way::NEWEST, 100).await),
        (61..=70).rev().collect::<Vec<_>>()
    );
    by_index(&viewer, &of_stream, Way::NEWEST).await;
    let conversation = Filter {
        correlation: Some(stream.correlation_id),
        types: vec!["BookingCreated".to_owned()],
        ..Filter::default()
    };
    assert_eq!(
        positions(&look(&viewer, &conversation, Way::OLDEST, 100).await),
        [61]
    );
    by_index(&viewer, &conversation, Way::OLDEST).await;

    // An hour of long ago, in whichever direction: no more than its surroundings are read.
    let from: DateTime<Utc> = "2026-01-01T01:00:00Z".parse().unwrap();
    let hour = Filter {
        from: Some(from),
        to: Some(from + TimeDelta::hours(1)),
        ..Filter::default()
    };
    let rows = look(&viewer, &hour, Way::NEWEST, 10_000).await;
    assert_eq!(rows.len(), 3_600);
    assert!(
        rows.iter()
            .all(|r| r.recorded_at >= from && r.recorded_at < from + TimeDelta::hours(1))
    );
    by_index(&viewer, &hour, Way::NEWEST).await;
    by_index(&viewer, &hour, Way::OLDEST).await;

    let mut conn = viewer.acquire().await.unwrap();
    for (time, position) in [
        (from - TimeDelta::days(9), 0),
        (rows[0].recorded_at, rows[0].position),
        (
            rows[0].recorded_at + TimeDelta::milliseconds(900),
            rows[0].position,
        ),
        (from + TimeDelta::days(9_999), last),
    ] {
        assert_eq!(
            browse::position_at(&mut conn, time).await.unwrap(),
            position,
            "{time}"
        );
    }
    let by_rita = Filter {
        actor: Some("rita".to_owned()),
        json_path: Some("$.flag".to_owned()),
        ..hour_of_all()
    };
    assert_eq!(look(&viewer, &by_rita, Way::NEWEST, 100).await.len(), 10);
}

fn hour_of_all() -> Filter {
    Filter {
        to: Some("2026-01-01T00:05:00Z".parse().unwrap()),
        ..Filter::default()
    }
}

#[tokio::test]
async fn a_log_of_200_000_events_is_looked_through_by_index() {
    filters_find_by_index(20_000).await;
}

#[tokio::test]
#[ignore = "a million events: make test-long"]
async fn a_log_of_a_million_events_is_looked_through_by_index() {
    filters_find_by_index(100_000).await;
}

/// Two bookings and a customer, written as the desk writes.
async fn small_log(db: &TestDb) -> (PgPool, BookingId) {
    let worker = db.pool("worker").await;
    let booking = new_booking();
    let context = Context {
        correlation: CorrelationId(Uuid::from_u128(1)),
        causation: Some(booking.0),
        on_behalf_of: None,
    };
    for text in ["one", "two", "three"] {
        append_as(
            &worker,
            &context,
            vec![Append::new(
                booking,
                Expected::Any,
                vec![note(text)],
                Utc::now(),
            )],
        )
        .await
        .unwrap();
    }
    one(
        &worker,
        Append::new(
            new_booking(),
            Expected::Version(0),
            vec![confirmed()],
            Utc::now(),
        ),
    )
    .await
    .unwrap();
    (db.pool("viewer").await, booking)
}

#[tokio::test]
async fn a_json_path_finds_as_a_predicate_and_as_a_path_and_a_bad_one_says_why() {
    let db = TestDb::new().await;
    let (viewer, _) = small_log(&db).await;
    let found = async |path: &str| {
        let filter = Filter {
            json_path: Some(path.to_owned()),
            ..Filter::default()
        };
        positions(&look(&viewer, &filter, Way::OLDEST, 10).await)
    };
    assert_eq!(found("$.provider_message_id == \"two\"").await, [2]);
    assert_eq!(
        found("$ ? (@.attempt >= 1 && @.provider_message_id starts with \"t\")").await,
        [2, 3]
    );
    assert_eq!(found("$.sequence").await, [4]);
    assert_eq!(found("$.nothing").await, Vec::<i64>::new());
    assert_eq!(found("$.attempt.datetime()").await, Vec::<i64>::new());

    let mut conn = viewer.acquire().await.unwrap();
    for bad in ["$.price >", "price", "", "$.a ? (@ like_regex \"(\")"] {
        let error = browse::check_path(&mut conn, bad).await.unwrap_err();
        let BrowseError::Path { path, why } = &error else {
            panic!("{bad}: {error:?}")
        };
        assert!(
            path == bad && !why.is_empty() && !why.contains("jsonpath input"),
            "{error}"
        );
    }
    browse::check_path(&mut conn, "$.price.amount_minor > 10000")
        .await
        .unwrap();
}

#[tokio::test]
async fn what_caused_it_who_wrote_it_and_what_kind_it_is_are_filters_too() {
    let db = TestDb::new().await;
    let (viewer, booking) = small_log(&db).await;
    let count = async |filter: Filter| {
        let rows = look(&viewer, &filter, Way::NEWEST, 10).await.len() as i64;
        let mut conn = viewer.acquire().await.unwrap();
        let counted = browse::count(&mut conn, &filter, i64::MAX).await.unwrap();
        assert!(counted.is_none_or(|c| c == rows), "{filter:?}: {counted:?}");
        rows
    };
    let all = Filter::default();
    assert_eq!(
        count(Filter {
            causation: Some(booking.0),
            ..all.clone()
        })
        .await,
        3
    );
    assert_eq!(
        count(Filter {
            causation: Some(Uuid::from_u128(9)),
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            category: Some("booking".to_owned()),
            ..all.clone()
        })
        .await,
        4
    );
    assert_eq!(
        count(Filter {
            category: Some("customer".to_owned()),
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            actor: Some("nobody".to_owned()),
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(count(types(&["SlotMoved"])).await, 0);
    assert_eq!(
        count(Filter {
            stream: Some(StreamId("booking-x".to_owned())),
            ..all.clone()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            correlation: Some(Uuid::from_u128(1)),
            ..all
        })
        .await,
        3
    );
}

/// What a worker writes for a person is the person's, where events are read as where they are looked for.
#[tokio::test]
async fn who_wrote_it_is_the_person_for_whom_a_worker_did() {
    let db = TestDb::new().await;
    let (viewer, _) = small_log(&db).await;
    let worker = db.pool("worker").await;
    let context = Context {
        on_behalf_of: Some("anna".to_owned()),
        ..context()
    };
    append_as(
        &worker,
        &context,
        vec![notes(new_booking(), Expected::Any, &["for Anna"])],
    )
    .await
    .unwrap();
    let by = async |actor: &str| {
        let filter = Filter {
            actor: Some(actor.to_owned()),
            ..Filter::default()
        };
        positions(&look(&viewer, &filter, Way::OLDEST, 10).await)
    };
    let all = look(&viewer, &Filter::default(), Way::OLDEST, 10).await;
    assert_eq!(by("anna").await, [5]);
    assert_eq!(by(&all[0].actor).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_page_never_shows_what_lies_above_an_open_append() {
    let db = TestDb::new().await;
    let (viewer, _) = small_log(&db).await;
    let worker = db.pool("worker").await;
    let mut open = worker.begin().await.unwrap();
    append_in(
        &mut open,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["open"])],
    )
    .await
    .unwrap();
    one(&worker, notes(new_booking(), Expected::Any, &["behind it"]))
        .await
        .unwrap();
    assert_eq!(
        positions(&look(&viewer, &Filter::default(), Way::NEWEST, 10).await)[0],
        4
    );
    open.commit().await.unwrap();
    assert_eq!(
        positions(&look(&viewer, &Filter::default(), Way::NEWEST, 10).await)[0],
        6
    );
}

/// What no index answers is looked for stretch by stretch. However little is done at a time, and from whichever end, all that
/// matches is found, once and in order.
#[tokio::test]
async fn a_search_says_how_far_it_came_and_goes_on_from_there() {
    let db = TestDb::new().await;
    let viewer = big_log(&db, 2_000).await;
    let mut conn = viewer.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    let little = Effort {
        stretch: 1_000,
        time: Duration::ZERO,
    };
    let by_rita = Filter {
        actor: Some("rita".to_owned()),
        json_path: Some("$.flag".to_owned()),
        category: Some("booking".to_owned()),
        ..Filter::default()
    };
    for (mut way, oldest_first) in [(Way::NEWEST, false), (Way::OLDEST, true)] {
        let (mut found, mut looks) = (vec![], 0);
        loop {
            let looked = browse::look(&mut conn, &by_rita, way, safe, 100, little)
                .await
                .unwrap();
            looks += 1;
            found.extend(positions(&looked.events));
            match looked.stopped {
                Some(at) if oldest_first => way = Way::After(at),
                Some(at) => way = Way::Before(at),
                None => break,
            }
        }
        assert_eq!(looks, 20, "a stretch each");
        let mut expected: Vec<i64> = (61..=70).collect();
        if !oldest_first {
            expected.reverse();
        }
        assert_eq!(found, expected);
    }

    // With enough time it is one look; and a page that is full says where it ends by its last event.
    let patient = Effort {
        stretch: 1_000,
        time: Duration::from_secs(3_600),
    };
    let looked = browse::look(&mut conn, &by_rita, Way::NEWEST, safe, 100, patient)
        .await
        .unwrap();
    assert_eq!((looked.events.len(), looked.stopped), (10, None));
    let looked = browse::look(&mut conn, &by_rita, Way::NEWEST, safe, 4, little)
        .await
        .unwrap();
    assert_eq!(looked.events.len(), 0);
    let looked = browse::look(&mut conn, &by_rita, Way::Before(1_000), safe, 4, little)
        .await
        .unwrap();
    assert_eq!(positions(&looked.events), [70, 69, 68, 67, 66]);
    assert_eq!(looked.stopped, None);

    // What an index answers is not looked for.
    let of_type = types(&["BookingCancelled"]);
    let looked = browse::look(&mut conn, &of_type, Way::NEWEST, safe, 100, little)
        .await
        .unwrap();
    assert_eq!((looked.events.len(), looked.stopped), (2, None));
}

#[tokio::test]
async fn a_look_that_takes_too_long_is_cut_off_and_says_so() {
    let db = TestDb::new().await;
    let viewer = db.pool("viewer").await;
    let mut tx = viewer.begin().await.unwrap();
    sqlx::query("set local statement_timeout = '20ms'")
        .execute(&mut *tx)
        .await
        .unwrap();
    let slow = sqlx::query("select pg_sleep(5)")
        .execute(&mut *tx)
        .await
        .unwrap_err();
    let error = BrowseError::from(slow);
    assert!(matches!(error, BrowseError::TooSlow(_)), "{error:?}");
}

#[tokio::test]
async fn a_stream_is_read_from_both_ends_and_a_booking_as_of_any_moment() {
    let db = TestDb::new().await;
    let worker = db.pool("worker").await;
    let booking = new_booking();
    for event in [confirmed(), note("told"), note("again")] {
        one(
            &worker,
            Append::new(booking, Expected::Any, vec![event], Utc::now()),
        )
        .await
        .unwrap();
    }
    let viewer = db.pool("viewer").await;
    let mut conn = viewer.acquire().await.unwrap();
    let stream = StreamId::from(booking);
    let mut versions = async |way| {
        let rows = read::stream_page(&mut conn, &stream, way, 2).await.unwrap();
        rows.iter().map(|r| r.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(StreamWay::After(0)).await, [1, 2]);
    assert_eq!(versions(StreamWay::After(2)).await, [3]);
    assert_eq!(versions(StreamWay::Before(i64::MAX)).await, [3, 2]);
    assert_eq!(versions(StreamWay::Before(2)).await, [1]);

    let events = read::stream(&mut conn, &stream, 0).await.unwrap();
    let mut told = async |at| {
        let (state, version) = read::booking_as_of(&mut conn, booking, at).await.unwrap();
        (state.notified, version)
    };
    assert_eq!(told(AsOf::Latest).await, (true, 3));
    assert_eq!(told(AsOf::Version(1)).await, (false, 1));
    assert_eq!(told(AsOf::Version(0)).await, (false, 0));
    assert_eq!(told(AsOf::Position(events[1].position)).await, (true, 2));
    assert_eq!(told(AsOf::Time(events[1].recorded_at)).await, (true, 2));
    assert_eq!(
        told(AsOf::Time(
            events[0].recorded_at - TimeDelta::microseconds(1)
        ))
        .await,
        (false, 0)
    );
    assert!(matches!(
        events[0].event().unwrap(),
        Event::BookingConfirmed(_)
    ));
}

#[tokio::test]
async fn the_proof_of_an_event_holds_and_shows_when_it_was_tampered_with() {
    let db = TestDb::new().await;
    let (viewer, _) = small_log(&db).await;
    let proof = async |position: i64| -> (Vec<u8>, Vec<u8>, bool) {
        sqlx::query_as("select hash, hash_before, matches from api.event_proof($1)")
            .bind(position)
            .fetch_one(&viewer)
            .await
            .unwrap()
    };
    let (first, second) = (proof(1).await, proof(2).await);
    assert!(first.2 && second.2 && first.1.is_empty());
    assert_eq!(second.1, first.0);
    let mut conn = db.superuser_pool().await.acquire().await.unwrap().detach();
    sqlx::query("set session_replication_role = replica")
        .execute(&mut conn)
        .await
        .unwrap();
    sqlx::query("update core.events set data = $1 where position = 2")
        .bind(json!({ "attempt": 2 }))
        .execute(&mut conn)
        .await
        .unwrap();
    assert!(!proof(2).await.2);
    assert!(proof(3).await.2, "only what was touched shows");
}
