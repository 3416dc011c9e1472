//! The delivery rows: claim, finish, give back. Every write after the claim is guarded by the fence.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::destination::{Delivery, Outcome};
use crate::domain::ids::{StreamId, WorkerId};

/// Leases due deliveries, fairly: each destination has `per_destination` places, so that one that hangs cannot take
/// them all. The attempt row is written here, before anything is sent. `any(array(…))` keeps the planner on the index
/// whatever its statistics say.
pub async fn claim(
    pool: &PgPool,
    worker: WorkerId,
    limit: i32,
    per_destination: i32,
    lease: Duration,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "with places as (
           select t.destination_id, greatest($3 - (select count(*)::int from delivery.deliveries s
                                                    where s.state = 'sending' and s.destination_id = t.destination_id), 0) as n
             from delivery.destinations t where t.active and t.kind <> 'webhook'),
         p as (
           select c.delivery_id from places q
            cross join lateral (select d.delivery_id from delivery.deliveries d
                                 where d.destination_id = q.destination_id and d.state = 'scheduled' and d.next_at <= now()
                                 order by d.next_at, d.delivery_id limit q.n for update skip locked) c
            limit $2),
         u as (
           update delivery.deliveries d
              set state = 'sending', attempt = d.attempt + 1, fence = d.fence + 1, lease_owner = $1, lease_expires_at = now() + $4
            where d.delivery_id = any(array(select delivery_id from p)) returning d.delivery_id, d.attempt, d.fence),
         a as (insert into delivery.attempts (delivery_id, no, fence, worker_id) select delivery_id, attempt, fence, $1 from u)
         select delivery_id from u",
    )
    .bind(worker.0)
    .bind(limit)
    .bind(per_destination)
    .bind(lease)
    .fetch_all(pool)
    .await
}

/// Takes over what a dead worker was sending. The outcome of its try is not known: `interrupted`.
pub async fn take_over(
    pool: &PgPool,
    worker: WorkerId,
    limit: i32,
    lease: Duration,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "update delivery.deliveries d set fence = fence + 1, lease_owner = $1, lease_expires_at = now() + $3
          where d.delivery_id = any(array(select delivery_id from delivery.deliveries
                                           where state = 'sending' and lease_expires_at < now()
                                             and destination_id = any(array(select destination_id from delivery.destinations where kind <> 'webhook'))
                                           limit $2 for update skip locked))
         returning d.delivery_id",
    )
    .bind(worker.0)
    .bind(limit)
    .bind(lease)
    .fetch_all(pool)
    .await
}

/// The delivery, if it is leased to us.
pub async fn load(pool: &PgPool, worker: WorkerId, id: Uuid) -> sqlx::Result<Option<Delivery>> {
    let row = sqlx::query(
        "select d.*, k.kind, exists (select 1 from delivery.attempts a where a.delivery_id = d.delivery_id and a.no = d.attempt
                                        and a.fence <> d.fence and a.ended_at is null) as interrupted
           from delivery.deliveries d join delivery.destinations k using (destination_id)
          where d.delivery_id = $1 and d.lease_owner = $2 and d.state = 'sending'",
    )
    .bind(id)
    .bind(worker.0)
    .fetch_optional(pool)
    .await?;
    row.map(|r| {
        Ok(Delivery {
            delivery_id: r.try_get("delivery_id")?,
            kind: r.try_get("kind")?,
            template: r.try_get("template")?,
            event_id: r.try_get("event_id")?,
            position: r.try_get("position")?,
            stream: StreamId(r.try_get("stream_id")?),
            correlation_id: r.try_get("correlation_id")?,
            attempt: r.try_get("attempt")?,
            fence: r.try_get("fence")?,
            created_at: r.try_get("created_at")?,
            give_up_at: r.try_get("give_up_at")?,
            interrupted: r.try_get("interrupted")?,
        })
    })
    .transpose()
}

/// Where the delivery goes after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Delivered,
    Skipped,
    Scheduled(DateTime<Utc>),
    GaveUp,
    Unclear,
}

impl After {
    pub fn word(self) -> &'static str {
        match self {
            After::Delivered => "delivered",
            After::Skipped => "skipped",
            After::Scheduled(_) => "scheduled",
            After::GaveUp => "gave_up",
            After::Unclear => "unclear",
        }
    }
}

/// Records the try. `false`: somebody else holds the delivery now, and nothing of ours may be written.
pub async fn finish(
    conn: &mut PgConnection,
    delivery: &Delivery,
    outcome: &Outcome,
    after: After,
) -> sqlx::Result<bool> {
    let (result, error, response) = match outcome {
        Outcome::Accepted { response, .. } => ("accepted", None, Some(response)),
        Outcome::Skipped { reason } => ("skipped", None, Some(reason)),
        Outcome::NotSent { cause } => ("not_sent", Some(cause), None),
        Outcome::Later { cause } => ("later", Some(cause), None),
        Outcome::Refused { cause } => ("refused", Some(cause), None),
        Outcome::Unclear { cause } => ("unclear", Some(cause), None),
    };
    let next_at = if let After::Scheduled(at) = after {
        Some(at)
    } else {
        None
    };
    let written = sqlx::query(
        "with u as (
           update delivery.deliveries
              set state = $3, lease_owner = null, lease_expires_at = null, next_at = coalesce($4, next_at),
                  finished_at = case when $3 <> 'scheduled' then now() end,
                  outcome = jsonb_build_object('result', $5::text, 'problem', $6::text, 'response', $7::text), changed_at = now()
            where delivery_id = $1 and fence = $2 and state = 'sending' returning delivery_id, destination_id, attempt),
         s as (
           insert into delivery.stats_hourly as h (destination_id, hour, ok, failed, last_ok_at)
           select destination_id, date_trunc('hour', now()), ($5 = 'accepted')::int, ($5 not in ('accepted', 'skipped'))::int,
                  case when $5 = 'accepted' then now() end from u where $5 <> 'skipped'
           on conflict (destination_id, hour) do update
              set ok = h.ok + excluded.ok, failed = h.failed + excluded.failed, last_ok_at = coalesce(excluded.last_ok_at, h.last_ok_at))
         update delivery.attempts a set ended_at = clock_timestamp(), result = $5, error = $6, response = $7
           from u where a.delivery_id = u.delivery_id and a.no = u.attempt",
    )
    .bind(delivery.delivery_id)
    .bind(delivery.fence)
    .bind(after.word())
    .bind(next_at)
    .bind(result)
    .bind(error)
    .bind(response)
    .execute(conn)
    .await?;
    Ok(written.rows_affected() == 1)
}

pub async fn renew(
    pool: &PgPool,
    worker: WorkerId,
    ids: &[Uuid],
    lease: Duration,
) -> sqlx::Result<()> {
    sqlx::query("update delivery.deliveries set lease_expires_at = now() + $3 where delivery_id = any($2) and lease_owner = $1")
        .bind(worker.0)
        .bind(ids)
        .bind(lease)
        .execute(pool)
        .await
        .map(|_| ())
}

pub async fn next_due(pool: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar(
        "select least((select min(d.next_at) from delivery.destinations t cross join lateral
                         (select x.next_at from delivery.deliveries x where x.destination_id = t.destination_id and x.state = 'scheduled' order by x.next_at limit 1) d
                        where t.active and t.kind <> 'webhook'),
                      (select min(lease_expires_at) from delivery.deliveries
                        where state = 'sending' and destination_id = any(array(select destination_id from delivery.destinations where kind <> 'webhook'))))",
    )
        .fetch_one(pool)
        .await
}
