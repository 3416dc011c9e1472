//! How sagas went in the last days: what came of them, how long they took, what failed, what people decided. What ended and
//! what failed is read from sums by day, where a day is over and nothing came later (`saga.sum_day`).

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use crate::app::desk::Desk;
use crate::app::place::money;
use crate::app::wire::*;

/// As many rows of what failed.
const MOST: i64 = 50;
/// Of how many of the newest it is said how long they took: more change the figure by less than it changes from day to day, and
/// each is looked up by itself.
const TIMED: i64 = 2_000;
/// One moment for all of it.
const READ_ONLY: &str = "begin isolation level repeatable read read only";

pub async fn figures(desk: &Desk, request: GetSagaFigures) -> Result<SagaFigures, AppError> {
    if !(1..=366).contains(&request.days) {
        return Err(AppError::invalid("days", "Between 1 and 366 days."));
    }
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let since: DateTime<Utc> = sqlx::query_scalar("select now() - make_interval(days => $1)")
        .bind(request.days as i32)
        .fetch_one(&mut *tx)
        .await?;
    let told = SagaFigures {
        since,
        kinds: kinds(&mut tx, since).await?,
        failures: failures(&mut tx, since).await?,
        given_back: given_back(&mut tx, since).await?,
        parked: parked(&mut tx, since).await?,
        acts: acts(&mut tx, since).await?,
    };
    tx.commit().await?;
    Ok(told)
}

async fn kinds(
    conn: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<Vec<SagaKindFigures>, AppError> {
    // Who pays by link is waited for: the time counts from where the money was there to be taken.
    let rows = sqlx::query(
        "with timed as (
           select n.definition, extract(epoch from n.finished_at - greatest(n.created_at, c.at))::float8 as s
             from (select s.saga_id, s.definition, s.created_at, s.finished_at from read.sagas_v2 s
                    where s.finished_at >= $1 and s.state = 'completed' and not coalesce((s.context->>'hands_on')::boolean, false)
                    order by s.finished_at desc limit $2) n
             left join lateral (select min(a.started_at) as at from read.saga_attempts_v1 a
                                 where a.saga_id = n.saga_id and a.step = 'capture' and a.direction = 'F'
                                   and exists (select from read.effects_v1 e where e.saga_id = n.saga_id and e.operation = 'create_checkout')) c on true)
         select e.*, t.p50, t.p95
           from api.sagas_over($1) e left join (select definition, percentile_cont(0.5) within group (order by s) as p50, percentile_cont(0.95) within group (order by s) as p95
                                     from timed group by 1) t using (definition)
          order by e.over desc, e.definition",
    )
    .bind(since)
    .bind(TIMED)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SagaKindFigures {
                definition: row.try_get("definition")?,
                over: row.try_get("over")?,
                completed: row.try_get("completed")?,
                warned: row.try_get("warned")?,
                compensated: row.try_get("compensated")?,
                resolved: row.try_get("resolved")?,
                p50_s: row.try_get("p50")?,
                p95_s: row.try_get("p95")?,
            })
        })
        .collect()
}

async fn failures(
    conn: &mut PgConnection,
    since: DateTime<Utc>,
) -> Result<Vec<SagaFailures>, AppError> {
    let rows = sqlx::query(
        "select step, undoing, cause, tries, sagas, last_at from api.sagas_failed($1) order by tries desc, 1, 2, 3 limit $2",
    )
    .bind(since)
    .bind(MOST)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SagaFailures {
                step: row.try_get("step")?,
                undoing: row.try_get("undoing")?,
                cause: row.try_get("cause")?,
                tries: row.try_get("tries")?,
                sagas: row.try_get("sagas")?,
                last_at: row.try_get("last_at")?,
            })
        })
        .collect()
}

async fn given_back(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<Vec<Money>, AppError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select currency, sum(case when credit = 'provider_clearing' then amount_minor else -amount_minor end)::bigint
           from read.ledger_transfers_v1 where day >= $1::date and event_name in ('PaymentRefunded', 'RefundReturned') and 'provider_clearing' in (debit, credit)
          group by 1 having sum(case when credit = 'provider_clearing' then amount_minor else -amount_minor end) > 0 order by 1",
    )
    .bind(since)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .iter()
        .map(|(currency, minor)| money(*minor, currency))
        .collect())
}

async fn parked(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<ParkedFigures, AppError> {
    let row = sqlx::query(
        "select count(*) filter (where closed_at is not null) as decided, count(*) filter (where closed_at is null) as open, min(opened_at) filter (where closed_at is null) as oldest_at,
                percentile_cont(0.5) within group (order by extract(epoch from closed_at - opened_at)::float8) filter (where closed_at is not null) as p50,
                percentile_cont(0.95) within group (order by extract(epoch from closed_at - opened_at)::float8) filter (where closed_at is not null) as p95
           from read.saga_attention_v1 where kind = 'parked' and (closed_at is null or closed_at >= $1)",
    )
    .bind(since)
    .fetch_one(conn)
    .await?;
    Ok(ParkedFigures {
        decided: row.try_get("decided")?,
        p50_s: row.try_get("p50")?,
        p95_s: row.try_get("p95")?,
        open: row.try_get("open")?,
        oldest_at: row.try_get("oldest_at")?,
    })
}

async fn acts(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<Vec<SagaActs>, AppError> {
    let rows = sqlx::query(
        "select action, count(*) filter (where status = 'applied') as applied, count(*) filter (where status = 'refused') as refused,
                count(*) filter (where status in ('applied', 'refused') and approved_by is not null) as approved, count(*) filter (where status = 'rejected') as rejected
           from (select action, status, approved_by, requested_at from read.saga_commands_v2 where requested_at >= $1
                 union all select action, status, approved_by, requested_at from read.case_requests_v1 where requested_at >= $1) c
          group by 1 order by count(*) desc, 1",
    )
    .bind(since)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SagaActs {
                action: row.try_get("action")?,
                applied: row.try_get("applied")?,
                refused: row.try_get("refused")?,
                approved: row.try_get("approved")?,
                rejected: row.try_get("rejected")?,
            })
        })
        .collect()
}
