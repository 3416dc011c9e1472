//! One committer: takes what waits, sends it in one statement that is its own transaction, and answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lines::IDLE;
use super::queue::{Most, Take, Taken};
use super::resolve::{self, Backend};
use super::{Request, Shared};
use crate::domain::ids::StreamId;
use crate::store::append::{AppendError, Columns, Wait, refusal, verdict};

/// How long what is ready waits at most for more to come while other transactions are on their way.
const LINGER: Duration = Duration::from_millis(2);
/// How long a crowd may take to come again. A single writer never waits here.
const CROWD: Duration = Duration::from_micros(100);
/// When a stream that somebody else holds is tried again.
const HELD: Duration = Duration::from_millis(10);

pub struct Task {
    shared: Arc<Shared>,
    who: usize,
}

/// Why a statement has no answer.
enum Failure {
    /// The connection could not be had: nothing was sent.
    NotSent(sqlx::Error),
    /// The database said no and rolled back.
    Refused(sqlx::Error),
    /// The connection is gone, and whether it took the commit with it is not known.
    Lost(sqlx::Error, Backend),
}

impl Task {
    pub fn new(shared: Arc<Shared>, who: usize) -> Task {
        Task { shared, who }
    }

    /// Until the process stops and nothing waits any more.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(batch) = self.next(&stop).await {
            self.carry_out(batch).await;
        }
    }

    /// What is to be done next; waits for it.
    async fn next(&self, stop: &CancellationToken) -> Option<Vec<Request>> {
        let shared = self.shared.clone();
        let (queue, who) = (&shared.queue, self.who);
        let most = Most {
            requests: shared.settings.batch_requests,
            bytes: shared.settings.batch_bytes,
        };
        let (mut at_once, mut crowd) = (false, None);
        loop {
            if stop.is_cancelled() {
                queue.close();
            }
            let now = Instant::now();
            match queue.take(who, most, now, std::mem::take(&mut at_once)) {
                Take::Batch(batch) => return Some(batch),
                Take::Over => return None,
                Take::Crowd => {
                    // Gives way to the very tasks that are about to ask.
                    tokio::task::yield_now().await;
                    at_once = crowd.get_or_insert(now).elapsed() > CROWD;
                }
                Take::Soon => {
                    tokio::select! {
                        () = queue.called(who) => {}
                        () = stop.cancelled() => {}
                        () = sleep_until(now + LINGER) => at_once = true,
                    }
                }
                Take::Nothing(at) if stop.is_cancelled() => {
                    // Another committer has the last of it.
                    let soon = now + Duration::from_millis(5);
                    sleep_until(at.unwrap_or(soon).min(soon)).await;
                }
                Take::Nothing(at) => {
                    let idle = now + IDLE;
                    tokio::select! {
                        () = queue.called(who) => {}
                        () = stop.cancelled() => {}
                        () = sleep_until(at.unwrap_or(idle).min(idle)) => {
                            shared.lines.release_idle();
                        }
                    }
                }
            }
        }
    }

    pub async fn carry_out(&self, batch: Vec<Request>) {
        let shared = self.shared.clone();
        let mut hold = Hold::of(&shared, &batch);
        let (requests, events) = (batch.len(), batch.iter().map(|r| r.payload.len()).sum());
        let began = tracing::enabled!(tracing::Level::DEBUG).then(Instant::now);
        let oldest = batch.iter().map(|r| r.asked_at).min();
        let sent = self.send(&batch).await;
        match sent {
            Ok(rows) => settle(&mut hold, batch, &rows),
            Err(Failure::Refused(error)) => self.one_by_one(&mut hold, batch, error).await,
            Err(Failure::Lost(error, backend)) => {
                self.look_up(&mut hold, batch, error, backend).await;
            }
            Err(Failure::NotSent(error)) => fail(batch, &error, AppendError::Database),
        }
        drop(hold);
        shared.bell.ring();
        if let (Some(began), Some(oldest)) = (began, oldest) {
            let events: usize = events;
            tracing::debug!(
                requests,
                events,
                waited_us = (began - oldest).as_micros() as u64,
                took_us = began.elapsed().as_micros() as u64,
                "appended"
            );
        }
    }

    /// One request that the database cannot take must not fail the others.
    async fn one_by_one(&self, hold: &mut Hold<'_>, mut batch: Vec<Request>, error: sqlx::Error) {
        if batch.len() == 1 {
            if let Some(request) = batch.pop() {
                refuse(hold, request, error);
            }
            return;
        }
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            requests = batch.len(),
            "the batch was refused; its requests go one by one"
        );
        for request in batch {
            if hold.waits_for_another(&request) {
                hold.put_back(request, false);
                continue;
            }
            let alone = vec![request];
            match self.send(&alone).await {
                Ok(rows) => settle(hold, alone, &rows),
                Err(Failure::Refused(error)) => {
                    if let Some(request) = alone.into_iter().next() {
                        refuse(hold, request, error);
                    }
                }
                Err(Failure::Lost(error, backend)) => {
                    self.look_up(hold, alone, error, backend).await;
                }
                Err(Failure::NotSent(error)) => fail(alone, &error, AppendError::Database),
            }
        }
    }

    /// One statement in a transaction of its own: one round trip, commit included.
    async fn send(&self, batch: &[Request]) -> Result<Vec<sqlx::postgres::PgRow>, Failure> {
        let lines = &self.shared.lines;
        let mut line = lines.take(self.who).await.map_err(Failure::NotSent)?;
        let mut columns = Columns::default();
        for request in batch {
            columns.push(&request.append, &request.context, &request.payload);
        }
        let sent = timeout(
            self.shared.settings.lookup,
            columns.send(&mut line.conn, Wait::No),
        );
        match sent.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(rows) => {
                lines.keep(self.who, line);
                Ok(rows)
            }
            // An error that ends the session may have come after the commit.
            Err(sqlx::Error::Database(d)) if !d.code().is_some_and(|c| c.starts_with("57P")) => {
                lines.keep(self.who, line);
                Err(Failure::Refused(sqlx::Error::Database(d)))
            }
            Err(error) => Err(Failure::Lost(error, line.backend)),
        }
    }

    /// After a lost connection: what is in the log was committed; what is not, once the old backend has ended, never will
    /// be and goes again.
    async fn look_up(
        &self,
        hold: &mut Hold<'_>,
        batch: Vec<Request>,
        error: sqlx::Error,
        backend: Backend,
    ) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            requests = batch.len(),
            "the connection was lost during a commit; asking the log"
        );
        let ids: Vec<Uuid> = batch
            .iter()
            .flat_map(|r| r.append.events.iter().map(|e| e.id.0))
            .collect();
        let until = Instant::now() + self.shared.settings.lookup;
        match resolve::committed(&self.shared.lines.login, &backend, &ids, until).await {
            Ok(found) => {
                for request in batch {
                    match found.of(&request.append) {
                        Some(appended) => request.answer(Ok(appended)),
                        None if request.asked_at.elapsed() < self.shared.settings.lookup => {
                            hold.put_back(request, false);
                        }
                        // It is certain that nothing of it was committed.
                        None => request.answer(Err(AppendError::Database(copy(&error)))),
                    }
                }
            }
            Err(silent) => fail(batch, &silent, AppendError::Unknown),
        }
    }
}

