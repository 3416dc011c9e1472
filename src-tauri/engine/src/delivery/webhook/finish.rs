//! Recording tries: many in one statement, each guarded by its fence, with the figures of the hour in the same commit.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use super::send::Finished;
use crate::domain::ids::WorkerId;
use crate::runtime::bell::Bell;
use crate::runtime::crash::CrashPoints;
use crate::runtime::hints::Hints;

/// One statement records up to so many, and waits for more up to so long: longer where many end, since a statement and its flush
/// cost the same for few.
const MOST: usize = 512;
const WAIT: Duration = Duration::from_millis(4);
const WAIT_BUSY: Duration = Duration::from_millis(16);
/// What the short wait brings when many end.
const BUSY: usize = 24;
/// Upper ends of the latency buckets in milliseconds; one more is for what is later.
pub const BUCKETS_MS: [f32; 10] = [
    10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
];
const BUCKETS: usize = BUCKETS_MS.len() + 1;

/// No join, so that no planner can turn one round, whatever it believes of the table: the rows are found by their keys, and
/// `width_bucket` finds a row's place in `$1` by halving, which is why `$1` is sorted. What is looked up there for each row stands in
/// arrays of one width without nulls: in others the server counts through to the place. What writes is done from the last to the
/// first: the figures of the hour at the end, since another record of the same endpoint waits for them.
///
/// What a person asked for uses up none of the tries, and the next one is the schedule's again.
///
/// A record needs its lease, and a delivery whose fence is still that of the claim: whatever else is done to one raises it.
pub const FINISH: &str = "
with r as (
  select * from unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::float8[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::int[], $11::real[], $12::real[], $13::real[], $14::real[], $15::real[], $16::real[], $17::text[], $18::text[],
                       $19::text[], $20::bytea[], $21::bool[], $22::timestamptz[], $23::text[], $29::text[], $30::text[])
    as t(id, fence, no, state, again_in, result, class, error, url, status, dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms, total_ms, peer,
         request_headers, response_headers, body, body_cut, started_at, trigger, tls, shape)),
u as (
  update delivery.deliveries d
     set state = (array['delivered', 'scheduled', 'gave_up'])[($4)[width_bucket(d.delivery_id, $1)]],
         attempt = ($3)[width_bucket(d.delivery_id, $1)], fence = d.fence + 1, by_hand = false, changed_at = now(),
         trigger = case when d.trigger = 'manual' and ($4)[width_bucket(d.delivery_id, $1)] = 2 then 'auto' else d.trigger end,
         tries_from = d.tries_from + (d.trigger = 'manual')::int,
         next_at = case ($4)[width_bucket(d.delivery_id, $1)] when 2 then now() + make_interval(secs => ($5)[width_bucket(d.delivery_id, $1)])
                        else d.next_at end,
         finished_at = case ($4)[width_bucket(d.delivery_id, $1)] when 2 then null else now() end,
         last_status = nullif(($10)[width_bucket(d.delivery_id, $1)], 0), last_ms = ($16)[width_bucket(d.delivery_id, $1)]::int,
         last_class = case ($4)[width_bucket(d.delivery_id, $1)] when 1 then null else ($7)[width_bucket(d.delivery_id, $1)] end,
         outcome = case ($4)[width_bucket(d.delivery_id, $1)] when 1 then null else
                     jsonb_build_object('result', ($6)[width_bucket(d.delivery_id, $1)], 'problem', ($8)[width_bucket(d.delivery_id, $1)]) end
   where d.delivery_id = any($1) and d.fence = ($2)[width_bucket(d.delivery_id, $1)] - 1
     and (select true from delivery.leases l where l.delivery_id = d.delivery_id and l.owner = $24 and l.fence = d.fence + 1)
  returning d.delivery_id),
over as (
  delete from delivery.leases l where l.delivery_id = any(array(select delivery_id from u)) and l.owner = $24),
s as (
  insert into delivery.stats_hourly as h (destination_id, hour, ok, failed, took, last_ok_at)
  select ep, date_trunc('hour', now()), ok, failed, ($28::int[])[(o - 1) * 11 + 1 : o * 11], case when ok > 0 then now() end
    from unnest($25::uuid[], $26::int[], $27::int[]) with ordinality as x(ep, ok, failed, o)
  on conflict (destination_id, hour) do update
     set ok = h.ok + excluded.ok, failed = h.failed + excluded.failed, last_ok_at = coalesce(excluded.last_ok_at, h.last_ok_at),
         took = array(select a + b from unnest(h.took, excluded.took) as y(a, b))),
a as (
  insert into delivery.attempts (delivery_id, no, fence, worker_id, started_at, ended_at, result, error, trigger, url, status, error_class,
                                 dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms, total_ms, peer, request_headers, response_headers, body, body_cut, tls, shape)
  select id, no, fence, $24, started_at, started_at + make_interval(secs => total_ms / 1000), result, error, trigger, url, nullif(status, 0), class,
         dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms, total_ms, peer, request_headers::json, response_headers::json, body, body_cut, tls, shape
    from r on conflict do nothing)
