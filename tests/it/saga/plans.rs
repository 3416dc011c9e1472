//! What a booking and each step of its saga read: rows by an index, never a table from end to end. Their plans are made once
//! a session, and often while the tables are nearly empty.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::support::desk::{ANA, TestDesk};

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