/// What a committer has taken, and what of it goes back. Given back when dropped, also by a panic.
struct Hold<'a> {
    shared: &'a Shared,
    taken: Taken,
    /// Of each stream everything from its first request that has to wait, or its order would be lost.
    back: Vec<Request>,
    held: Vec<StreamId>,
}

impl<'a> Hold<'a> {
    fn of(shared: &'a Shared, batch: &[Request]) -> Hold<'a> {
        Hold {
            shared,
            taken: Taken::of(batch),
            back: vec![],
            held: vec![],
        }
    }

    fn put_back(&mut self, request: Request, held: bool) {
        if held && self.held.last() != Some(&request.append.stream) {
            self.held.push(request.append.stream.clone());
        }
        self.back.push(request);
    }

    /// An earlier request of the stream goes back: this one must not overtake it.
    fn waits_for_another(&self, request: &Request) -> bool {
        self.back
            .last()
            .is_some_and(|b| b.append.stream == request.append.stream)
    }

    fn may_wait(&self, request: &Request) -> bool {
        request.asked_at.elapsed() < self.shared.settings.patience
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let back = std::mem::take(&mut self.back);
        let at = Instant::now() + HELD;
        self.shared.queue.done(&self.taken, back, &self.held, at);
    }
}

fn settle(hold: &mut Hold<'_>, batch: Vec<Request>, rows: &[sqlx::postgres::PgRow]) {
    for (request, row) in batch.into_iter().zip(rows) {
        match verdict(&request.append, row) {
            Err(AppendError::Busy { .. }) if hold.may_wait(&request) => {
                hold.put_back(request, true);
            }
            result => request.answer(result),
        }
    }
}

/// The database said no to this one.
fn refuse(hold: &mut Hold<'_>, request: Request, error: sqlx::Error) {
    // Waited in vain for somebody's new stream, or fell victim to a deadlock: nothing is wrong with the request.
    let passes = error
        .as_database_error()
        .and_then(|d| d.code())
        .is_some_and(|c| ["55P03", "40P01", "40001"].contains(&c.as_ref()));
    if !passes {
        request.answer(Err(refusal(error)));
    } else if hold.may_wait(&request) {
        hold.put_back(request, true);
    } else {
        let stream = request.append.stream.0.clone();
        request.answer(Err(AppendError::Busy { stream }));
    }
}

fn fail(batch: Vec<Request>, error: &sqlx::Error, kind: fn(sqlx::Error) -> AppendError) {
    for request in batch {
        request.answer(Err(kind(copy(error))));
    }
}

/// The same news for several who asked.
fn copy(error: &sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::PoolTimedOut => sqlx::Error::PoolTimedOut,
        sqlx::Error::Io(e) => sqlx::Error::Io(io::Error::new(e.kind(), e.to_string())),
        other => sqlx::Error::Protocol(other.to_string()),
    }
}
