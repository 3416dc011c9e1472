//! What a saga decides by, and what it has decided but not yet committed.
//!
//! `World` is loaded once per run. Everything the plan says and every answer of a provider is *absorbed* into it:
//! commands go through the domain's `decide`, and pile up in the draft until the next commit. Only `store::commit`
//! writes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::definition::{Definition, Step};
use super::gate::Gate;
use super::guards::Guards;
use super::instance::{Direction, Effect, Instance, Outcome};
use super::rules::Rules;
use crate::connectors::booking_mail::NO_ADDRESS;
use crate::domain::booking::{self, Booking, Command};
use crate::domain::event::Event;
use crate::runtime::clock::Moment;

/// In a saga's context: since when its step fails.
const FAILING_SINCE: &str = "failing_since";

pub struct World {
    pub instance: Instance,
    pub definition: &'static Definition,
    /// As of the last commit seen.
    pub base: Booking,
    pub base_version: i64,
    /// `base` with the draft on top.
    pub booking: Booking,
    pub effects: Vec<Effect>,
    pub message: Option<Message>,
    pub guards: Option<Guards>,
    pub gate: Gate,
    pub rules: Rules,
    /// They were read: a saga that its own process started has not needed them yet.
    pub rules_read: bool,
    pub seen: Seen,
    pub draft: Draft,
    pub installation: String,
    pub has_stripe: bool,
    loaded_at: DateTime<Utc>,
    loaded: Moment,
}

/// What one snapshot of the database says about a saga.
pub struct Facts {
    pub instance: Instance,
    pub definition: &'static Definition,
    pub booking: Booking,
    /// Version of the booking's stream.
    pub version: i64,
    pub effects: Vec<Effect>,
    pub message: Option<Message>,
    /// Only when the message reached nobody: policies and what they look at.
    pub guards: Option<Guards>,
    /// Whether the provider may be asked.
    pub gate: Gate,
    /// What people set for its steps; `None`: not read yet.
    pub rules: Option<Rules>,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

/// The message that decides the last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub state: String,
    pub problem: Option<String>,
    /// `refused`, `later`, `not_sent`: the last try's result, and the cause by which sagas are grouped.
    pub result: Option<String>,
}

impl Message {
    /// It gave up, or there was no address to send it to.
    pub fn reached_nobody(&self) -> bool {
        self.state == "gave_up" || self.had_no_address()
    }

    pub fn had_no_address(&self) -> bool {
        self.state == "skipped" && self.problem.as_deref() == Some(NO_ADDRESS)
    }
}

/// What the provider told us during this run. Fresh facts only: nothing here is stored.
#[derive(Debug, Default)]
pub struct Seen {
    pub intent: Option<bizing_stripe::Intent>,
    pub checkout: Option<bizing_stripe::Checkout>,
    /// The payment was looked up in this run.
    pub payment: bool,
    pub refund: bool,
    /// Effects that were looked for and not found in this run.
    pub absent: Vec<Uuid>,
}

#[derive(Debug, Default)]
pub struct Draft {
    pub commands: Vec<Command>,
    pub events: Vec<Event>,
    pub attempts: Vec<Attempt>,
    pub effects: Vec<Effect>,
    pub resolved: Vec<Resolved>,
    pub claims: Option<Claims>,
    pub consume_signals: bool,
    pub touched: bool,
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub step: Step,
    pub direction: Direction,
    pub kind: &'static str,
    pub effect_id: Option<Uuid>,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub result: &'static str,
    pub error_class: Option<&'static str>,
    pub error: Option<Value>,
    pub output: Option<Value>,
    pub next_retry_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
pub struct Resolved {
    pub effect_id: Uuid,
    pub outcome: Outcome,
    pub via: &'static str,
    pub provider_object: Option<String>,
    pub provider_status: Option<String>,
    pub request_id: Option<String>,
    pub stored_error: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    /// Before money is taken: the hold can no longer expire. Fails when it already has.
    Pin,
    Release(&'static str),
}

impl World {
    pub fn new(facts: Facts, installation: &str, has_stripe: bool) -> World {
        World {
            instance: facts.instance,
            definition: facts.definition,
            booking: facts.booking.clone(),
            base: facts.booking,
            base_version: facts.version,
            effects: facts.effects,
            message: facts.message,
            guards: facts.guards,
            gate: facts.gate,
            rules_read: facts.rules.is_some(),
            rules: facts.rules.unwrap_or_default(),
            seen: Seen::default(),
            draft: Draft::default(),
            installation: installation.to_owned(),
            has_stripe,
            loaded_at: facts.now,
            loaded: Moment::now(),
        }
    }

