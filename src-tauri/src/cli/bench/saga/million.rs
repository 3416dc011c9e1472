//! The list of sagas among a million: each tab, a group, a search by reference, by name and by payment, and filters of
//! those that are over, as a window asks.
//!
//! Filled by SQL and not by the engine, since what is measured is reading. 99 % are over; of the rest a tenth waits for a
//! person.

use std::time::{Duration, Instant};

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::{
    GetSagaFigures, ListSagas, PriceRange, SagaFilter, SagaOrder, SagaTab,
};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::super::ground::Ground;
use super::super::rounds::{Figure, Sample, rounded};
use super::super::{BenchError, Common};

/// One after the other for the whole list; a file is written in pages of 500.
const EXPORTED: u64 = 100_000;
const SAGAS: i64 = 1_000_000;
const LIVE: i64 = 10_000;
const ASKED: usize = 40;
/// Of the customer with number 12345.
const NAME: &str = "827ccb 0eea8a706";

pub async fn run(common: &Common, ground: &Ground) -> Result<(), BenchError> {
    fill(ground).await?;
    let desk = ground.viewer_desk().await?;
    let plain = |tab| ListSagas::first(tab, 100);
    let of = |filter: SagaFilter| ListSagas::first(filter, 100);
    let search = |text: &str| {
        of(SagaFilter {
            search: Some(text.to_owned()),
            ..SagaTab::NeedsPerson.into()
        })
    };
    let grouped = of(SagaFilter {
        group: Some("notify:F:refused".to_owned()),
        ..SagaTab::NeedsPerson.into()
    });
    // Among those that are over, of which there are most.
    let done = || SagaFilter::from(SagaTab::Done);
    let priced = |from_minor, to_minor| {
        Some(PriceRange {
            currency: "EUR".to_owned(),
            from_minor,
            to_minor,
        })
    };
    let cases = [
        ("needs_person", plain(SagaTab::NeedsPerson)),
        ("group", grouped),
        ("at_risk", plain(SagaTab::AtRisk)),
        ("waiting_for_customer", plain(SagaTab::WaitingForCustomer)),
        ("waiting_for_provider", plain(SagaTab::WaitingForProvider)),
        ("running", plain(SagaTab::Running)),
        ("done", plain(SagaTab::Done)),
        (
            "cancellations",
            of(SagaFilter {
                definition: Some("cancellation".to_owned()),
                ..done()
            }),
        ),
        (
            "older",
            of(SagaFilter {
                older_than_h: Some(7 * 24),
                ..done()
            }),
        ),
        (
            "dear",
            of(SagaFilter {
                price: priced(Some(25_000), None),
                ..done()
            }),
        ),
        (
            "cheap",
            of(SagaFilter {
                price: priced(Some(100), Some(200)),
                ..done()
            }),
        ),
        (
            "dearest",
            of(SagaFilter {
                order: SagaOrder::Price,
                ..done()
            }),
        ),
        (
            "dearest_cancellations",
            of(SagaFilter {
                definition: Some("cancellation".to_owned()),
                price: priced(None, Some(20_000)),
                order: SagaOrder::Price,
                ..done()
            }),
        ),
        ("reference", search("bk-777777")),
        ("name", search(NAME)),
        ("payment", search("pi_bench_500000")),
    ];
    if common.wants("figures-1m") {
        figures(common, &desk).await?;
    }
    if !common.wants("list-1m") {
        return Ok(());
    }
    let (mut all, mut each) = (vec![], serde_json::Map::new());
    for (name, request) in cases {
        let mut latencies = vec![];
        for n in 0..=ASKED {
            let asked = Instant::now();
            let list = sagas::list(&desk, request.clone()).await;
            let took = asked.elapsed().as_secs_f64() * 1_000.0;
            if list.map_err(|e| e.message)?.rows.is_empty() && name != "at_risk" {
                return Err(format!("the list {name} is empty").into());
            }
            // The first one prepares.
            if n > 0 {
                latencies.push(took);
            }
        }
        all.extend(latencies.iter().copied());
        let sample = Sample::of(0, Duration::from_secs(1), latencies);
        each.insert(name.to_owned(), rounded(sample.percentile(0.95)));
    }
    let all = Sample::of(0, Duration::from_secs(1), all);
    common.print(
        &Figure::new("saga", "list-1m", all.percentile(0.95), "ms p95")
            .with("p50_ms", rounded(all.percentile(0.5)))
            .with("sagas", SAGAS)
            .with("live", LIVE)
            .with("p95_ms", Value::Object(each)),
    );
    Ok(())
}

