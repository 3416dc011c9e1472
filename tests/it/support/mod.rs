//! What tests stand on: one private server for the run, a database of its own for each test, a sandbox as the third
//! party, and the real worker.

pub mod db;
pub mod desk;
pub mod proxy;

use std::time::{Duration, Instant};

/// Waits for a fact, never for a time.
pub async fn wait_until(what: &str, limit: Duration, mut fact: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !fact().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
