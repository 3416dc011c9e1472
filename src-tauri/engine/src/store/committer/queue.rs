//! What waits: first come, first served on each stream, and round and round between them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

use super::Request;
use crate::domain::ids::StreamId;

#[derive(Default)]
pub struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    streams: HashMap<StreamId, Line>,
    /// Streams with something to do that nobody works on, in the order of their turns.
    ready: VecDeque<StreamId>,
    /// Streams that somebody else held at the last try, and when to try again.
    held: Vec<(Instant, StreamId)>,
    /// A command that is on its way in one transaction must not be in a second.
    commands: HashSet<Uuid>,
    pending: usize,
    closed: bool,
}

#[derive(Default)]
struct Line {
    requests: VecDeque<Request>,
    /// A committer works on it: nobody else may, or its order is lost.
    taken: bool,
}

/// What a taker has in hand.
pub struct Taken {
    streams: Vec<StreamId>,
    commands: Vec<Uuid>,
    requests: usize,
}

impl Taken {
    /// `batch` is sorted by stream.
    pub fn of(batch: &[Request]) -> Taken {
        let mut streams: Vec<StreamId> = batch.iter().map(|r| r.append.stream.clone()).collect();
        streams.dedup();
        let commands = batch.iter().filter_map(|r| r.append.command);
        Taken {
            streams,
            commands: commands.map(|c| c.0).collect(),
            requests: batch.len(),
        }
    }
}

pub enum Take {
    Batch(Vec<Request>),
    /// Nothing to do before this time, unless somebody asks.
    Nothing(Option<Instant>),
    /// Nothing will ever come again.
    Over,
}

impl Queue {
    /// `false`: closed.
    pub fn push(&self, request: Request) -> bool {
        let mut all = self.lock();
        if all.closed {
            return false;
        }
        all.pending += 1;
        let stream = request.append.stream.clone();
        let line = all.streams.entry(stream.clone()).or_default();
        line.requests.push_back(request);
        if line.requests.len() == 1 && !line.taken {
            all.ready.push_back(stream);
        }
        true
    }

    /// Up to so many requests, sorted by stream, each stream's in order. They are the taker's until it says
    /// [`Queue::done`].
    pub fn take(&self, most_requests: usize, most_bytes: usize, now: Instant) -> Take {
        let mut all = self.lock();
        all.wake(now);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut turns = all.ready.len();
        while turns > 0 && batch.len() < most_requests && bytes < most_bytes {
            turns -= 1;
            let Some(stream) = all.ready.pop_front() else {
                break;
            };
            let Waiting {
                streams, commands, ..
            } = &mut *all;
            let Some(line) = streams.get_mut(&stream) else {
                continue;
            };
            let before = batch.len();
            while let Some(next) = line.requests.front() {
                let fits = batch.len() < most_requests
                    && (batch.is_empty() || bytes + next.bytes <= most_bytes);
                if !fits || next.append.command.is_some_and(|c| commands.contains(&c.0)) {
                    break;
                }
                let Some(next) = line.requests.pop_front() else {
                    break;
                };
                commands.extend(next.append.command.map(|c| c.0));
                bytes += next.bytes;
                batch.push(next);
            }
            if batch.len() > before {
                line.taken = true;
            } else {
                all.ready.push_back(stream);
            }
        }
        if batch.is_empty() {
            return match all.closed && all.pending == 0 {
                true => Take::Over,
                false => Take::Nothing(all.held.iter().map(|(at, _)| *at).min()),
            };
        }
        batch.sort_by(|a, b| a.append.stream.cmp(&b.append.stream));
        Take::Batch(batch)
    }

    /// Gives back what a taker had: `back` goes before everything that came after it, in this order; streams of `held`
    /// rest until `at`; everything else is free. `true`: there is more to do.
    pub fn done(&self, taken: &Taken, back: Vec<Request>, held: &[StreamId], at: Instant) -> bool {
        let mut all = self.lock();
        all.pending -= taken.requests - back.len();
        for command in &taken.commands {
            all.commands.remove(command);
        }
        for request in back.into_iter().rev() {
            let line = all
                .streams
                .entry(request.append.stream.clone())
                .or_default();
            line.requests.push_front(request);
        }
        for stream in &taken.streams {
            let Some(line) = all.streams.get_mut(stream) else {
                continue;
            };
            line.taken = false;
            if line.requests.is_empty() {
                all.streams.remove(stream);
            } else if held.contains(stream) {
                all.held.push((at, stream.clone()));
            } else {
                all.ready.push_back(stream.clone());
            }
        }
        !all.ready.is_empty()
    }

    /// Whether somebody could be taken at once.
    pub fn has_work(&self) -> bool {
        !self.lock().ready.is_empty()
    }

    /// Takes nothing more; what is there is still carried out.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    pub fn pending(&self) -> usize {
        self.lock().pending
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn wake(&mut self, now: Instant) {
        let mut i = 0;
        while i < self.held.len() {
            if self.held[i].0 <= now {
                let (_, stream) = self.held.remove(i);
                self.ready.push_back(stream);
            } else {
                i += 1;
            }
        }
    }
}
