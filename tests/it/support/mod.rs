//! What tests stand on: one private server for the run, a database of its own for each test, a sandbox as the third
//! party, and the real worker.

pub mod db;
pub mod desk;
pub mod proxy;

use std::future::Future;
use std::time::{Duration, Instant};

/// Waits for a fact, never for a time.
pub async fn wait_until<F, Fut>(what: &str, limit: Duration, mut fact: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let started = Instant::now();
    while !fact().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
