//! The gate every API request passes: who asks, which fault it meets, whether its key has been seen, then the work.

mod checks;
mod disputes;
mod intents;
mod refunds;
mod sessions;

pub use disputes::DisputeAct;

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use crate::{
    error::{ApiError, Outcome},
    faults::Fault,
    http::connection_lost,
    model::{Answer, Event},
    params::Params,
    shared::Shared,
    table::PageParams,
    wire,
    world::{API_VERSION, World},
};

pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What goes back, before it is HTTP.
struct Reply {
    status: u16,
    body: String,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    fn refuse(error: &ApiError) -> Reply {
        Reply {
            status: error.status,
            body: error.body().to_string(),
            headers: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }
}

pub async fn handle(shared: Arc<Shared>, request: Request) -> Response {
    let request_id = shared.world().new_id("req_");
    let version = request
        .header("stripe-version")
        .unwrap_or(API_VERSION)
        .to_owned();
    let Some(reply) = answer(&shared, &request, &request_id).await else {
        return connection_lost();
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, reply.body).into_response();
    let own = [
        (CONTENT_TYPE.as_str(), "application/json".to_owned()),
        ("request-id", request_id),
        ("stripe-version", version),
    ];
    for (name, value) in own.into_iter().chain(reply.headers) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// `None`: the caller gets no answer.
async fn answer(shared: &Shared, request: &Request, request_id: &str) -> Option<Reply> {
    if request
        .header("authorization")
        .and_then(|h| h.strip_prefix("Bearer "))
        != Some(&shared.secret_key)
    {
        return Some(unauthorized());
    }
    let path = request.uri.path();
    let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    let Some((operation, id)) = route(&request.method, &segments) else {
        let message = format!("Unrecognized request URL ({}: {path}).", request.method);
        return Some(Reply::refuse(&ApiError::new(
            404,
            "invalid_request_error",
            message,
        )));
    };

    let faults = shared.faults.meet(operation);
    for fault in &faults {
        match fault {
            Fault::LostBefore => return None,
            Fault::Unauthorized => return Some(unauthorized()),
            Fault::Refused => {
                let message = "This cannot be done for this account.";
                return Some(Reply::refuse(&ApiError::refused(None, message)));
            }
            Fault::TooManyRequests { retry_after_s } => {
                let mut error =
                    ApiError::new(429, "invalid_request_error", "Request rate limit exceeded.");
                error.code = Some("rate_limit");
                return Some(Reply::refuse(&error).with("retry-after", retry_after_s));
            }
            _ => {}
        }
    }

    let posted = request.method == Method::POST;
    let form = if posted {
        &request.body[..]
    } else {
        request.uri.query().unwrap_or_default().as_bytes()
    };
    let params = match Params::parse(form) {
        Ok(params) => params,
        Err(error) => return Some(Reply::refuse(&error)),
    };
    let key = request
        .header("idempotency-key")
        .filter(|_| posted)
        .map(str::to_owned);
    if key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > 255)
    {
        let message = "Idempotency keys are 1 to 255 characters long.";
        return Some(Reply::refuse(&ApiError::invalid(
            None,
            "Idempotency-Key",
            message,
        )));
    }
    let fingerprint = fingerprint(&request.method, path, &params);
    // Held until the answer is stored; dropped on every way out.
    let _in_flight = match &key {
        None => None,
        Some(key) => match shared.begin(key) {
            None => {
                let mut error = ApiError::new(
                    409,
                    "idempotency_error",
                    "There is currently another in-progress request using this Idempotency Key.",
                );
                error.code = Some("idempotency_key_in_use");
                return Some(Reply::refuse(&error));
            }
            Some(mark) => {
                if let Some(stored) = shared.world().answers.get(key) {
                    return Some(replay(stored, &fingerprint));
                }
                Some(mark)
            }
        },
    };
    for fault in &faults {
        if let Fault::Late { ms } = fault {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
    }

    let reply = {
        let mut world = shared.world();
        world.request = (Some(request_id.to_owned()), key.clone());
        world.sweep();
        let stored_500 = faults.iter().find_map(|fault| match fault {
            Fault::Stored500 { effect } => Some(*effect),
            _ => None,
        });
        let outcome = match stored_500 {
            Some(false) => Ok(serde_json::Value::Null),
            _ => perform(&mut world, operation, id, params),
        };
        let outcome = match stored_500 {
            Some(_) => Err(ApiError::new(
                500,
                "api_error",
                "An unknown error occurred.",
            )),
            None => outcome,
        };
        let (reply, stored) = match outcome {
            Ok(body) => (
                Reply {
                    status: 200,
                    body: body.to_string(),
                    headers: Vec::new(),
                },
                true,
            ),
            Err(error) => (Reply::refuse(&error), error.stored),
        };
        if let (Some(key), true) = (key, stored) {
            let created = world.now();
            world.answers.put(Answer {
                id: key,
                created,
                fingerprint,
                status: reply.status,
                body: reply.body.clone(),
                request_id: request_id.to_owned(),
            });
        }
        finish(shared, world, &faults).err().unwrap_or(reply)
    };
    if faults.contains(&Fault::LostAfterEffect) {
        return None;
    }
    Some(reply)
}

/// Journals what has changed and hands its events to delivery.
fn finish(
    shared: &Shared,
    mut world: MutexGuard<'_, World>,
    faults: &[Fault],
) -> Result<(), Reply> {
    world.request = (None, None);
    let events = std::mem::take(&mut world.fresh_events);
    world.commit().map_err(|error| {
        tracing::error!(
            error = format!("{error:#}"),
            "the sandbox can't keep its journal"
        );
        Reply::refuse(&ApiError::new(
            500,
            "api_error",
            "The sandbox can't write its journal.",
        ))
    })?;
    drop(world);
    shared.deliveries.owe(events, faults);
    Ok(())
}

/// The same for everything that isn't an API request: the page, the mail, the clock.
pub fn change<T>(shared: &Shared, faults: &[Fault], act: impl FnOnce(&mut World) -> T) -> T {
    let mut world = shared.world();
    world.sweep();
    let result = act(&mut world);
    // Whoever did this has no use for the reply; the error is in the log.
    let _ = finish(shared, world, faults);
    result
}

fn replay(stored: &Answer, fingerprint: &str) -> Reply {
    if stored.fingerprint != fingerprint {
        let message = "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than the one given if you meant to execute a different request.";
        return Reply::refuse(&ApiError::new(400, "idempotency_error", message));
    }
    Reply {
        status: stored.status,
        body: stored.body.clone(),
        headers: Vec::new(),
    }
    .with("idempotent-replayed", "true")
    .with("original-request", &stored.request_id)
}

fn unauthorized() -> Reply {
    Reply::refuse(&ApiError::new(
        401,
        "invalid_request_error",
        "Invalid API Key provided: sk_test_***",
    ))
}

fn fingerprint(method: &Method, path: &str, params: &Params) -> String {
    let digest = Sha256::digest(format!("{method}\n{path}\n{}", params.canonical()));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn route<'a>(method: &Method, segments: &[&'a str]) -> Option<(&'static str, &'a str)> {
    let post = match *method {
        Method::POST => true,
        Method::GET => false,
        _ => return None,
    };
    Some(match (post, segments) {
        (true, ["payment_intents"]) => ("create_intent", ""),
        (false, ["payment_intents"]) => ("list_intents", ""),
        (false, ["payment_intents", id]) => ("get_intent", id),
        (true, ["payment_intents", id, "confirm"]) => ("confirm_intent", id),
        (true, ["payment_intents", id, "capture"]) => ("capture", id),
        (true, ["payment_intents", id, "cancel"]) => ("cancel_intent", id),
        (true, ["checkout", "sessions"]) => ("create_checkout", ""),
        (false, ["checkout", "sessions"]) => ("list_checkouts", ""),
        (false, ["checkout", "sessions", id]) => ("get_checkout", id),
        (true, ["checkout", "sessions", id, "expire"]) => ("expire_checkout", id),
        (true, ["refunds"]) => ("refund", ""),
        (false, ["refunds"]) => ("list_refunds", ""),
        (false, ["refunds", id]) => ("get_refund", id),
        (false, ["disputes"]) => ("list_disputes", ""),
        (false, ["disputes", id]) => ("get_dispute", id),
        (false, ["events"]) => ("list_events", ""),
        (false, ["events", id]) => ("get_event", id),
        _ => return None,
    })
}

fn perform(world: &mut World, operation: &str, id: &str, params: Params) -> Outcome {
    match operation {
        "create_intent" => world.create_intent(params),
        "list_intents" => world.list_intents(params),
        "get_intent" => world.get_intent(id, params),
        "confirm_intent" => world.confirm_intent(id, params),
        "capture" => world.capture_intent(id, params),
        "cancel_intent" => world.cancel_intent(id, params),
        "create_checkout" => world.create_session(params),
        "list_checkouts" => world.list_sessions(params),
        "get_checkout" => world.get_session(id, params),
        "expire_checkout" => world.expire_session(id, params),
        "refund" => world.create_refund(params),
        "list_refunds" => world.list_refunds(params),
        "get_refund" => world.get_refund(id, params),
        "list_disputes" => world.list_disputes(params),
        "get_dispute" => world.get_dispute(id, params),
        "list_events" => list_events(world, params),
        "get_event" => get_event(world, id, params),
        _ => Err(ApiError::new(
            404,
            "invalid_request_error",
            "Unrecognized request URL.",
        )),
    }
}

fn list_events(world: &World, mut params: Params) -> Outcome {
    let page = PageParams::take(&mut params)?;
    let one = params.text("type")?;
    let types = params.texts("types")?;
    let delivered = params.flag("delivery_success")?;
    params.texts("expand")?;
    params.finish()?;
    if types.len() > 20 || (one.is_some() && !types.is_empty()) {
        return Err(ApiError::invalid(
            None,
            "types",
            "Give one type, or up to 20 types",
        ));
    }
    let matches = |event: &Event| {
        one.as_ref()
            .is_none_or(|pattern| match pattern.split_once('*') {
                None => event.kind == *pattern,
                Some((before, after)) => {
                    event.kind.starts_with(before) && event.kind.ends_with(after)
                }
            })
            && (types.is_empty() || types.contains(&event.kind))
            && delivered.is_none_or(|delivered| delivered != event.pending)
    };
    let (rows, has_more) = world.events.page(&page, "event", matches)?;
    Ok(wire::list(
        "/v1/events",
        rows.into_iter().map(wire::event).collect(),
        has_more,
    ))
}

fn get_event(world: &World, id: &str, params: Params) -> Outcome {
    params.finish()?;
    let event = world
        .events
        .get(id)
        .ok_or_else(|| ApiError::missing("event", id, "id", 404))?;
    Ok(wire::event(event))
}

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        // A poisoned lock means that a request panicked half-way. Its change was never journaled, and a test server that
        // goes on tells more than one that is gone.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
