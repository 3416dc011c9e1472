//! The six read models beside bookings, customers and timeline: each says what the events say, however the log is cut.

use std::collections::{BTreeMap, BTreeSet};

use bizing_engine::app::bookings::no_show;
use bizing_engine::app::bookings::page::page;
use bizing_engine::app::wire::{Code, GetBooking, Group, SetNoShow};
use bizing_engine::domain::ids::StreamId;
use bizing_engine::projection::{self, Projection};
use bizing_engine::store::read::{self, Recorded};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::projection::{Seeded, seeded};
use crate::reading::desk;

const SIX: [&str; 6] = [
    "schedule",
    "customer_history",
    "ledger",
    "saga_statistics",
    "delivery_statistics",
    "daily_report",
];

fn six() -> impl Iterator<Item = &'static Projection> {
    let all = projection::ALL.iter().copied();
    all.filter(|p| SIX.contains(&p.name))
}

/// Every row of a projection's live tables, as text in order.
async fn rows(conn: &mut PgConnection, name: &str) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = format('p_%s_g1', $1) and c.relkind = 'r'",
    )
    .bind(name)
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut all = BTreeMap::new();
    for table in tables {
        let sql = format!("select to_jsonb(t)::text as row from p_{name}_g1.{table} t order by 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut *conn)
            .await;
        all.insert(table, rows.unwrap());
    }
    all
}

async fn truth(pool: &PgPool, sql: &'static str) -> Vec<String> {
    let sql = format!("select to_jsonb(x)::text from ({sql}) x");
    let rows = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await;
    rows.unwrap()
}

/// Two questions with one answer, which is not an empty one. Says what only one of them knows.
async fn same(s: &Seeded, shown: &'static str, told: &'static str) {
    let (shown, told) = (truth(&s.people, shown).await, truth(&s.worker, told).await);
    assert!(!told.is_empty(), "nothing to compare");
    let only = |a: &[String], b: &[String]| {
        let rest: Vec<String> = a
            .iter()
            .filter(|x| !b.contains(x))
            .take(5)
            .cloned()
            .collect();
        rest
    };
    assert_eq!((only(&shown, &told), only(&told, &shown)), (vec![], vec![]));
    assert_eq!(shown.len(), told.len());
}

async fn followed() -> Seeded {
    let s = seeded().await;
    s.follow().await;
    s
}

/// The rows of a projection that starts empty and gets the events in these batches. Nothing of it stays.
async fn applied(
    conn: &mut PgConnection,
    projection: &Projection,
    batches: Vec<&[&Recorded]>,
) -> BTreeMap<String, Vec<String>> {
    let mut tx = sqlx::Connection::begin(conn).await.unwrap();
    let schema = format!("p_{}_g1", projection.name);
    for table in rows(&mut tx, projection.name).await.keys() {
        let sql = format!("delete from {schema}.{table}");
        let cleared = sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await;
        cleared.unwrap();
    }
    sqlx::query("select set_config('search_path', $1, true)")
        .bind(&schema)
        .execute(&mut *tx)
        .await
        .unwrap();
    for batch in batches {
        (projection.apply)(&mut tx, batch).await.unwrap();
    }
    let rows = rows(&mut tx, projection.name).await;
    tx.rollback().await.unwrap();
    rows
}

