//! One decision for many sagas: the set that was seen, frozen, carried out by workers.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::act::rung;
use super::list::{self, BOOKING, ROW, sums};
use super::words;
use crate::app::bookings::row::{COLUMNS, saga_facts};
use crate::app::bookings::steps::saga_state;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::money;
use crate::app::wire::*;

/// One decision is for so many, as the database has it.
const MOST: usize = 1_000;
/// From this many on the number is typed.
const TYPED_FROM: usize = 10;
const ACTIONS: [&str; 7] = [
    "retry",
    "compensate",
    "skip",
    "resolve",
    "assign",
    "pause",
    "resume",
];
/// These take nothing back and end nothing: their number is not typed.
const CALM: [&str; 3] = ["assign", "pause", "resume"];

pub async fn preview(desk: &Desk, request: PreviewBatch) -> Result<BatchPlan, AppError> {
    let mut conn = desk.people.acquire().await?;
    let ids = match &request.filter {
        Some(filter) => list::found(&mut conn, filter, MOST + 1).await?,
        None => request.saga_ids,
    };
    allowed(&request.action, ids.len())?;
    let query = sqlx::query(
        "select p.saga_id, p.plan, p.hash, coalesce(s.context->>'reference', '?') as reference, b.customer_name
           from api.preview_saga_batch($1, $2) with ordinality as p(saga_id, plan, hash, o) join read.sagas_v2 s on s.saga_id = p.saga_id
           left join read.bookings_v1 b on b.booking_id = s.booking_id order by p.o",
    )
    .bind(&request.action)
    .bind(&ids);
    let rows = query.fetch_all(&mut *conn).await?;
    in_all(&mut conn, &request.action, &rows).await
}

/// What is left of a decision that a second person looks at, as it is now.
pub async fn preview_asked(desk: &Desk, request: PreviewAskedBatch) -> Result<BatchPlan, AppError> {
    let mut conn = desk.people.acquire().await?;
    let batch = one(&mut conn, request.batch_id).await?;
    let query = sqlx::query(
        "select p.saga_id, p.plan, p.hash, coalesce(s.context->>'reference', '?') as reference, b.customer_name
           from api.preview_asked_batch($1) with ordinality as p(saga_id, plan, hash, o) join read.sagas_v2 s on s.saga_id = p.saga_id
           left join read.bookings_v1 b on b.booking_id = s.booking_id order by p.o",
    )
    .bind(request.batch_id);
    let rows = query.fetch_all(&mut *conn).await?;
    in_all(&mut conn, &batch.action, &rows).await
}

/// The plans of a set, summed up.
async fn in_all(
    conn: &mut PgConnection,
    action: &str,
    rows: &[PgRow],
) -> Result<BatchPlan, AppError> {
    let mut plan = BatchPlan {
        members: vec![],
        seen: vec![],
        refused: vec![],
        refunds: vec![],
        refund_count: 0,
        authorisations: vec![],
        kept: vec![],
        bookings_cancelled: 0,
        slots_freed: 0,
        messages: 0,
        needs_approval: false,
        typed: false,
    };
    let mut refunds = vec![];
    let mut released = vec![];
    let mut kept = vec![];
    let mut threshold = vec![];
    for row in rows {
        let one = super::plan::plan(with_hash(row.try_get("plan")?, row.try_get("hash")?))?;
        let saga_id: Uuid = row.try_get("saga_id")?;
        if let Some(reason) = one.refused {
            plan.refused.push(BatchRefusal {
                saga_id,
                reference: row.try_get("reference")?,
                reason,
            });
            continue;
        }
        let has = |op: &str| u32::from(one.operations.iter().any(|o| o.op == op));
        plan.bookings_cancelled += has("cancel_booking");
        plan.messages += has("cancel_booking") + has("send_again");
        plan.slots_freed += has("release");
        plan.refund_count += u32::from(one.refund.is_some());
        plan.needs_approval |= one.needs_approval;
        threshold.push(one.threshold);
        refunds.extend(one.refund);
        released.extend(
            one.operations
                .iter()
                .filter(|o| o.op == "void")
                .filter_map(|o| o.amount.clone()),
        );
        plan.seen.push(BatchSeen {
            saga_id,
            reference: row.try_get("reference")?,
            customer: row
                .try_get::<Option<String>, _>("customer_name")?
                .unwrap_or_else(|| "…".to_owned()),
            kept: one.kept.clone(),
        });
        kept.extend((action == "resolve" && one.kept.amount_minor > 0).then_some(one.kept));
        plan.members.push(BatchMember {
            saga_id,
            version: one.version,
            hash: one.hash,
            evidence: None,
        });
    }
    plan.refunds = sums(refunds.iter());
    plan.authorisations = sums(released.iter());
    plan.kept = sums(kept.iter());
    // Above the sum of one refund the sum of all counts: many small ones are much money too.
    let others: bool = sqlx::query_scalar("select api.others_may_approve()")
        .fetch_one(conn)
        .await?;
    plan.needs_approval |= others
        && plan.refunds.iter().any(|sum| {
            threshold
                .iter()
                .any(|t| t.currency == sum.currency && sum.amount_minor >= t.amount_minor)
        });
    plan.typed = !CALM.contains(&action)
        && (plan.members.len() >= TYPED_FROM || plan.refund_count > 0 || !plan.kept.is_empty());
    Ok(plan)
}

