//! The inbox: which sagas need whom. Rows, counts and causes come from one snapshot; what lives is counted exactly, what
//! is over only while that is cheap.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::filter::{self, Order, condition};
use super::{batch, disputes, orphans, page};
use crate::app::bookings::row::{COLUMNS, booking_row, saga_facts};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::money;
use crate::app::wire::*;

const READ_ONLY: &str = "begin isolation level repeatable read read only";
/// Above this many rows the number of ended sagas is the planner's estimate.
const COUNTED_EXACTLY: i64 = 50_000;

/// What [`saga_row`] reads beside [`COLUMNS`].
pub const ROW: &str = "s.version as saga_version, s.park_code, s.park_reason as parked_reason, s.parked_at, s.error_message as row_error, s.assigned_to, s.snoozed_until,
    s.attempt as row_attempt, s.lease_expires_at > now() is true as row_leased, s.created_at as row_created_at, s.updated_at as row_updated_at,
    s.finished_at as row_finished_at, b.captured_minor as row_captured, b.refunded_minor as row_refunded";

/// Joins the booking of saga `s` as `b`. A list that is behind, or stands still, must not hide what needs a person: then
/// the saga's own row tells what it knows.
pub const BOOKING: &str = "cross join lateral (
    select x.* from read.bookings_v1 x where x.booking_id = s.booking_id
    union all
    select (jsonb_populate_record(null::read.bookings_v1, jsonb_build_object(
        'booking_id', s.booking_id, 'reference', coalesce(s.context->>'reference', '?'), 'customer_id', s.customer_id, 'customer_name', '…',
        'service_id', s.booking_id, 'service_name', '…', 'resources', '[]'::jsonb, 'starts_at', s.created_at, 'ends_at', s.created_at, 'zone', 'UTC',
        'state', 'held', 'payment', 'unknown', 'payment_mode', 'link', 'price_minor', s.amount_minor, 'currency', s.currency, 'authorised_minor', 0,
        'captured_minor', case when s.pivot_passed_at is null then 0 else s.amount_minor end,
        'refunded_minor', case when s.pivot_passed_at is not null and s.state = 'compensated' then s.amount_minor - coalesce((s.context#>>'{refund_part,kept_minor}')::bigint, 0) else 0 end,
        'version', 0, 'correlation_id', s.correlation_id, 'changed_at', s.updated_at, 'search', ''))).*
     where not exists (select 1 from read.bookings_v1 x where x.booking_id = s.booking_id)) b";

pub async fn list(desk: &Desk, request: ListSagas) -> Result<SagaList, AppError> {
    if !(1..=500).contains(&request.limit) {
        return Err(AppError::invalid("limit", "A page has 1 to 500 sagas."));
    }
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let (rows, next) = rows(&mut tx, &request).await?;
    let counts = counts(&mut tx).await?;
    let groups = groups(&mut tx).await?;
    let gates = gates(&mut tx).await?;
    let approvals = page::waiting_commands(&mut tx).await?;
    let batches = batch::batches(&mut tx, None).await?;
    let orphans = orphans::open(&mut tx, desk).await?;
    let disputes = disputes::open(&mut tx).await?;
    let sweep = orphans::sweep(&mut tx).await?;
    tx.commit().await?;
    Ok(SagaList {
        rows,
        next,
        counts,
        kept: sums(groups.iter().flat_map(|g| &g.kept)),
        groups,
        gates,
        approvals,
        batches,
        orphans,
        disputes,
        sweep,
    })
}

/// Those that a filter finds, in the order in which a list shows them.
pub async fn found(
    conn: &mut PgConnection,
    filter: &SagaFilter,
    most: usize,
) -> Result<Vec<Uuid>, AppError> {
    let mut query = QueryBuilder::<Postgres>::new("select s.saga_id from read.sagas_v2 s where ");
    filter::push(&mut query, filter)?;
    query
        .push(Order::of(filter).by())
        .push(" limit ")
        .push_bind(i64::try_from(most).unwrap_or(i64::MAX));
    Ok(query
        .build_query_scalar()
        .persistent(false)
        .fetch_all(conn)
        .await?)
}

/// The rows of a page, and where the next one begins.
pub async fn rows(
    tx: &mut PgConnection,
    request: &ListSagas,
) -> Result<(Vec<SagaRow>, Option<String>), AppError> {
    let order = Order::of(&request.filter);
    let mut query = QueryBuilder::<Postgres>::new("select ");
    // First which, of an index alone where it can be, then what is told of them: each by itself, since a plan that expects many
    // would read all sagas.
    query
        .push(COLUMNS)
        .push(", ")
        .push(ROW)
        .push(", p.place from (select s.saga_id, ")
        .push(order.place())
        .push(" as place from read.sagas_v2 s where ");
    filter::push(&mut query, &request.filter)?;
    if let Some(after) = &request.after {
        order.push_after(&mut query, after)?;
    }
    query
        .push(order.by())
        .push(" limit ")
        .push_bind(i64::from(request.limit) + 1)
        .push(") p cross join lateral (select x.* from read.sagas_v2 x where x.saga_id = p.saga_id limit 1) s ")
        .push(BOOKING)
        .push(order.by());
    let mut found = query.build().persistent(false).fetch_all(&mut *tx).await?;
    let more = found.len() > request.limit as usize;
    found.truncate(request.limit as usize);
    let next = match found.last() {
        Some(last) if more => Some(last.try_get("place")?),
        _ => None,
    };
    let rows = found.iter().map(saga_row).collect::<Result<Vec<_>, _>>()?;
    Ok((rows, next))
}

pub fn saga_row(row: &PgRow) -> Result<SagaRow, AppError> {
    let facts = saga_facts(row)?.ok_or_else(super::act::unknown)?;
    let currency: &str = row.try_get("currency")?;
    let captured: i64 = row.try_get("row_captured")?;
    let refunded: i64 = row.try_get("row_refunded")?;
    let finished: Option<DateTime<Utc>> = row.try_get("row_finished_at")?;
    let parked_at: Option<DateTime<Utc>> = row.try_get("parked_at")?;
    let leased: bool = row.try_get("row_leased")?;
    let parked = match parked_at {
        Some(at) => Some(SagaParked {
            code: row
                .try_get::<Option<String>, _>("park_code")?
                .unwrap_or_else(|| "other".to_owned()),
            reason: row
                .try_get::<Option<String>, _>("parked_reason")?
                .unwrap_or_default(),
            at,
        }),
        None => None,
    };
    Ok(SagaRow {
        saga_id: row.try_get("saga_id")?,
        booking: booking_row(row)?,
        step: if finished.is_some() {
            None
        } else {
            facts.step().map(|s| s.name().to_owned())
        },
        undoing: facts.undoing,
        error_class: facts.error_class.clone(),
        error: row.try_get("row_error")?,
        kept: money(captured - refunded, currency),
        captured: money(captured, currency),
        attempt: row.try_get::<i32, _>("row_attempt")?.max(0) as u32,
        next_try_at: facts.wake_at.filter(|_| {
            finished.is_none() && parked.is_none() && facts.error_class.is_some() && !leased
        }),
        since: finished
            .or(parked_at)
            .unwrap_or(row.try_get("row_created_at")?),
        parked,
        assigned_to: row.try_get("assigned_to")?,
        snoozed_until: row.try_get("snoozed_until")?,
        version: row.try_get("saga_version")?,
    })
}

/// Whom a step asks.
pub fn provider_of(step: &str) -> Option<String> {
    match step {
        "payment" | "capture" | "refund" => Some("stripe".to_owned()),
        "notify" => Some("email".to_owned()),
        _ => None,
    }
}

async fn counts(conn: &mut PgConnection) -> Result<SagaCounts, AppError> {
    let count = |tab| format!("count(*) filter (where {})", condition(tab));
    let sql = format!(
        "select {} as needs, {} as snoozed, {} as risk, {} as customer, {} as provider, {} as running,
                (select greatest(c.reltuples, 0)::bigint from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = 'saga' and c.relname = 'instance') as rows
           from read.sagas_v2 s where s.finished_at is null",
        count(SagaTab::NeedsPerson),
        count(SagaTab::Snoozed),
        count(SagaTab::AtRisk),
        count(SagaTab::WaitingForCustomer),
        count(SagaTab::WaitingForProvider),
        count(SagaTab::Running),
    );
    // The text is made of our own conditions.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut *conn)
        .await?;
    let estimate: i64 = row.try_get("rows")?;
    let done = if estimate > COUNTED_EXACTLY {
        Count {
            count: estimate,
            estimated: true,
        }
    } else {
        Count {
            count: sqlx::query_scalar(
                "select count(*) from read.sagas_v2 where finished_at is not null",
            )
            .fetch_one(conn)
            .await?,
            estimated: false,
        }
    };
    Ok(SagaCounts {
        needs_person: row.try_get("needs")?,
        snoozed: row.try_get("snoozed")?,
        at_risk: row.try_get("risk")?,
        waiting_for_customer: row.try_get("customer")?,
        waiting_for_provider: row.try_get("provider")?,
        running: row.try_get("running")?,
        done,
    })
}

/// What needs a person, by step and cause: those of one group share a fate, and often one decision.
async fn groups(conn: &mut PgConnection) -> Result<Vec<SagaGroup>, AppError> {
    let sql = format!(
        "select x.step, x.direction, x.cause, sum(x.n)::bigint as n, min(x.first_at) as first_at, max(x.last_at) as last_at, max(x.message) as message,
                jsonb_agg(jsonb_build_object('amount_minor', x.kept, 'currency', x.currency)) filter (where x.kept <> 0) as kept
           from (select coalesce(s.step, '') as step, s.direction::text as direction, coalesce(s.error_class, s.park_code, 'other') as cause, b.currency, count(*) as n,
                        min(s.parked_at) as first_at, max(s.parked_at) as last_at, max(coalesce(s.error_message, s.park_reason)) as message,
                        coalesce(sum(b.captured_minor - b.refunded_minor), 0)::bigint as kept
                   from read.sagas_v2 s {BOOKING} where {} group by 1, 2, 3, 4) x
          group by 1, 2, 3 order by sum(x.kept) desc nulls last, 4 desc limit 100",
        condition(SagaTab::NeedsPerson)
    );
    // The text is made of our own conditions.
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let step: String = row.try_get("step")?;
            let direction: String = row.try_get("direction")?;
            let cause: String = row.try_get("cause")?;
            let kept: Option<Value> = row.try_get("kept")?;
            let message: Option<String> = row.try_get("message")?;
            Ok(SagaGroup {
                key: format!("{step}:{direction}:{cause}"),
                provider: provider_of(&step),
                step,
                undoing: direction == "C",
                cause,
                count: row.try_get("n")?,
                kept: kept
                    .map(serde_json::from_value)
                    .transpose()
                    .map_err(internal)?
                    .unwrap_or_default(),
                first_at: row.try_get("first_at")?,
                last_at: row.try_get("last_at")?,
                message,
            })
        })
        .collect()
}

