//! What waits: first come, first served on each stream, and round and round between them. And who carries it out: the
//! committer that rested last, when it is worth a transaction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::Request;
use crate::domain::ids::StreamId;

/// Events from which on the price of a transaction hardly shows in the price of each: some four events' worth, measured.
const WORTH_IT: usize = 16;

pub struct Queue {
    waiting: Mutex<Waiting>,
    /// By committer: there may be something to do.
    calls: Vec<Notify>,
    /// Transactions that keep this machine busy. With that many on their way, one more only takes events from the next.
    hands: usize,
}

#[derive(Default)]
struct Waiting {
    streams: HashMap<StreamId, Line>,
    /// Streams with something to do that nobody works on, in the order of their turns, and how many events that is.
    ready: VecDeque<StreamId>,
    ready_events: usize,
    /// Streams that somebody else held at the last try, and when to try again.
    held: Vec<(Instant, StreamId)>,
    /// A command that is on its way in one transaction must not be in a second.
    commands: HashSet<Uuid>,
    /// Requests that wait or are on their way.
    pending: usize,
    /// Events on their way, and of the last transaction that came back.
    flying: usize,
    last_flight: usize,
    /// Committers that rest, the last one on top: its connection is the warmest.
    resting: Vec<usize>,
    /// The committer that was called and has not taken anything yet.
    on_duty: Option<usize>,
    closed: bool,
}

#[derive(Default)]
struct Line {
    requests: VecDeque<Request>,
    place: Place,
}

impl Line {
    fn events(&self) -> usize {
        self.requests.iter().map(|r| r.payload.len()).sum()
    }
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    New,
    Ready,
    /// A committer works on it: nobody else may, or its order is lost.
    Taken,
    Held,
}

/// What a taker has in hand.
pub struct Taken {
    streams: Vec<StreamId>,
    commands: Vec<Uuid>,
    requests: usize,
    events: usize,
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
            events: batch.iter().map(|r| r.payload.len()).sum(),
        }
    }
}

/// How much one transaction may carry.
#[derive(Clone, Copy)]
pub struct Most {
    pub requests: usize,
    pub bytes: usize,
}

pub enum Entered {
    /// It waits for a committer.
    Waits,
    /// The caller is to carry it out at once, and to give it back as a committer does.
    Goes(Vec<Request>),
    /// Nothing is taken any more.
    Closed,
}

pub enum Take {
    Batch(Vec<Request>),
    /// There is something, and it is not worth a transaction yet: the taker is on duty, and comes again when it is called
    /// or has waited long enough.
    Soon,
    /// The same, and nothing is on its way: those who were answered just now are about to ask again. To leave with the first of
    /// them would make the others wait for two flushes of the disk.
    Crowd,
    /// Nothing to do before this time, unless it is called.
    Nothing(Option<Instant>),
    /// Nothing will ever come again.
    Over,
}

impl Queue {
    pub fn new(committers: usize, hands: usize) -> Queue {
        Queue {
            waiting: Mutex::default(),
            calls: (0..committers).map(|_| Notify::new()).collect(),
            hands,
        }
    }

    /// One more request. Where everything is at rest and nobody is about to come, nobody is called: the caller carries it out.
    pub fn enter(&self, request: Request) -> Entered {
        let mut all = self.lock();
        if all.closed {
            return Entered::Closed;
        }
        all.pending += 1;
        if all.is_at_rest(&request) {
            return Entered::Goes(all.alone(request));
        }
        let (stream, events) = (&request.append.stream, request.payload.len());
        // The name is copied for a stream's first request only.
        let fresh = match all.streams.get(stream) {
            None => true,
            Some(line) => line.place == Place::New,
        };
        if fresh {
            let stream = stream.clone();
            all.ready.push_back(stream.clone());
            let line = all.streams.entry(stream).or_default();
            line.place = Place::Ready;
            line.requests.push_back(request);
            all.ready_events += events;
        } else if let Some(line) = all.streams.get_mut(stream) {
            let ready = line.place == Place::Ready;
            line.requests.push_back(request);
            if ready {
                all.ready_events += events;
            }
        }
        self.call(&mut all);
        Entered::Waits
    }

    /// Up to so many requests, sorted by stream, each stream's in order. They are the taker's until it says
    /// [`Queue::done`]. `at_once`: it has waited long enough for more to come.
    pub fn take(&self, who: usize, most: Most, now: Instant, at_once: bool) -> Take {
        let mut all = self.lock();
        all.resting.retain(|c| *c != who);
        all.wake(now);
        if all.on_duty.is_some_and(|c| c != who) && !all.closed {
            return all.rest(who);
        }
        all.on_duty = None;
        if all.ready.is_empty() {
            return all.rest(who);
        }
        if !at_once && !all.closed && !all.is_worth_it(self.hands) {
            all.on_duty = Some(who);
            return Take::Soon;
        }
        if !at_once && !all.closed && all.flying == 0 && all.ready_events < all.last_flight {
            all.on_duty = Some(who);
            return Take::Crowd;
        }
        let batch = all.batch(most);
        if batch.is_empty() {
            return all.rest(who);
        }
        all.flying += batch.iter().map(|r| r.payload.len()).sum::<usize>();
        self.call(&mut all);
        Take::Batch(batch)
    }

