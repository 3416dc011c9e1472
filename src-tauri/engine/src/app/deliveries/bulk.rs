//! Many at once: what it would do, the set that was seen, and how far it is.

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, QueryBuilder, Row};
use uuid::Uuid;

use super::list::Asked;
use super::{managers_only, may_write, refusal, rung};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;

/// One decision is for so many at most.
pub(crate) const MOST: i64 = 100_000;
/// Whom the window proposes, until a person says otherwise.
const PROPOSED_PER_S: i64 = 50;

/// The set as it is now: which of what was asked for can be sent again or cancelled.
struct Set {
    ids: Vec<Uuid>,
    shares: Vec<BulkShare>,
    left_out: Vec<(String, u32)>,
    hash: String,
    /// Why it is not all that was asked for.
    partial: Option<String>,
}

pub async fn preview(desk: &Desk, request: PreviewRedelivery) -> Result<RedeliveryPlan, AppError> {
    let mut conn = desk.people.acquire().await?;
    let set = set(&mut conn, request.action, &request.filter).await?;
    let count = i64::try_from(set.ids.len()).unwrap_or(i64::MAX);
    let refused = managers_only(desk).or(set.partial).or_else(|| match count {
        0 => Some("Nothing of this can be done.".to_owned()),
        _ if count > MOST => {
            Some("One decision is for up to 100,000 deliveries: ask for fewer.".to_owned())
        }
        _ => None,
    });
    let now = Utc::now();
    Ok(RedeliveryPlan {
        count,
        shares: set.shares,
        left_out: set.left_out,
        first_at: (count > 0).then_some(now),
        last_at: (count > 0).then(|| now + TimeDelta::seconds(count / PROPOSED_PER_S)),
        hash: set.hash,
        refused,
    })
}

pub async fn start(desk: &Desk, request: StartRedelivery) -> Result<Redelivery, AppError> {
    may_write(desk)?;
    pace(request.per_second)?;
    let mut conn = desk.people.acquire().await?;
    if let Some(there) = all(&mut conn, Some(request.bulk_id)).await?.pop() {
        // The dialog was sent twice.
        return Ok(there);
    }
    let set = set(&mut conn, request.action, &request.filter).await?;
    unchanged(&set.hash, &request.hash)?;
    if let Some(why) = set.partial {
        return Err(AppError::new(Code::Refused, why));
    }
    let done: String = sqlx::query_scalar("select api.start_bulk($1, $2, $3, $4, $5, $6, $7)")
        .bind(request.bulk_id)
        .bind(word(request.action))
        .bind(serde_json::to_value(&request.filter).map_err(internal)?)
        .bind(&request.hash)
        .bind(&set.ids)
        .bind(i32::try_from(request.per_second).unwrap_or(1))
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    begun(&done)?;
    rung(desk);
    one(&mut conn, request.bulk_id).await
}

/// How fast a decision for many may be carried out.
pub(crate) fn pace(per_second: u32) -> Result<(), AppError> {
    match per_second {
        1..=1_000 => Ok(()),
        _ => Err(AppError::invalid(
            "per_second",
            "1 to 1,000 are done in a second.",
        )),
    }
}

/// What is agreed to is the set that was seen.
pub(crate) fn unchanged(now: &str, seen: &str) -> Result<(), AppError> {
    if now == seen {
        return Ok(());
    }
    Err(AppError::new(
        Code::Conflict,
        "What you saw is not what is there now. Nothing was started.",
    )
    .hint("Look at what it would do now, then start it again.")
    .retry(Retry::Now))
}

/// What the database says to the beginning of a decision for many.
pub(crate) fn begun(done: &str) -> Result<(), AppError> {
    match done {
        "started" | "repeated" => Ok(()),
        "reason" => Err(AppError::invalid(
            "reason",
            "Say why, for whoever looks at it later.",
        )),
        "reused" => Err(AppError::new(
            Code::CommandReused,
            "This form was sent before with other content. Nothing was done.",
        )
        .hint("Open the form again.")),
        _ => Err(AppError::new(
            Code::Refused,
            "One decision is for 1 to 100,000 at once. Nothing was started.",
        )
        .hint("Ask for fewer: a shorter time, one state.")),
    }
}

