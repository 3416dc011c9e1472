//! The log's partitions: nobody notices a boundary, and a missing one is said clearly and mended by itself.

use std::time::Duration;

use bizing_engine::app::wire::{AppError, Retry};
use bizing_engine::store::append::{AppendError, Expected};
use bizing_engine::store::read;
use sqlx::{AssertSqlSafe, PgPool, Row};

use super::{append, append_in, context, new_booking, notes, one, texts};
use crate::support::db::TestDb;
use crate::support::desk::TestDesk;
use crate::support::wait_until;

const SIZE: i64 = 10_000_000;

/// The next event gets this position and one more.
async fn stand_before(superuser: &PgPool, position: i64) {
    sqlx::query("select setval('core.position', $1)")
        .bind(position - 1)
        .execute(superuser)
        .await
        .unwrap();
}

async fn partitions(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select inhrelid::regclass::text from pg_inherits where inhparent = 'core.events'::regclass order by 1")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_append_across_the_boundary_is_one_append() {
    let db = TestDb::new().await;
    let (worker, superuser) = (db.pool("worker").await, db.superuser_pool().await);
    let booking = new_booking();
    stand_before(&superuser, SIZE - 2).await;
    let done = one(
        &worker,
        notes(booking, Expected::Version(0), &["a", "b", "c", "d", "e"]),
    )
    .await
    .unwrap();
    assert!(
        done.first_position < Some(SIZE) && done.last_position > Some(SIZE),
        "{done:?}"
    );
    assert_eq!(texts(&worker, booking).await, ["a", "b", "c", "d", "e"]);
    let places: Vec<(String, i64)> = sqlx::query_as(
        "select tableoid::regclass::text, count(*) from core.events group by 1 order by 1",
    )
    .fetch_all(&worker)
    .await
    .unwrap();
    assert_eq!(places.len(), 2, "{places:?}");
    let mut conn = worker.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    let log = read::log(&mut conn, 0, safe, 100).await.unwrap();
    assert_eq!(log.len(), 5, "whoever follows the log sees them in order");
    assert!(log.windows(2).all(|w| w[0].position < w[1].position));
    // The expected version holds across the boundary too.
    let late = one(&worker, notes(booking, Expected::Version(3), &["x"]))
        .await
        .unwrap_err();
    assert!(
        matches!(late, AppendError::Conflict { actual: 5, .. }),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_stream_is_read_from_its_own_partitions_alone() {
    let db = TestDb::new().await;
    let (worker, superuser) = (db.pool("worker").await, db.superuser_pool().await);
    for n in 0..6 {
        sqlx::query("select core.ensure_partition($1)")
            .bind(n * SIZE)
            .execute(&worker)
            .await
            .unwrap();
    }
    let booking = new_booking();
    for n in 0..6 {
        stand_before(&superuser, n * SIZE + 10).await;
        // Everybody's events lie everywhere; this stream's in the third and fourth only.
        for _ in 0..20 {
            let others = notes(new_booking(), Expected::Any, &["other"; 100]);
            append(&worker, vec![others]).await.unwrap();
        }
        if n == 2 || n == 3 {
            append(&worker, vec![notes(booking, Expected::Any, &["mine"])])
                .await
                .unwrap();
        }
    }
    sqlx::query("analyze").execute(&superuser).await.unwrap();
    let source: String = sqlx::query_scalar(
        "select prosrc from pg_proc where oid = 'api.read_stream_v2(text, bigint)'::regprocedure",
    )
    .fetch_one(&superuser)
    .await
    .unwrap();
    let query = source
        .split_once("return query")
        .and_then(|(_, rest)| rest.split_once(';'))
        .expect("it returns one query")
        .0
        .replace("p_stream", "$1")
        .replace("p_after", "$2")
        .replace("= no ", "= $3 ")
        .replace("between lo and hi", "between $4 and $5");
    let settings: Vec<String> = sqlx::query_scalar(
        "select 'set ' || c from pg_proc, unnest(proconfig) c where oid = 'api.read_stream_v2(text, bigint)'::regprocedure",
    )
    .fetch_all(&superuser)
    .await
    .unwrap();
    let here: (i64, i64, i64) = sqlx::query_as(
        "select stream_no, first_position, last_position from core.streams where stream_id = $1",
    )
    .bind(format!("booking-{booking}"))
    .fetch_one(&superuser)
    .await
    .unwrap();
    // The texts are the function's own, and so is its plan, which is kept and does not know the stream.
    let mut conn = superuser.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "{}; prepare reading(text, bigint, bigint, bigint, bigint) as {query}",
        settings.join("; ")
    )))
    .execute(&mut *conn)
    .await
    .unwrap();
    let plan: Vec<String> = sqlx::raw_sql(AssertSqlSafe(format!(
        "explain (analyze, costs off, timing off, summary off) execute reading('booking-{booking}', 0, {}, {}, {})",
        here.0, here.1, here.2
    )))
    .fetch_all(&mut *conn)
    .await
    .unwrap()
    .iter()
    .map(|row| row.get(0))
    .collect();
    let plan = plan.join("\n");
    let touched: Vec<&str> = partitions_in(&plan, false);
    assert_eq!(touched, ["events_0002", "events_0003"], "{plan}");
    assert_eq!(
        plan.matches("stream_no_version").count(),
        2,
        "by the stream's versions, not by the positions of everybody's events: {plan}"
    );
    assert!(!plan.contains("Sort  "), "{plan}");
    assert_eq!(texts(&worker, booking).await, ["mine", "mine"]);
}

