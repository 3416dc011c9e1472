//! A few events of one stream in one pass (`api.append_run`): the same promises as one by one.

use sqlx::PgPool;
use uuid::Uuid;

use crate::support::db::TestDb;

async fn run(
    pool: &PgPool,
    stream: &str,
    expected: i64,
    names: &[&str],
) -> Result<(String, i64), sqlx::Error> {
    sqlx::query_as(
        r#"select status, version from api.append_run($1, $2, array(select gen_random_uuid() from unnest($3::text[])), $3, array_fill(1::smallint, array[cardinality($3::text[])]),
             now(), gen_random_uuid(), null, '{"on_behalf_of": "ana"}', array_fill('{"a": 1}'::jsonb, array[cardinality($3::text[])]))"#,
    )
    .bind(stream)
    .bind(expected)
    .bind(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
    .fetch_one(pool)
    .await
}

fn stream() -> String {
    format!("booking-{}", Uuid::now_v7())
}

fn said(status: &str, version: i64) -> (String, i64) {
    (status.to_owned(), version)
}

const BOOKED: [&str; 2] = ["BookingCreated", "InventoryHeld"];

#[tokio::test]
async fn a_run_moves_its_stream_once_and_its_chain_holds() {
    let db = TestDb::new().await;
    let (worker, owner) = (db.pool("worker").await, db.superuser_pool().await);
    let s = stream();
    assert_eq!(
        run(&worker, &s, 0, &BOOKED).await.unwrap(),
        said("appended", 2)
    );
    let three = ["PaymentRequested", "PaymentAuthorized", "PaymentReceived"];
    assert_eq!(
        run(&worker, &s, 2, &three).await.unwrap(),
        said("appended", 5)
    );
    assert_eq!(run(&worker, &s, 5, &[]).await.unwrap(), said("appended", 5));
    let events: Vec<(i64, bool, i64)> = sqlx::query_as(
        "select e.version, p.matches, e.position - min(e.position) over () from core.events e join core.streams s using (stream_no)
           cross join lateral api.event_proof(e.position) p where s.stream_id = $1 order by e.position",
    )
    .bind(&s)
    .fetch_all(&owner)
    .await
    .unwrap();
    assert_eq!(
        events,
        (0..5).map(|n| (n + 1, true, n)).collect::<Vec<_>>(),
        "each hash follows from the one before, in the order of versions"
    );
    let (version, head, spans): (i64, bool, bool) = sqlx::query_as(
        "select s.version, s.head = (select e.hash from core.events e where e.stream_no = s.stream_no and e.version = 5),
                (s.first_position, s.last_position) = (select min(e.position), max(e.position) from core.events e where e.stream_no = s.stream_no)
           from core.streams s where s.stream_id = $1",
    )
    .bind(&s)
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!((version, head, spans), (5, true, true));
}

#[tokio::test]
async fn a_run_is_refused_whole_where_its_stream_is_elsewhere() {
    let db = TestDb::new().await;
    let (worker, owner) = (db.pool("worker").await, db.superuser_pool().await);
    let s = stream();
    let paid = ["PaymentRequested", "PaymentAuthorized"];
    assert_eq!(
        run(&worker, &s, 2, &paid).await.unwrap(),
        said("conflict", 0)
    );
    run(&worker, &s, 0, &BOOKED).await.unwrap();
    assert_eq!(
        run(&worker, &s, 0, &BOOKED).await.unwrap(),
        said("conflict", 2)
    );
    assert_eq!(
        run(&worker, &s, 1, &paid).await.unwrap(),
        said("conflict", 2)
    );
    let at_once = (0..8).map(|_| run(&worker, &s, 2, &paid));
    let mut told: Vec<_> = futures_util::future::join_all(at_once)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    told.sort();
    assert_eq!(told[0], said("appended", 4), "one of eight");
    assert!(
        told[1..].iter().all(|t| *t == said("conflict", 4)),
        "{told:?}"
    );
    let events: i64 = sqlx::query_scalar("select count(*) from core.events")
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(events, 4);
}

#[tokio::test]
async fn a_run_of_what_the_caller_may_not_write_is_refused_and_a_person_acts_for_nobody() {
    let db = TestDb::new().await;
    let (staff, owner) = (db.pool("staff").await, db.superuser_pool().await);
    let s = stream();
    let refused = run(&staff, &s, 0, &["BookingCreated", "PaymentReceived"])
        .await
        .unwrap_err();
    let code = refused.as_database_error().and_then(|d| d.code());
    assert_eq!(code.as_deref(), Some("42501"), "{refused}");
    let unknown = run(&staff, &s, 0, &["BookingCreated", "Nonsense"])
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("not registered"), "{unknown}");
    run(&staff, &s, 0, &BOOKED).await.unwrap();
    let claimed: i64 = sqlx::query_scalar(
        "select count(*) from core.events where metadata ? 'on_behalf_of' or actor <> $1",
    )
    .bind(staff.connect_options().get_username())
    .fetch_one(&owner)
    .await
    .unwrap();
    assert_eq!(claimed, 0);
}

/// A login of a person can call the function with anything.
#[tokio::test]
async fn a_run_that_names_no_version_makes_no_gap() {
    let db = TestDb::new().await;
    let (staff, owner) = (db.pool("staff").await, db.superuser_pool().await);
    let s = stream();
    // Below zero means a stream that exists: a new one does not.
    assert_eq!(run(&staff, &s, -5, &BOOKED).await.unwrap().0, "conflict");
    run(&staff, &s, 0, &BOOKED).await.unwrap();
    assert_eq!(
        run(&staff, &s, -5, &BOOKED).await.unwrap(),
        said("appended", 4)
    );
    let any: (String, i64) = sqlx::query_as(
        "select status, version from api.append_run($1, null, array[gen_random_uuid()], array['BookingCreated'], array[1::smallint], now(), gen_random_uuid(), null, '{}', array['{}'::jsonb])",
    )
    .bind(&s)
    .fetch_one(&staff)
    .await
    .unwrap();
    assert_eq!(any, said("appended", 5));
    let versions: Vec<i64> =
        sqlx::query_scalar("select version from core.events order by position")
            .fetch_all(&owner)
            .await
            .unwrap();
    assert_eq!(versions, [1, 2, 3, 4, 5]);
}
