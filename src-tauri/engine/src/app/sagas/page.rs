//! One saga: where it stands, what it tried, what people did to it, and what can be done.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::list::{BOOKING, ROW, gates, provider_of, saga_row};
use super::{act, ask, plan, words};
use crate::app::bookings::money::{Effect, beside, money_line};
use crate::app::bookings::page::deliveries;
use crate::app::bookings::row::COLUMNS;
use crate::app::bookings::saga::{Attempt, SAGA_COLUMNS, Saga};
use crate::app::bookings::timeline::DeliveryRow;
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::place::{moment, money};
use crate::app::wire::*;

const READ_ONLY: &str = "begin isolation level repeatable read read only";
/// A worker without a sign of life for this long is not counted.
const ALIVE: &str = "heartbeat_at > now() - interval '60 seconds' and not draining";

pub async fn page(desk: &Desk, request: GetSaga) -> Result<SagaPage, AppError> {
    let mut tx = crate::store::begin_with(&desk.people, READ_ONLY).await?;
    let row = read(&mut tx, request.saga_id).await?;
    let mut saga = Saga::read(&row)?.ok_or_else(act::unknown)?;
    let zone: String = row.try_get("zone")?;
    let booking_id: Uuid = row.try_get("booking_id")?;
    let attempts: Value = sqlx::query_scalar(
        "select coalesce(jsonb_agg(a order by a.no), '[]') from read.saga_attempts_v1 a where a.saga_id = $1",
    )
    .bind(saga.saga_id)
    .fetch_one(&mut *tx)
    .await?;
    saga.attempts = serde_json::from_value(attempts.clone()).map_err(internal)?;
    let all: Vec<Try> = serde_json::from_value(attempts).map_err(internal)?;
    let workers = workers(&mut tx).await?;
    let messages = deliveries(&mut tx, booking_id).await?;
    let effects = effects(&mut tx, saga.saga_id).await?;
    let now: DateTime<Utc> = sqlx::query_scalar("select now()")
        .fetch_one(&mut *tx)
        .await?;
    let alive: i64 = row.try_get("workers")?;
    let undo = plan::plan(
        act::planned(&mut tx, saga.saga_id, "compensate", &SagaParams::default()).await?,
    )?;
    let beside = beside(&mut tx, booking_id).await?;
    let shown = saga_row(&row)?;
    let gate = match shown.step.as_deref().and_then(provider_of) {
        Some(provider) => gates(&mut tx)
            .await?
            .into_iter()
            .find(|g| g.provider == provider && g.paused),
        None => None,
    };
    let page = SagaPage {
        saga: saga.view(messages.last(), None, alive, now),
        money: money_line(&row, &known(&effects), beside)?,
        email: row.try_get("c_email")?,
        paused: paused(&row)?,
        gate,
        supported: row.try_get("supported")?,
        workers: u32::try_from(alive).unwrap_or(0),
        fence: row.try_get("fence")?,
        attempts: tries(
            &all,
            &messages,
            saga.facts.definition.message,
            &workers,
            &zone,
        )?,
        effects,
        commands: commands(&mut tx, Some(saga.saga_id), None).await?,
        signals: signals(&mut tx, saga.saga_id).await?,
        offers: offers(&mut tx, desk, saga.saga_id).await?,
        undo: undo.operations,
        resolution: resolution(&row)?,
        ask_refused: ask::refused(&mut tx, desk, booking_id).await?,
        asks: ask::of_saga(&mut tx, saga.saga_id).await?,
        row: shown,
    };
    tx.commit().await?;
    Ok(page)
}

async fn read(conn: &mut PgConnection, saga: Uuid) -> Result<PgRow, AppError> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query
        .push(COLUMNS)
        .push(", ")
        .push(ROW)
        .push(", ")
        .push(SAGA_COLUMNS)
        .push(format!(
            ", s.fence, s.paused_at, s.paused_by, s.pause_reason, s.resolved_by, s.resolution, b.authorised_minor, b.captured_minor, b.refunded_minor,
               b.payment_intent, c.email as c_email,
               exists (select 1 from read.saga_workers_v1 w where {ALIVE}
                         and w.supports @> jsonb_build_array(jsonb_build_object('definition', s.definition, 'version', s.def_version))) as supported,
               (select count(*) from read.saga_workers_v1 where {ALIVE}) as workers
          from read.sagas_v2 s {BOOKING}
          left join read.customers_v1 c on c.customer_id = b.customer_id where s.saga_id = "
        ))
        .push_bind(saga);
    query
        .build()
        .fetch_optional(conn)
        .await?
        .ok_or_else(act::unknown)
}

fn known(effects: &[SagaEffect]) -> Vec<Effect> {
    effects
        .iter()
        .map(|e| Effect {
            outcome: e.outcome.clone(),
            resolved_at: e.resolved_at,
        })
        .collect()
}

fn paused(row: &PgRow) -> Result<Option<SagaPaused>, AppError> {
    let Some(at) = row.try_get("paused_at")? else {
        return Ok(None);
    };
    Ok(Some(SagaPaused {
        by: row.try_get("paused_by")?,
        at,
        reason: row.try_get("pause_reason")?,
    }))
}