/// Partitions that a plan scans, without those that it found it need not.
fn partitions_in(plan: &str, idle: bool) -> Vec<&str> {
    let mut names: Vec<&str> = plan
        .lines()
        .filter(|line| line.contains(" on events_") && line.contains("never executed") == idle)
        .filter_map(|line| line.split(" on ").nth(1)?.split(' ').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A backup, say, reads the log for an hour.
#[tokio::test]
async fn room_is_made_while_somebody_reads_and_no_append_waits_for_it() {
    let db = TestDb::new().await;
    let (superuser, worker) = (db.superuser_pool().await, db.pool("worker").await);
    let mut reader = superuser.begin().await.unwrap();
    sqlx::query("select count(*) from core.events")
        .execute(&mut *reader)
        .await
        .unwrap();
    let mut writer = worker.begin().await.unwrap();
    append_in(
        &mut writer,
        &context(),
        vec![notes(new_booking(), Expected::Any, &["open"])],
    )
    .await
    .unwrap();

    let made = sqlx::query("select core.ensure_partition(55000000)").execute(&worker);
    tokio::time::timeout(Duration::from_secs(20), made)
        .await
        .expect("it waits for nobody")
        .unwrap();
    assert!(
        partitions(&superuser)
            .await
            .contains(&"core.events_0005".to_owned())
    );
    one(&worker, notes(new_booking(), Expected::Any, &["behind"]))
        .await
        .unwrap();
    writer.commit().await.unwrap();
    reader.commit().await.unwrap();

    // Attached or made as a part: they are the same.
    let alike: Vec<Vec<String>> = sqlx::query_scalar(
        "select array_agg(replace(what, part, '') order by replace(what, part, '')) from (
           select c.relname as part, pg_get_indexdef(i.indexrelid) as what from pg_class c join pg_index i on i.indrelid = c.oid
           union all select c.relname, pg_get_constraintdef(k.oid) from pg_class c join pg_constraint k on k.conrelid = c.oid
           union all select c.relname, concat_ws(' ', a.attnum, a.attname, a.atttypid::regtype, a.attnotnull, a.attstorage, a.attcompression)
                       from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
           union all select c.relname, pg_get_triggerdef(t.oid) from pg_class c join pg_trigger t on t.tgrelid = c.oid
         ) x where part in ('events_0000', 'events_0005') group by part",
    )
    .fetch_all(&superuser)
    .await
    .unwrap();
    assert_eq!(alike.len(), 2);
    assert_eq!(alike[0], alike[1]);
}

#[tokio::test]
async fn without_room_an_append_says_so_writes_nothing_and_a_worker_makes_room() {
    let t = TestDesk::new().await;
    let superuser = t.db.superuser_pool().await;
    let last = partitions(&superuser).await.len() as i64;
    let booking = new_booking();
    stand_before(&superuser, last * SIZE - 1).await;
    let refused = one(
        &t.worker_pool,
        notes(booking, Expected::Version(0), &["a", "b", "c"]),
    )
    .await
    .unwrap_err();
    let AppendError::Database(error) = refused else {
        panic!("{refused:?}");
    };
    let shown = AppError::from(error);
    assert!(shown.message.contains("no room"), "{}", shown.message);
    assert!(matches!(shown.retry, Retry::After { .. }));
    assert_eq!(texts(&t.worker_pool, booking).await, Vec::<String>::new());

    let worker = t.work().await;
    wait_until("the worker makes room", Duration::from_secs(20), || async {
        partitions(&superuser).await.len() as i64 > last
    })
    .await;
    let done = one(
        &t.worker_pool,
        notes(booking, Expected::Version(0), &["a", "b", "c"]),
    )
    .await;
    assert_eq!(done.unwrap().version, 3);
    let made = partitions(&superuser).await.len() as i64;
    assert!(made > last);
    let ahead: bool = sqlx::query_scalar(
        "select to_regclass('core.events_' || lpad(((last_value + 5000000) / 10000000)::text, 4, '0')) is not null from core.position",
    )
    .fetch_one(&superuser)
    .await
    .unwrap();
    assert!(ahead, "and keeps ahead");
    worker.close().await;
}
