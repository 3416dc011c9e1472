//! Which deliveries are sent next: one statement for all endpoints, with places for each.
//!
//! The forms matter, and a test holds their plans against a million rows with stale statistics: `= any(array(select …))`
//! and `unnest` in plain sight keep the planner on the index whatever it believes; the natural forms were 3 to 8 times slower.

use std::collections::HashMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::body::{self, Stored};
use super::seen::Mark;
use crate::domain::ids::WorkerId;

/// For as long as the longest timeout twice, and some. What a process of this computer held goes on at once when it dies.
pub const LEASE_S: f64 = 90.0;

/// A delivery that is leased to us.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub delivery_id: Uuid,
    pub destination_id: Uuid,
    /// Of the endpoint's settings.
    pub version: i32,
    /// Places of the endpoint in this process.
    pub places: usize,
    pub no: i32,
    /// Tries that count, with this one unless a person asked for it.
    pub tries: i32,
    pub fence: i64,
    pub trigger: String,
    pub event_name: String,
    pub event_id: Uuid,
    pub position: i64,
    pub created_at: DateTime<Utc>,
    /// Where it stood in what is due; `None` for what a person asked for, which passes that.
    pub due: Option<Mark>,
    /// Sent ahead to see whether the endpoint works again.
    pub probe: bool,
    /// Its endpoint had nothing against it.
    pub clean: bool,
    /// What is sent, the same bytes for all endpoints. `None`: a test, or an event that is not there any more.
    pub body: Option<Bytes>,
}

/// What this process holds of an endpoint, how many more it may take (its rate), and how many it holds at most.
#[derive(Debug, Default)]
pub struct Held {
    pub endpoints: Vec<Uuid>,
    pub held: Vec<i32>,
    pub most: Vec<i32>,
    pub depth: Vec<i32>,
    /// What is due is gone through from there on; `None`: from its beginning.
    pub after: Vec<Option<Mark>>,
    /// Those of them that this process cannot send to: others may.
    pub unusable: Vec<Uuid>,
}

/// `probes`: endpoints whose breaker lets one through; `select true … limit 1` and no `exists`, which the planner may turn into a
/// join that reads all that is due. An endpoint gives twice its places, or as deep as the worker's lane for it has become, so that
/// there is something to go on with while results are written. `by_hand` rows pass breakers, pauses and places, two at a time.
///
/// `turns`: an endpoint with a rate, or with fewer places than there are workers, is one worker's at a time. The row is taken by whoever
/// finds it free as it is then, not as it was when the statement began. `$9`: those that this process cannot use.
///
/// `$10`, `$11`: what is due up to there was looked at a moment ago, and is leased (`Seen`). What became due in the last
/// tenth of a second is looked at all the same: transactions do not commit in the order of their times. Not for endpoints that keep an
/// order: what waits for one before it stands there too, and may go as soon as that is over.
///
/// An event that several endpoints are owed is read once: its row stands for itself, without a delivery, before those of deliveries.
///
/// A claim locks deliveries and writes their leases; it changes no delivery. Two claims cannot have one: while the first goes on the
/// row is locked, and afterwards the lease is there, which the second finds at the latest where it would write its own.
pub const CLAIM: &str = "
with probes as (
  update delivery.health h set breaker = 'half_open', probe_until = now() + interval '60 seconds'
    from delivery.destinations t
   where t.destination_id = h.destination_id and h.breaker <> 'closed' and h.open_until <= now()
     and (h.probe_until is null or h.probe_until < now()) and (h.paused_until is null or h.paused_until <= now())
     and t.kind = 'webhook' and t.state = 'active' and t.deleted_at is null
     and (select true from delivery.deliveries d where d.destination_id = h.destination_id and d.state = 'scheduled' and d.next_at <= now()
             and (select l.delivery_id from delivery.leases l where l.delivery_id = d.delivery_id) is null limit 1)
  returning h.destination_id),
turns as (
  insert into delivery.turns as h (destination_id, owner, until)
  select t.destination_id, $5, now() + interval '60 seconds' from delivery.destinations t
   where $6 > 1 and (t.rate_per_s is not null or t.max_in_flight < $6) and t.kind = 'webhook' and t.state = 'active' and t.deleted_at is null
     and t.destination_id <> all($9)
     and (select true from delivery.deliveries d where d.destination_id = t.destination_id and d.state = 'scheduled' and d.next_at <= now()
             and (select l.delivery_id from delivery.leases l where l.delivery_id = d.delivery_id) is null limit 1)
  on conflict (destination_id) do update set owner = excluded.owner, until = excluded.until
   where h.until < now() or h.owner = excluded.owner and h.until < now() + interval '30 seconds'
  returning h.destination_id),