/// What the page of figures asks, of as many days as it offers, and the first page and the pace of a file.
async fn figures(common: &Common, desk: &Desk) -> Result<(), BenchError> {
    let mut each = serde_json::Map::new();
    let (mut shown, mut over) = (vec![], 0);
    for days in [1, 7, 30, 90] {
        let mut latencies = vec![];
        for n in 0..=ASKED {
            let asked = Instant::now();
            let told = sagas::figures(desk, GetSagaFigures { days }).await;
            let took = asked.elapsed().as_secs_f64() * 1_000.0;
            let told = told.map_err(|e| e.message)?;
            over = told.kinds.iter().map(|k| k.over).sum::<i64>();
            if n > 0 {
                latencies.push(took);
            }
        }
        shown.extend(latencies.iter().copied());
        let sample = Sample::of(0, Duration::from_secs(1), latencies);
        each.insert(format!("{days}d"), rounded(sample.percentile(0.95)));
    }
    let asked = Instant::now();
    let done = ListSagas::first(SagaTab::Done, 500);
    let (mut rows, mut after, mut first) = (0, None, 0.0);
    while rows < EXPORTED {
        let request = ListSagas {
            after: after.take(),
            ..done.clone()
        };
        let page = sagas::export_page(desk, request).await;
        let page = page.map_err(|e| e.message)?;
        if rows == 0 {
            first = asked.elapsed().as_secs_f64() * 1_000.0;
        }
        rows += u64::from(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let pace = rows as f64 / asked.elapsed().as_secs_f64();
    let shown = Sample::of(0, Duration::from_secs(1), shown);
    common.print(
        &Figure::new("saga", "figures-1m", shown.percentile(0.95), "ms p95")
            .with("p50_ms", rounded(shown.percentile(0.5)))
            .with("p95_ms", Value::Object(each))
            .with("over_90d", over)
            .with("csv_first_page_ms", rounded(first))
            .with("csv_rows_per_s", rounded(pace)),
    );
    Ok(())
}

/// The n-th saga of a kind: over (completed, or taken back), parked, waiting for a customer, for an answer, for the mail, running.
const INSTANCES: &str = "
insert into saga.instance (saga_id, definition, def_version, dedupe_key, state, direction, \"cursor\", step, asks, version, fence, by_fence, wake_at, await_key, attempt,
    pivot_passed_at, park_reason, park_code, parked_at, error_class, error_message, outcome, booking_id, customer_id, amount_minor, currency, context, correlation_id, started_by,
    created_at, updated_at, finished_at)
select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, case when n % 500 = 7 and n > 500000 then 'cancellation' else 'booking' end, 1, 'booking:' || n, k.state, case when k.state = 'compensated' then 'C' else 'F' end::\"char\",
       k.at, case k.at when 1 then 'payment' when 2 then 'capture' when 4 then 'notify' end, case when k.at in (1, 2) then 'stripe' end, 5, 2, 2, now() + interval '1 hour',
       case when k.kind = 'customer' then 'stripe:cs_' || n end, case when n % 50 = 0 then 4 else 0 end, case when k.at > 2 then now() end,
       case when k.state = 'parked' then 'nobody of that name' end, case when k.state = 'parked' then 'not_told' end, case when k.state = 'parked' then now() - n * interval '1 ms' end,
       case when k.state = 'parked' then (array['refused', 'later', 'unknown', 'exhausted'])[1 + n % 4] when k.kind = 'answer' then 'unknown' end,
       case when k.state = 'parked' then 'the mail server refused it (550)' end, case when k.over then k.state end,
       ('00000000-0000-7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid, ('00000000-0000-7000-a000-' || lpad(to_hex(n % 50000), 12, '0'))::uuid, 100 + n * 7919 % 30000, 'EUR',
       jsonb_build_object('provider', 'stripe', 'reference', 'BK-' || n), gen_random_uuid(), 'bench', now() - n * interval '20 s', now() - n * interval '20 s',
       case when k.over then now() - n * interval '20 s' end
  from generate_series(1, $1::bigint) n
 cross join lateral (select n > $2 as over, case when n > $2 then 'over' when n % 10 = 0 then 'parked' when n % 10 < 4 then 'customer' when n % 10 < 7 then 'answer' when n % 10 < 9 then 'mail' else 'run' end as kind) c
 cross join lateral (select c.kind, c.over,
       case c.kind when 'over' then case when n % 20 = 0 then 'compensated' else 'completed' end when 'parked' then 'parked' when 'run' then 'running' else 'waiting' end as state,
       (case c.kind when 'over' then case when n % 20 = 0 then -1 else 5 end when 'customer' then 1 when 'answer' then 2 when 'run' then 2 else 4 end)::smallint as at) k";

const BOOKINGS: &str = "
insert into read.bookings_v1 (booking_id, reference, customer_id, customer_name, service_id, service_name, resources, starts_at, ends_at, zone, state, payment, payment_mode,
    price_minor, currency, captured_minor, payment_intent, version, correlation_id, changed_at, search)
select i.booking_id, 'BK-' || n, i.customer_id, c.name, '00000000-0000-7000-b000-000000000001', 'Deep tissue 60', '[]', now() + n * interval '1 minute',
       now() + n * interval '1 minute' + interval '1 hour', 'UTC', 'confirmed', 'paid', 'card_on_file', i.amount_minor, 'EUR', case when i.state = 'parked' then i.amount_minor else 0 end, 'pi_bench_' || n, 5,
       gen_random_uuid(), now(), lower(concat_ws(E'\\n', 'bk-' || n, c.name, c.email, '', 'pi_bench_' || n))
  from saga.instance i cross join lateral (select substr(i.dedupe_key, 9)::bigint as n) x join read.customers_v1 c using (customer_id)";

/// Fifty thousand, with twenty bookings each. Their names are two words that hardly anybody shares.
const CUSTOMERS: &str = "
insert into read.customers_v1 (customer_id, name, email, erased, bookings, search)
select ('00000000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid, k.name, k.email, false, 20, lower(k.name || E'\\n' || k.email)
  from generate_series(0, 49999) n
 cross join lateral (select substr(md5(n::text), 1, 6) || ' ' || substr(md5(n::text), 7, 9) as name, 'c' || n || '@example.com' as email) k";

const EFFECTS: &str = "
insert into saga.effect (effect_id, saga_id, step, direction, provider, operation, idempotency_key, request, request_sha256, outcome, provider_object, resolved_at, resolved_via)
select gen_random_uuid(), saga_id, 'payment', 'F', 'stripe', 'create_intent', 'bench:' || dedupe_key, '{}', '', 'confirmed', 'pi_bench_' || substr(dedupe_key, 9), now(), 'response'
  from saga.instance";

/// Three tries a saga that is over, a fiftieth of which failed; a case, a command and a refund of what was decided or taken back.
const PAST: [&str; 4] = [
    "insert into saga.attempt (saga_id, no, step, direction, fence, started_at, ended_at, result, error_class)
     select i.saga_id, k.no, (array['payment', 'capture', 'notify'])[k.no], 'F', 2, i.created_at + k.no * interval '1 s', i.created_at + k.no * interval '1 s' + interval '300 ms',
            case when (i.amount_minor + k.no + substr(i.dedupe_key, 9)::bigint) % 50 = 0 then 'failed' else 'done' end,
            case when (i.amount_minor + k.no + substr(i.dedupe_key, 9)::bigint) % 50 = 0 then (array['busy', 'unknown', 'later'])[1 + substr(i.dedupe_key, 9)::int % 3] end
       from saga.instance i cross join (values (1), (2), (3)) k(no) where i.finished_at is not null",
    "insert into saga.attention (case_id, saga_id, kind, severity, fact, opened_at, closed_at, closed_reason)
     select gen_random_uuid(), saga_id, 'parked', 1, '{}', finished_at - interval '20 minutes', finished_at, state from saga.instance
      where finished_at is not null and substr(dedupe_key, 9)::bigint % 100 = 0",
    "insert into saga.command (command_id, saga_id, action, expected_version, reason, requested_by, requested_at, status, applied_at)
     select gen_random_uuid(), saga_id, (array['retry', 'compensate', 'skip'])[1 + substr(dedupe_key, 9)::int % 3], 4, 'as the customer wished', 'bench', finished_at, 'applied', finished_at
       from saga.instance where finished_at is not null and substr(dedupe_key, 9)::bigint % 100 = 0",
    "insert into read.ledger_transfers_v1 (position, line, booking_id, event_id, event_name, occurred_at, day, debit, credit, amount_minor, currency)
     select substr(i.dedupe_key, 9)::bigint * 2 + k.refund, 0, i.booking_id, gen_random_uuid(), case k.refund when 1 then 'PaymentRefunded' else 'PaymentReceived' end, i.finished_at, i.finished_at::date,
            case k.refund when 1 then 'refunds' else 'provider_clearing' end, case k.refund when 1 then 'provider_clearing' else 'customer_receivable' end, 8000, 'EUR'
       from saga.instance i cross join (values (0), (1)) k(refund) where i.finished_at is not null and (k.refund = 0 or i.state = 'compensated')",
];

async fn fill(ground: &Ground) -> Result<(), BenchError> {
    let mut conn = PgConnection::connect_with(&ground.superuser()).await?;
    sqlx::raw_sql("set synchronous_commit = off; set session_replication_role = replica; set maintenance_work_mem = '256MB'")
        .execute(&mut conn)
        .await?;
    sqlx::query(INSTANCES)
        .bind(SAGAS)
        .bind(LIVE)
        .execute(&mut conn)
        .await?;
    for sql in [CUSTOMERS, BOOKINGS, EFFECTS].into_iter().chain(PAST) {
        sqlx::query(sql).execute(&mut conn).await?;
    }
    // As a worker does, by and by.
    while sqlx::query_scalar("select saga.sum_day()")
        .fetch_one(&mut conn)
        .await?
    {}
    sqlx::raw_sql("vacuum analyze").execute(&mut conn).await?;
    Ok(conn.close().await?)
}
