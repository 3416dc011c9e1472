//! Work sources: sagas, deliveries and the inbox are rows with one contract. Due time, lease, fence (+1 per claim),
//! claim by id. Each keeps its own claim statement; this is the loop that drives any of them.
//!
//! Promise: a loop is right with its timer alone; the bell only makes it quick. It never holds more than its places.

mod running;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::running::Running;
use crate::runtime::bell::Bell;

pub trait WorkSource: Send + Sync + 'static {
    const NAME: &'static str;

    /// Leases at most `limit` due rows to this worker.
    fn claim(&self, limit: i32) -> impl Future<Output = sqlx::Result<Vec<Uuid>>> + Send;
    /// Leases one row, if it is due and free.
    fn claim_one(&self, id: Uuid) -> impl Future<Output = sqlx::Result<bool>> + Send;
    /// Keeps the leases of what is being worked on.
    fn renew(&self, ids: Vec<Uuid>) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Works on one leased row to its end. Never fails: whatever happened is in the row, or the lease runs out.
    fn run(&self, id: Uuid) -> impl Future<Output = ()> + Send;
    /// When the next row becomes due, for the sleep of an idle loop.
    fn next_due(&self) -> impl Future<Output = sqlx::Result<Option<DateTime<Utc>>>> + Send;
}

/// For the short questions of the loop. A connection that died without a word must not take the loop with it.
const ANSWER: Duration = Duration::from_secs(30);
/// No work takes this long. What does is left as a crash would leave it: its lease ends, and another run finds out.
const LONGEST_RUN: Duration = Duration::from_secs(600);

/// A source and its places.
pub struct Runner<S> {
    source: Arc<S>,
    bell: Bell,
    places: Arc<Semaphore>,
    running: Running,
    renew_every: Duration,
    idle: Duration,
}

impl<S> Clone for Runner<S> {
    fn clone(&self) -> Self {
        Runner {
            source: self.source.clone(),
            bell: self.bell.clone(),
            places: self.places.clone(),
            running: self.running.clone(),
            renew_every: self.renew_every,
            idle: self.idle,
        }
    }
}

impl<S: WorkSource> Runner<S> {
    /// `lease`: renewed three times in its length. `idle`: the longest sleep without a bell.
    pub fn new(source: S, bell: Bell, places: usize, lease: Duration, idle: Duration) -> Runner<S> {
        Runner {
            source: Arc::new(source),
            bell,
            places: Arc::new(Semaphore::new(places)),
            running: Running::default(),
            renew_every: lease / 3,
            idle,
        }
    }

    /// Claims and works until `stop`, then lets what runs come to its end.
    pub async fn run(&self, stop: CancellationToken) {
        let mut rings = self.bell.listen();
        let mut tasks = JoinSet::new();
        let mut renewal = tokio::time::interval(self.renew_every);
        loop {
            // Register before looking: a ring between the look and the sleep must wake us.
            rings.borrow_and_update();
            let pause = self.claim_into(&mut tasks).await;
            tokio::select! {
                () = stop.cancelled() => break,
                _ = rings.changed() => {}
                _ = tasks.join_next(), if !tasks.is_empty() => {}
                _ = renewal.tick() => self.renew().await,
                () = tokio::time::sleep(pause) => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Claims what fits and returns how long to sleep at most.
    async fn claim_into(&self, tasks: &mut JoinSet<()>) -> Duration {
        let free = self.places.available_permits();
        if free == 0 {
            return self.idle;
        }
        let claim = self.source.claim(i32::try_from(free).unwrap_or(i32::MAX));
        match in_time(claim).await {
            Ok(ids) if ids.is_empty() => {
                let due = in_time(self.source.next_due()).await.ok().flatten();
                let until = due.map_or(self.idle, |at| {
                    (at - Utc::now())
                        .to_std()
                        .unwrap_or(Duration::from_millis(20))
                });
                until.clamp(Duration::from_millis(20), self.idle)
            }
            Ok(ids) => {
                for id in ids {
                    let this = self.clone();
                    tasks.spawn(async move { this.work(id).await });
                }
                Duration::from_millis(20)
            }
            Err(error) => {
                tracing::debug!(
                    source = S::NAME,
                    error = &error as &dyn std::error::Error,
                    "could not claim; trying again"
                );
                Duration::from_secs(1)
            }
        }
    }

    /// Works on a row that is leased to this worker already.
    pub async fn work(&self, id: Uuid) {
        let Ok(_place) = self.places.acquire().await else {
            return;
        };
        let _keeps_its_lease = self.running.begin(id);
        if tokio::time::timeout(LONGEST_RUN, self.source.run(id))
            .await
            .is_err()
        {
            tracing::error!(source = S::NAME, %id, "work did not end in ten minutes and is left; its lease will end");
        }
    }

    async fn renew(&self) {
        let ids = self.running.ids();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = in_time(self.source.renew(ids)).await {
            tracing::warn!(
                source = S::NAME,
                error = &error as &dyn std::error::Error,
                "leases were not renewed"
            );
        }
    }
}

async fn in_time<T>(question: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(ANSWER, question)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