/// Cuts of a small generator. Seed 0 cuts behind every event.
fn cut<'e>(events: &'e [&'e Recorded], seed: u64) -> Vec<&'e [&'e Recorded]> {
    let (mut rest, mut dice, mut batches) = (events, seed, vec![]);
    while !rest.is_empty() {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let size = if seed == 0 {
            1
        } else {
            1 + (dice >> 33) as usize % 40
        };
        let (batch, behind) = rest.split_at(size.min(rest.len()));
        batches.push(batch);
        rest = behind;
    }
    batches
}

#[tokio::test]
async fn however_the_log_is_cut_into_batches_the_rows_are_the_same() {
    let s = followed().await;
    let mut conn = s.worker.acquire().await.unwrap();
    let safe = read::safe_position(&mut conn).await.unwrap();
    let log = read::log(&mut conn, 0, safe, i64::MAX).await.unwrap();
    // Enough bookings for every way in which one can end.
    let streams: BTreeSet<&StreamId> = log.iter().map(|e| &e.stream).take(160).collect();
    for projection in six() {
        let wanted = log
            .iter()
            .filter(|e| streams.contains(&e.stream) && projection.wants(e));
        let wanted: Vec<&Recorded> = wanted.collect();
        let whole = applied(&mut conn, projection, vec![&wanted]).await;
        assert!(
            whole.values().all(|rows| !rows.is_empty()),
            "{}",
            projection.name
        );
        for seed in [0, 11, 12, 13] {
            let cut = applied(&mut conn, projection, cut(&wanted, seed)).await;
            assert_eq!(cut, whole, "{}, seed {seed}", projection.name);
        }
    }
}

#[tokio::test]
async fn a_replay_from_zero_gives_identical_rows() {
    let s = followed().await;
    let mut conn = s.worker.acquire().await.unwrap();
    for name in SIX {
        let before = rows(&mut conn, name).await;
        let mut tx = s.worker.begin().await.unwrap();
        projection::reset(&mut tx, name).await.unwrap();
        tx.commit().await.unwrap();
        s.follow().await;
        assert_eq!(rows(&mut conn, name).await, before, "{name}");
    }
}

#[tokio::test]
async fn the_schedule_shows_exactly_what_is_claimed() {
    let s = followed().await;
    same(
        &s,
        "select distinct claim_id, resource_id, unit, blocked_from, blocked_until, booking_id from read.schedule_v1",
        "select claim_id, resource_id, unit, lower(during) as blocked_from, upper(during) as blocked_until, booking_id from read.claims_v1",
    )
    .await;
    same(
        &s,
        "select distinct booking_id, state, hold_expires_at from read.schedule_v1",
        "select booking_id, state, hold_expires_at from read.bookings_v1 b where exists (select 1 from read.claims_v1 c where c.booking_id = b.booking_id)",
    )
    .await;
    // Every day that a slot touches, in the zone of the place, and no other.
    same(
        &s,
        "select claim_id, day from read.schedule_v1",
        "select c.claim_id, d::date as day from read.claims_v1 c join read.bookings_v1 b using (booking_id),
                generate_series(date_trunc('day', lower(c.during) at time zone b.zone), upper(c.during) at time zone b.zone - interval '1 microsecond', interval '1 day') d",
    )
    .await;
}

#[tokio::test]
async fn a_customers_history_is_what_their_bookings_say() {
    let s = followed().await;
    same(
        &s,
        "select customer_id, bookings, cancelled, expired, first_booking_at, last_booking_at from read.customer_history_v1",
        "select c.customer_id, count(*) as bookings, count(*) filter (where b.state = 'cancelled') as cancelled, count(*) filter (where b.state = 'expired') as expired,
                min(e.occurred_at) as first_booking_at, max(e.occurred_at) as last_booking_at
           from read.customers_v1 c join read.bookings_v1 b using (customer_id)
           join read.events_v1 e on e.stream_id = 'booking-' || b.booking_id and e.name = 'BookingCreated' group by 1",
    )
    .await;
    same(
        &s,
        "select customer_id, currency, captured_minor, refunded_minor from read.customer_spend_v1",
        "select customer_id, currency, sum(captured_minor)::bigint as captured_minor, sum(refunded_minor)::bigint as refunded_minor
           from read.bookings_v1 where captured_minor > 0 group by 1, 2",
    )
    .await;
    let missed: i64 =
        sqlx::query_scalar("select sum(no_shows)::bigint from read.customer_history_v1")
            .fetch_one(&s.people)
            .await
            .unwrap();
    assert_eq!(missed, 0, "nobody noted that somebody did not come");
}

/// Of two that were noted, one came after all.
#[tokio::test]
async fn who_did_not_come_counts_with_the_customer_and_on_the_day_of_the_visit() {
    let s = followed().await;
    let visits: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select booking_id, customer_id from read.bookings_v1 where state = 'confirmed' and starts_at < now() order by starts_at limit 2",
    )
    .fetch_all(&s.people)
    .await
    .unwrap();
    let desk = desk(&s, s.db.pool("staff").await, Group::Staff);
    let set = |booking_id, no_show| {
        let asked = SetNoShow {
            command_id: Uuid::now_v7(),
            booking_id,
            no_show,
        };
        no_show::set(&desk, asked)
    };
    for (booking, _) in &visits {
        set(*booking, true).await.unwrap();
        // Noted twice, by whomever, is noted once.
        set(*booking, true).await.unwrap();
    }
    let (missed, came) = (visits[0], visits[1]);
    set(came.0, false).await.unwrap();
    s.follow().await;

    let of = async |customer: Uuid| -> i64 {
        sqlx::query_scalar("select no_shows from read.customer_history_v1 where customer_id = $1")
            .bind(customer)
            .fetch_one(&s.people)
            .await
            .unwrap()
    };
    assert_eq!(of(missed.1).await, 1);
    if came.1 != missed.1 {
        assert_eq!(of(came.1).await, 0);
    }
    same(
        &s,
        "select day, no_shows, no_show_rate from read.daily_report_v1 where no_shows > 0",
        "with of_day as (select (b.starts_at at time zone b.zone)::date as day, count(*) as visits,
                                count(*) filter (where exists (select 1 from read.events_v1 e where e.stream_id = 'booking-' || b.booking_id and e.name = 'NoShowRecorded')
                                                   and not exists (select 1 from read.events_v1 e where e.stream_id = 'booking-' || b.booking_id and e.name = 'NoShowWithdrawn')) as no_shows
                           from read.bookings_v1 b where b.state = 'confirmed' group by 1)
         select day, no_shows, round(no_shows::numeric / visits, 4) as no_show_rate from of_day where no_shows > 0",
    )
    .await;
    // Its page says so, and offers to take it back.
    let page = page(
        &desk,
        GetBooking {
            booking: missed.0.to_string(),
        },
    )
    .await
    .unwrap();
    assert!(page.no_show);
    assert!(
        page.actions
            .iter()
            .any(|a| a.name == "withdraw_no_show" && a.refused.is_none())
    );
}

