//! Connections: one for setting up, and the pools of a process.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use super::faults;
use crate::app::wire::AppError;

/// For one connection, answer included.
const ANSWER: Duration = Duration::from_secs(10);
/// A connection that was used this recently is taken without being asked whether it lives.
const FRESH: Duration = Duration::from_secs(1);

pub(super) async fn connect(to: &PgConnectOptions) -> Result<PgConnection, AppError> {
    match tokio::time::timeout(ANSWER, to.connect()).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(faults::connecting(error, to)),
        Err(_) => Err(faults::no_answer(to)),
    }
}

/// The person's. One of the four is lent to the bell.
pub(super) async fn people(to: PgConnectOptions, what: &str) -> Result<PgPool, AppError> {
    let to = to
        .application_name(&format!("bizing-desk {what}"))
        .options([
            // Nothing that a person waits for takes longer; what does would only hold others up.
            ("statement_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "15s"),
        ]);
    open(to, 4).await
}

pub(super) async fn worker(to: PgConnectOptions) -> Result<PgPool, AppError> {
    let to = to
        .application_name("bizing-desk worker")
        .options([("idle_in_transaction_session_timeout", "15s")]);
    // Ten more are for the read models, which act as the projector, and two for webhooks.
    open(to, 8).await
}

/// What comes in is kept over these, whatever the worker is busy with.
pub(super) async fn letterbox(to: PgConnectOptions) -> Result<PgPool, AppError> {
    let to = to.application_name("bizing-desk letterbox").options([
        ("statement_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "15s"),
    ]);
    open(to, 4).await
}

async fn open(to: PgConnectOptions, most: u32) -> Result<PgPool, AppError> {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_secs(3))
        // After a restart of the server nobody meets a dead connection; and whoever asks again within a second pays no
        // round trip for that, which is 20 ms where the database is a town away.
        .test_before_acquire(false)
        .before_acquire(|conn, rested| {
            Box::pin(async move {
                if rested.idle_for > FRESH {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(to.clone())
        .await
        .map_err(|error| faults::connecting(error, &to))
}