pub async fn gates(conn: &mut PgConnection) -> Result<Vec<ProviderGate>, AppError> {
    let rows = sqlx::query(
        "select g.provider, g.state <> 'closed' as paused, g.reason, a.opened_at,
                case when g.state = 'closed' then 0
                     else (select count(*) from read.sagas_v2 s where s.finished_at is null and s.state <> 'parked' and s.asks = g.provider) end as waiting
           from read.provider_gates_v1 g
           left join read.saga_attention_v1 a on a.saga_id is null and a.kind = 'provider:' || g.provider and a.closed_at is null
          order by g.provider",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ProviderGate {
                provider: row.try_get("provider")?,
                paused: row.try_get("paused")?,
                reason: row.try_get("reason")?,
                since: row.try_get("opened_at")?,
                waiting: row.try_get("waiting")?,
            })
        })
        .collect()
}

/// One sum for each currency; sums of different currencies are never added.
pub fn sums<'a>(all: impl Iterator<Item = &'a Money>) -> Vec<Money> {
    let mut sums: Vec<Money> = vec![];
    for one in all {
        match sums.iter_mut().find(|sum| sum.currency == one.currency) {
            Some(sum) => sum.amount_minor += one.amount_minor,
            None => sums.push(one.clone()),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_of_two_currencies_is_two_sums() {
        let all = [money(100, "EUR"), money(5, "JPY"), money(50, "EUR")];
        assert_eq!(sums(all.iter()), [money(150, "EUR"), money(5, "JPY")]);
    }
}