#[tokio::test]
async fn nobody_is_missed_before_it_begins_nor_without_the_right_to_say_so() {
    let s = followed().await;
    let later: Uuid = sqlx::query_scalar(
        "select booking_id from read.bookings_v1 where state = 'confirmed' and starts_at > now() + interval '1 hour' limit 1",
    )
    .fetch_one(&s.people)
    .await
    .unwrap();
    let past: Uuid = sqlx::query_scalar(
        "select booking_id from read.bookings_v1 where state = 'confirmed' and starts_at < now() limit 1",
    )
    .fetch_one(&s.people)
    .await
    .unwrap();
    let asked = |booking_id| SetNoShow {
        command_id: Uuid::now_v7(),
        booking_id,
        no_show: true,
    };
    let staff = desk(&s, s.db.pool("staff").await, Group::Staff);
    assert_eq!(
        no_show::set(&staff, asked(later)).await.unwrap_err().code,
        Code::Refused
    );
    assert_eq!(
        no_show::set(&staff, asked(Uuid::now_v7()))
            .await
            .unwrap_err()
            .code,
        Code::NotFound
    );
    let looks = desk(&s, s.db.pool("viewer").await, Group::Viewer);
    assert_eq!(
        no_show::set(&looks, asked(past)).await.unwrap_err().code,
        Code::Forbidden
    );
    let written: i64 =
        sqlx::query_scalar("select count(*) from read.events_v1 where name like 'NoShow%'")
            .fetch_one(&s.worker)
            .await
            .unwrap();
    assert_eq!(written, 0);
}

#[tokio::test]
async fn the_ledger_balances_and_says_what_the_bookings_say() {
    let s = followed().await;
    same(
        &s,
        "select booking_id, currency, at_provider_minor from read.ledger_balances_v1 where at_provider_minor <> 0",
        "select booking_id, currency, captured_minor - refunded_minor as at_provider_minor from read.bookings_v1 where captured_minor <> refunded_minor",
    )
    .await;
    // What is owed back is what was captured for a booking that is off, and not refunded yet.
    same(
        &s,
        "select booking_id, -receivable_minor as owed from read.ledger_balances_v1 where receivable_minor < 0",
        "select booking_id, captured_minor - refunded_minor as owed from read.bookings_v1 where state = 'cancelled' and captured_minor > refunded_minor",
    )
    .await;
    let off: i64 = sqlx::query_scalar(
        "select count(*) from (select position, currency from read.ledger_postings_v1 group by 1, 2 having sum(amount_minor) <> 0) x",
    )
    .fetch_one(&s.people)
    .await
    .unwrap();
    assert_eq!(off, 0);
    // The table takes no posting of one side only, of nothing, or to an account that does not exist.
    for (debit, credit, amount) in [
        ("revenue", "revenue", 1),
        ("revenue", "refunds", 0),
        ("revenue", "refunds", -5),
        ("revenue", "tips", 5),
    ] {
        let refused = sqlx::query(
            "insert into p_ledger_g1.ledger_transfers (position, line, booking_id, event_id, event_name, occurred_at, day, debit, credit, currency, amount_minor)
             values (1, 9, gen_random_uuid(), gen_random_uuid(), 'x', now(), current_date, $1, $2, 'EUR', $3)",
        )
        .bind(debit)
        .bind(credit)
        .bind(i64::from(amount))
        .execute(&s.worker)
        .await
        .expect_err(debit);
        assert_eq!(
            refused.as_database_error().unwrap().code().as_deref(),
            Some("23514")
        );
    }
}