    /// The database's clock, carried on by ours. Nobody else's clock decides whether a hold is over.
    pub fn now(&self) -> DateTime<Utc> {
        self.loaded_at + self.loaded.elapsed()
    }

    /// What the database said when this was read; what it was told since is not in here.
    pub fn loaded_at(&self) -> DateTime<Utc> {
        self.loaded_at
    }

    /// How long the computer may have slept since, unseen by [`World::now`].
    pub fn slept(&self) -> Duration {
        self.loaded
            .elapsed_at_most()
            .saturating_sub(self.loaded.elapsed())
    }

    /// Something did not go as it should: what follows is by the rules that people set.
    pub fn needs_rules(&self) -> bool {
        !self.rules_read && self.effects.iter().any(|e| e.outcome == Outcome::Rejected)
    }

    /// The step at work.
    pub fn step(&self) -> Option<Step> {
        self.definition.at(self.instance.cursor)
    }

    pub fn place(&self, step: Step) -> i16 {
        self.definition.place(step)
    }

    pub fn after(&self, step: Step) -> i16 {
        self.place(step) + 1
    }

    pub fn before(&self, step: Step) -> i16 {
        self.place(step) - 1
    }

    /// Nothing is taken back from here on.
    pub fn forward_only(&self) -> bool {
        self.definition
            .forward_only_from
            .is_some_and(|from| self.instance.cursor >= from)
    }

    /// What cannot be undone without a trace has happened: money was taken, or a cancellation was told.
    pub fn past_pivot(&self) -> bool {
        match self.definition.forward_only_from {
            Some(_) => self.forward_only(),
            None => self.booking.payment.captured_minor > 0,
        }
    }

    /// Applies commands through the rules. A refusal is a fault of the plan or of the data: a person decides.
    pub fn absorb(&mut self, commands: Vec<Command>) -> Result<(), booking::Refusal> {
        for command in commands {
            let events = booking::decide(&self.booking, command.clone(), self.now())?;
            self.draft.touched |= !events.is_empty();
            for event in &events {
                self.booking = booking::evolve(std::mem::take(&mut self.booking), event);
            }
            self.draft.events.extend(events);
            self.draft.commands.push(command);
        }
        Ok(())
    }

    /// Somebody else appended to the stream meanwhile: decide the draft again on top of what they wrote.
    pub fn rebase(&mut self, base: Booking, version: i64) -> Result<(), booking::Refusal> {
        self.base = base.clone();
        self.booking = base;
        self.base_version = version;
        self.draft.events.clear();
        let commands = std::mem::take(&mut self.draft.commands);
        self.absorb(commands)
    }

    pub fn committed(&mut self, version: i64) {
        self.base = self.booking.clone();
        self.base_version = version;
        self.draft = Draft::default();
    }

    /// The newest generation of a step's effect.
    pub fn effect(&self, step: Step, direction: Direction) -> Option<&Effect> {
        self.effects
            .iter()
            .filter(|e| e.step == step && e.direction == direction)
            .max_by_key(|e| e.generation)
    }

    pub fn open_effect(&self) -> Option<&Effect> {
        self.effects.iter().find(|e| e.outcome.open())
    }

    pub fn intend(&mut self, effect: Effect) {
        self.draft.touched = true;
        self.draft.effects.push(effect.clone());
        self.effects.push(effect);
    }

