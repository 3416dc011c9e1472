//! Everything the sandbox knows, behind one lock. A request changes it, then `commit` writes one journal line; no
//! answer leaves before that.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{Rng, distr::Alphanumeric};
use serde_json::Value;

use crate::{
    journal::{Journal, Line},
    model::{Answer, Dispute, Event, Intent, Message, Refund, Session, SessionState},
    table::Table,
};

/// The account's API version: what events are rendered in.
pub const API_VERSION: &str = "2026-09-30.endive";

const DAY: i64 = 86_400;
/// Stripe keeps events for 30 days and answers for at least one; here memory is a bound as well.
const EVENTS_KEPT: (i64, usize) = (30 * DAY, 50_000);
const ANSWERS_KEPT: (i64, usize) = (DAY, 50_000);
const MESSAGES_KEPT: usize = 2_000;

#[derive(Default)]
pub struct World {
    pub intents: Table<Intent>,
    pub sessions: Table<Session>,
    pub refunds: Table<Refund>,
    pub disputes: Table<Dispute>,
    pub events: Table<Event>,
    pub answers: Table<Answer>,
    pub messages: Table<Message>,
    /// Own address, for the links in answers.
    pub base_url: String,
    pub webhook_set: bool,
    /// What is written into the events of the request at hand.
    pub request: (Option<String>, Option<String>),
    /// Events made since they were last collected for delivery.
    pub fresh_events: Vec<String>,
    clock_ahead_s: i64,
    clock_moved: bool,
    deadlines: BTreeSet<(i64, Deadline)>,
    journal: Option<Journal>,
}

/// Something that time alone changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    Authorisation(String),
    Session(String),
    Refund(String),
}

impl World {
    pub fn open(journal: Option<&Path>) -> anyhow::Result<World> {
        let mut world = World::default();
        if let Some(path) = journal {
            let opened = Journal::open(path, |line| world.restore(line))?;
            world.journal = Some(opened);
        }
        world.forget_old();
        Ok(world)
    }

    fn restore(&mut self, line: Line) {
        for intent in line.intents {
            self.watch_intent(&intent);
            self.intents.restore(intent);
        }
        for session in line.sessions {
            self.watch_session(&session);
            self.sessions.restore(session);
        }
        for refund in line.refunds {
            self.watch_refund(&refund);
            self.refunds.restore(refund);
        }
        line.disputes
            .into_iter()
            .for_each(|dispute| self.disputes.restore(dispute));
        line.events
            .into_iter()
            .for_each(|event| self.events.restore(event));
        line.answers
            .into_iter()
            .for_each(|answer| self.answers.restore(answer));
        line.messages
            .into_iter()
            .for_each(|message| self.messages.restore(message));
        self.clock_ahead_s = line.clock_ahead_s.unwrap_or(self.clock_ahead_s);
    }

    pub fn now(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        since.as_secs() as i64 + self.clock_ahead_s
    }

    /// Forward only: rows are in order of time.
    pub fn advance_clock(&mut self, seconds: u32) {
        self.clock_ahead_s += i64::from(seconds);
        self.clock_moved = true;
    }

    pub fn new_id(&self, prefix: &str) -> String {
        let random: String = rand::rng()
            .sample_iter(Alphanumeric)
            .take(24)
            .map(char::from)
            .collect();
        format!("{prefix}{random}")
    }

    pub fn put_intent(&mut self, intent: Intent) {
        self.watch_intent(&intent);
        self.intents.put(intent);
    }

    pub fn put_session(&mut self, session: Session) {
        self.watch_session(&session);
        self.sessions.put(session);
    }

    pub fn put_refund(&mut self, refund: Refund) {
        self.watch_refund(&refund);
        self.refunds.put(refund);
    }

    fn watch_intent(&mut self, intent: &Intent) {
        if let (true, Some(charge)) = (intent.capturable() > 0, &intent.charge) {
            self.deadlines.insert((
                charge.capture_before,
                Deadline::Authorisation(intent.id.clone()),
            ));
        }
    }

    fn watch_session(&mut self, session: &Session) {
        if session.state == SessionState::Open {
            self.deadlines
                .insert((session.expires_at, Deadline::Session(session.id.clone())));
        }
    }

    fn watch_refund(&mut self, refund: &Refund) {
        if let Some((at, _)) = refund.settles {
            self.deadlines
                .insert((at, Deadline::Refund(refund.id.clone())));
        }
    }

    pub fn emit(&mut self, kind: &str, object: &Value) {
        let event = Event {
            id: self.new_id("evt_"),
            created: self.now(),
            kind: kind.to_owned(),
            object: object.to_string(),
            request_id: self.request.0.clone(),
            idempotency_key: self.request.1.clone(),
            pending: self.webhook_set,
        };
        self.fresh_events.push(event.id.clone());
        self.events.put(event);
    }

    /// Lets time do what it does by itself: authorisations lapse, sessions expire, pending refunds are settled.
    pub fn sweep(&mut self) {
        let now = self.now();
        while let Some((at, _)) = self.deadlines.first()
            && *at <= now
            && let Some((at, deadline)) = self.deadlines.pop_first()
        {
            match deadline {
                Deadline::Authorisation(id) => self.lapse_authorisation(&id, at),
                Deadline::Session(id) => self.lapse_session(&id),
                Deadline::Refund(id) => self.settle_refund(&id),
            }
        }
    }

    /// Writes what has changed as one line.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        self.forget_old();
        let line = Line {
            intents: self.intents.take_dirty(),
            sessions: self.sessions.take_dirty(),
            refunds: self.refunds.take_dirty(),
            disputes: self.disputes.take_dirty(),
            events: self.events.take_dirty(),
            answers: self.answers.take_dirty(),
            messages: self.messages.take_dirty(),
            clock_ahead_s: std::mem::take(&mut self.clock_moved).then_some(self.clock_ahead_s),
        };
        match &mut self.journal {
            Some(journal) if !line.is_empty() => journal.append(&line),
            _ => Ok(()),
        }
    }

    /// Forgets all mail that went to an address, in memory and in the journal; says how many messages those were.
    pub fn forget_mail(&mut self, address: &str) -> anyhow::Result<usize> {
        let to = |message: &Message| message.to.iter().any(|to| to.eq_ignore_ascii_case(address));
        self.commit()?;
        let forgotten = self.messages.retain(|message| !to(message));
        if let (Some(journal), true) = (&mut self.journal, forgotten > 0) {
            journal.rewrite(|line| line.messages.retain(|message| !to(message)))?;
        }
        Ok(forgotten)
    }

    fn forget_old(&mut self) {
        let now = self.now();
        let old =
            |created: i64, len: usize, (age, most): (i64, usize)| now - created > age || len > most;
        while self
            .events
            .oldest()
            .is_some_and(|event| old(event.created, self.events.len(), EVENTS_KEPT))
        {
            self.events.pop_oldest();
        }
        while self
            .answers
            .oldest()
            .is_some_and(|answer| old(answer.created, self.answers.len(), ANSWERS_KEPT))
        {
            self.answers.pop_oldest();
        }
        while self.messages.len() > MESSAGES_KEPT {
            self.messages.pop_oldest();
        }
    }
}
