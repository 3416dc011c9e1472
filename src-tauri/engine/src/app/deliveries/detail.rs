//! One delivery with its tries, the bytes that are sent and how a receiver checks them.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, QueryBuilder, Row};
use uuid::Uuid;

use super::list::{SHOWN, row, trigger};
use super::{managers_only, refusal, unknown};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;
use crate::delivery::webhook::began;
use crate::delivery::webhook::body::{self, Stored};
use crate::delivery::webhook::card::{Card, Shape};

const SHOWN_TRIES: usize = 200;

pub async fn get(desk: &Desk, request: GetDelivery) -> Result<DeliveryDetail, AppError> {
    let mut conn = desk.people.acquire().await?;
    let mut query =
        QueryBuilder::new("with d as (select * from read.deliveries_v2 where delivery_id = ");
    query.push_bind(request.delivery_id).push(") ").push(SHOWN);
    let found = query
        .build()
        .fetch_optional(&mut *conn)
        .await?
        .ok_or_else(unknown)?;
    let shown = row(&found)?;
    let webhook = shown.kind == "webhook";
    let (version, body) = rendered(&mut conn, &shown, webhook).await?;
    let endpoint = sqlx::query("select url, timeout_ms, header_names, shape from read.destinations_v1 where destination_id = $1 and kind = 'webhook'")
        .bind(shown.destination_id)
        .fetch_optional(&mut *conn)
        .await?;
    let shape = match &endpoint {
        Some(e) => Shape::of(e.try_get("shape")?),
        None => Shape::Event,
    };
    let tries = tries(&mut conn, &shown, shape).await?;
    let bodies = match &body {
        Some(event) => bodies(&mut conn, &shown, event, shape, &tries).await?,
        None => vec![],
    };
    let as_sent = |shape| bodies.iter().find(|b| b.shape == shape).map(|b| &b.body);
    let newest = tries.first().map_or(self::shape(shape), |t| t.shape);
    let signature = match as_sent(newest) {
        Some(body) => Some(signature(&mut conn, &shown, body, &tries).await?),
        None => None,
    };
    let body = as_sent(self::shape(shape)).cloned();
    let url: Option<String> = endpoint.as_ref().map(|e| e.try_get("url")).transpose()?;
    let own: Vec<String> = match &endpoint {
        Some(e) => e.try_get("header_names")?,
        None => vec![],
    };
    let state: &str = found.try_get("state")?;
    let deleted: bool = found.try_get("deleted")?;
    Ok(DeliveryDetail {
        tries_forgotten_before: forgotten_before(&shown, &tries, Utc::now()),
        event_version: version,
        correlation_id: found.try_get("correlation_id")?,
        timeout_ms: endpoint
            .as_ref()
            .map(|e| e.try_get::<i32, _>("timeout_ms"))
            .transpose()?
            .and_then(|ms| u32::try_from(ms).ok()),
        curl: match (&url, &body, &signature) {
            (Some(url), Some(body), Some(signature)) => {
                Some(curl(url, body, signature, &shown, &own))
            }
            _ => None,
        },
        redeliver_refused: managers_only(desk).or_else(|| {
            let why = match state {
                _ if !webhook => "leaves_once",
                _ if deleted => "deleted",
                "sending" => "sending",
                _ if shown.trigger == DeliveryTrigger::Test => "test",
                _ => return None,
            };
            Some(refusal(why))
        }),
        cancel_refused: managers_only(desk).or_else(|| match state {
            _ if !webhook => Some(refusal("not_a_webhook")),
            "scheduled" | "held" => None,
            other => Some(refusal(other)),
        }),
        url,
        tries,
        body,
        bodies,
        signature,
        row: shown,
    })
}