#[tokio::test]
async fn saga_statistics_agree_with_the_sagas() {
    let s = followed().await;
    same(
        &s,
        "select booking_id, state from read.saga_runs_v1",
        "select i.booking_id, case i.state when 'completed' then case when b.told then 'done' else 'confirmed' end when 'compensated' then 'undone'
                                   else case when i.direction = 'C' then 'undoing' else 'running' end end as state
           from read.sagas_v1 i
           join (select booking_id, exists (select 1 from read.timeline_v1 t where t.booking_id = k.booking_id and t.event_name = 'NotificationSent'
                                              and t.data->>'template' = 'booking_confirmed') as told from read.bookings_v1 k) b using (booking_id)",
    )
    .await;
    same(
        &s,
        "select sum(started)::bigint as n, sum(done + confirmed + undone + open)::bigint as m from read.saga_days_v1",
        "select count(*) as n, count(*) as m from read.sagas_v1",
    )
    .await;
    same(
        &s,
        "select sum(runs)::bigint as n from read.saga_durations_v1",
        "select count(*) as n from read.saga_runs_v1 where state in ('done', 'undone')",
    )
    .await;
}

#[tokio::test]
async fn delivery_statistics_count_each_outcome_once() {
    let s = followed().await;
    same(
        &s,
        "select template, outcome, sum(messages)::bigint as n from read.delivery_days_v1 group by 1, 2",
        "select data->>'template' as template, case name when 'NotificationSent' then 'sent' else 'failed' end as outcome, count(*) as n
           from read.events_v1 where name in ('NotificationSent', 'NotificationFailed') group by 1, 2",
    )
    .await;
}

#[tokio::test]
async fn the_daily_report_counts_on_the_days_of_the_place() {
    let s = followed().await;
    same(
        &s,
        "select day, sum(made)::bigint as n from read.daily_report_v1 where made > 0 group by 1",
        "select (e.occurred_at at time zone b.zone)::date as day, count(*) as n from read.events_v1 e join read.bookings_v1 b on e.stream_id = 'booking-' || b.booking_id
          where e.name = 'BookingCreated' group by 1",
    )
    .await;
    same(
        &s,
        "select sum(cancelled)::bigint as cancelled, sum(expired)::bigint as expired, sum(captured_minor)::bigint as captured, sum(refunded_minor)::bigint as refunded,
                sum(visits)::bigint as visits from read.daily_report_v1",
        "select count(*) filter (where state = 'cancelled') as cancelled, count(*) filter (where state = 'expired') as expired, sum(captured_minor)::bigint as captured,
                sum(refunded_minor)::bigint as refunded, count(*) filter (where state = 'confirmed') as visits from read.bookings_v1",
    )
    .await;
    same(
        &s,
        "select day, booked_min from read.daily_report_v1 where booked_min > 0",
        "select (starts_at at time zone zone)::date as day, sum(extract(epoch from ends_at - starts_at) / 60)::bigint as booked_min
           from read.bookings_v1 where state = 'confirmed' group by 1",
    )
    .await;
    // Utilisation is booked over open, for whoever works that day; without hours it is not known.
    let shares: Vec<(i64, Option<i64>, Option<f64>)> = sqlx::query_as(
        "select booked_min, opening_min, utilisation::float8 from read.utilisation_v1",
    )
    .fetch_all(&s.people)
    .await
    .unwrap();
    assert!(shares.iter().any(|(booked, _, _)| *booked > 0));
    for (booked, open, share) in shares {
        let expected = open.map(|open| booked as f64 / open as f64);
        assert!(
            match (share, expected) {
                (Some(a), Some(b)) => (a - b).abs() < 0.0001,
                (a, b) => a == b,
            },
            "{booked} of {open:?} is {share:?}"
        );
    }
}
