//! A page of arrivals, newest first, and the state of each source.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Row};

use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::{self, word};
use crate::app::wire::*;
use crate::domain::slot;

const READ_ONLY: &str = "begin isolation level repeatable read read only";
const LONGEST_SEARCH: usize = 200;
/// So many events that contain something are looked for.
pub const MOST_CONTAINING: i32 = 10_000;

/// What [`row`] reads.
pub const COLUMNS: &str = "a.arrival_id, a.inbox_id, a.source, a.external_id, a.kind, a.object_id, a.via, a.received_at, a.verdict, a.result, a.booking_id,
    (select b.reference from read.bookings_v1 b where b.booking_id = a.booking_id) as reference, a.problem, a.tries, a.next_at,
    (select jsonb_build_object('event_name', e.name, 'position', e.position, 'before', cardinality(s.led_to) - 1)
       from read.saga_signals_v1 s join read.events_v1 e on e.position = s.led_to[cardinality(s.led_to)]
      where s.signal_id = a.external_id and a.result = 'done') as led_to";

pub async fn list(desk: &Desk, request: ListInbox) -> Result<InboxList, AppError> {
    if !(1..=500).contains(&request.limit) {
        return Err(AppError::invalid("limit", "A page has 1 to 500 arrivals."));
    }
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query
        .push(COLUMNS)
        .push(" from read.arrivals_v1 a where true");
    push_filter(&mut query, &request.filter)?;
    if let Some(after) = &request.after {
        let after: i64 = after.parse().map_err(|_| {
            AppError::invalid("after", "This page cannot be found: begin at the first.")
        })?;
        query.push(" and a.arrival_id < ").push_bind(after);
    }
    query
        .push(" order by a.arrival_id desc limit ")
        .push_bind(i64::from(request.limit) + 1);
    let found = query.build().fetch_all(&mut *tx).await?;
    let page = found.iter().take(request.limit as usize);
    let rows = page.map(row).collect::<Result<Vec<_>, AppError>>()?;
    let next = (found.len() > rows.len())
        .then(|| rows.last().map(|r| r.arrival_id.to_string()))
        .flatten();
    let today = start_of_today(&mut tx).await?;
    let list = InboxList {
        rows,
        next,
        counts: counts(&mut tx, today).await?,
        sources: sources(&mut tx, today).await?,
    };
    tx.commit().await?;
    Ok(list)
}

/// Of `read.arrivals_v1 a`, after a `where`.
pub fn push_filter(
    query: &mut QueryBuilder<Postgres>,
    filter: &InboxFilter,
) -> Result<(), AppError> {
    if let Some(since) = filter.since {
        query.push(" and a.received_at >= ").push_bind(since);
    }
    if let Some(until) = filter.until {
        query.push(" and a.received_at < ").push_bind(until);
    }
    if let Some(via) = filter.via {
        query.push(" and a.via = ").push_bind(match via {
            InboxVia::Webhook => "webhook",
            InboxVia::Poll => "poll",
        });
    }
    if !filter.kinds.is_empty() {
        query
            .push(" and a.kind = any(")
            .push_bind(filter.kinds.clone())
            .push(")");
    }
    if let Some(booking) = filter.booking_id {
        query.push(" and a.external_id in (select i.external_id from read.inbox_v1 i where i.booking_id = ");
        query.push_bind(booking).push(")");
    }
    if let Some(part) = &filter.payload {
        query.push(" and a.inbox_id in (select api.inbox_containing(");
        query
            .push_bind(part.clone())
            .push(", ")
            .push_bind(MOST_CONTAINING)
            .push("))");
    }
    if let Some(decision) = filter.decision {
        query.push(" and a.arrival_result = 'kept' and a.inbox_id in (select i.inbox_id from read.reprocess_items_v1 i where i.bulk_id = ");
        query.push_bind(decision).push(")");
    }
    push_results(query, &filter.results);
    match filter.search.as_deref().map(str::trim) {
        Some(text) if text.chars().count() > LONGEST_SEARCH => {
            return Err(AppError::invalid(
                "search",
                "A search has at most 200 signs.",
            ));
        }
        Some(text) if !text.is_empty() => {
            query
                .push(" and (a.external_id = ")
                .push_bind(text.to_owned());
            query.push(" or a.object_id = ").push_bind(text.to_owned());
            query.push(" or a.external_id in (select i.external_id from read.inbox_v1 i join read.bookings_v1 b using (booking_id) where b.reference = ");
            query.push_bind(text.to_uppercase()).push("))");
        }
        _ => {}
    }
    Ok(())
}

/// What is rare is found by the index that holds only it, so that a long inbox is not read through for it.
fn push_results(query: &mut QueryBuilder<Postgres>, results: &[InboxResult]) {
    if results.is_empty() {
        return;
    }
    let words = |chosen: fn(&InboxResult) -> bool| {
        results
            .iter()
            .copied()
            .filter(chosen)
            .map(result_word)
            .collect::<Vec<_>>()
    };
    let refused = words(|r| matches!(r, InboxResult::Duplicate | InboxResult::NotTaken));
    let open = words(|r| matches!(r, InboxResult::Waiting | InboxResult::Quarantined));
    let usual = words(|r| {
        !matches!(
            r,
            InboxResult::Duplicate
                | InboxResult::NotTaken
                | InboxResult::Waiting
                | InboxResult::Quarantined
        )
    });
    query.push(" and (false");
    if !refused.is_empty() {
        query
            .push(" or a.arrival_result <> 'kept' and a.arrival_result = any(")
            .push_bind(refused)
            .push(")");
    }
    if !open.is_empty() {
        query.push(" or a.arrival_result = 'kept' and a.inbox_id in (select i.inbox_id from read.inbox_v1 i where i.processed_at is null and i.result = any(");
        query.push_bind(open).push("))");
    }
    if !usual.is_empty() {
        query
            .push(" or a.arrival_result = 'kept' and a.result = any(")
            .push_bind(usual)
            .push(")");
    }
    query.push(")");
}

