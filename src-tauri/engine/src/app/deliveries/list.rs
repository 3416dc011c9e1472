//! A page of deliveries, newest first, with what may be asked for.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use crate::app::bookings::page::normal_reference;
use crate::app::desk::Desk;
use crate::app::events::zone;
use crate::app::wire::*;
use crate::delivery::webhook::schedule::OF_A_TEST;

/// A payload is looked for among so many of the newest: no index knows what stands in events.
pub(super) const LOOKED_THROUGH: i64 = 100_000;
const COUNTED: i64 = 100_000;
const COUNTED_SLOWLY: i64 = 1_000;
/// Of a message to a customer.
const MAIL_TRIES: i32 = 8;

/// Joins for the rows that are shown, and only those.
pub(super) const SHOWN: &str = "
 select d.delivery_id, d.destination_id, d.template, d.event_id, d.position, d.stream_id, d.correlation_id, d.attempt, d.next_at,
        case when d.state = 'scheduled' and l.delivery_id is not null then 'sending' else d.state end as state,
        nullif(d.give_up_at, 'infinity') as give_up_at, d.created_at, d.changed_at, d.trigger, d.by_hand, d.last_status, d.last_class, d.last_ms,
        d.outcome->>'problem' as problem, n.kind, n.name as destination, n.deleted_at is not null as deleted,
        cardinality(t.schedule_s) as most, b.reference, now() as now,
        coalesce((select e.name from read.events_v1 e where e.position = d.position and d.position > 0), d.template) as event_name,
        case when d.state = 'held' then 'held'
             when d.state <> 'scheduled' or d.by_hand or n.kind <> 'webhook' or l.delivery_id is not null then null
             when t.state = 'disabled' then 'disabled'
             when t.state = 'paused' then 'paused'
             when t.breaker <> 'closed' then 'failing'
             when t.paused_until > now() then 'retry_after'
             when d.order_key is not null and d.next_at <= now()
                  and exists (select from read.deliveries_v2 x where x.destination_id = d.destination_id and x.order_key = d.order_key
                                 and x.position < d.position and x.state in ('scheduled', 'sending', 'held')) then 'in_order'
        end as waits_for
   from d
   join read.destination_names_v1 n on n.destination_id = d.destination_id
   left join read.delivery_leases_v1 l on l.delivery_id = d.delivery_id
   left join read.destinations_v1 t on t.destination_id = d.destination_id
   left join read.bookings_v1 b on b.booking_id = case when d.stream_id ~ '^booking-[0-9a-f-]{36}$' then substr(d.stream_id, 9)::uuid end
  order by d.delivery_id desc";

/// A webhook that is being sent is scheduled and has a lease.
const LEASED: &str =
    "exists (select from read.delivery_leases_v1 l where l.delivery_id = x.delivery_id)";

pub async fn list(desk: &Desk, request: ListDeliveries) -> Result<DeliveryList, AppError> {
    if !(1..=500).contains(&request.limit) {
        return Err(AppError::invalid(
            "limit",
            "A page has 1 to 500 deliveries.",
        ));
    }
    let after: Option<Uuid> = request
        .after
        .as_deref()
        .map(|a| {
            a.parse()
                .map_err(|_| AppError::invalid("after", "That is no place in the list."))
        })
        .transpose()?;
    let mut conn = desk.people.acquire().await?;
    let asked = Asked::read(&mut conn, &request.filter).await?;
    let mut query = QueryBuilder::new("with d as (select * from ");
    asked.push(&mut query, after);
    query.push(" order by delivery_id desc limit ");
    query.push_bind(i64::from(request.limit) + 1);
    query.push(") ");
    query.push(SHOWN);
    let rows = query.build().fetch_all(&mut *conn).await?;
    let mut rows = rows.iter().map(row).collect::<Result<Vec<_>, AppError>>()?;
    let next = (rows.len() > request.limit as usize).then(|| {
        rows.truncate(request.limit as usize);
        rows.last().map(|r| r.delivery_id.to_string())
    });
    Ok(DeliveryList {
        matching: asked.count(&mut conn).await?,
        looked_since: asked.beyond,
        counts: counts(&mut conn).await?,
        next: next.flatten(),
        rows,
    })
}

/// A filter with its names resolved.
pub(super) struct Asked<'a> {
    filter: &'a DeliveryFilter,
    /// Endpoints that let nothing through now.
    closed: Vec<Uuid>,
    found: Found,
    /// Of a search in payloads: what is as old as this is asked for and not looked at.
    pub beyond: Option<DateTime<Utc>>,
}

