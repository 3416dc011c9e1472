//! The listener. Its accept loop is our own, since a lost answer has to be a connection that closes without a byte.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request as AxumRequest, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::HOST},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    api::{self, Request},
    faults::Rule,
    ledger::Ledger,
    page,
    shared::Shared,
    webhook::WebhookTarget,
};

const MOST_CONNECTIONS: usize = 1_024;
const LARGEST_BODY: usize = 256 * 1024;
/// How long an answer may still take once the sandbox is stopping.
const GRACE: Duration = Duration::from_secs(2);

pub fn router(shared: Arc<Shared>, tasks: TaskTracker) -> Router {
    let api = {
        let shared = shared.clone();
        move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            // A task of its own: a caller who gives up doesn't stop the work at Stripe either.
            let work = tasks.spawn(api::handle(
                shared.clone(),
                Request {
                    method,
                    uri,
                    headers,
                    body,
                },
            ));
            async move { work.await.unwrap_or_else(|_| connection_lost()) }
        }
    };
    Router::new()
        .route("/v1/{*path}", any(api))
        .merge(page::router())
        .route(
            "/_sandbox/faults",
            get(faults).post(add_fault).delete(clear_faults),
        )
        .route("/_sandbox/ledger", get(ledger))
        .route("/_sandbox/clock", post(advance_clock))
        .route("/_sandbox/webhook", put(set_webhook))
        .route("/_sandbox/disputes", post(open_dispute))
        .route("/_sandbox/disputes/{id}", post(act_on_dispute))
        .route("/_sandbox/messages", get(messages).delete(forget_messages))
        .route("/_sandbox/messages/{id}", get(message))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(shared)
}

/// A page on the Internet can make a browser ask 127.0.0.1 under the page's own name; nobody else has a reason to.
async fn only_loopback_names(request: AxumRequest, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if ["127.0.0.1", "localhost", "[::1]"].contains(&name) {
        return next.run(request).await;
    }
    (
        StatusCode::MISDIRECTED_REQUEST,
        "The sandbox answers on this computer only.",
    )
        .into_response()
}

#[derive(Clone)]
struct Lost;

/// A response that is never sent: the connection closes in its stead.
pub fn connection_lost() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Lost);
    response
}

pub async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (Ok((stream, _)), Ok(permit)) = (accepted, room.clone().acquire_owned().await) else {
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            connection(stream, router, stop).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let response: Result<Response, Infallible> =
                router.oneshot(request.map(Body::new)).await;
            match response {
                Ok(response) if response.extensions().get::<Lost>().is_none() => Ok(response),
                _ => Err(std::io::Error::other("lost on purpose")),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(GRACE, connection).await;
        }
    }
}

async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({ "rules": shared.faults.rules(), "fired": shared.faults.fired() })).into_response()
}

async fn add_fault(State(shared): State<Arc<Shared>>, Json(rule): Json<Rule>) -> StatusCode {
    shared.faults.add(rule);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn ledger(State(shared): State<Arc<Shared>>) -> Json<Ledger> {
    Json(Ledger::of(&shared.world()))
}

#[derive(Deserialize)]
struct Advance {
    advance_s: u32,
}

async fn advance_clock(
    State(shared): State<Arc<Shared>>,
    Json(advance): Json<Advance>,
) -> Response {
    let now = api::change(&shared, &[], |world| {
        world.advance_clock(advance.advance_s);
        world.sweep();
        world.now()
    });
    Json(json!({ "now": now })).into_response()
}

async fn set_webhook(
    State(shared): State<Arc<Shared>>,
    Json(target): Json<WebhookTarget>,
) -> StatusCode {
    shared.set_webhook(Some(target));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct OpenDispute {
    payment_intent: String,
    #[serde(default = "unsaid")]
    reason: String,
    #[serde(default)]
    inquiry: bool,
}

fn unsaid() -> String {
    "general".to_owned()
}

async fn open_dispute(
    State(shared): State<Arc<Shared>>,
    Json(open): Json<OpenDispute>,
) -> Response {
    let opened = api::change(&shared, &[], |world| {
        world.dispute_payment(&open.payment_intent, &open.reason, open.inquiry)
    });
    match opened {
        Some(id) => Json(json!({ "id": id })).into_response(),
        None => (StatusCode::CONFLICT, "No captured payment of that name.").into_response(),
    }
}

#[derive(Deserialize)]
struct ActOnDispute {
    act: api::DisputeAct,
}

async fn act_on_dispute(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(wanted): Json<ActOnDispute>,
) -> Response {
    match api::change(&shared, &[], |world| world.act_on_dispute(&id, wanted.act)) {
        Some(()) => StatusCode::NO_CONTENT.into_response(),
        None => (StatusCode::CONFLICT, "That cannot happen to this dispute.").into_response(),
    }
}

async fn messages(State(shared): State<Arc<Shared>>) -> Response {
    let world = shared.world();
    Json(
        world
            .messages
            .iter()
            .rev()
            .map(crate::mail::json)
            .collect::<Vec<_>>(),
    )
    .into_response()
}

#[derive(serde::Deserialize)]
struct Forget {
    to: String,
}

/// All mail that went to an address, for good.
async fn forget_messages(
    State(shared): State<Arc<Shared>>,
    Query(forget): Query<Forget>,
) -> Response {
    match shared.world().forget_mail(forget.to.trim()) {
        Ok(forgotten) => Json(serde_json::json!({ "forgotten": forgotten })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn message(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match shared.world().messages.get(&id) {
        Some(message) => Json(crate::mail::json(message)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
