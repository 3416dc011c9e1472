//! Figures are read from sums by day, and are those of the rows: whatever ended, failed or was opened again, and whenever it was told.

use chrono::{DateTime, Duration, Utc};
use sqlx::{PgPool, Row};

use super::chaos::Dice;
use crate::support::desk::TestDesk;

/// Over 40 days, of three definitions and all ends; of a third some tries failed, for the same cause on several days too.
const PAST: [&str; 3] = [
    "set session_replication_role = replica",
    "insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, outcome, direction, \"cursor\", fence, booking_id, customer_id, correlation_id, started_by,
                                created_at, finished_at, resolved_by, resolution, amount_minor, currency)
     select gen_random_uuid(), (array['booking', 'booking_free', 'cancellation'])[1 + n % 3], 1, 'past:' || n, k.state,
            case when k.state = 'completed' and n % 7 = 0 then 'completed_with_warnings' else k.state end, case when k.state = 'compensated' then 'C' else 'F' end::\"char\",
            5, 1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't', k.at - interval '1 hour', k.at,
            case when k.state = 'resolved' then 't' end, case when k.state = 'resolved' then '{\"reason\": \"x\", \"evidence\": \"y\"}'::jsonb end, 8000, 'EUR'
       from generate_series(1, 1500) n
      cross join lateral (select (array['completed', 'completed', 'compensated', 'resolved'])[1 + n / 3 % 4] as state, now() - n * interval '39 minutes' as at) k",
    "insert into saga.attempt (saga_id, no, step, direction, fence, started_at, result, error_class)
     select i.saga_id, k.no, (array['capture', 'notify'])[1 + k.no % 2], (array['F', 'C'])[1 + k.no / 2 % 2]::\"char\", 1, i.finished_at - k.no * interval '17 hours', 'failed',
            (array['busy', 'unknown', 'later'])[1 + substr(i.dedupe_key, 6)::int % 3]
       from saga.instance i cross join generate_series(1, 9) as k(no) where substr(i.dedupe_key, 6)::int % 3 = 1",
];

/// As they were counted before there were sums.
const OVER: &str = "
    select s.definition || ' ' || concat_ws(' ', count(*), count(*) filter (where s.state = 'completed' and s.outcome is distinct from 'completed_with_warnings'),
           count(*) filter (where s.outcome = 'completed_with_warnings'), count(*) filter (where s.state = 'compensated'), count(*) filter (where s.state = 'resolved'))
      from saga.instance s where s.finished_at >= $1 group by s.definition order by s.definition";
const FAILED: &str = "
    select concat_ws(' ', a.step, a.direction = 'C', a.error_class, count(*), count(distinct a.saga_id), max(a.started_at))
      from saga.attempt a where a.started_at >= $1 and a.error_class is not null group by a.step, a.direction, a.error_class order by a.step, a.direction = 'C', a.error_class";
const OVER_BY_DAY: &str = "select concat_ws(' ', definition, \"over\", completed, warned, compensated, resolved) from api.sagas_over($1) order by definition";
const FAILED_BY_DAY: &str = "select concat_ws(' ', step, undoing, cause, tries, sagas, last_at) from api.sagas_failed($1) order by step, undoing, cause";

async fn lines(owner: &PgPool, sql: &'static str, since: DateTime<Utc>) -> Vec<String> {
    sqlx::query_scalar(sql)
        .bind(since)
        .fetch_all(owner)
        .await
        .unwrap()
}

/// Both ways, since many moments: whole days and parts of them.
async fn agree(owner: &PgPool, dice: &mut Dice, when: &str) {
    let midnight: DateTime<Utc> = sqlx::query_scalar("select date_trunc('day', now(), 'UTC')")
        .fetch_one(owner)
        .await
        .unwrap();
    let moments = (0..12).map(|_| Utc::now() - Duration::minutes(dice.below(70_000) as i64));
    let midnights = [0, 1, 7, 30].map(|days| midnight - Duration::days(days));
    for since in moments.chain(midnights) {
        let ends = lines(owner, OVER, since).await;
        assert_eq!(
            lines(owner, OVER_BY_DAY, since).await,
            ends,
            "{when}, ended since {since}"
        );
        let failed = lines(owner, FAILED, since).await;
        assert_eq!(
            lines(owner, FAILED_BY_DAY, since).await,
            failed,
            "{when}, failed since {since}"
        );
    }
}

async fn sum_all(t: &TestDesk) -> usize {
    let mut days = 0;
    while sqlx::query_scalar::<_, bool>("select saga.sum_day()")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
    {
        days += 1;
    }
    days
}