fn result_word(result: InboxResult) -> &'static str {
    match result {
        InboxResult::Waiting => "waiting",
        InboxResult::Done => "done",
        InboxResult::NothingNew => "nothing_new",
        InboxResult::NotOurs => "not_ours",
        InboxResult::Kept => "kept",
        InboxResult::Duplicate => "duplicate",
        InboxResult::NotTaken => "not_taken",
        InboxResult::Quarantined => "quarantined",
    }
}

pub fn row(r: &PgRow) -> Result<InboxRow, AppError> {
    let open = |at: Option<DateTime<Utc>>, result: InboxResult| {
        at.filter(|_| result == InboxResult::Waiting)
    };
    let result = word(r.try_get("result")?)?;
    Ok(InboxRow {
        arrival_id: r.try_get("arrival_id")?,
        source: r.try_get("source")?,
        external_id: r.try_get("external_id")?,
        kind: r.try_get("kind")?,
        object_id: r.try_get("object_id")?,
        via: word(r.try_get("via")?)?,
        received_at: r.try_get("received_at")?,
        check: word(r.try_get("verdict")?)?,
        result,
        booking_id: r.try_get("booking_id")?,
        reference: r.try_get("reference")?,
        problem: r.try_get("problem")?,
        tries: r.try_get::<i32, _>("tries")?.unsigned_abs(),
        next_at: open(r.try_get("next_at")?, result),
        led_to: r.try_get::<Option<Json<LedTo>>, _>("led_to")?.map(|j| j.0),
    })
}

async fn start_of_today(conn: &mut PgConnection) -> Result<DateTime<Utc>, AppError> {
    let here = place::here(conn).await?;
    let now: DateTime<Utc> = sqlx::query_scalar("select now()").fetch_one(conn).await?;
    let wall = slot::shown(now, &here.zone).map_err(internal)?.0;
    Ok(slot::day(&wall[..10], &here.zone).map_err(internal)?.0)
}

async fn counts(conn: &mut PgConnection, today: DateTime<Utc>) -> Result<InboxCounts, AppError> {
    let (all, done, duplicates, refused, waiting, quarantined) = sqlx::query_as::<_, (i64, i64, i64, i64, i64, i64)>(
        "select count(*), count(*) filter (where result in ('done', 'nothing_new', 'not_ours', 'kept')), count(*) filter (where result = 'duplicate'),
                count(*) filter (where result = 'not_taken'),
                (select count(*) from read.inbox_v1 where processed_at is null and result = 'waiting'),
                (select count(*) from read.inbox_v1 where processed_at is null and result = 'quarantined')
           from read.arrivals_v1 where received_at >= $1",
    )
    .bind(today)
    .fetch_one(conn)
    .await?;
    Ok(InboxCounts {
        today: all,
        done_today: done,
        duplicates_today: duplicates,
        refused_today: refused,
        waiting,
        quarantined,
    })
}

#[derive(FromRow)]
struct Source {
    source: String,
    checked_at: Option<DateTime<Utc>>,
    problem: Option<String>,
    cursor: Option<String>,
    cursor_created: Option<DateTime<Utc>>,
    polls: Option<bool>,
    every_s: Option<i32>,
    skew_s: Option<f64>,
    webhook_since: Option<DateTime<Utc>>,
    awaited: i64,
    waiting: i64,
    lag_p95_s: Option<f64>,
    webhook_at: Option<DateTime<Utc>>,
}

async fn sources(
    conn: &mut PgConnection,
    today: DateTime<Utc>,
) -> Result<Vec<InboxSource>, AppError> {
    let found: Vec<Source> = sqlx::query_as(
        "select s.source, s.checked_at, s.problem, s.cursor, s.cursor_created, s.polls, s.every_s, s.skew_s, s.webhook_since,
                (select count(*) from read.sagas_v1 i where i.finished_at is null and i.state = 'waiting' and i.await_key like s.source || ':%') as awaited,
                (select count(*) from read.inbox_v1 i where i.processed_at is null and i.result = 'waiting' and i.source = s.source) as waiting,
                -- Their clock counts whole seconds.
                (select percentile_cont(0.95) within group (order by greatest(extract(epoch from a.received_at - a.created_at) - 0.5, 0))
                   from read.arrivals_v1 a where a.received_at >= $1 and a.arrival_result = 'kept' and a.source = s.source) as lag_p95_s,
                (select max(a.received_at) from read.arrivals_v1 a where a.received_at >= now() - interval '7 days' and a.via = 'webhook' and a.source = s.source) as webhook_at
           from read.inbox_sources_v1 s order by s.source",
    )
    .bind(today)
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(Source::shown).collect())
}

impl Source {
    fn shown(self) -> InboxSource {
        InboxSource {
            source: self.source,
            polls: self.polls == Some(true),
            poll_at: self.checked_at,
            poll_problem: self.problem,
            poll_every_s: self.every_s.map(i32::unsigned_abs),
            payments_awaited: self.awaited,
            cursor: self.cursor,
            cursor_created_at: self.cursor_created,
            waiting: self.waiting,
            lag_p95_s: self.lag_p95_s,
            skew_s: self.skew_s,
            webhook: self.webhook_since.is_some(),
            webhook_at: self.webhook_at,
        }
    }
}