    /// Gives back what a taker had: `back` goes before everything that came after it, in this order; streams of `held`
    /// rest until `at`; everything else is free.
    pub fn done(&self, taken: &Taken, back: Vec<Request>, held: &[StreamId], at: Instant) {
        let mut all = self.lock();
        all.pending -= taken.requests - back.len();
        all.flying -= taken.events;
        all.last_flight = taken.events;
        for command in &taken.commands {
            all.commands.remove(command);
        }
        for request in back.into_iter().rev() {
            if let Some(line) = all.streams.get_mut(&request.append.stream) {
                line.requests.push_front(request);
            }
        }
        for stream in &taken.streams {
            let Some(line) = all.streams.get_mut(stream) else {
                continue;
            };
            let waiting = line.events();
            if waiting == 0 {
                all.streams.remove(stream);
            } else if held.contains(stream) {
                line.place = Place::Held;
                all.held.push((at, stream.clone()));
            } else {
                line.place = Place::Ready;
                all.ready_events += waiting;
                all.ready.push_back(stream.clone());
            }
        }
        self.call(&mut all);
        // Somebody has to look when these may go again, also where it was no committer who gives them back.
        if !held.is_empty()
            && let Some(who) = all.resting.last()
        {
            self.calls[*who].notify_one();
        }
    }

    /// Until there may be something to do for this committer.
    pub async fn called(&self, who: usize) {
        self.calls[who].notified().await;
    }

    /// Takes nothing more; what is there is still carried out.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    pub fn pending(&self) -> usize {
        self.lock().pending
    }

    /// Somebody is to look at what is ready: whoever is on duty, once it is worth it, or else the last to rest.
    fn call(&self, all: &mut Waiting) {
        if all.ready.is_empty() {
            return;
        }
        match all.on_duty {
            Some(who) => {
                if all.is_worth_it(self.hands) {
                    self.calls[who].notify_one();
                }
            }
            None => {
                if let Some(who) = all.resting.pop() {
                    all.on_duty = Some(who);
                    self.calls[who].notify_one();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// At rest nobody waits for anybody. While others are on their way, a transaction is to be worth its own price, and a
    /// fair share of all that there is to do.
    fn is_worth_it(&self, hands: usize) -> bool {
        self.flying == 0
            || (self.ready_events >= WORTH_IT && self.ready_events * hands >= self.flying)
    }

    /// Nothing waits or is on its way, and the last that went was no crowd that comes again.
    fn is_at_rest(&self, request: &Request) -> bool {
        self.pending == 1 && self.last_flight <= request.payload.len()
    }

    fn alone(&mut self, request: Request) -> Vec<Request> {
        let line = self.streams.entry(request.append.stream.clone());
        line.or_default().place = Place::Taken;
        self.commands.extend(request.append.command.map(|c| c.0));
        self.flying += request.payload.len();
        vec![request]
    }

    fn batch(&mut self, most: Most) -> Vec<Request> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut turns = self.ready.len();
        while turns > 0 && batch.len() < most.requests && bytes < most.bytes {
            turns -= 1;
            let Some(stream) = self.ready.pop_front() else {
                break;
            };
            let Some(line) = self.streams.get_mut(&stream) else {
                continue;
            };
            let (before, waiting) = (batch.len(), line.events());
            while let Some(next) = line.requests.front() {
                let fits = batch.len() < most.requests
                    && (batch.is_empty() || bytes + next.bytes <= most.bytes);
                if !fits
                    || next
                        .append
                        .command
                        .is_some_and(|c| self.commands.contains(&c.0))
                {
                    break;
                }
                let Some(next) = line.requests.pop_front() else {
                    break;
                };
                self.commands.extend(next.append.command.map(|c| c.0));
                bytes += next.bytes;
                batch.push(next);
            }
            if batch.len() > before {
                line.place = Place::Taken;
                self.ready_events -= waiting;
            } else {
                self.ready.push_back(stream);
            }
        }
        batch.sort_by(|a, b| a.append.stream.cmp(&b.append.stream));
        batch
    }

    fn rest(&mut self, who: usize) -> Take {
        if self.closed && self.pending == 0 {
            return Take::Over;
        }
        self.resting.push(who);
        Take::Nothing(self.held.iter().map(|(at, _)| *at).min())
    }

    fn wake(&mut self, now: Instant) {
        let mut i = 0;
        while i < self.held.len() {
            if self.held[i].0 > now {
                i += 1;
                continue;
            }
            let (_, stream) = self.held.remove(i);
            if let Some(line) = self.streams.get_mut(&stream) {
                line.place = Place::Ready;
                self.ready_events += line.events();
                self.ready.push_back(stream);
            }
        }
    }
}