/// Some saga that ended on a day that is over.
const ONE: &str = "(select saga_id from saga.instance where finished_at < date_trunc('day', now(), 'UTC') - interval '1 day' order by md5(saga_id::text || $1) limit 1)";

/// What may be told of a day after it is over.
async fn something_late(owner: &PgPool, dice: &mut Dice) {
    let what = match dice.below(4) {
        0 => format!(
            "update saga.instance set state = 'parked', finished_at = null, outcome = null, park_reason = 'x', parked_at = now(), version = version + 1, by_fence = fence
              where saga_id = {ONE}"
        ),
        // A clock that is behind, or a transaction from before midnight.
        1 => format!(
            "insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, \"cursor\", booking_id, customer_id, correlation_id, started_by, finished_at, amount_minor, currency)
             select gen_random_uuid(), 'booking', 1, 'late:' || gen_random_uuid(), 'completed', 5, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't',
                    i.finished_at, 8000, 'EUR' from saga.instance i where i.saga_id = {ONE}"
        ),
        // It fails today as it did on another day.
        2 => "insert into saga.attempt (saga_id, no, step, direction, fence, started_at, result, error_class)
             select a.saga_id, 1000 + count(*) over (), a.step, a.direction, 9, now(), 'failed', a.error_class from saga.attempt a
              where a.saga_id = (select saga_id from saga.attempt where error_class is not null order by md5(saga_id::text || $1) limit 1)
              order by a.started_at limit 1
             on conflict do nothing"
            .to_owned(),
        _ => format!(
            "insert into saga.attempt (saga_id, no, step, direction, fence, started_at, result, error_class)
             select i.saga_id, 2000, 'capture', 'F', 9, i.finished_at, 'failed', 'busy' from saga.instance i where i.saga_id = {ONE} on conflict do nothing"
        ),
    };
    sqlx::query(sqlx::AssertSqlSafe(what))
        .bind(dice.below(1_000_000).to_string())
        .execute(owner)
        .await
        .unwrap();
}

#[tokio::test]
async fn sums_by_day_say_what_counting_says_whatever_is_told_late() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    let mut conn = owner.acquire().await.unwrap();
    for sql in PAST {
        sqlx::query(sql).execute(&mut *conn).await.unwrap();
    }
    conn.close().await.unwrap();
    // What may follow what is another test's: here it is about days.
    sqlx::query("alter table saga.instance disable trigger keep_row")
        .execute(&owner)
        .await
        .unwrap();
    let mut dice = Dice(20_261_127);
    agree(&owner, &mut dice, "not summed").await;
    let days = sum_all(&t).await;
    assert!(days > 40, "{days} days are over");
    agree(&owner, &mut dice, "summed").await;
    for round in 0..6 {
        for _ in 0..5 {
            something_late(&owner, &mut dice).await;
        }
        agree(&owner, &mut dice, &format!("told late, round {round}")).await;
        if round % 2 == 0 {
            assert!(sum_all(&t).await > 0, "what was told late is summed again");
            agree(&owner, &mut dice, &format!("summed again, round {round}")).await;
        }
    }
    // It is the sums that are read.
    sum_all(&t).await;
    let since = Utc::now() - Duration::days(30);
    let before = lines(&owner, OVER_BY_DAY, since).await;
    sqlx::query("update saga.day_over set \"over\" = \"over\" + 1")
        .execute(&owner)
        .await
        .unwrap();
    assert_ne!(lines(&owner, OVER_BY_DAY, since).await, before);
}

#[tokio::test]
async fn a_day_is_not_summed_while_somebody_still_writes_of_it() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    let late = "insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, \"cursor\", booking_id, customer_id, correlation_id, started_by, finished_at, amount_minor, currency)
                values (gen_random_uuid(), 'booking', 1, gen_random_uuid()::text, 'completed', 5, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't',
                        now() - interval '1 day', 8000, 'EUR')";
    sqlx::query(late).execute(&owner).await.unwrap();
    let mut tx = owner.begin().await.unwrap();
    sqlx::query(late).execute(&mut *tx).await.unwrap();
    assert_eq!(sum_all(&t).await, 0, "it waits for them");
    tx.commit().await.unwrap();
    assert_eq!(sum_all(&t).await, 1);
    let said: i64 = sqlx::query_scalar("select sum(\"over\")::bigint from saga.day_over")
        .fetch_one(&owner)
        .await
        .unwrap();
    assert_eq!(said, 2);
    // Whoever comes after that takes the sums away, in the same breath.
    let mut tx = owner.begin().await.unwrap();
    sqlx::query(late).execute(&mut *tx).await.unwrap();
    let row = sqlx::query("select count(*) from saga.day_summed")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
    tx.rollback().await.unwrap();
    assert_eq!(sum_all(&t).await, 0, "nothing came of it");
}
