//! What a booking and each step of its saga read: rows by an index, never a table from end to end. Their plans are made once
//! a session, and often while the tables are nearly empty.

use std::time::Duration;

use bizing_engine::app::wire::{Empty, ListSagas, PriceRange, SagaFilter, SagaOrder, SagaTab};
use bizing_engine::app::{inbox, sagas, session};
use bizing_engine::projection;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use sqlx::{PgConnection, PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::desk::{ANA, TestDesk};
use crate::support::wait_until;

/// Grow with every booking.
const GROWING: [&str; 8] = [
    "booking.booking",
    "booking.inventory_claim",
    "core.streams",
    "core.events_0000",
    "delivery.deliveries",
    "saga.instance",
    "saga.effect",
    "saga.attempt",
];

#[tokio::test]
async fn a_booking_and_the_steps_of_its_saga_read_no_table_from_end_to_end() {
    let t = TestDesk::new().await;
    let mut conn = t.db.superuser_pool().await.acquire().await.unwrap();
    for n in 0..3 {
        let (saga, booking, worker) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let read = scans_of(&mut conn, &book(n, saga, booking, worker)).await;
        assert_eq!(read, Vec::<String>::new(), "by booking {n}");
        let read = scans_of(&mut conn, &step(saga, booking, worker)).await;
        assert_eq!(read, Vec::<String>::new(), "by a step of booking {n}");
    }
}

/// The tables that a statement read from end to end, of those that grow.
async fn scans_of(conn: &mut PgConnection, statement: &str) -> Vec<String> {
    let count = "select array(select pg_stat_get_xact_numscans(t::regclass) from unnest($1::text[]) with ordinality x(t, o) order by o) as scans";
    sqlx::raw_sql("begin").execute(&mut *conn).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut *conn)
        .await
        .unwrap();
    let scans: Vec<i64> = sqlx::query(count)
        .bind(GROWING.map(str::to_owned).to_vec())
        .fetch_one(&mut *conn)
        .await
        .unwrap()
        .get("scans");
    sqlx::raw_sql("commit").execute(&mut *conn).await.unwrap();
    GROWING
        .iter()
        .zip(scans)
        .filter(|(_, n)| *n > 0)
        .map(|(table, n)| format!("{table}: {n}"))
        .collect()
}

fn book(n: i32, saga: Uuid, booking: Uuid, worker: Uuid) -> String {
    format!(
        "select api.book('{saga}', 'booking', 1, 'booking:{booking}:1', '{booking}', gen_random_uuid(), 8000, 'EUR', now() + interval '15 min',
                '{{\"provider\": \"stripe\"}}', gen_random_uuid(), '{booking}', '{worker}', '45 s',
                jsonb_build_object('effect_id', gen_random_uuid(), 'step', 'payment', 'generation', 0, 'provider', 'stripe', 'operation', 'create_intent',
                                   'idempotency_key', '{saga}:payment', 'request', '{{}}'::jsonb, 'request_sha256', ''),
                'BK-00000{n}', array[gen_random_uuid()], array['{ANA}'::uuid], array[1::smallint],
                array[tstzrange(timestamptz '2031-01-01' + {n} * interval '1 hour', timestamptz '2031-01-01' + ({n} + 1) * interval '1 hour')],
                array_fill('booking-{booking}'::text, array[2]), array[gen_random_uuid(), gen_random_uuid()], array['BookingCreated', 'InventoryHeld'],
                array[1::smallint, 1::smallint], array_fill('{{}}'::jsonb, array[2]), now(), '{{}}')"
    )
}

fn step(saga: Uuid, booking: Uuid, worker: Uuid) -> String {
    format!(
        "do $do$ declare done text; begin
           select w.status into done from saga.write('{saga}', '{worker}', 1, 0, false, gen_random_uuid(), 'running', 'F', 2::smallint, now(), 0, null, null,
             null, null, null, null, null, '{{\"provider\": \"stripe\"}}', false, false, 1, null,
             jsonb_build_array(jsonb_build_object('effect_id', gen_random_uuid(), 'step', 'capture', 'direction', 'F', 'generation', 0, 'operation', 'capture',
                                                  'idempotency_key', '{saga}:capture', 'request', '{{}}'::jsonb, 'sha256', '')),
             jsonb_build_array(jsonb_build_object('effect_id', (select effect_id from saga.effect where idempotency_key = '{saga}:payment'), 'outcome', 'confirmed',
                                                  'open', false, 'provider_object', 'pi_1', 'via', 'response')),
             jsonb_build_array(jsonb_build_object('n', 1, 'step', 'payment', 'direction', 'F', 'kind', 'auto', 'started_at', now(), 'ended_at', now(), 'result', 'done')),
             'booking-{booking}', 2, array[gen_random_uuid(), gen_random_uuid()], array['PaymentRequested', 'BookingConfirmed'], array[1::smallint, 1::smallint],
             now(), gen_random_uuid(), '{{}}', array_fill('{{}}'::jsonb, array[2])) w;
           assert done = 'done', done;
         end $do$"
    )
}