fn resolution(row: &PgRow) -> Result<Option<SagaResolution>, AppError> {
    let Some(value) = row.try_get::<Option<Value>, _>("resolution")? else {
        return Ok(None);
    };
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Ok(Some(SagaResolution {
        by: row
            .try_get::<Option<String>, _>("resolved_by")?
            .unwrap_or_default(),
        reason: text("reason"),
        evidence: text("evidence"),
    }))
}

// ---- tries ---------------------------------------------------------------------------------------------------------

/// A try with what only this page shows of it.
#[derive(Deserialize)]
struct Try {
    #[serde(flatten)]
    of: Attempt,
    effect_id: Option<Uuid>,
    fence: i64,
    output: Option<Value>,
    next_retry_at: Option<DateTime<Utc>>,
}

/// Tries of steps and of the message that decides the last one, in the order in which they began.
fn tries(
    all: &[Try],
    messages: &[DeliveryRow],
    template: &str,
    workers: &HashMap<Uuid, String>,
    zone: &str,
) -> Result<Vec<SagaAttempt>, AppError> {
    let named = |id: Option<Uuid>| {
        id.map(|id| {
            workers
                .get(&id)
                .cloned()
                .unwrap_or_else(|| id.to_string()[24..].to_owned())
        })
    };
    let mut shown = vec![];
    for t in all {
        let a = &t.of;
        // A person's act carries who and why where a machine's carries an error.
        let by = t.output.as_ref().and_then(|o| o["by"].as_str());
        let why = t.output.as_ref().and_then(|o| o["reason"].as_str());
        shown.push((
            a.started_at,
            SagaAttempt {
                id: a.no.to_string(),
                step: a.step.clone(),
                undoing: a.undoing(),
                kind: a.kind.clone(),
                at: moment(a.started_at, zone)?,
                took_ms: a.ended_at.map(|end| took(a.started_at, end)),
                result: a.result.clone(),
                error_class: a.error_class.clone(),
                message: a.message().or_else(|| why.map(str::to_owned)),
                effect_id: t.effect_id,
                worker: by.map(str::to_owned).or_else(|| named(a.worker_id)),
                fence: Some(t.fence),
                next_try_at: t.next_retry_at,
                output: t.output.clone(),
                error: a.error.clone(),
            },
        ));
    }
    for message in messages.iter().filter(|m| m.template == template) {
        for a in &message.attempts {
            let accepted = a.result.as_deref() == Some("accepted");
            shown.push((
                a.started_at,
                SagaAttempt {
                    id: format!("message:{}", a.no),
                    step: "notify".to_owned(),
                    undoing: false,
                    kind: "message".to_owned(),
                    at: moment(a.started_at, zone)?,
                    took_ms: a.ended_at.map(|end| took(a.started_at, end)),
                    result: a.result.clone(),
                    error_class: a.result.clone().filter(|_| !accepted),
                    message: a.error.clone().or_else(|| a.response.clone()),
                    effect_id: None,
                    worker: named(a.worker_id),
                    fence: None,
                    next_try_at: None,
                    output: a.response.clone().map(Value::String),
                    error: a.error.clone().map(Value::String),
                },
            ));
        }
    }
    shown.sort_by_key(|(at, _)| *at);
    Ok(shown.into_iter().map(|(_, attempt)| attempt).collect())
}

fn took(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_microseconds().unwrap_or(0).max(0) as f64 / 1000.0
}

/// Workers by id, as a person knows them: host and kind.
async fn workers(conn: &mut PgConnection) -> Result<HashMap<Uuid, String>, AppError> {
    let rows: Vec<(Uuid, String, String)> =
        sqlx::query_as("select worker_id, host, kind from read.saga_workers_v1")
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(id, host, kind)| {
            let host = host.split(' ').next().unwrap_or_default().to_owned();
            (id, format!("{host} ({kind})"))
        })
        .collect())
}

async fn effects(conn: &mut PgConnection, saga: Uuid) -> Result<Vec<SagaEffect>, AppError> {
    let rows = sqlx::query(
        "select *, direction::text as way from read.effects_v1 where saga_id = $1 order by intended_at, generation",
    )
    .bind(saga)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SagaEffect {
                effect_id: row.try_get("effect_id")?,
                step: row.try_get("step")?,
                undoing: row.try_get::<&str, _>("way")? == "C",
                generation: row.try_get::<i16, _>("generation")?.into(),
                provider: row.try_get("provider")?,
                operation: row.try_get("operation")?,
                idempotency_key: row.try_get("idempotency_key")?,
                intended_at: row.try_get("intended_at")?,
                last_sent_at: row.try_get("last_sent_at")?,
                sends: row.try_get::<i16, _>("sends")?.into(),
                outcome: row.try_get("outcome")?,
                resolved_via: row.try_get("resolved_via")?,
                resolved_at: row.try_get("resolved_at")?,
                provider_object: row.try_get("provider_object")?,
                provider_status: row.try_get("provider_status")?,
                request_id: row.try_get("provider_request_id")?,
                request: request(&row.try_get("request")?),
            })
        })
        .collect()
}