/// What a search text turned out to be.
enum Found {
    Nothing,
    Anything,
    Id(Uuid),
    Stream(String),
}

impl<'a> Asked<'a> {
    pub async fn read(
        conn: &mut PgConnection,
        filter: &'a DeliveryFilter,
    ) -> Result<Asked<'a>, AppError> {
        if filter.payload.as_ref().is_some_and(|p| !p.is_object()) {
            return Err(AppError::invalid(
                "filter.payload",
                r#"What a payload contains is written as an object, as in {"currency": "EUR"}."#,
            ));
        }
        let closed = sqlx::query_scalar(
            "select destination_id from read.destinations_v1 where kind = 'webhook' and (state <> 'active' or breaker <> 'closed' or paused_until > now())",
        )
        .fetch_all(&mut *conn)
        .await?;
        let found = match filter
            .search
            .as_deref()
            .map(str::trim)
            .filter(|s| !s.is_empty())
        {
            Some(text) => search(conn, text).await?,
            None => Found::Anything,
        };
        let beyond = match filter.payload {
            Some(_) => horizon(conn).await?,
            None => None,
        };
        Ok(Asked {
            filter,
            closed,
            found,
            beyond: beyond.filter(|at| filter.since.is_none_or(|since| since <= *at)),
        })
    }

    fn is_slow(&self) -> bool {
        self.filter.payload.is_some() || !matches!(self.found, Found::Anything)
    }

    fn is_all(&self) -> bool {
        *self.filter == DeliveryFilter::default()
    }

    /// `read.deliveries_v2 where …`, in an order that the caller adds.
    pub fn push(&self, query: &mut QueryBuilder<Postgres>, after: Option<Uuid>) {
        let f = self.filter;
        if f.payload.is_some() {
            query.push("(select * from read.deliveries_v2 order by delivery_id desc limit ");
            query.push_bind(LOOKED_THROUGH);
            query.push(") x where true");
        } else {
            query.push("read.deliveries_v2 x where true");
        }
        if let Some(after) = after {
            query.push(" and x.delivery_id < ").push_bind(after);
        }
        if let Some(since) = f.since {
            query.push(" and x.created_at >= ").push_bind(since);
        }
        if let Some(until) = f.until {
            query.push(" and x.created_at < ").push_bind(until);
        }
        if !f.destination_ids.is_empty() {
            query
                .push(" and x.destination_id = any(")
                .push_bind(f.destination_ids.clone())
                .push(")");
        }
        if !f.events.is_empty() {
            query
                .push(" and x.template in (select template from read.subscriptions_v1 where event_name = any(")
                .push_bind(f.events.clone())
                .push(") union all select unnest(")
                .push_bind(f.events.clone())
                .push("::text[]))");
        }
        if let Some(booking) = f.booking_id {
            query
                .push(" and x.stream_id = ")
                .push_bind(format!("booking-{booking}"));
        }
        if let Some(event) = f.event_id {
            query.push(" and x.event_id = ").push_bind(event);
        }
        if let Some(payload) = &f.payload {
            query
                .push(" and exists (select from read.log_v1 e where e.position = x.position and e.data @> ")
                .push_bind(payload.clone())
                .push(")");
        }
        match &self.found {
            Found::Anything => {}
            Found::Nothing => {
                query.push(" and false");
            }
            Found::Id(id) => {
                query.push(" and x.delivery_id in (select ").push_bind(*id);
                query
                    .push("::uuid union all select i.delivery_id from read.deliveries_v2 i where i.event_id = ")
                    .push_bind(*id)
                    .push(")");
            }
            Found::Stream(stream) => {
                query.push(" and x.stream_id = ").push_bind(stream.clone());
            }
        }
        self.push_states(query);
        self.push_codes(query);
        self.push_errors(query);
    }

    fn push_states(&self, query: &mut QueryBuilder<Postgres>) {
        let states: BTreeSet<_> = self.filter.states.iter().map(|s| *s as u8).collect();
        if states.is_empty() {
            return;
        }
        query.push(" and (false");
        for state in &self.filter.states {
            let plain = |word: &str| format!(" or x.state = '{word}'");
            let scheduled = |query: &mut QueryBuilder<Postgres>, and: &str, closed: bool| {
                query.push(format!(
                    " or (x.state = 'scheduled'{and} and not {LEASED} and {}x.destination_id = any(",
                    if closed { "" } else { "not " }
                ));
                query.push_bind(self.closed.clone()).push("))");
            };
            match state {
                DeliveryState::Scheduled => scheduled(query, " and x.attempt = 0", false),
                DeliveryState::Retrying => scheduled(query, " and x.attempt > 0", false),
                DeliveryState::Paused => scheduled(query, "", true),
                DeliveryState::Sending => {
                    query
                        .push(plain("sending"))
                        .push(format!(" or (x.state = 'scheduled' and {LEASED})"));
                }
                DeliveryState::Delivered => {
                    query.push(plain("delivered"));
                }
                DeliveryState::GaveUp => {
                    query.push(plain("gave_up"));
                }
                DeliveryState::Unclear => {
                    query.push(plain("unclear"));
                }
                DeliveryState::Skipped => {
                    query.push(plain("skipped"));
                }
                DeliveryState::Held => {
                    query.push(plain("held"));
                }
                DeliveryState::Cancelled => {
                    query.push(plain("cancelled"));
                }
            }
        }
        query.push(")");
    }

    fn push_codes(&self, query: &mut QueryBuilder<Postgres>) {
        if self.filter.codes.is_empty() {
            return;
        }
        query.push(" and (false");
        for code in &self.filter.codes {
            query.push(match code {
                CodeClass::None => " or (x.last_status is null and x.last_class is not null)",
                CodeClass::Ok => " or x.last_status between 200 and 299",
                CodeClass::Redirect => " or x.last_status between 300 and 399",
                CodeClass::Client => " or x.last_status between 400 and 499",
                CodeClass::Server => " or x.last_status between 500 and 599",
            });
        }
        query.push(")");
    }

    /// `deliveries_failed` holds these, and only these.
    fn push_errors(&self, query: &mut QueryBuilder<Postgres>) {
        if self.filter.errors.is_empty() {
            return;
        }
        let words = self
            .filter
            .errors
            .iter()
            .flat_map(|class| error_words(*class));
        query
            .push(" and x.last_class = any(")
            .push_bind(words.copied().collect::<Vec<_>>())
            .push(")");
    }

    async fn count(&self, conn: &mut PgConnection) -> Result<Count, AppError> {
        if self.is_all() {
            return all(conn).await;
        }
        let most = if self.is_slow() {
            COUNTED_SLOWLY
        } else {
            COUNTED
        };
        let mut query = QueryBuilder::new("select count(*) from (select from ");
        self.push(&mut query, None);
        query.push(" limit ").push_bind(most).push(") y");
        let count: i64 = query.build_query_scalar().fetch_one(conn).await?;
        Ok(Count {
            count,
            estimated: count == most,
        })
    }
}