/// Of a hundred one lives: as the table is after a while.
const MANY: &str = "
set session_replication_role = replica;
insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, \"cursor\", step, booking_id, customer_id, correlation_id, started_by, created_at, finished_at,
                           parked_at, park_reason, amount_minor, currency)
select gen_random_uuid(), 'booking', 1, 'many:' || n, k.state, 4, 'notify', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 't', now() - n * interval '20 s',
       case when k.state = 'completed' then now() end, case when k.state = 'parked' then now() end, case when k.state = 'parked' then 'x' end, 8000, 'EUR'
  from generate_series(1, 20000) n
 cross join lateral (select case when n % 100 > 0 then 'completed' else (array['parked', 'waiting', 'running'])[1 + n / 100 % 3] end as state) k;
reset session_replication_role;
analyze saga.instance";

#[tokio::test]
async fn nothing_that_a_window_asks_over_and_over_reads_all_sagas_that_are_over() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    sqlx::raw_sql(MANY).execute(&owner).await.unwrap();
    let before = scans(&owner).await;
    let done = || SagaFilter::from(SagaTab::Done);
    let price = |from_minor| PriceRange {
        currency: "EUR".to_owned(),
        from_minor: Some(from_minor),
        to_minor: None,
    };
    let lists = [
        SagaTab::NeedsPerson.into(),
        SagaTab::AtRisk.into(),
        SagaTab::WaitingForCustomer.into(),
        SagaTab::WaitingForProvider.into(),
        SagaTab::Running.into(),
        done(),
        SagaFilter {
            definition: Some("cancellation".to_owned()),
            ..done()
        },
        SagaFilter {
            older_than_h: Some(24),
            ..done()
        },
        SagaFilter {
            price: Some(price(100_000)),
            ..done()
        },
        SagaFilter {
            order: SagaOrder::Price,
            ..done()
        },
        // What every reference begins with says of none which: the tab as it is.
        SagaFilter {
            search: Some("bk".to_owned()),
            ..done()
        },
    ];
    // Each list once, and each row of its page.
    let mut read = 0;
    for filter in lists {
        let desk = t.desk(None);
        let page = sagas::export_page(&desk, ListSagas::first(filter, 500));
        let page = page.await.unwrap();
        read += 1 + i64::from(page.rows) + i64::from(page.next.is_some());
    }
    let desk = t.desk(None);
    session::status(&desk, Empty {}).await.unwrap();
    let all =
        serde_json::from_value(serde_json::json!({ "filter": {}, "after": null, "limit": 1 }));
    inbox::list(&desk, all.unwrap()).await.unwrap();
    drop(desk);
    let (hints, stop) = (Hints::default(), CancellationToken::new());
    let heard = hints.subscribe();
    let watching = tokio::spawn(projection::watch(
        t.people.clone(),
        Bell::default(),
        hints,
        stop.clone(),
    ));
    // And two looks of two questions each. A connection says what it counted a while later.
    wait_until(
        "two looks are counted",
        Duration::from_secs(60),
        async || scans(&owner).await.1 >= before.1 + read + 2 * 2,
    )
    .await;
    stop.cancel();
    watching.await.unwrap();
    drop(heard);
    t.people.close().await;
    assert_eq!(scans(&owner).await.0, before.0, "none from end to end");
}

/// How often the table of sagas was read from end to end, and how often by an index.
async fn scans(owner: &PgPool) -> (i64, i64) {
    sqlx::query_as("select seq_scan, idx_scan from pg_stat_user_tables where relid = 'saga.instance'::regclass")
        .fetch_one(owner)
        .await
        .unwrap()
}