/// Newest first, and of those that a person asked for, who and why.
async fn tries(
    conn: &mut PgConnection,
    shown: &DeliveryRow,
    today: Shape,
) -> Result<Vec<DeliveryTry>, AppError> {
    let rows = sqlx::query(
        "select t.*, c.by, c.reason
           from read.delivery_tries_v1 t
           left join lateral (select x.by, x.reason from read.delivery_changes_v1 x
                               where x.delivery_id = t.delivery_id and x.what in ('tried_again', 'replayed', 'tested') and x.at <= t.started_at
                               order by x.change_id desc limit 1) c on t.trigger <> 'auto'
          where t.delivery_id = $1 order by t.no desc, t.started_at desc limit $2",
    )
    .bind(shown.delivery_id)
    .bind(SHOWN_TRIES as i64)
    .fetch_all(&mut *conn)
    .await?;
    rows.iter().map(|row| one_try(row, today)).collect()
}

/// As `delivery.keep_attempts` keeps them.
const TRIES_KEPT: TimeDelta = TimeDelta::days(90);

/// Its first try is not here any more: those from before then are kept no longer.
fn forgotten_before(
    shown: &DeliveryRow,
    tries: &[DeliveryTry],
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let kept = now - TRIES_KEPT;
    let oldest = tries.last().map(|t| t.no);
    let incomplete = shown.tries > 0 && oldest.is_none_or(|no| no > 1);
    (incomplete && tries.len() < SHOWN_TRIES && shown.created_at < kept).then_some(kept)
}

/// `today`: what a try was whose shape nobody wrote down.
fn one_try(row: &PgRow, today: Shape) -> Result<DeliveryTry, AppError> {
    let whole = |name: &str| -> sqlx::Result<Option<u32>> {
        Ok(row
            .try_get::<Option<f32>, _>(name)?
            .map(|ms| ms.round() as u32))
    };
    let headers = |name: &str| -> sqlx::Result<Vec<(String, String)>> {
        let value: Option<Value> = row.try_get(name)?;
        Ok(value
            .and_then(|v| serde_json::from_value(v).ok())
            .unwrap_or_default())
    };
    let body: Option<Vec<u8>> = row.try_get("body")?;
    let text: Option<String> = row.try_get("response")?;
    Ok(DeliveryTry {
        no: u32::try_from(row.try_get::<i32, _>("no")?).unwrap_or(0),
        trigger: trigger(row.try_get("trigger")?),
        by: row.try_get("by")?,
        reason: row.try_get("reason")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        result: row.try_get("result")?,
        error_class: row.try_get("error_class")?,
        error: row.try_get("error")?,
        code: row
            .try_get::<Option<i16>, _>("status")?
            .and_then(|c| u16::try_from(c).ok()),
        url: row.try_get("url")?,
        shape: self::shape(
            row.try_get::<Option<_>, _>("shape")?
                .map_or(today, Shape::of),
        ),
        timings: match whole("total_ms")? {
            Some(total_ms) => Some(TryTimings {
                dns_ms: whole("dns_ms")?,
                connect_ms: whole("connect_ms")?,
                tls_ms: whole("tls_ms")?,
                first_byte_ms: whole("first_byte_ms")?,
                body_ms: whole("body_ms")?,
                total_ms,
            }),
            None => None,
        },
        peer: row.try_get("peer")?,
        tls: row.try_get("tls")?,
        request_headers: headers("request_headers")?,
        response_headers: headers("response_headers")?,
        response_body: body
            .map(|b| String::from_utf8_lossy(&b).replace('\0', "\u{fffd}"))
            .or(text),
        response_cut: row.try_get("body_cut")?,
    })
}

/// The version of the event's shape, and the bytes that are sent: made by the code that sends them.
async fn rendered(
    conn: &mut PgConnection,
    shown: &DeliveryRow,
    webhook: bool,
) -> Result<(u32, Option<String>), AppError> {
    if shown.trigger == DeliveryTrigger::Test {
        let body = body::render_example(&shown.event_name, shown.delivery_id, shown.created_at);
        return Ok((1, body));
    }
    let found = sqlx::query("select stream_id, version, name, schema_version, occurred_at, correlation_id, data::text as data from read.events_v1 where position = $1")
        .bind(shown.position)
        .fetch_optional(conn)
        .await?;
    let Some(found) = found else {
        return Ok((1, None));
    };
    let schema_version: i16 = found.try_get("schema_version")?;
    let body = body::render(&Stored {
        event_id: shown.event_id,
        name: found.try_get("name")?,
        schema_version,
        stream: found.try_get("stream_id")?,
        stream_version: found.try_get("version")?,
        position: shown.position,
        occurred_at: found.try_get::<DateTime<Utc>, _>("occurred_at")?,
        correlation_id: found.try_get::<Uuid, _>("correlation_id")?,
        data: found.try_get("data")?,
    });
    let version = u32::try_from(schema_version).unwrap_or(1);
    Ok((version, webhook.then_some(body)))
}