/// As tries are recorded with.
fn error_words(class: ErrorClass) -> &'static [&'static str] {
    match class {
        ErrorClass::Name => &["no_such_name", "dns"],
        ErrorClass::Connect => &["connect"],
        ErrorClass::Tls => &["tls", "certificate"],
        ErrorClass::Timeout => &["timeout"],
        ErrorClass::Broken => &["closed", "protocol", "interrupted"],
        ErrorClass::Blocked => &["blocked_address"],
        ErrorClass::TooLarge => &["too_large"],
        ErrorClass::Answer => &["status", "redirect", "gone"],
    }
}

/// The newest delivery that a search in payloads does not look at.
async fn horizon(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, AppError> {
    let at = sqlx::query_scalar(
        "select created_at from read.deliveries_v2 order by delivery_id desc offset $1 limit 1",
    )
    .bind(LOOKED_THROUGH)
    .fetch_optional(conn)
    .await?;
    Ok(at)
}

/// A booking's reference, a delivery's, an event's or a message's id.
async fn search(conn: &mut PgConnection, text: &str) -> Result<Found, AppError> {
    let bare = text
        .strip_prefix("msg_test_")
        .or_else(|| text.strip_prefix("msg_"))
        .unwrap_or(text);
    if let Ok(id) = bare.parse::<Uuid>() {
        return Ok(Found::Id(id));
    }
    let booking: Option<Uuid> =
        sqlx::query_scalar("select booking_id from read.bookings_v1 where reference = $1")
            .bind(normal_reference(text))
            .fetch_optional(conn)
            .await?;
    Ok(booking.map_or(Found::Nothing, |id| Found::Stream(format!("booking-{id}"))))
}

/// As the server's statistics have it, when it is much.
async fn all(conn: &mut PgConnection) -> Result<Count, AppError> {
    let counted: i64 =
        sqlx::query_scalar("select count(*) from (select from read.deliveries_v2 limit 20000) x")
            .fetch_one(&mut *conn)
            .await?;
    if counted < 20_000 {
        return Ok(Count {
            count: counted,
            estimated: false,
        });
    }
    let estimate: f32 = sqlx::query_scalar(
        "select reltuples from pg_class where oid = to_regclass('delivery.deliveries')",
    )
    .fetch_one(conn)
    .await?;
    Ok(Count {
        count: (estimate as i64).max(counted),
        estimated: true,
    })
}

async fn counts(conn: &mut PgConnection) -> Result<DeliveryCounts, AppError> {
    let zone = zone(conn).await?;
    let row = sqlx::query(
        "select (select coalesce(sum(ok), 0) from read.destination_hours_v1 where hour >= date_trunc('day', now() at time zone $1) at time zone $1) as delivered_today,
                (select count(*) from (select from read.deliveries_v2 where state = 'scheduled' and attempt = 0 limit 100000) x) as scheduled,
                (select count(*) from (select from read.deliveries_v2 where state = 'scheduled' and attempt > 0 limit 100000) x) as retrying,
                (select count(*) from (select from read.deliveries_v2 where state = 'gave_up' limit 100000) x) as gave_up,
                (select count(*) from (select from read.deliveries_v2 where state = 'unclear' limit 100000) x) as unclear,
                (select count(*) from (select from read.deliveries_v2 where state = 'held' limit 100000) x) as held",
    )
    .bind(zone)
    .fetch_one(&mut *conn)
    .await?;
    Ok(DeliveryCounts {
        delivered_today: row.try_get("delivered_today")?,
        scheduled: row.try_get("scheduled")?,
        retrying: row.try_get("retrying")?,
        gave_up: row.try_get("gave_up")?,
        unclear: row.try_get("unclear")?,
        held: row.try_get("held")?,
        all: all(conn).await?,
    })
}

pub(super) fn row(row: &PgRow) -> Result<DeliveryRow, AppError> {
    let (kind, state): (String, String) = (row.try_get("kind")?, row.try_get("state")?);
    let attempt: i32 = row.try_get("attempt")?;
    let waits_for: Option<String> = row.try_get("waits_for")?;
    let webhook = kind == "webhook";
    let stream: String = row.try_get("stream_id")?;
    let trigger = trigger(row.try_get("trigger")?);
    let most = match trigger {
        DeliveryTrigger::Test => OF_A_TEST.len() as i32,
        _ => row.try_get::<Option<i32>, _>("most")?.unwrap_or(MAIL_TRIES),
    };
    let problem: Option<String> = row.try_get("problem")?;
    let waits = state == "scheduled";
    Ok(DeliveryRow {
        delivery_id: row.try_get("delivery_id")?,
        at: row.try_get("changed_at")?,
        created_at: row.try_get("created_at")?,
        state: state_of(&state, attempt, waits_for.as_deref()),
        event_name: row.try_get("event_name")?,
        event_id: row.try_get("event_id")?,
        position: row.try_get("position")?,
        booking_id: stream
            .strip_prefix("booking-")
            .and_then(|id| id.parse().ok()),
        reference: row.try_get("reference")?,
        destination_id: row.try_get("destination_id")?,
        destination: row.try_get("destination")?,
        template: (!webhook).then(|| row.try_get("template")).transpose()?,
        tries: u32::try_from(attempt).unwrap_or(0),
        most_tries: u32::try_from(if webhook { most } else { MAIL_TRIES }).unwrap_or(0),
        code: row
            .try_get::<Option<i16>, _>("last_status")?
            .and_then(|c| u16::try_from(c).ok()),
        error: problem.filter(|_| state != "delivered"),
        total_ms: row
            .try_get::<Option<i32>, _>("last_ms")?
            .and_then(|ms| u32::try_from(ms).ok()),
        next_at: waits.then(|| row.try_get("next_at")).transpose()?,
        give_up_at: row
            .try_get::<Option<DateTime<Utc>>, _>("give_up_at")?
            .filter(|_| waits),
        waits_for,
        trigger,
        kind,
    })
}

fn state_of(state: &str, attempt: i32, waits_for: Option<&str>) -> DeliveryState {
    match (state, waits_for) {
        ("scheduled", Some("paused" | "failing" | "retry_after" | "disabled")) => {
            DeliveryState::Paused
        }
        _ => crate::app::bookings::page::delivery_state(state, attempt),
    }
}

pub(super) fn trigger(word: &str) -> DeliveryTrigger {
    match word {
        "manual" => DeliveryTrigger::Manual,
        "replay" => DeliveryTrigger::Replay,
        "test" => DeliveryTrigger::Test,
        _ => DeliveryTrigger::Auto,
    }
}