    /// It was sent again; the database has it already.
    pub fn sent(&mut self, effect: Uuid, first: DateTime<Utc>, last: DateTime<Utc>) {
        if let Some(e) = self.effects.iter_mut().find(|e| e.effect_id == effect) {
            (e.first_sent_at, e.last_sent_at) = (Some(first), Some(last));
        }
    }

    pub fn resolve(&mut self, resolved: Resolved) {
        self.draft.touched = true;
        if let Some(e) = self
            .effects
            .iter_mut()
            .find(|e| e.effect_id == resolved.effect_id)
        {
            e.outcome = resolved.outcome;
            e.stored_error |= resolved.stored_error;
            e.provider_object = resolved
                .provider_object
                .clone()
                .or(e.provider_object.take());
        }
        // One line for one effect: what is known last, with what was known before.
        match self
            .draft
            .resolved
            .iter_mut()
            .find(|r| r.effect_id == resolved.effect_id)
        {
            Some(known) => {
                *known = Resolved {
                    provider_object: resolved.provider_object.or(known.provider_object.take()),
                    provider_status: resolved.provider_status.or(known.provider_status.take()),
                    request_id: resolved.request_id.or(known.request_id.take()),
                    ..resolved
                };
            }
            None => self.draft.resolved.push(resolved),
        }
    }

    pub fn attempt(
        &mut self,
        step: Step,
        direction: Direction,
        started_at: DateTime<Utc>,
        result: &'static str,
    ) -> &mut Attempt {
        self.draft.touched = true;
        let ended_at = self.now();
        self.draft.attempts.push(Attempt {
            step,
            direction,
            kind: "auto",
            effect_id: None,
            started_at,
            ended_at,
            result,
            error_class: None,
            error: None,
            output: None,
            next_retry_at: None,
        });
        self.draft.attempts.last_mut().expect("just pushed")
    }

    pub fn direction(&self) -> Direction {
        if self.instance.forward() {
            Direction::Forward
        } else {
            Direction::Undo
        }
    }

    pub fn move_to(&mut self, cursor: i16) {
        self.draft.touched = true;
        self.instance.cursor = cursor;
        self.instance.attempt = 0;
        self.instance.error_class = None;
        self.instance.error_message = None;
        // A person's word to try again was about the step that is over now.
        if let Some(context) = self.instance.context.as_object_mut() {
            context.remove("again");
            context.remove(FAILING_SINCE);
        }
    }

    /// Counted from the first try that failed, or from a person's word to try again.
    pub fn note_failing(&mut self) {
        if self.instance.attempt <= 1 || self.instance.context[FAILING_SINCE].is_null() {
            self.instance.context[FAILING_SINCE] = json!(self.now());
        }
    }

    pub fn failing_since(&self) -> DateTime<Utc> {
        serde_json::from_value(self.instance.context[FAILING_SINCE].clone())
            .unwrap_or_else(|_| self.now())
    }

    /// A person has taken this saga in hand: what fails from now on is theirs to decide.
    pub fn hands_on(&self) -> bool {
        self.instance.context["hands_on"] == true
    }

    /// A person said to try once more what was refused for good in this generation.
    pub fn may_try_again(&self, generation: i16) -> bool {
        self.instance.context["again"]
            .as_i64()
            .is_some_and(|last| i64::from(generation) <= last)
    }

    /// Turns round. Never turns back by itself.
    pub fn undo(&mut self, code: &str, by: &str, text: Option<String>) {
        self.draft.touched = true;
        let from = self.instance.cursor;
        self.instance.direction = "C".to_owned();
        self.instance.state = "compensating".to_owned();
        self.instance.attempt = 0;
        self.instance.await_key = None;
        self.instance.context["undo_from"] = json!(from);
        self.instance.context["undo"] = json!({ "code": code, "by": by, "text": text });
    }

    pub fn undo_code(&self) -> String {
        self.instance.context["undo"]["code"]
            .as_str()
            .unwrap_or("asked")
            .to_owned()
    }

    pub fn note_not_needed(&mut self, step: Step) {
        let list = &mut self.instance.context["not_needed"];
        match list.as_array_mut() {
            Some(names) => names.push(json!(step.name())),
            None => *list = json!([step.name()]),
        }
    }
}
