//! Ctrl-C and SIGTERM: the first asks, the second ends the process where it stands.

use std::process;

/// Returns when somebody asks the process to stop. From then on the next signal ends it at once; the private server
/// notices our death by itself.
pub async fn asked_to_stop() {
    next().await;
    tracing::info!("stopping; a second signal stops at once");
    #[allow(
        clippy::disallowed_methods,
        reason = "lives as long as the process; there is nothing left to supervise it"
    )]
    tokio::spawn(async {
        next().await;
        process::exit(130);
    });
}

#[cfg(unix)]
async fn next() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the system's own way of ending us is in force.
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn next() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
