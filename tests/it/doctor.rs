//! The doctor: finds nothing in a sound world, and each planted wrong with exactly the audit that is made for it.

use std::collections::BTreeSet;
use std::time::Duration;

use bizing_engine::app::doctor::{self, ALL, Report};
use bizing_engine::app::wire::{Code, CreateBooking, ForCustomer, PaymentMode};
use bizing_engine::projection::Tail;
use bizing_engine::runtime::hints::Hints;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::projection::seeded;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

/// A completed booking, one that was taken back, one that waits for its customer, and one paid at the venue.
async fn lived() -> TestDesk {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    let to_nobody = ForCustomer::New {
        name: "Bo".to_owned(),
        email: Some("bounce@example.com".to_owned()),
        phone: None,
    };
    let book = async |request: CreateBooking, end: &str| {
        let booked = t.book(&desk, request).await;
        t.wait_for_saga(booked.booking_id, end).await;
    };
    book(booking(&slot(0)), "completed").await;
    book(
        CreateBooking {
            customer: to_nobody,
            ..booking(&slot(1))
        },
        "compensated",
    )
    .await;
    book(
        CreateBooking {
            payment_mode: PaymentMode::Link,
            payment_method: None,
            ..booking(&slot(2))
        },
        "waiting",
    )
    .await;
    book(
        CreateBooking {
            payment_mode: PaymentMode::Venue,
            payment_method: None,
            ..booking(&slot(3))
        },
        "completed",
    )
    .await;
    wait_until(
        "every message is settled",
        Duration::from_secs(20),
        || async {
            sqlx::query_scalar(
                "select not exists (select 1 from delivery.deliveries where finished_at is null)",
            )
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
        },
    )
    .await;
    let tail = Tail::new(t.worker_pool.clone(), Hints::default());
    while tail.round().await.unwrap() {}

    assert_eq!(
        found(&doctor::run(&t.worker_pool, true).await.unwrap()),
        BTreeSet::new(),
        "while a worker runs"
    );
    worker.close().await;
    t
}

/// Names of the audits that found something.
fn found(report: &Report) -> BTreeSet<&'static str> {
    report.findings().map(|f| f.name).collect()
}

/// Another worker is alive somewhere, so that its absence is not what is found.
const ALIVE: &str = "insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid) values (gen_random_uuid(), 'elsewhere', '', '', '[]', 'headless', 1);";

/// An event appended as the desk does it, with the data of another.
fn append(to: &str, name: &str, data: &str) -> String {
    format!(
        "select api.append(array[(select stream_id from core.streams s where {to})], array[null]::bigint[], array[null]::uuid[], array[null]::bytea[], array[1],
                           array[gen_random_uuid()], array['{name}'], array[1::smallint], array[now()], array[gen_random_uuid()], array[null]::uuid[], array['{{}}'::jsonb],
                           array[{data}])"
    )
}

fn with_event(name: &str) -> String {
    format!(
        "exists (select 1 from core.events e join core.event_types t using (type_no) where e.stream_no = s.stream_no and t.name = '{name}')"
    )
}

const NEVER_PAID: &str = "not exists (select 1 from saga.effect f join saga.instance i using (saga_id) where s.stream_id = 'booking-' || i.booking_id) and s.category = 'booking'";
const RECEIVED: &str = "(select e.data from core.events e join core.event_types t using (type_no) where t.name = 'PaymentReceived' order by position limit 1)";

fn effect(saga: &str, intended: &str, outcome: &str, step: &str) -> String {
    let resolved = if outcome == "confirmed" {
        "now() - interval '10 minutes'"
    } else {
        "null"
    };
    format!(
        "insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256, intended_at, outcome, resolved_at)
         select gen_random_uuid(), saga_id, '{step}', 'F', 9, 'stripe', '{step}', 'planted', '{{}}', '', now() - interval '{intended}', '{outcome}', {resolved} from saga.instance where {saga} limit 1"
    )
}