q as materialized (
  select x.destination_id as ep, x.version, x.places, x.closed, x.clean,
         case when x.ordered_by = 'none' and held.after_at is not null then least(held.after_at, now() - interval '100 milliseconds')
              else '-infinity' end as after_at,
         case when held.after_at < now() - interval '100 milliseconds' then held.after_id
              else '00000000-0000-0000-0000-000000000000' end as after_id,
         case when x.open then least(greatest(coalesce(held.depth, 2 * x.places) - coalesce(held.n, 0), 0), coalesce(held.most, x.rate_per_s, 1000000),
                                     greatest(1, $1 / (count(*) over ())::int))
              when x.probe then 1 else 0 end as n
    from (select t.destination_id, t.rate_per_s, t.version, t.ordered_by, h.breaker = 'closed' as closed,
                 h.breaker = 'closed' and h.failures = 0 and h.failing_since is null and h.window_from is null and h.limit_now is null
                   and h.paused_until is null as clean,
                 greatest(1, least(t.max_in_flight, coalesce(h.limit_now, t.max_in_flight)) / case when $6 > 1 and
                   (t.rate_per_s is not null or t.max_in_flight < $6) then 1 else $6 end) as places,
                 t.state = 'active' and h.breaker = 'closed' and (h.paused_until is null or h.paused_until <= now())
                   and ($6 = 1 or t.rate_per_s is null and t.max_in_flight >= $6 or t.destination_id in (select destination_id from turns)
                        or (select true from delivery.turns o where o.destination_id = t.destination_id and o.owner = $5 and o.until > now())) as open,
                 t.destination_id in (select destination_id from probes) as probe
            from delivery.destinations t join delivery.health h on h.destination_id = t.destination_id
           where t.kind = 'webhook' and t.deleted_at is null) x
    left join unnest($2::uuid[], $3::int[], $4::int[], $8::int[], $10::timestamptz[], $11::uuid[]) as held(ep, n, most, depth, after_at, after_id)
           on held.ep = x.destination_id),
p as (
  select c.*, q.version, q.places, q.closed, q.clean from q cross join lateral (
    select d.delivery_id, d.destination_id, d.attempt, d.tries_from, d.fence, d.trigger, d.template, d.event_id, d.position, d.stream_id,
           d.correlation_id, d.created_at, null::timestamptz as due_at
      from delivery.deliveries d
     where d.destination_id = q.ep and d.state = 'scheduled' and d.by_hand and d.next_at <= now()
       and (select l.delivery_id from delivery.leases l where l.delivery_id = d.delivery_id) is null
     order by d.next_at limit 2 for update of d skip locked) c
  union all
  select c.*, q.version, q.places, q.closed, q.clean from q cross join lateral (
    select d.delivery_id, d.destination_id, d.attempt, d.tries_from, d.fence, d.trigger, d.template, d.event_id, d.position, d.stream_id,
           d.correlation_id, d.created_at, d.next_at as due_at
      from delivery.deliveries d
     where d.destination_id = q.ep and d.state = 'scheduled' and not d.by_hand and d.next_at <= now()
       and (d.next_at, d.delivery_id) > (q.after_at, q.after_id)
       and (select l.delivery_id from delivery.leases l where l.delivery_id = d.delivery_id) is null
       and (d.order_key is null
            or not exists (select from delivery.deliveries e
                            where e.destination_id = d.destination_id and e.order_key = d.order_key and e.position < d.position
                              and e.order_key is not null and e.state in ('scheduled', 'sending', 'held')))
     order by d.next_at, d.delivery_id limit q.n for update of d skip locked) c where q.n > 0),
u as (
  insert into delivery.leases (delivery_id, destination_id, fence, owner, expires_at)
  select delivery_id, destination_id, fence + 1, $5, now() + make_interval(secs => $7) from p
  on conflict do nothing returning delivery_id)
