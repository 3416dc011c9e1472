//! The HTTP door: the same desk for a browser on this computer, and the address for incoming webhooks.
//!
//! It listens on loopback only. A person gets in with the token that `serve` prints, which buys a cookie; a page of another
//! origin gets nowhere, because the host, the origin and a header that no form can send are checked.

mod access;
mod assets;
mod guard;
mod hints;
pub mod letterbox;
mod rpc;
mod webhooks;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bizing_engine::app::host::{Host, HostKind, choose};
use bizing_engine::app::metrics;
use bizing_engine::app::wire::{ChooseStart, Phase};
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed, runtime, signals};
use access::Access;

/// Windows that listen for hints at the same time.
const MOST_LISTENERS: usize = 64;
/// How long answers under way may still take once the process stops.
const GRACE: Duration = Duration::from_secs(2);

/// What every request of the door shares.
pub struct Door {
    host: Host,
    access: Access,
    listeners: Arc<Semaphore>,
    stop: CancellationToken,
}

/// `first` answers the first-run question when nobody has yet.
pub fn run(config: Config, listen: SocketAddr, works: bool, first: Option<ChooseStart>) -> Ended {
    if !listen.ip().is_loopback() {
        return Err(Failed::Usage(format!(
            "`--listen {listen}` would show the desk to the network: it listens on this computer only. Use 127.0.0.1:{}, and a tunnel \
             or proxy of your own for webhooks.",
            listen.port()
        )));
    }
    let token = access::fixed_token().map_err(Failed::Usage)?;
    runtime()?.block_on(serve(config, listen, works, first, token))
}

async fn serve(
    config: Config,
    listen: SocketAddr,
    works: bool,
    first: Option<ChooseStart>,
    token: Option<String>,
) -> Ended {
    let taken = |error| {
        Failed::Run(format!(
            "The address {listen} cannot be used: {error}. Stop the program that has it, or choose another with --listen."
        ))
    };
    let listener = TcpListener::bind(listen).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;

    let sandbox = LocalSandbox::default();
    sandbox.send_events_to(format!("http://{address}/webhooks/stripe"));
    let host = Host::with(config, HostKind::Serve, works, Some(Arc::new(sandbox)));
    host.start();
    if let Some(first) = first {
        let tasks = Tasks::default();
        let host = host.clone();
        tasks.once(async move { answer_first_run(&host, first).await });
    }

    let door = Arc::new(Door {
        host: host.clone(),
        access: Access::new(address.port(), token),
        listeners: Arc::new(Semaphore::new(MOST_LISTENERS)),
        stop: CancellationToken::new(),
    });
    announce(address, &door.access);

    let stop = door.stop.clone();
    let server = axum::serve(listener, router(door))
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future();
    let mut server = std::pin::pin!(server);
    tokio::select! {
        ended = &mut server => {
            host.shut_down().await;
            return ended.map_err(|e| Failed::Run(format!("The door on {address} is broken: {e}.")));
        }
        () = signals::asked_to_stop() => {}
    }
    stop.cancel();
    // Leases are given back while the last answers leave.
    let (_, ()) = tokio::join!(tokio::time::timeout(GRACE, server), host.shut_down());
    Ok(())
}

async fn answer_first_run(host: &Host, first: ChooseStart) {
    loop {
        match host.state().phase {
            Phase::Choose => {
                if let Err(error) = choose(host, first).await {
                    tracing::error!(message = error.message, "the demo cannot be opened");
                }
                return;
            }
            Phase::Starting { .. } => tokio::time::sleep(Duration::from_millis(20)).await,
            Phase::Ready | Phase::Failed { .. } => return,
        }
    }
}

/// The one line on stdout: scripts and people wait for it.
fn announce(address: SocketAddr, access: &Access) {
    let mut out = std::io::stdout().lock();
    let line = writeln!(
        out,
        "Bizing Desk: http://{address}/?token={}",
        access.token()
    );
    if let Err(error) = line.and_then(|()| out.flush()) {
        tracing::warn!(%error, "the address could not be printed");
    }
}

fn router(door: Arc<Door>) -> Router {
    let inside = Router::new()
        .route("/rpc/{command}", post(rpc::rpc))
        .layer(DefaultBodyLimit::max(rpc::LARGEST_REQUEST))
        .route("/hints", get(hints::hints))
        .route("/metrics", get(figures))
        .layer(middleware::from_fn_with_state(door.clone(), guard::session));
    let local = Router::new()
        .merge(inside)
        .route("/health", get(health))
        .fallback(get(assets::page))
        .layer(middleware::from_fn(guard::this_computer));
    Router::new()
        // Signed by the sender, and reached through whatever tunnel a business uses: no cookie, no host to check.
        .route("/webhooks/stripe", post(webhooks::stripe))
        .layer(DefaultBodyLimit::max(webhooks::LARGEST_EVENT))
        .merge(local)
        .layer(middleware::map_response(guard::headers))
        .with_state(door)
}

/// For whoever watches the process: it runs, and how far it is. Nothing that a stranger could use.
async fn health(
    axum::extract::State(door): axum::extract::State<Arc<Door>>,
) -> Json<serde_json::Value> {
    let phase = match door.host.state().phase {
        Phase::Choose => "choose",
        Phase::Starting { .. } => "starting",
        Phase::Ready => "ready",
        Phase::Failed { .. } => "failed",
    };
    Json(serde_json::json!({ "phase": phase, "app_version": env!("CARGO_PKG_VERSION") }))
}

/// Figures in Prometheus' text format, for a program on this computer that brings the token or the cookie.
async fn figures(axum::extract::State(door): axum::extract::State<Arc<Door>>) -> Response {
    let text = match door.host.desk() {
        Ok(desk) => metrics::prometheus(&desk).await,
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response(),
    }
}
