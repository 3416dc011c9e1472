//! Making an endpoint and changing it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::list::one;
use super::{changed_meanwhile, guard, may_write, rung, same_key, unknown, vault};
use crate::app::desk::Desk;
use crate::app::error::internal;
use crate::app::wire::*;
use crate::delivery::http::{Guard, Names, Resolve as _, TargetHost};
use crate::delivery::webhook::sign::SigningSecret;
use crate::delivery::webhook::{check_custom, headers_place, secret_place};
use crate::runtime::ids;
use crate::store::vault::SealedSecret;

/// Shown in place of a value that was typed before; sent back, it means "as it is".
const KEPT: &str = "***";
/// For looking up the name of a new address.
const LOOK_UP: Duration = Duration::from_secs(3);

pub async fn put(desk: &Desk, request: PutEndpoint) -> Result<EndpointSaved, AppError> {
    may_write(desk)?;
    check_sending(&request.sending)?;
    let mut conn = desk.people.acquire().await?;
    let guard = guard(desk, &mut conn).await?;
    check_address(&guard, request.url.trim()).await?;
    same_key(desk, &mut conn).await?;

    let id = request.destination_id;
    let headers = match &request.sending.headers {
        Some(given) => Some(merged(desk, &mut conn, &request, given).await?),
        None => None,
    };
    let sealed_headers = match &headers {
        Some(headers) => {
            let plain = serde_json::to_vec(headers).map_err(internal)?;
            Some(desk.vault.seal(&headers_place(id), &plain).map_err(vault)?)
        }
        None => None,
    };
    let (secret_id, secret) = (ids::v7(), SigningSecret::random());
    let sealed = desk
        .vault
        .seal(&secret_place(id, secret_id), secret.bytes())
        .map_err(vault)?;
    let new = request.version.is_none();
    let answer: Value =
        sqlx::query_scalar("select api.put_endpoint($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(id)
            .bind(request.version)
            .bind(value(&request))
            .bind(sealed_headers.map(|s| s.bytes))
            .bind(headers.map(|h| h.into_keys().collect::<Vec<_>>()))
            .bind(&sealed.key_id)
            .bind(new.then_some(secret_id))
            .bind(new.then_some(&sealed.bytes))
            .bind(secret.hint())
            .fetch_one(&mut *conn)
            .await?;
    told(&answer)?;
    rung(desk);
    let made = answer["status"] == "made";
    Ok(EndpointSaved {
        endpoint: one(&mut conn, id).await?,
        secret: made.then(|| secret.reveal()),
    })
}

/// What the database keeps of it; what is not named stays or takes the default.
fn value(request: &PutEndpoint) -> Value {
    let mut value = json!({
        "name": request.name.trim(), "url": request.url.trim(), "note": request.note.as_deref().unwrap_or_default().trim(),
        "events": request.events, "filter": request.filter,
    });
    if let Some(shape) = request.shape {
        value["shape"] = json!(shape);
        // Chat programs take about one a second; somebody who knows better says so.
        if shape != EndpointShape::Event && request.version.is_none() {
            value["rate_per_s"] = json!(1);
        }
    }
    let sending = &request.sending;
    let mut set = |name: &str, given: Option<Value>| {
        if let Some(given) = given {
            value[name] = given;
        }
    };
    set("schedule_s", sending.schedule_s.as_ref().map(|s| json!(s)));
    set("timeout_ms", sending.timeout_ms.map(Value::from));
    set("max_in_flight", sending.max_in_flight.map(Value::from));
    let limit = |rate: u32| (rate > 0).then_some(rate);
    set("rate_per_s", sending.rate_per_s.map(|r| json!(limit(r))));
    let order = |in_order| if in_order { "stream" } else { "none" };
    set("ordered_by", sending.in_order.map(|i| json!(order(i))));
    value
}

fn told(answer: &Value) -> Result<(), AppError> {
    match answer["status"].as_str().unwrap_or_default() {
        "made" | "changed" | "repeated" => Ok(()),
        "conflict" => Err(changed_meanwhile()),
        "not_found" => Err(unknown()),
        _ => Err(AppError::invalid(
            answer["field"].as_str().unwrap_or_default(),
            format!(
                "That cannot be used: {}.",
                answer["problem"].as_str().unwrap_or("it is not known why")
            ),
        )),
    }
}

fn check_sending(sending: &SendingChange) -> Result<(), AppError> {
    let within = |field: &str, value: Option<u32>, from: u32, to: u32, what: &str| match value {
        Some(value) if !(from..=to).contains(&value) => Err(AppError::invalid(
            &format!("sending.{field}"),
            format!("{what} is {from} to {to}, not {value}."),
        )),
        _ => Ok(()),
    };
    let schedule = sending.schedule_s.as_deref();
    if schedule.is_some_and(|s| !(1..=20).contains(&s.len())) {
        return Err(AppError::invalid(
            "sending.schedule_s",
            "A schedule has 1 to 20 tries.",
        ));
    }
    for pause in schedule.unwrap_or_default() {
        let what = "A pause before a try, in seconds,";
        within("schedule_s", Some(*pause), 0, 604_800, what)?;
    }
    let what = "The time for an answer, in milliseconds,";
    within("timeout_ms", sending.timeout_ms, 500, 30_000, what)?;
    let what = "What may be sent at once";
    within("max_in_flight", sending.max_in_flight, 1, 1_000, what)?;
    let what = "What may be sent in a second";
    within("rate_per_s", sending.rate_per_s, 0, 10_000, what)
}

/// The check that each send makes too. A name that leads nowhere yet may be saved: it may be set up later.
async fn check_address(guard: &Guard, url: &str) -> Result<(), AppError> {
    let refused = |why: crate::delivery::http::Blocked| {
        let shown = AppError::invalid("url", format!("That address cannot be sent to: {why}."));
        match why.can_be_allowed() {
            true => shown.hint("If it is within your own network, an admin can put it on the list of allowed hosts and networks."),
            false => shown,
        }
    };
    let target = guard.url(url).map_err(refused)?;
    let TargetHost::Name(name) = &target.host else {
        return Ok(());
    };
    let found = tokio::time::timeout(LOOK_UP, Names.resolve(name, target.port)).await;
    let addresses: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.iter().map(|a| a.ip()).collect(),
        _ => vec![],
    };
    for ip in addresses {
        guard.address(ip, Some(name)).map_err(refused)?;
    }
    Ok(())
}