pub async fn change(desk: &Desk, request: ChangeRedelivery) -> Result<Redelivery, AppError> {
    may_write(desk)?;
    let mut conn = desk.people.acquire().await?;
    let done: String = sqlx::query_scalar("select api.change_bulk($1, $2)")
        .bind(request.bulk_id)
        .bind(&request.change)
        .fetch_one(&mut *conn)
        .await?;
    match done.as_str() {
        "changed" => {}
        "not_found" => return Err(gone()),
        "over" => {
            return Err(AppError::new(
                Code::Conflict,
                "This is over already. Nothing was changed by you.",
            ));
        }
        _ => {
            return Err(AppError::invalid(
                "change",
                "It is stopped, let go on or cancelled.",
            ));
        }
    }
    rung(desk);
    one(&mut conn, request.bulk_id).await
}

/// Those that are open, and those that ended lately.
pub async fn redeliveries(desk: &Desk, _: Empty) -> Result<Vec<Redelivery>, AppError> {
    all(&mut *desk.people.acquire().await?, None).await
}

fn word(action: BulkAction) -> &'static str {
    match action {
        BulkAction::Redeliver => "redeliver",
        BulkAction::Cancel => "cancel",
        BulkAction::Recover => "recover",
        BulkAction::Reprocess => "reprocess",
    }
}

fn gone() -> AppError {
    AppError::new(Code::NotFound, "There is no such decision here.")
}

async fn set(
    conn: &mut PgConnection,
    action: BulkAction,
    filter: &DeliveryFilter,
) -> Result<Set, AppError> {
    let elsewhere = match action {
        BulkAction::Recover => {
            Some("An endpoint is owed what it missed when it is turned on again.")
        }
        BulkAction::Reprocess => Some("What came in is processed again from the inbox."),
        BulkAction::Redeliver | BulkAction::Cancel => None,
    };
    if let Some(why) = elsewhere {
        return Err(AppError::invalid("action", why));
    }
    let asked = Asked::read(conn, filter).await?;
    let mut query = QueryBuilder::new("with x as (select * from ");
    asked.push(&mut query, None);
    query
        .push(" order by delivery_id limit ")
        .push_bind(MOST + 1);
    query.push(
        ") select x.delivery_id,
             case when x.state = 'scheduled' and exists (select from read.delivery_leases_v1 l where l.delivery_id = x.delivery_id) then 'sending'
                  else x.state end as state,
             x.trigger, x.destination_id, n.name, n.kind, n.deleted_at is not null as deleted,
             case when t.state in ('paused', 'disabled') then t.state when t.breaker <> 'closed' then 'failing' end as waits_for
           from x join read.destination_names_v1 n on n.destination_id = x.destination_id
           left join read.destinations_v1 t on t.destination_id = x.destination_id order by x.delivery_id",
    );
    let rows = query.build().fetch_all(conn).await?;
    let mut set = Set {
        ids: vec![],
        shares: vec![],
        left_out: vec![],
        hash: String::new(),
        partial: asked.beyond.map(|at| {
            format!(
                "A search in payloads looks through the newest {} deliveries, back to {}: ask for those since then.",
                super::list::LOOKED_THROUGH,
                at.format("%Y-%m-%d %H:%M UTC")
            )
        }),
    };
    for row in &rows {
        let state: &str = row.try_get("state")?;
        if let Some(why) = left_out(
            action,
            state,
            row.try_get("kind")?,
            row.try_get("deleted")?,
            row.try_get("trigger")?,
        ) {
            match set.left_out.iter_mut().find(|(word, _)| *word == why) {
                Some((_, n)) => *n += 1,
                None => set.left_out.push((why, 1)),
            }
            continue;
        }
        set.ids.push(row.try_get("delivery_id")?);
        let destination_id: Uuid = row.try_get("destination_id")?;
        let before = i64::from(state == "delivered");
        match set
            .shares
            .iter_mut()
            .find(|s| s.destination_id == destination_id)
        {
            Some(share) => {
                share.count += 1;
                share.delivered_before += before;
            }
            None => set.shares.push(BulkShare {
                destination_id,
                destination: row.try_get("name")?,
                count: 1,
                delivered_before: before,
                waits_for: row.try_get("waits_for")?,
            }),
        }
    }
    set.hash = digest(action, set.ids.iter().map(Uuid::as_bytes));
    Ok(set)
}

