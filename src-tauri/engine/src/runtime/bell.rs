//! The bell: tells other processes that something was committed. A hint that carries no facts; polling is enough
//! without it. It rings from a connection of its own, at most once per 20 ms, never inside an append.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;

pub const CHANNEL: &str = "bizing_bell";

/// Wakes every worker loop and reader of this process.
#[derive(Clone, Default)]
pub struct Bell {
    here: Arc<tokio::sync::watch::Sender<u64>>,
    out: Arc<Notify>,
    arrivals: Arc<Notify>,
}

impl Bell {
    /// After a commit of this process: wakes its own loops at once and the other processes soon.
    pub fn ring(&self) {
        self.here.send_modify(|n| *n += 1);
        self.out.notify_one();
    }

    /// Something came in and is kept. That concerns only who hands it over; what follows from it rings for all.
    pub fn arrived(&self) {
        self.arrivals.notify_one();
    }

    /// Waits for it. What came since the last wait counts.
    pub async fn arrival(&self) {
        self.arrivals.notified().await;
    }

    /// A receiver that is woken by every ring, here or elsewhere. Register before looking, or the ring between is lost.
    pub fn listen(&self) -> tokio::sync::watch::Receiver<u64> {
        self.here.subscribe()
    }

    /// Passes rings on to other processes.
    pub async fn ring_out(self, pool: PgPool) {
        loop {
            self.out.notified().await;
            if let Err(error) = sqlx::query("select pg_notify($1, '')")
                .bind(CHANNEL)
                .execute(&pool)
                .await
            {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the bell did not ring; others will poll"
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Hears the others. A lost connection is made again; what was missed is covered by polling.
    pub async fn hear(self, pool: PgPool) {
        loop {
            if let Ok(mut listener) = PgListener::connect_with(&pool).await
                && listener.listen(CHANNEL).await.is_ok()
            {
                self.here.send_modify(|n| *n += 1);
                while listener.recv().await.is_ok() {
                    self.here.send_modify(|n| *n += 1);
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