select null::uuid, null::uuid, null::int, null::int, null::bigint, null, k.name, e.event_id, e.position, null::timestamptz, null::int, null::int,
       null::bool, null::bool, x.stream_id, e.version, e.occurred_at, x.correlation_id, k.schema_version, e.data::text, null::bigint as endpoints, null::timestamptz
  from (select distinct on (p.position) p.position, p.stream_id, p.correlation_id from p where p.position > 0) x
  join core.events e on e.position = x.position
  join core.event_types k on k.type_no = e.type_no
union all
select p.delivery_id, p.destination_id, p.attempt + 1, p.tries_from, p.fence + 1, p.trigger, p.template, p.event_id, p.position, p.created_at, p.version,
       p.places, not p.closed, p.clean, null, null, null, null, null, null, (select count(*) from q), p.due_at
  from p where (p.delivery_id in (select delivery_id from u)) is true";

/// What is leased now, and how much there was for each endpoint.
pub async fn claim(
    pool: &PgPool,
    worker: WorkerId,
    free: i32,
    held: &Held,
    workers: i32,
) -> sqlx::Result<(Vec<Claimed>, usize)> {
    let rows = sqlx::query(CLAIM)
        .bind(free)
        .bind(&held.endpoints)
        .bind(&held.held)
        .bind(&held.most)
        .bind(worker.0)
        .bind(workers)
        .bind(LEASE_S)
        .bind(&held.depth)
        .bind(&held.unusable)
        .bind(
            held.after
                .iter()
                .map(|m| m.map(|(at, _)| at))
                .collect::<Vec<_>>(),
        )
        .bind(
            held.after
                .iter()
                .map(|m| m.map(|(_, id)| id))
                .collect::<Vec<_>>(),
        )
        .fetch_all(pool)
        .await?;
    let mut bodies: HashMap<i64, Bytes> = HashMap::new();
    let mut claimed = Vec::with_capacity(rows.len());
    let mut endpoints = 0;
    for row in &rows {
        match row.try_get::<Option<Uuid>, _>(0)? {
            None => {
                let (position, body) = event(row)?;
                bodies.insert(position, body);
            }
            Some(delivery_id) => {
                endpoints = row.try_get::<i64, _>(20)?;
                claimed.push(delivery(row, delivery_id, &bodies)?);
            }
        }
    }
    // Oldest first, as far as it lies with us.
    claimed.sort_by_key(|c| c.position);
    let share = usize::try_from(i64::from(free) / endpoints.max(1)).unwrap_or(0);
    Ok((claimed, share.max(1)))
}

/// By place, in the order of the statement: hundreds of rows a claim, and each name would be looked up.
fn delivery(row: &PgRow, delivery_id: Uuid, bodies: &HashMap<i64, Bytes>) -> sqlx::Result<Claimed> {
    let (no, from): (i32, i32) = (row.try_get(2)?, row.try_get(3)?);
    let trigger: String = row.try_get(5)?;
    let position = row.try_get(8)?;
    Ok(Claimed {
        delivery_id,
        destination_id: row.try_get(1)?,
        no,
        tries: (no - from - i32::from(trigger == "manual")).max(1),
        fence: row.try_get(4)?,
        trigger,
        event_name: row.try_get(6)?,
        event_id: row.try_get(7)?,
        position,
        created_at: row.try_get(9)?,
        due: row
            .try_get::<Option<DateTime<Utc>>, _>(21)?
            .map(|at| (at, delivery_id)),
        version: row.try_get(10)?,
        places: usize::try_from(row.try_get::<i32, _>(11)?).unwrap_or(1),
        probe: row.try_get(12)?,
        clean: row.try_get(13)?,
        body: bodies.get(&position).cloned(),
    })
}

fn event(row: &PgRow) -> sqlx::Result<(i64, Bytes)> {
    let position = row.try_get(8)?;
    let body = body::render(&Stored {
        event_id: row.try_get(7)?,
        name: row.try_get(6)?,
        schema_version: row.try_get(18)?,
        stream: row.try_get(14)?,
        stream_version: row.try_get(15)?,
        position,
        occurred_at: row.try_get(16)?,
        correlation_id: row.try_get(17)?,
        data: row.try_get(19)?,
    });
    Ok((position, body.into()))
}