fn with_hash(mut plan: Value, hash: String) -> Value {
    plan["hash"] = Value::String(hash);
    plan
}

fn allowed(action: &str, sagas: usize) -> Result<(), AppError> {
    if !ACTIONS.contains(&action) {
        return Err(AppError::invalid(
            "action",
            "Many at once can be tried again, undone, left as they are, ended, given to somebody, paused, or let go on.",
        ));
    }
    match sagas {
        1..=MOST => Ok(()),
        0 => Err(AppError::invalid("saga_ids", "There is no saga to decide.")),
        _ => Err(AppError::invalid(
            "saga_ids",
            "One decision is for at most 1,000 sagas, and these are more.",
        )
        .hint("Narrow the list down, or choose a part of it.")),
    }
}

pub async fn start(desk: &Desk, request: StartBatch) -> Result<SagaBatch, AppError> {
    allowed(&request.action, request.members.len())?;
    read_only(desk)?;
    let mut conn = desk.people.acquire().await?;
    let of = |pick: fn(&BatchMember) -> Uuid| request.members.iter().map(pick).collect::<Vec<_>>();
    let answer: Value =
        sqlx::query_scalar("select api.start_saga_batch($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(request.batch_id)
            .bind(&request.action)
            .bind(of(|m| m.saga_id))
            .bind(
                request
                    .members
                    .iter()
                    .map(|m| m.version)
                    .collect::<Vec<_>>(),
            )
            .bind(
                request
                    .members
                    .iter()
                    .map(|m| m.hash.clone())
                    .collect::<Vec<_>>(),
            )
            .bind(
                request
                    .members
                    .iter()
                    .map(|member| own(&request, member))
                    .collect::<Vec<_>>(),
            )
            .bind(request.typed.and_then(|n| i32::try_from(n).ok()))
            .bind(&request.reason)
            .fetch_one(&mut *conn)
            .await?;
    match answer["status"].as_str().unwrap_or_default() {
        "started" | "awaiting_approval" | "repeated" => {}
        "reason" | "evidence" => {
            return Err(words::lacks(answer["status"].as_str().unwrap_or_default()));
        }
        "typed" => {
            return Err(AppError::invalid(
                "typed",
                format!("Type the number of sagas: {}.", request.members.len()),
            ));
        }
        "reused" => {
            return Err(AppError::new(
                Code::CommandReused,
                "This form was sent before with other content. Nothing was done.",
            )
            .hint("Open the form again."));
        }
        other => {
            return Err(AppError::new(
                Code::Refused,
                format!("The database refused: {other}."),
            ));
        }
    }
    rung(desk);
    one(&mut conn, request.batch_id).await
}

/// What one saga needs of its own.
fn own(request: &StartBatch, member: &BatchMember) -> Value {
    match request.action.as_str() {
        "assign" => json!({ "to": request.to.as_deref().unwrap_or_default() }),
        "resolve" => {
            json!({ "evidence": member.evidence.as_deref().map(str::trim).unwrap_or_default() })
        }
        _ => json!({}),
    }
}

pub async fn change(desk: &Desk, request: ChangeBatch) -> Result<SagaBatch, AppError> {
    read_only(desk)?;
    if !["approve", "reject", "stop", "go_on", "end"].contains(&request.change.as_str()) {
        return Err(AppError::invalid(
            "change",
            "A batch is approved, rejected, stopped, let go on or ended.",
        ));
    }
    let mut conn = desk.people.acquire().await?;
    let answer: Value = sqlx::query_scalar("select api.change_saga_batch($1, $2, $3)")
        .bind(request.batch_id)
        .bind(&request.change)
        .bind(&request.reason)
        .fetch_one(&mut *conn)
        .await?;
    rung(desk);
    match answer["status"].as_str().unwrap_or_default() {
        "done" => one(&mut conn, request.batch_id).await,
        "own" => Err(AppError::new(
            Code::Refused,
            "You asked for this yourself: somebody else decides.",
        )),
        "reason" => Err(words::lacks("reason")),
        "not_found" => Err(AppError::new(
            Code::NotFound,
            "There is no such batch here.",
        )),
        "expired" => Err(AppError::new(
            Code::Refused,
            "This request is older than 24 hours and has ended. Nothing was done.",
        )),
        _ => Err(AppError::new(
            Code::Conflict,
            "This is decided or over already. Nothing was changed by you.",
        )
        .hint("Look at it as it is now.")),
    }
}

fn read_only(desk: &Desk) -> Result<(), AppError> {
    match &desk.read_only {
        Some(reason) => Err(AppError::new(Code::Forbidden, reason.clone())),
        None => Ok(()),
    }
}

async fn one(conn: &mut PgConnection, id: Uuid) -> Result<SagaBatch, AppError> {
    batches(conn, Some(id))
        .await?
        .pop()
        .ok_or_else(|| AppError::new(Code::NotFound, "There is no such batch here."))
}

/// One, with what became of each of its sagas.
pub async fn page(desk: &Desk, request: GetBatch) -> Result<BatchPage, AppError> {
    let mut conn = desk.people.acquire().await?;
    let batch = one(&mut conn, request.batch_id).await?;
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query
        .push(COLUMNS)
        .push(", ")
        .push(ROW)
        .push(
            ", i.status as item_status, i.refusal as item_refusal, i.done_at as item_done_at, i.evidence as item_evidence,
               case when (c.plan->>'refund_minor')::bigint > 0 then (c.plan->>'refund_minor')::bigint end as item_refund
               from read.saga_batch_items_v1 i join read.sagas_v2 s using (saga_id) left join read.saga_commands_v2 c using (command_id) ",
        )
        .push(BOOKING)
        .push(" where i.batch_id = ")
        .push_bind(request.batch_id)
        .push(" order by i.ordinal");
    let rows = query.build().fetch_all(&mut *conn).await?;
    let items = rows.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let done = items.iter().filter(|i| i.refunded);
    Ok(BatchPage {
        refunded: sums(done.filter_map(|i| i.refund.as_ref())),
        batch,
        items,
    })
}

fn item(row: &PgRow) -> Result<BatchItem, AppError> {
    let currency: &str = row.try_get("currency")?;
    let refund: Option<i64> = row.try_get("item_refund")?;
    Ok(BatchItem {
        saga_id: row.try_get("saga_id")?,
        reference: row.try_get("reference")?,
        customer: row.try_get("customer_name")?,
        status: row.try_get("item_status")?,
        refusal: row
            .try_get::<Option<String>, _>("item_refusal")?
            .as_deref()
            .map(words::refusal),
        at: row.try_get("item_done_at")?,
        saga_state: saga_facts(row)?.as_ref().map(saga_state),
        refund: refund.map(|minor| money(minor, currency)),
        evidence: row.try_get("item_evidence")?,
        // By the saga and not by a list, which may be behind: undone is only what was given back.
        refunded: refund.is_some() && row.try_get::<&str, _>("saga_state")? == "compensated",
    })
}

/// One by its id, or those that are open or ended lately.
pub async fn batches(
    conn: &mut PgConnection,
    id: Option<Uuid>,
) -> Result<Vec<SagaBatch>, AppError> {
    let rows = sqlx::query(
        "select b.*, b.requested_by = session_user as own,
                coalesce((select jsonb_agg(jsonb_build_object('saga_id', i.saga_id, 'reference', coalesce(s.context->>'reference', '?'), 'reason', i.refusal) order by i.ordinal)
                            from read.saga_batch_items_v1 i join read.sagas_v2 s using (saga_id) where i.batch_id = b.batch_id and i.status = 'refused'), '[]') as refusals
           from read.saga_batches_v1 b
          where case when $1::uuid is not null then b.batch_id = $1
                     else b.state = 'running' or b.state = 'stopped' and b.pending > 0 and b.approval in ('not_needed', 'approved') or b.ended_at > now() - interval '15 minutes'
                       -- Whoever asked hears of a no, or of nobody's yes, when they are back.
                       or b.approval in ('rejected', 'expired') and b.requested_by = session_user and b.ended_at > now() - interval '1 day' end
          order by b.requested_at desc limit 20",
    )
    .bind(id)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let refunds: Value = row.try_get("refund_minor")?;
            let kept: Value = row.try_get("kept_minor")?;
            let mut refused: Vec<BatchRefusal> =
                serde_json::from_value(row.try_get("refusals")?).map_err(internal)?;
            for one in &mut refused {
                one.reason = words::refusal(&one.reason);
            }
            let number = |name: &str| -> sqlx::Result<u32> {
                Ok(u32::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0))
            };
            Ok(SagaBatch {
                batch_id: row.try_get("batch_id")?,
                action: row.try_get("action")?,
                reason: row.try_get("reason")?,
                by: row.try_get("requested_by")?,
                at: row.try_get::<DateTime<Utc>, _>("requested_at")?,
                state: row.try_get("state")?,
                approval: row.try_get("approval")?,
                approved_by: row.try_get("approved_by")?,
                refusal: row.try_get("refusal")?,
                ended_at: row.try_get("ended_at")?,
                refunds: by_currency(&refunds),
                kept: by_currency(&kept),
                count: u32::try_from(row.try_get::<i32, _>("frozen_count")?).unwrap_or(0),
                applied: number("applied")?,
                parked: number("parked")?,
                left: number("pending")?,
                refused,
                own: row.try_get("own")?,
            })
        })
        .collect()
}

fn by_currency(sums: &Value) -> Vec<Money> {
    sums.as_object()
        .into_iter()
        .flatten()
        .map(|(currency, minor)| money(minor.as_i64().unwrap_or(0), currency))
        .collect()
}
