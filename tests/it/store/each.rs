//! One event each for several streams in one pass (`api.append_each`): the same promises as one by one.

use sqlx::PgPool;
use uuid::Uuid;

use crate::support::db::TestDb;

type Said = (String, Option<i64>);

/// What each stream expects, and the event.
type Asked<'a> = (&'a str, Option<i64>, &'a str);

async fn each(pool: &PgPool, asked: &[Asked<'_>]) -> sqlx::Result<Vec<Said>> {
    let all: (Vec<String>, Vec<Option<i64>>, Vec<String>) = (
        asked.iter().map(|a| a.0.to_owned()).collect(),
        asked.iter().map(|a| a.1).collect(),
        asked.iter().map(|a| a.2.to_owned()).collect(),
    );
    sqlx::query_as(
        r#"with n as (select cardinality($1::text[]) as n, array(select gen_random_uuid() from unnest($1::text[])) as ids)
           select a.status, a.version from n cross join lateral api.append_each($1, $2, n.ids, $3, array_fill(1::smallint, array[n]), array_fill(now(), array[n]),
             n.ids, array_fill(null::uuid, array[n]), array_fill('{"on_behalf_of": "ana"}'::jsonb, array[n]), array_fill('{"a": 1}'::jsonb, array[n])) a"#,
    )
    .bind(all.0)
    .bind(all.1)
    .bind(all.2)
    .fetch_all(pool)
    .await
}

/// In the order of their names.
fn streams<const N: usize>() -> [String; N] {
    let mut all = std::array::from_fn(|_| format!("booking-{}", Uuid::now_v7()));
    all.sort();
    all
}

fn said(status: &str, version: impl Into<Option<i64>>) -> Said {
    (status.to_owned(), version.into())
}

const SENT: &str = "NotificationSent";

/// Every event's hash follows from the one before, and every stream's row says where its events stand.
async fn hold_together(owner: &PgPool, events: i64) {
    let (there, true_hashes, true_rows): (i64, bool, bool) = sqlx::query_as(
        "select count(*), bool_and(p.matches),
                bool_and((s.version, s.first_position, s.last_position, s.head)
                       = (select max(x.version), min(x.position), max(x.position), (array_agg(x.hash order by x.version desc))[1]
                            from core.events x where x.stream_no = s.stream_no))
           from core.events e join core.streams s using (stream_no) cross join lateral api.event_proof(e.position) p",
    )
    .fetch_one(owner)
    .await
    .unwrap();
    assert_eq!((there, true_hashes, true_rows), (events, true, true));
}

#[tokio::test]
async fn each_stream_of_one_pass_gets_the_answer_that_it_would_get_alone() {
    let db = TestDb::new().await;
    let (worker, owner) = (db.pool("worker").await, db.superuser_pool().await);
    let [new, any, exact, there, held, elsewhere, taken, missing] = streams();
    for known in [&any, &exact, &there, &held, &elsewhere, &taken] {
        let first = each(&worker, &[(known, Some(0), SENT)]).await.unwrap();
        assert_eq!(first, [said("appended", 1)]);
    }
    let mut other = worker.begin().await.unwrap();
    sqlx::query(
        "select status from api.append_one($1, null, gen_random_uuid(), 'NotificationSent', 1::smallint, now(), gen_random_uuid(), null, '{}', '{}')",
    )
    .bind(&held)
    .execute(&mut *other)
    .await
    .unwrap();
    let answers = each(
        &worker,
        &[
            (&new, Some(0), SENT),
            (&any, None, "BookingConfirmed"),
            (&exact, Some(1), SENT),
            (&there, Some(-1), "BookingConfirmed"),
            (&held, None, SENT),
            (&elsewhere, Some(7), SENT),
            (&taken, Some(0), "BookingConfirmed"),
            (&missing, Some(-1), SENT),
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        answers,
        [
            said("appended", 1),
            said("appended", 2),
            said("appended", 2),
            said("appended", 2),
            said("busy", None),
            said("conflict", 1),
            said("conflict", 1),
            said("conflict", 0),
        ]
    );
    other.rollback().await.unwrap();
    hold_together(&owner, 10).await;
    // The customer's message is owed for those that were written, and for no other.
    let owed: Vec<String> =
        sqlx::query_scalar("select stream_id from delivery.deliveries order by stream_id")
            .fetch_all(&owner)
            .await
            .unwrap();
    assert_eq!(owed, [any, there]);
}

/// A login of a person can call the function with anything.
#[tokio::test]
async fn a_stream_that_is_named_twice_makes_no_gap_and_no_double() {
    let db = TestDb::new().await;
    let (worker, owner) = (db.pool("worker").await, db.superuser_pool().await);
    let [a, b] = streams();
    let twice = [(&*a, None, SENT), (&a, Some(1), SENT), (&b, None, SENT)];
    assert_eq!(
        each(&worker, &twice).await.unwrap(),
        [
            said("appended", 1),
            said("appended", 2),
            said("appended", 1)
        ]
    );
    let backwards = [(&*b, Some(1), SENT), (&a, Some(2), SENT)];
    assert_eq!(
        each(&worker, &backwards).await.unwrap(),
        [said("appended", 2), said("appended", 3)]
    );
    let apart = [(&*a, None, SENT), (&b, None, SENT), (&a, None, SENT)];
    let refused = each(&worker, &apart).await.unwrap_err();
    assert!(
        refused.to_string().contains("next to each other"),
        "{refused}"
    );
    hold_together(&owner, 5).await;
}

#[tokio::test]
async fn nobody_writes_in_one_pass_what_they_may_not_and_a_person_acts_for_nobody() {
    let db = TestDb::new().await;
    let (staff, owner) = (db.pool("staff").await, db.superuser_pool().await);
    let [a, b] = streams();
    let refused = each(
        &staff,
        &[(&a, Some(0), "BookingCreated"), (&b, Some(0), SENT)],
    )
    .await
    .unwrap_err();
    let code = refused.as_database_error().and_then(|d| d.code());
    assert_eq!(code.as_deref(), Some("42501"), "{refused}");
    let unknown = each(&staff, &[(&a, Some(0), "Nonsense")])
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("not registered"), "{unknown}");
    each(
        &staff,
        &[
            (&a, Some(0), "BookingCreated"),
            (&b, Some(0), "BookingCreated"),
        ],
    )
    .await
    .unwrap();
    let claimed: i64 = sqlx::query_scalar(
        "select count(*) from core.events where metadata ? 'on_behalf_of' or actor <> $1",
    )
    .bind(staff.connect_options().get_username())
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(claimed, 0);
    hold_together(&owner, 2).await;
}

/// Nor is a stream that is at no version yet held by anybody: an append without events begins it.
#[tokio::test]
async fn who_does_not_wait_is_told_at_once_that_a_stream_is_held() {
    let db = TestDb::new().await;
    let worker = db.pool("worker").await;
    let [held, empty] = streams();
    for stream in [&held, &empty] {
        let events = i32::from(stream == &held);
        sqlx::query(
            "select api.append(array[$1], array[0], array[null]::uuid[], array[null]::bytea[], array_fill(1, array[$2]), array_fill(gen_random_uuid(), array[$2]),
               array_fill('NotificationSent'::text, array[$2]), array_fill(1::smallint, array[$2]), array_fill(now(), array[$2]), array_fill(gen_random_uuid(), array[$2]),
               array_fill(null::uuid, array[$2]), array_fill('{}'::jsonb, array[$2]), array_fill('{}'::jsonb, array[$2]))",
        )
        .bind(stream)
        .bind(events)
        .execute(&worker)
        .await
        .unwrap();
    }
    let one = "select status, version from api.append_one($1, $2, gen_random_uuid(), 'NotificationSent', 1::smallint, now(), gen_random_uuid(), null, '{}', '{}', $3)";
    let mut other = worker.begin().await.unwrap();
    sqlx::query(one)
        .bind(&held)
        .bind(None::<i64>)
        .bind(true)
        .execute(&mut *other)
        .await
        .unwrap();
    for (stream, expected, answer) in [
        (&held, None, said("busy", None)),
        (&held, Some(0), said("conflict", 1)),
        (&held, Some(-1), said("busy", None)),
        (&held, Some(1), said("busy", None)),
        (&empty, None, said("appended", 1)),
    ] {
        let now: Said = sqlx::query_as(one)
            .bind(stream)
            .bind(expected)
            .bind(false)
            .fetch_one(&worker)
            .await
            .unwrap();
        assert_eq!(now, answer, "{stream} {expected:?}");
    }
    other.rollback().await.unwrap();
}