/// What was leased and not sent goes back as it was: no try is used up. `in_s`: when it may be taken again.
pub async fn give_back(
    pool: &PgPool,
    worker: WorkerId,
    unsent: &[(Uuid, i64)],
    in_s: f64,
) -> sqlx::Result<()> {
    if unsent.is_empty() {
        return Ok(());
    }
    let mut sorted = unsent.to_vec();
    sorted.sort_unstable();
    let (ids, fences): (Vec<Uuid>, Vec<i64>) = sorted.into_iter().unzip();
    sqlx::query(
        "with later as (
           update delivery.deliveries d set next_at = now() + make_interval(secs => $3)
            where $3 > 0 and d.delivery_id = any($1) and d.fence = ($2::bigint[])[width_bucket(d.delivery_id, $1::uuid[])] - 1
           returning d.delivery_id)
         delete from delivery.leases l
          where l.delivery_id = any($1) and l.fence = ($2::bigint[])[width_bucket(l.delivery_id, $1::uuid[])] and l.owner = $4
            and (select count(*) from later) >= 0",
    )
    .bind(ids)
    .bind(fences)
    .bind(in_s)
    .bind(worker.0)
    .execute(pool)
    .await
    .map(|_| ())
}

/// What dead workers held. Whether it arrived is not known, so it is sent again with the same id; the try that was cut off
/// is written down and does not count.
pub async fn take_over(pool: &PgPool) -> sqlx::Result<u64> {
    sqlx::query(
        "with x as (
           select d.delivery_id from delivery.deliveries d
            where d.delivery_id = any(array(select l.delivery_id from delivery.leases l where l.expires_at < now() order by l.expires_at limit 500))
              for update skip locked),
         gone as (
           delete from delivery.leases l where l.delivery_id = any(array(select delivery_id from x)) and l.expires_at < now()
           returning l.delivery_id, l.owner),
         u as (
           update delivery.deliveries d
              set attempt = d.attempt + 1, fence = d.fence + 1, next_at = now(), tries_from = least(d.tries_from + 1, d.attempt + 1),
                  last_class = 'interrupted', changed_at = now()
            where d.delivery_id = any(array(select delivery_id from gone)) and d.finished_at is null and d.state <> 'held'
           returning d.delivery_id, d.attempt, d.fence, d.trigger)
         insert into delivery.attempts (delivery_id, no, fence, worker_id, started_at, ended_at, result, error_class, error, trigger)
         select u.delivery_id, u.attempt, u.fence, gone.owner, clock_timestamp(), clock_timestamp(), 'interrupted', 'interrupted',
                'the program stopped between the send and its record; whether it arrived is not known, so it is sent again', u.trigger
           from u join gone on gone.delivery_id = u.delivery_id",
    )
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
}

/// The data of the first event of a stream, by any of its events.
pub async fn began<'c>(
    database: impl sqlx::PgExecutor<'c>,
    position: i64,
) -> sqlx::Result<Option<serde_json::Value>> {
    sqlx::query_scalar(
        "select f.data from read.events_v1 e join read.events_v1 f on f.stream_id = e.stream_id and f.version = 1 where e.position = $1",
    )
    .bind(position)
    .fetch_optional(database)
    .await
}

/// When there is something to do next, and whether there is any endpoint at all. Breakers and pauses are taken in.
pub async fn next_due(pool: &PgPool) -> sqlx::Result<(bool, Option<f64>)> {
    sqlx::query_as(
        "select exists (select from delivery.destinations where kind = 'webhook' and deleted_at is null),
                extract(epoch from least(
                  (select min(x.at) from delivery.destinations t join delivery.health h on h.destination_id = t.destination_id
                    cross join lateral (
                      select greatest(d.next_at, h.paused_until, case when h.breaker <> 'closed' then greatest(h.open_until, h.probe_until) end) as at
                        from delivery.deliveries d where d.destination_id = t.destination_id and d.state = 'scheduled'
                         and (select l.delivery_id from delivery.leases l where l.delivery_id = d.delivery_id) is null
                       order by d.next_at limit 1) x
                    where t.kind = 'webhook' and t.state = 'active' and t.deleted_at is null),
                  (select min(expires_at) from delivery.leases)) - now())::float8",
    )
    .fetch_one(pool)
    .await
}

/// Whoever stops leaves its turns to the others.
pub async fn leave_turns(pool: &PgPool, worker: WorkerId) -> sqlx::Result<()> {
    sqlx::query("delete from delivery.turns where owner = $1")
        .bind(worker.0)
        .execute(pool)
        .await
        .map(|_| ())
}

/// Workers that share the places of an endpoint.
pub async fn workers(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from saga.worker where heartbeat_at > now() - interval '60 seconds'",
    )
    .fetch_one(pool)
    .await
}