select delivery_id from u";

/// Several run side by side, so that one records while another waits for the disk.
pub struct Finisher {
    pub pool: PgPool,
    pub worker: WorkerId,
    pub bell: Bell,
    pub hints: Hints,
    pub crash: CrashPoints,
}

impl Finisher {
    /// Until nobody sends any more and all is written.
    pub async fn run(&self, results: &Mutex<mpsc::Receiver<Box<Finished>>>) {
        let mut batch = Vec::with_capacity(MOST);
        loop {
            gather(&mut *results.lock().await, &mut batch).await;
            if batch.is_empty() {
                return;
            }
            batch.sort_unstable_by_key(|f| f.delivery_id);
            self.crash.point("before_record").await;
            self.write(&batch).await;
            batch.clear();
            self.hints.changed("deliveries");
        }
    }

    /// Never gives up: a result that is not recorded is a message that is sent twice. The lease ends all the same if the
    /// database stays away, and then it is.
    async fn write(&self, batch: &[Box<Finished>]) {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.record(batch).await {
                Ok(()) => return,
                // Nothing of it can be stored, whatever we do: one by one, so that its neighbours are.
                Err(error) if is_ours(&error) && batch.len() > 1 => {
                    for one in batch {
                        Box::pin(self.write(std::slice::from_ref(one))).await;
                    }
                    return;
                }
                Err(error) if is_ours(&error) => {
                    let one = batch.first().map(|f| f.delivery_id);
                    tracing::error!(delivery.id = ?one, error = &error as &dyn std::error::Error, "a try cannot be recorded; it is made again when its lease ends");
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        tries = batch.len(),
                        "tries were not recorded yet; trying again"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    async fn record(&self, batch: &[Box<Finished>]) -> sqlx::Result<()> {
        let tallies = tallies(batch);
        let told: Vec<(&Uuid, &Tally)> = tallies.iter().filter(|(_, t)| t.tells()).collect();
        let recorded: Vec<Uuid> = if told.is_empty() {
            statement(batch, self.worker, &tallies)
                .fetch_all(&self.pool)
                .await?
        } else {
            let mut tx = crate::store::begin(&self.pool).await?;
            let recorded = statement(batch, self.worker, &tallies)
                .fetch_all(&mut *tx)
                .await?;
            let changed: Vec<Uuid> = note(&told).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            if !changed.is_empty() {
                self.hints.changed("endpoints");
                self.bell.ring();
            }
            recorded
        };
        if recorded.len() < batch.len() {
            self.mark_late(batch, &recorded).await?;
        }
        Ok(())
    }

    /// Somebody else holds these now: the try stays in the log and changes nothing.
    async fn mark_late(&self, batch: &[Box<Finished>], recorded: &[Uuid]) -> sqlx::Result<()> {
        let late = batch.iter().filter(|f| !recorded.contains(&f.delivery_id));
        for one in late {
            tracing::info!(delivery.id = %one.delivery_id, attempt = one.no, "a try ended after its lease: it is kept in the log only");
            sqlx::query("update delivery.attempts set late = true where delivery_id = $1 and no = $2 and fence = $3 and result <> 'interrupted'")
                .bind(one.delivery_id)
                .bind(one.no)
                .bind(one.fence)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}

/// What has ended, and what ends within a moment.
#[allow(
    clippy::vec_box,
    reason = "they are sorted and passed on, and each is several hundred bytes"
)]
async fn gather(results: &mut mpsc::Receiver<Box<Finished>>, batch: &mut Vec<Box<Finished>>) {
    if results.recv_many(batch, MOST).await == 0 {
        return;
    }
    let began = tokio::time::Instant::now();
    let mut until = began + WAIT;
    while batch.len() < MOST {
        let room = MOST - batch.len();
        match tokio::time::timeout_at(until, results.recv_many(batch, room)).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) if batch.len() >= BUSY && until < began + WAIT_BUSY => {
                until = began + WAIT_BUSY;
            }
            Err(_) => break,
        }
    }
}

/// The database understood and refused: it will refuse again.
fn is_ours(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// What a batch says about one endpoint.
#[derive(Default)]
struct Tally {
    ok: i32,
    failed: i32,
    took: [i32; BUCKETS],
    /// The same of those that count for its health, and failures since the last that got through.
    counted_ok: i32,
    counted_failed: i32,
    tail: i32,
    slow: i32,
    gone: bool,
    wait: Option<Duration>,
    unclean: bool,
    last: Option<(Option<String>, Option<&'static str>, Option<i16>)>,
}

impl Tally {
    /// An endpoint that works and worked needs no word about it.
    fn tells(&self) -> bool {
        self.counted_failed > 0 || self.unclean && self.counted_ok > 0
    }

    fn add(&mut self, one: &Finished) {
        let delivered = one.state == "delivered";
        self.ok += i32::from(delivered);
        self.failed += i32::from(!delivered);
        let bucket = BUCKETS_MS
            .iter()
            .position(|end| one.timings.total_ms <= *end);
        self.took[bucket.unwrap_or(BUCKETS - 1)] += 1;
        if !one.counts {
            return;
        }
        self.unclean |= !one.clean;
        if delivered {
            self.counted_ok += 1;
            self.tail = 0;
            return;
        }
        self.counted_failed += 1;
        self.tail += 1;
        self.slow += i32::from(one.signals.slow_down);
        self.gone |= one.signals.gone;
        self.wait = self.wait.max(one.signals.wait);
        self.last = Some((one.error.clone(), one.class, one.status));
    }
}

/// By id, so that two workers write the figures of two endpoints in one order.
fn tallies(batch: &[Box<Finished>]) -> BTreeMap<Uuid, Tally> {
    let mut tallies: BTreeMap<Uuid, Tally> = BTreeMap::new();
    for one in batch {
        tallies.entry(one.destination_id).or_default().add(one);
    }
    tallies
}

type Statement<'q> =
    sqlx::query::QueryScalar<'q, sqlx::Postgres, Uuid, sqlx::postgres::PgArguments>;

fn statement<'q>(
    batch: &'q [Box<Finished>],
    worker: WorkerId,
    tallies: &BTreeMap<Uuid, Tally>,
) -> Statement<'q> {
    macro_rules! column {
        (|$f:ident| $value:expr) => {
            batch.iter().map(|$f| $value).collect::<Vec<_>>()
        };
    }
    sqlx::query_scalar(FINISH)
        .bind(column!(|f| f.delivery_id))
        .bind(column!(|f| f.fence))
        .bind(column!(|f| f.no))
        .bind(column!(|f| state_no(f.state)))
        .bind(column!(|f| f.again_in.unwrap_or(0.0)))
        .bind(column!(|f| f.result))
        .bind(column!(|f| f.class))
        .bind(column!(|f| f.error.as_deref()))
        .bind(column!(|f| f.url.as_str()))
        .bind(column!(|f| i32::from(f.status.unwrap_or(0))))
        .bind(column!(|f| f.timings.dns_ms))
        .bind(column!(|f| f.timings.connect_ms))
        .bind(column!(|f| f.timings.tls_ms))
        .bind(column!(|f| f.timings.first_byte_ms))
        .bind(column!(|f| f.timings.body_ms))
        .bind(column!(|f| f.timings.total_ms))
        .bind(column!(|f| f.peer.as_deref()))
        .bind(column!(|f| f.request_headers.as_str()))
        .bind(column!(|f| f.response_headers.as_deref()))
        .bind(column!(|f| f.body.as_deref()))
        .bind(column!(|f| f.body_cut))
        .bind(column!(|f| f.started_at))
        .bind(column!(|f| f.trigger.as_str()))
        .bind(worker.0)
        .bind(tallies.keys().copied().collect::<Vec<_>>())
        .bind(tallies.values().map(|t| t.ok).collect::<Vec<_>>())
        .bind(tallies.values().map(|t| t.failed).collect::<Vec<_>>())
        .bind(tallies.values().flat_map(|t| t.took).collect::<Vec<_>>())
        .bind(column!(|f| f.tls))
        .bind(column!(|f| f.shape))
}

/// Its place in the statement's list of states.
fn state_no(state: &str) -> i32 {
    match state {
        "delivered" => 1,
        "scheduled" => 2,
        _ => 3,
    }
}

fn note<'q>(told: &[(&Uuid, &Tally)]) -> Statement<'q> {
    let of = |pick: fn(&Tally) -> i32| told.iter().map(|(_, t)| pick(t)).collect::<Vec<_>>();
    let last = |t: &Tally| t.last.clone().unwrap_or_default();
    sqlx::query_scalar(
        "select delivery.note_results($1, $2, $3, $4, $5, array(select now() + make_interval(secs => w) from unnest($6::float8[]) with ordinality x(w, o) order by o), $7, $8, $9, $10)",
    )
    .bind(told.iter().map(|(id, _)| **id).collect::<Vec<_>>())
    .bind(of(|t| t.counted_ok))
    .bind(of(|t| t.counted_failed))
    .bind(of(|t| t.tail))
    .bind(of(|t| t.slow))
    .bind(
        told.iter()
            .map(|(_, t)| t.wait.map(|w| w.as_secs_f64()))
            .collect::<Vec<_>>(),
    )
    .bind(told.iter().map(|(_, t)| t.gone).collect::<Vec<_>>())
    .bind(told.iter().map(|(_, t)| last(t).0).collect::<Vec<_>>())
    .bind(told.iter().map(|(_, t)| last(t).1).collect::<Vec<_>>())
    .bind(told.iter().map(|(_, t)| last(t).2).collect::<Vec<_>>())
}