/// The name of a set: another set has another one.
pub(crate) fn digest<const N: usize>(
    action: BulkAction,
    ids: impl Iterator<Item = impl std::borrow::Borrow<[u8; N]>>,
) -> String {
    let mut hash = Sha256::new();
    hash.update(word(action));
    for id in ids {
        hash.update(id.borrow());
    }
    hash.finalize()[..12]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn left_out(
    action: BulkAction,
    state: &str,
    kind: &str,
    deleted: bool,
    trigger: &str,
) -> Option<String> {
    let why = match action {
        _ if kind != "webhook" => "leaves_once",
        BulkAction::Cancel => match state {
            "scheduled" | "held" => return None,
            other => other,
        },
        BulkAction::Redeliver if deleted => "deleted",
        BulkAction::Redeliver if trigger == "test" => "test",
        BulkAction::Redeliver if state == "sending" => "sending",
        BulkAction::Redeliver | BulkAction::Recover | BulkAction::Reprocess => return None,
    };
    Some(refusal(why))
}

pub(crate) async fn one(conn: &mut PgConnection, id: Uuid) -> Result<Redelivery, AppError> {
    all(conn, Some(id)).await?.pop().ok_or_else(gone)
}

pub(crate) async fn all(
    conn: &mut PgConnection,
    id: Option<Uuid>,
) -> Result<Vec<Redelivery>, AppError> {
    let rows = sqlx::query(
        "select b.*, s.done + p.done as done, s.delivered + p.processed as delivered, s.failed + p.failed as failed
           from read.redeliveries_v1 b
          cross join lateral (
            select count(*) filter (where i.made is not null or i.refusal is not null) as done,
                   count(*) filter (where d.state = 'delivered') as delivered,
                   count(*) filter (where d.state = 'gave_up' or i.refusal is not null) as failed
              from read.redelivery_items_v1 i left join read.deliveries_v2 d on d.delivery_id = i.made
             where i.bulk_id = b.bulk_id) s
          cross join lateral (
            select count(*) filter (where i.again_at is not null or i.refusal is not null) as done,
                   count(*) filter (where i.again_at is not null and n.processed_at is not null) as processed,
                   count(*) filter (where i.again_at is not null and n.result = 'quarantined' or i.refusal is not null) as failed
              from read.reprocess_items_v1 i left join read.inbox_v1 n on n.inbox_id = i.inbox_id
             where i.bulk_id = b.bulk_id) p
          where case when $1::uuid is null then b.ended_at is null or b.ended_at > now() - interval '1 hour' else b.bulk_id = $1 end
          order by b.requested_at desc limit 20",
    )
    .bind(id)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let asked: Value = row.try_get("filter")?;
            let action = match row.try_get("action")? {
                "cancel" => BulkAction::Cancel,
                "recover" => BulkAction::Recover,
                "reprocess" => BulkAction::Reprocess,
                _ => BulkAction::Redeliver,
            };
            let (filter, came) = match action {
                BulkAction::Reprocess => (
                    DeliveryFilter::default(),
                    Some(serde_json::from_value(asked).map_err(internal)?),
                ),
                _ => (serde_json::from_value(asked).map_err(internal)?, None),
            };
            Ok(Redelivery {
                bulk_id: row.try_get("bulk_id")?,
                action,
                filter,
                came,
                by: row.try_get("requested_by")?,
                reason: row.try_get("reason")?,
                at: row.try_get("requested_at")?,
                state: row.try_get("state")?,
                count: i64::from(row.try_get::<i32, _>("count")?),
                done: row.try_get("done")?,
                delivered: row.try_get("delivered")?,
                failed: row.try_get("failed")?,
                looked: row.try_get("looked")?,
                per_second: u32::try_from(row.try_get::<i32, _>("per_second")?).unwrap_or(1),
                ended_at: row.try_get("ended_at")?,
            })
        })
        .collect()
}
