//! The door for pure appends: everybody's requests in a few transactions, so that one flush of the disk carries many. Who
//! comes alone carries out its own.
//!
//! Promises: requests of one stream are carried out in the order in which they were asked for; a request that the database
//! cannot take fails alone; a stream that somebody else holds keeps nobody waiting but its own requests; an answer is
//! true: when the connection breaks during a commit, the old backend is ended and the log is asked, never guessed.
//! Must not: be used where something else has to commit with the append. That is [`super::append::append_in`].

mod lines;
mod queue;
mod resolve;
mod task;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::append::{self, Append, AppendError, Appended, Context};
use crate::runtime::bell::Bell;
use crate::runtime::tasks::{self, Tasks};
use lines::Lines;
use queue::{Entered, Queue};
use task::Task;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections, each with its own transaction on the way. More of them overlap their flushes, fewer carry more in each.
    pub committers: usize,
    /// Requests of one transaction.
    pub batch_requests: usize,
    /// Data of one transaction.
    pub batch_bytes: usize,
    /// Data that may wait. Whoever wants to add more waits for room.
    pub waiting_bytes: usize,
    /// How long a request waits for a stream that somebody else holds.
    pub patience: Duration,
    /// How long a connection is tried for before those who wait for it hear that nothing was written.
    pub connect: Duration,
    /// How long the database may be away during a commit before the outcome is called unknown, and how long a request
    /// goes again whose connections are lost one after the other.
    pub lookup: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            // Measured on two cores beside 8, at 8, 32 and 128 writers: 0.54, 0.95 and 2.2 of a bare INSERT against 0.53, 0.89 and 2.0.
            committers: 3,
            batch_requests: 512,
            batch_bytes: 4 << 20,
            waiting_bytes: 64 << 20,
            patience: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            lookup: Duration::from_secs(30),
        }
    }
}

#[derive(Clone)]
pub struct Committer(Arc<Shared>);

pub(super) struct Shared {
    settings: Settings,
    queue: Queue,
    /// One permit a KiB.
    room: Arc<Semaphore>,
    bell: Bell,
    lines: Lines,
}

/// One append on its way.
pub(super) struct Request {
    append: Append,
    context: Context,
    payload: Vec<Box<RawValue>>,
    bytes: usize,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
    asked_at: Instant,
    _room: OwnedSemaphorePermit,
}

impl Committer {
    /// Committers log in as `login` says and end with `tasks`, once everything that waits is carried out.
    pub fn start(
        login: PgConnectOptions,
        tasks: &Tasks,
        bell: Bell,
        settings: Settings,
    ) -> Committer {
        let hands = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        let login = login.application_name("bizing-desk committer").options([
            // New streams cannot be skipped: whoever makes the same one is waited for, and not for long.
            ("lock_timeout", "250ms"),
            ("idle_in_transaction_session_timeout", "15s"),
        ]);
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.committers, hands),
            room: Arc::new(Semaphore::new(settings.waiting_bytes / 1024)),
            bell,
            lines: Lines::new(settings.committers + 1, login, settings.connect),
            settings,
        });
        for who in 0..shared.settings.committers {
            let (shared, stop) = (shared.clone(), tasks.stopping());
            tasks.forever("committer", move || {
                Task::new(shared.clone(), who).run(stop.clone())
            });
        }
        Committer(shared)
    }

    /// Appends to one stream in a transaction that may carry other requests too. Returns once it is committed, or
    /// certain not to be.
    pub async fn append(&self, context: &Context, append: Append) -> Result<Appended, AppendError> {
        append::check(std::slice::from_ref(&append))?;
        let payload = append::payload(&append)?;
        if payload.is_empty() {
            return Err(AppendError::Invalid {
                field: "events".to_owned(),
                rule: "an append without events says nothing".to_owned(),
            });
        }
        // What a row needs beside its data.
        let bytes = payload.iter().map(|p| p.get().len() + 200).sum::<usize>();
        let shared = &self.0;
        let permits = (bytes / 1024 + 1).min(shared.settings.waiting_bytes / 1024);
        let room = shared
            .room
            .clone()
            .acquire_many_owned(u32::try_from(permits).unwrap_or(u32::MAX))
            .await
            .map_err(|_| AppendError::Closing)?;
        let (answer, answered) = oneshot::channel();
        let request = Request {
            append,
            context: context.clone(),
            payload,
            bytes,
            answer,
            asked_at: Instant::now(),
            _room: room,
        };
        match shared.queue.enter(request) {
            Entered::Closed => return Err(AppendError::Closing),
            Entered::Waits => {}
            Entered::Goes(batch) => {
                // Others may wait for it by now, so it goes on also when the caller does not.
                let task = Task::new(shared.clone(), shared.settings.committers);
                tasks::to_its_end(async move { task.carry_out(batch).await }).await;
            }
        }
        // A committer answers whatever it took; one that panicked drops it.
        answered
            .await
            .unwrap_or_else(|_| Err(AppendError::Unknown(sqlx::Error::WorkerCrashed)))
    }

    /// Requests that wait or are on their way.
    pub fn pending(&self) -> usize {
        self.0.queue.pending()
    }
}

impl Request {
    /// The caller may have gone; what is done is done.
    fn answer(self, result: Result<Appended, AppendError>) {
        let _ = self.answer.send(result);
    }
}