fn shape(shape: Shape) -> EndpointShape {
    crate::app::endpoints::shape(shape.word())
}

/// In today's shape, and in each that a try was sent in.
async fn bodies(
    conn: &mut PgConnection,
    shown: &DeliveryRow,
    event: &str,
    today: Shape,
    tries: &[DeliveryTry],
) -> Result<Vec<ShapedBody>, AppError> {
    let mut bodies = vec![];
    for one in [Shape::Event, Shape::Slack, Shape::Discord, Shape::Teams] {
        if one != today && !tries.iter().any(|t| t.shape == shape(one)) {
            continue;
        }
        let body = match one {
            Shape::Event => event.to_owned(),
            _ => card(conn, shown, event, one).await?,
        };
        bodies.push(ShapedBody {
            shape: shape(one),
            body,
        });
    }
    Ok(bodies)
}

/// As the worker makes it.
async fn card(
    conn: &mut PgConnection,
    shown: &DeliveryRow,
    body: &str,
    shape: Shape,
) -> Result<String, AppError> {
    let began = began(conn, shown.position).await?;
    let event: Value = serde_json::from_str(body).map_err(internal)?;
    let test = shown.trigger == DeliveryTrigger::Test;
    let card = Card::of_event(&event, began.as_ref(), test).written(shape);
    Ok(String::from_utf8_lossy(&card).into_owned())
}

async fn signature(
    conn: &mut PgConnection,
    shown: &DeliveryRow,
    body: &str,
    tries: &[DeliveryTry],
) -> Result<SignatureView, AppError> {
    let test = shown.trigger == DeliveryTrigger::Test;
    let message_id = body::message_id(shown.event_id, test);
    let hints: Vec<String> =
        sqlx::query_scalar("select hint from read.endpoint_secrets_v1 where destination_id = $1 order by created_at desc")
            .bind(shown.destination_id)
            .fetch_all(conn)
            .await?;
    let at = tries
        .iter()
        .flat_map(|t| &t.request_headers)
        .find(|(name, _)| name == "webhook-timestamp")
        .map_or_else(
            || Utc::now().timestamp().to_string(),
            |(_, value)| value.clone(),
        );
    Ok(SignatureView {
        base_string: format!("{message_id}.{at}.{body}"),
        message_id,
        hints,
    })
}

/// What a shell sends in its place. The signature is made by the shell too, from a secret that is put in.
fn curl(
    url: &str,
    body: &str,
    signature: &SignatureView,
    shown: &DeliveryRow,
    own: &[String],
) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut lines = vec![
        format!("id={}; at=$(date +%s); body={}", quoted(&signature.message_id), quoted(body)),
        r#"key=$(printf %s "${SECRET#whsec_}" | base64 -d | od -An -vtx1 | tr -d ' \n')  # SECRET=whsec_…"#.to_owned(),
        r#"sig=$(printf '%s.%s.%s' "$id" "$at" "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)"#.to_owned(),
        format!("curl -X POST {} \\", quoted(url)),
        "  -H 'content-type: application/json' \\".to_owned(),
        r#"  -H "webhook-id: $id" -H "webhook-timestamp: $at" -H "webhook-signature: v1,$sig" \"#.to_owned(),
        format!("  -H 'bizing-delivery-id: {}' \\", shown.delivery_id),
    ];
    for name in own {
        lines.push(format!("  -H {} \\", quoted(&format!("{name}: ***"))));
    }
    lines.push(r#"  --data-binary "$body""#.to_owned());
    lines.join("\n")
}