/// The headers with the values that stay, all of them checked.
async fn merged(
    desk: &Desk,
    conn: &mut PgConnection,
    request: &PutEndpoint,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, AppError> {
    let mut headers: BTreeMap<String, String> = given
        .iter()
        .map(|(name, value)| (name.trim().to_lowercase(), value.clone()))
        .collect();
    if headers.values().any(|v| v == KEPT) {
        let before = headers_before(desk, conn, request.destination_id).await?;
        for (name, value) in &mut headers {
            if value == KEPT {
                *value = before.get(name).cloned().ok_or_else(|| {
                    AppError::invalid(
                        "sending.headers",
                        format!("`{name}` has no value yet: type one."),
                    )
                })?;
            }
        }
    }
    check_custom(headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))).map_err(|why| {
        AppError::invalid(
            "sending.headers",
            format!("That header cannot be sent: {why}."),
        )
    })?;
    Ok(headers)
}

async fn headers_before(
    desk: &Desk,
    conn: &mut PgConnection,
    id: Uuid,
) -> Result<BTreeMap<String, String>, AppError> {
    let sealed: Option<(Vec<u8>, String)> =
        sqlx::query_as("select sealed, key_id from api.endpoint_headers($1)")
            .bind(id)
            .fetch_optional(conn)
            .await?;
    let Some((bytes, key_id)) = sealed else {
        return Ok(BTreeMap::new());
    };
    let plain = desk
        .vault
        .open(&headers_place(id), &SealedSecret { key_id, bytes })
        .map_err(vault)?;
    serde_json::from_slice(&plain).map_err(internal)
}