/// What is planted, and the audit that must find it, alone.
fn plants() -> Vec<(&'static str, String)> {
    let paid_and_kept = format!(
        "{} and not {}",
        with_event("PaymentReceived"),
        with_event("BookingCancelled")
    );
    let kept = format!(
        "booking_id = (select substr(stream_id, 9)::uuid from core.streams s where {paid_and_kept})"
    );
    let taken_back = format!(
        "booking_id = (select substr(stream_id, 9)::uuid from core.streams s where {})",
        with_event("BookingCancelled")
    );
    let past_the_triggers = "set session_replication_role = replica;";
    let of_kept =
        format!("stream_no = (select stream_no from core.streams s where {paid_and_kept})");
    let refund =
        "jsonb_build_object('amount', jsonb_build_object('amount_minor', 9000, 'currency', 'EUR'))";
    let own = str::to_owned;
    vec![
        ("money.captured_equals_events", append(&paid_and_kept, "PaymentReceived", RECEIVED)),
        ("money.captured_equals_events", append(NEVER_PAID, "PaymentReceived", RECEIVED)),
        ("money.captured_equals_events", effect("state = 'waiting'", "1 minute", "confirmed", "capture")),
        ("money.captured_equals_events", format!("update saga.instance set amount_minor = amount_minor + 1 where {kept}")),
        ("money.refunds_within_captured", append(&paid_and_kept, "PaymentRefunded", refund)),
        ("money.effect_unresolved_too_long", effect("state = 'waiting'", "2 hours", "unknown", "payment")),
        ("ledger.equals_bookings", own("update read.ledger_transfers_v1 set amount_minor = amount_minor + 1 where debit = 'provider_clearing'")),
        ("ledger.equals_bookings", own("delete from read.ledger_transfers_v1 where credit = 'provider_clearing'")),
        ("hold.live_claim_of_ended_booking", format!("update booking.inventory_claim set released_at = null where {taken_back}")),
        ("hold.confirmed_booking_without_claim", format!("update booking.inventory_claim set released_at = now() where claim_id = (select claim_id from booking.inventory_claim where {kept} limit 1)")),
        ("hold.confirmed_booking_without_claim", format!("update booking.inventory_claim set expires_at = now() + interval '1 hour' where {kept}")),
        (
            "hold.overlap",
            own("alter table booking.inventory_claim drop constraint inventory_claim_no_overlap;
                 insert into booking.inventory_claim (claim_id, resource_id, during, kind)
                   select gen_random_uuid(), resource_id, tstzrange(upper(during) - interval '1 minute', upper(during) + interval '1 minute'), 'block'
                     from booking.inventory_claim where released_at is null limit 1"),
        ),
        ("stream.version_gaps", format!("{past_the_triggers} delete from core.events where version = 4 and {of_kept}")),
        ("stream.version_gaps", format!("{past_the_triggers} delete from core.events where version = 1 and {of_kept}")),
        ("stream.head_matches", format!("{past_the_triggers} delete from core.events where version = 7 and {of_kept}")),
        ("stream.head_matches", format!("update core.streams set version = version + 1 where {of_kept}")),
        ("stream.head_matches", format!("update core.streams set head = sha256(head) where {of_kept}")),
        ("stream.hash_chain", format!("{past_the_triggers} update core.events set actor = 'somebody else' where version = 1 and {of_kept}")),
        ("stream.hash_chain", format!("{past_the_triggers} update core.events set metadata = metadata || '{{\"on_behalf_of\": \"x\"}}' where version = 7 and {of_kept}")),
        // The payloads of two events change places: of two in one stream, and of the first two of two streams.
        ("stream.hash_chain", format!("{past_the_triggers} update core.events e set data = o.data from core.events o where e.{of_kept} and o.{of_kept} and e.version + o.version = 3 and e.version <> o.version")),
        ("stream.hash_chain", format!("{past_the_triggers} with two as (select stream_no from core.streams where category = 'booking' order by stream_no limit 2)
             update core.events e set data = o.data from core.events o where e.version = 1 and o.version = 1 and e.stream_no <> o.stream_no
                and e.stream_no in (select stream_no from two) and o.stream_no in (select stream_no from two)")),
        ("store.partition_ahead", own("select setval('core.position', 16000000)")),
        ("log.assumptions", own("alter sequence core.position cache 20")),
        ("log.assumptions", own("do $$ begin execute format('grant insert on core.events to bizing_worker_%s', (select installation_id from admin.installation)); end $$")),
        // A transaction cannot be made old; what names it has a test of its own.
        (
            "server.old_snapshot",
            own("create or replace function api.oldest_snapshot() returns table (pid int, age_seconds double precision, query text, login name, state text, database name)
                 language sql as $$ select 4242, 1200::double precision, 'select report()', 'reports'::name, 'active', 'elsewhere'::name $$"),
        ),
        ("backup.good_one_is_old", format!("{past_the_triggers} update admin.installation set created_at = now() - interval '3 days'")),
        (
            "backup.good_one_is_old",
            format!("{past_the_triggers} update admin.installation set created_at = now() - interval '90 days';
                 insert into admin.backup (backup_id, why, started_at, host, folder, manifest, proof) values
                   (gen_random_uuid(), 'daily', now() - interval '4 days', 'here', '/b', '{{}}', '{{\"problem\": null}}'),
                   (gen_random_uuid(), 'daily', now() - interval '1 hour', 'here', '/b', '{{}}', '{{\"problem\": \"it is damaged\"}}'),
                   (gen_random_uuid(), 'daily', now() - interval '1 hour', 'here', '/b', '{{}}', null)"),
        ),
        ("saga.parked", own("update saga.instance set state = 'parked', park_reason = 'planted', parked_at = now(), version = version + 1, by_fence = fence where state = 'waiting'")),
        ("saga.stuck_lease", own("update saga.instance set wake_at = now() - interval '10 minutes' where state = 'waiting'")),
        ("saga.terminal_with_open_effect", effect(&kept, "1 minute", "intended", "payment")),
        ("saga.terminal_with_open_effect", effect(&kept, "2 hours", "unknown", "payment")),
        ("delivery.stuck", own("update delivery.deliveries set state = 'scheduled', finished_at = null, next_at = now() - interval '20 minutes' where state = 'delivered'")),
        ("delivery.unclear", own("update delivery.deliveries set state = 'unclear' where state = 'delivered'")),
        ("delivery.owed_missing", own("delete from delivery.attempts; delete from delivery.deliveries where template = 'booking_confirmed'")),
        ("inbox.stuck", own("insert into delivery.inbox (source, external_id, kind, via, payload, received_at) values ('stripe', 'evt_planted', 'x', 'poll', '{}', now() - interval '20 minutes')")),
        ("projection.parked", own("update read.checkpoints set parked = '{\"position\": 3, \"error\": \"planted\"}' where name = 'timeline'")),
        ("projection.lag", format!("{past_the_triggers} update read.checkpoints set position = 0; update core.events set recorded_at = recorded_at - interval '1 hour' where position = 1")),
        ("projection.ahead", own("update read.checkpoints set position = 100000 where name = 'bookings'")),
        ("customer.named_after_erasure", own("update core.subject_keys set key = null, erased_at = now() where subject_id = (select customer_id from read.bookings_v1 limit 1)")),
        ("workers.none_alive", own("update saga.worker set heartbeat_at = now() - interval '5 minutes'")),
        ("connections.sum", ALIVE.repeat(20)),
    ]
}

/// A copy of a world, for one planted wrong.
async fn copy(from: &PgConnectOptions, world: &str, name: &str) -> PgConnectOptions {
    let mut conn = PgConnection::connect_with(&from.clone().database("postgres"))
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "drop database if exists {name} with (force)"
    )))
    .execute(&mut conn)
    .await
    .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{world}'"
    )))
    .execute(&mut conn)
    .await
    .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "create database {name} template {world} strategy file_copy"
    )))
    .execute(&mut conn)
    .await
    .unwrap();
    from.clone().database(name)
}