/// `None`: none was written down as it went out.
fn request(value: &Value) -> Option<SagaRequest> {
    Some(SagaRequest {
        method: value["method"].as_str()?.to_owned(),
        path: value["path"].as_str()?.to_owned(),
        fields: url::form_urlencoded::parse(value["body"].as_str()?.as_bytes())
            .into_owned()
            .collect(),
    })
}

async fn signals(conn: &mut PgConnection, saga: Uuid) -> Result<Vec<SagaSignal>, AppError> {
    let rows = sqlx::query(
        "select signal_id, type, received_at, consumed_at from read.saga_signals_v1 where saga_id = $1 order by received_at",
    )
    .bind(saga)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SagaSignal {
                signal_id: row.try_get("signal_id")?,
                kind: row.try_get("type")?,
                received_at: row.try_get("received_at")?,
                consumed_at: row.try_get("consumed_at")?,
            })
        })
        .collect()
}

async fn offers(
    conn: &mut PgConnection,
    desk: &Desk,
    saga: Uuid,
) -> Result<Vec<SagaOffer>, AppError> {
    let rows = sqlx::query("select action, refused, needs_approval from api.saga_actions($1)")
        .bind(saga)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let code: Option<String> = row.try_get("refused")?;
            Ok(SagaOffer {
                action: row.try_get("action")?,
                refused: desk
                    .read_only
                    .clone()
                    .or_else(|| code.as_deref().map(words::refusal)),
                code,
                needs_approval: row.try_get("needs_approval")?,
            })
        })
        .collect()
}

// ---- what people asked ---------------------------------------------------------------------------------------------

pub async fn waiting_commands(conn: &mut PgConnection) -> Result<Vec<SagaCommand>, AppError> {
    commands(conn, None, None).await
}

pub async fn one_command(
    conn: &mut PgConnection,
    command: Uuid,
) -> Result<Option<SagaCommand>, AppError> {
    Ok(commands(conn, None, Some(command)).await?.pop())
}

/// Those of a saga, one by its id, or all that wait for a second person.
async fn commands(
    conn: &mut PgConnection,
    saga: Option<Uuid>,
    command: Option<Uuid>,
) -> Result<Vec<SagaCommand>, AppError> {
    // What was asked about a case at Stripe stands with it, also while it waits.
    let rows = sqlx::query(
        "select c.*, b.reference, c.requested_by = session_user as own
           from (select command_id, saga_id, action, reason, requested_by, requested_at, status, refusal, approved_by, approved_at, expires_at, outcome,
                        (plan->>'refund_minor')::bigint as refund_minor, (plan->>'keeps_minor')::bigint as keeps_minor, plan->>'currency' as currency, params->>'object' as object
                   from read.saga_commands_v2
                 union all
                 select command_id, saga_id, action, reason, requested_by, requested_at, status, refusal, approved_by, approved_at, expires_at, null,
                        refund_minor, null, currency, object
                   from read.case_requests_v1) c
           left join read.sagas_v2 s using (saga_id) left join read.bookings_v1 b on b.booking_id = s.booking_id
          where ($1::uuid is null or c.saga_id = $1) and ($2::uuid is null or c.command_id = $2)
            and ($1 is not null or $2 is not null or c.command_id in (select a.command_id from read.saga_approvals_v1 a))
          order by c.requested_at limit 500",
    )
    .bind(saga)
    .bind(command)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let currency: Option<String> = row.try_get("currency")?;
            let sum = |name: &str| -> sqlx::Result<Option<Money>> {
                let minor = row.try_get::<Option<i64>, _>(name)?.filter(|sum| *sum > 0);
                Ok(minor
                    .zip(currency.as_deref())
                    .map(|(minor, currency)| money(minor, currency)))
            };
            Ok(SagaCommand {
                command_id: row.try_get("command_id")?,
                saga_id: row.try_get("saga_id")?,
                reference: row.try_get("reference")?,
                action: row.try_get("action")?,
                reason: row.try_get("reason")?,
                by: row.try_get("requested_by")?,
                at: row.try_get("requested_at")?,
                status: row.try_get("status")?,
                // A code of the database in words; what a person said as it was said.
                refusal: row.try_get::<Option<String>, _>("refusal")?.map(|said| {
                    match said.strip_prefix("refused:") {
                        Some(code) => words::refusal(code),
                        None if !said.contains(' ') => words::refusal(&said),
                        None => said,
                    }
                }),
                object: row.try_get("object")?,
                approved_by: row.try_get("approved_by")?,
                approved_at: row.try_get("approved_at")?,
                expires_at: row.try_get("expires_at")?,
                outcome: row.try_get("outcome")?,
                refund: sum("refund_minor")?,
                keeps: sum("keeps_minor")?,
                own: row.try_get("own")?,
            })
        })
        .collect()
}