async fn open(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_planted_wrong_is_found_by_exactly_its_audit_and_a_sound_world_by_none() {
    let t = lived().await;
    sqlx::raw_sql(AssertSqlSafe(ALIVE.to_owned()))
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    let world = t.db.name.clone();
    let planted = format!("{world}_planted");
    let mut proved = BTreeSet::new();
    for (audit, sql) in plants() {
        let superuser = copy(&t.db.superuser(), &world, &planted).await;
        let mut conn = PgConnection::connect_with(&superuser).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.clone()))
            .execute(&mut conn)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        conn.close().await.unwrap();
        let worker = open(t.db.login("worker").database(&planted)).await;
        // An event can only be made old by tampering with its time, which the chain would tell.
        let report = doctor::run(&worker, audit != "projection.lag")
            .await
            .unwrap();
        assert_eq!(found(&report), BTreeSet::from([audit]), "{sql}\n{report}");
        let finding = report.findings().next().unwrap();
        assert!(
            finding.found > 0
                && !finding.sample.is_empty()
                && finding.sample.iter().all(|line| line.len() > 10),
            "{report}"
        );
        worker.close().await;
        proved.insert(audit);
    }
    let every: BTreeSet<&str> = ALL.iter().map(|a| a.name).collect();
    assert_eq!(
        proved, every,
        "an audit that never found anything proves nothing"
    );

    // An admin's login sees the same as the worker's; nobody else may look.
    let clean = copy(&t.db.superuser(), &world, &planted).await;
    let as_group = async |group: &str| {
        doctor::run(&open(t.db.login(group).database(&planted)).await, true).await
    };
    let (worker, admin) = (
        as_group("worker").await.unwrap(),
        as_group("admin").await.unwrap(),
    );
    assert!(worker.ok(), "{worker}");
    assert_eq!(worker, admin);
    assert_eq!(as_group("manager").await.unwrap_err().code, Code::Forbidden);
    let quick = doctor::run(&open(clean).await, false).await.unwrap();
    assert_eq!(
        quick.audits.len() + 1,
        worker.audits.len(),
        "hashes are computed again only on request"
    );
    let mut conn = PgConnection::connect_with(&t.db.superuser().database("postgres"))
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "drop database {planted} with (force)"
    )))
    .execute(&mut conn)
    .await
    .unwrap();
}

#[tokio::test]
async fn the_demo_business_is_sound_but_for_the_refund_that_a_person_is_to_decide() {
    let s = seeded().await;
    s.follow().await;
    sqlx::raw_sql(ALIVE)
        .execute(&s.db.superuser_pool().await)
        .await
        .unwrap();
    let report = doctor::run(&s.worker, true).await.unwrap();
    assert_eq!(found(&report), BTreeSet::from(["saga.parked"]), "{report}");
    assert!(report.to_string().contains("the refund failed"), "{report}");
}
