//! The saga of a booking as the page shows it: its steps with their tries, and what it waits for.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::row::saga_facts;
use super::steps::{self, SagaFacts};
use super::timeline::DeliveryRow;
use crate::app::wire::{AppError, Cancelled, SagaStep, SagaView, StepState, WaitsFor};
use crate::saga::definition::{CANCELLATION, Step};

/// What [`Saga::read`] reads beside the columns of a booking's row; `s` is the saga.
pub const SAGA_COLUMNS: &str = "s.definition || '@' || s.def_version as saga_definition, s.attempt as saga_attempt, s.park_reason as saga_park_reason,
    s.error_message as saga_error_message, s.pivot_passed_at is not null as saga_pivot_passed,
    s.lease_expires_at > now() is true as saga_leased, s.hold_expires_at as saga_hold_expires_at,
    s.correlation_id as saga_correlation_id, s.created_at as saga_created_at, s.finished_at as saga_finished_at";

#[derive(Debug, Clone)]
pub struct Saga {
    pub saga_id: Uuid,
    pub facts: SagaFacts,
    pub definition: String,
    pub attempt: i32,
    pub park_reason: Option<String>,
    pub error_message: Option<String>,
    pub pivot_passed: bool,
    pub leased: bool,
    pub hold_expires_at: Option<DateTime<Utc>>,
    pub context: Value,
    pub correlation_id: Uuid,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub attempts: Vec<Attempt>,
}

/// One try of a step, as `read.saga_attempts_v1` has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Attempt {
    pub no: i32,
    pub step: String,
    pub direction: String,
    pub kind: String,
    pub worker_id: Option<Uuid>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub result: Option<String>,
    pub error_class: Option<String>,
    pub error: Option<Value>,
}

impl Attempt {
    pub fn undoing(&self) -> bool {
        self.direction == "C"
    }

    pub fn message(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        error["message"]
            .as_str()
            .or(error.as_str())
            .map(str::to_owned)
    }
}

impl Saga {
    pub fn read(row: &PgRow) -> Result<Option<Saga>, AppError> {
        let Some(facts) = saga_facts(row)? else {
            return Ok(None);
        };
        Ok(Some(Saga {
            facts,
            saga_id: row.try_get("saga_id")?,
            definition: row.try_get("saga_definition")?,
            attempt: row.try_get("saga_attempt")?,
            park_reason: row.try_get("saga_park_reason")?,
            error_message: row.try_get("saga_error_message")?,
            pivot_passed: row.try_get("saga_pivot_passed")?,
            leased: row.try_get("saga_leased")?,
            hold_expires_at: row.try_get("saga_hold_expires_at")?,
            context: row.try_get("saga_context")?,
            correlation_id: row.try_get("saga_correlation_id")?,
            created_at: row.try_get("saga_created_at")?,
            finished_at: row.try_get("saga_finished_at")?,
            attempts: vec![],
        }))
    }

    /// Name of the step being worked on.
    pub fn step(&self) -> Option<&'static str> {
        self.facts.step().map(Step::name)
    }

    /// When it tries again after something went wrong.
    pub fn retry_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wrong = self
            .facts
            .error_class
            .as_deref()
            .is_some_and(|c| c != "declined");
        let open = matches!(
            self.facts.state.as_str(),
            "running" | "waiting" | "compensating"
        );
        self.facts
            .wake_at
            .filter(|at| open && wrong && !self.leased && *at > now)
    }

    pub fn view(
        &self,
        message: Option<&DeliveryRow>,
        cancelled: Option<&Cancelled>,
        workers: i64,
        now: DateTime<Utc>,
    ) -> SagaView {
        let states = steps::steps(&self.facts);
        SagaView {
            saga_id: self.saga_id,
            definition: self.definition.clone(),
            state: steps::saga_state(&self.facts),
            steps: self
                .facts
                .definition
                .steps
                .iter()
                .zip(states)
                .map(|(step, state)| self.step_view(step.name(), state, now))
                .collect(),
            waits_for: self.waits_for(message, workers, now),
            started_at: self.created_at,
            finished_at: self.finished_at,
            undo_reason: self.undo_reason(cancelled),
        }
    }

    fn step_view(&self, name: &str, state: StepState, now: DateTime<Utc>) -> SagaStep {
        let of = |undoing: bool| {
            self.attempts
                .iter()
                .filter(move |a| a.step == name && a.undoing() == undoing)
        };
        let ended = |undoing: bool| of(undoing).next_back().and_then(|a| a.ended_at);
        let at_work = self.step() == Some(name) && !self.facts.finished();
        // A step that came right in the end shows no old error.
        let error = match state {
            StepState::Done | StepState::Undone | StepState::NotNeeded | StepState::NotBegun => {
                None
            }
            _ => self
                .attempts
                .iter()
                .rev()
                .filter(|a| a.step == name)
                .find_map(Attempt::message)
                .or_else(|| self.error_message.clone().filter(|_| at_work)),
        };
        SagaStep {
            step: name.to_owned(),
            state,
            attempts: of(false).count() as u32,
            undo_attempts: of(true).count() as u32,
            started_at: of(false).next().map(|a| a.started_at),
            ended_at: ended(false).filter(|_| !at_work || self.facts.undoing),
            undo_started_at: of(true).next().map(|a| a.started_at),
            undo_ended_at: ended(true).filter(|_| !at_work),
            error,
            next_try_at: self.retry_at(now).filter(|_| at_work),
        }
    }

    fn waits_for(
        &self,
        message: Option<&DeliveryRow>,
        workers: i64,
        now: DateTime<Utc>,
    ) -> WaitsFor {
        let facts = &self.facts;
        if facts.finished() {
            return WaitsFor::Nothing;
        }
        if facts.state == "parked" {
            return WaitsFor::Person {
                reason: self.park_reason.clone().unwrap_or_default(),
            };
        }
        if let Some(at) = self.retry_at(now) {
            return WaitsFor::Retry {
                at,
                attempt: (self.attempt + 1).max(1) as u32,
                cause: self
                    .error_message
                    .clone()
                    .or_else(|| facts.error_class.clone())
                    .unwrap_or_default(),
            };
        }
        // Due, and nobody is there to do it.
        if workers == 0 && !self.leased && facts.wake_at.is_some_and(|at| at <= now) {
            return WaitsFor::Worker;
        }
        if facts.state != "waiting" {
            return WaitsFor::Nothing;
        }
        match (facts.waits_for.as_deref(), facts.undoing, facts.step()) {
            (Some("customer"), ..) | (None, false, Some(Step::Payment)) => WaitsFor::Customer {
                until: self.hold_expires_at,
            },
            (Some("message"), ..) | (None, false, Some(Step::Notify)) => WaitsFor::Delivery {
                at: message
                    .filter(|m| m.state == "scheduled")
                    .map(|m| m.next_at),
                attempt: message.map_or(0, |m| m.attempt as u32),
                cause: message.and_then(|m| m.problem.clone()),
            },
            (what, undoing, _) => WaitsFor::Provider {
                what: what
                    .unwrap_or(if undoing { "refund" } else { "answer" })
                    .to_owned(),
            },
        }
    }

    fn undo_reason(&self, cancelled: Option<&Cancelled>) -> Option<String> {
        if !self.facts.undoing && !self.facts.cancel_requested {
            return None;
        }
        let undo = &self.context["undo"];
        undo["text"]
            .as_str()
            .or(self.context["cancel_reason"].as_str())
            .or(undo["code"].as_str())
            .map(str::to_owned)
            .or_else(|| {
                cancelled.map(|c| c.reason.clone().unwrap_or_else(|| c.reason_code.clone()))
            })
    }

    /// Taking back what is not confirmed yet: why it cannot be done; `None`: it can.
    pub fn cancel_refused(&self) -> Option<String> {
        let facts = &self.facts;
        let sentence = match facts.state.as_str() {
            "compensated" => "This booking is taken back already.",
            "resolved" => "A person has ended this booking by hand.",
            "completed" => "This booking is over.",
            _ if facts.undoing || facts.cancel_requested => {
                "This booking is being taken back already."
            }
            "parked" => "A person must first decide how this booking goes on.",
            _ if self.pivot_passed || facts.step() == Some(Step::Confirm) => {
                "This booking is being confirmed right now. Try again in a moment."
            }
            _ => return None,
        };
        Some(sentence.to_owned())
    }

    /// Giving up what is confirmed, under the terms of the policy: why it cannot be done; `None`: it can.
    pub fn give_up_refused(&self) -> Option<String> {
        let facts = &self.facts;
        let sentence = match facts.state.as_str() {
            _ if facts.definition.name == CANCELLATION.name => "This booking is cancelled already.",
            _ if facts.undoing => "This booking is being taken back already.",
            "parked" => "A person must first decide how this booking goes on.",
            _ if self.leased => "This booking is being confirmed right now. Try again in a moment.",
            _ => return None,
        };
        Some(sentence.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    fn saga(state: &str, undoing: bool, cursor: i16) -> Saga {
        Saga {
            saga_id: Uuid::nil(),
            facts: SagaFacts {
                state: state.into(),
                undoing,
                cursor,
                wake_at: Some(now() + chrono::TimeDelta::minutes(1)),
                ..SagaFacts::default()
            },
            definition: "booking@1".into(),
            attempt: 2,
            park_reason: None,
            error_message: None,
            pivot_passed: false,
            leased: false,
            hold_expires_at: None,
            context: Value::Null,
            correlation_id: Uuid::nil(),
            created_at: now(),
            finished_at: None,
            attempts: vec![],
        }
    }

    #[test]
    fn what_it_waits_for_is_said_in_data() {
        let customer = saga("waiting", false, 1);
        assert_eq!(
            customer.waits_for(None, 1, now()),
            WaitsFor::Customer { until: None }
        );
        let refund = saga("waiting", true, 2);
        assert_eq!(
            refund.waits_for(None, 1, now()),
            WaitsFor::Provider {
                what: "refund".into()
            }
        );
        let parked = Saga {
            park_reason: Some("refund failed".into()),
            ..saga("parked", true, 2)
        };
        assert_eq!(
            parked.waits_for(None, 1, now()),
            WaitsFor::Person {
                reason: "refund failed".into()
            }
        );
    }

    #[test]
    fn a_due_saga_without_a_worker_waits_for_one() {
        let mut due = saga("running", false, 1);
        due.facts.wake_at = Some(now());
        assert_eq!(due.waits_for(None, 0, now()), WaitsFor::Worker);
        assert_eq!(due.waits_for(None, 1, now()), WaitsFor::Nothing);
    }

    #[test]
    fn a_retry_says_when_and_why() {
        let mut busy = saga("waiting", false, 2);
        busy.facts.error_class = Some("busy".into());
        busy.error_message = Some("Stripe is busy".into());
        let at = busy.facts.wake_at.unwrap();
        assert_eq!(
            busy.waits_for(None, 1, now()),
            WaitsFor::Retry {
                at,
                attempt: 3,
                cause: "Stripe is busy".into()
            }
        );
    }

    #[test]
    fn cancelling_is_refused_with_a_reason_from_the_pivot_on() {
        assert_eq!(saga("waiting", false, 1).cancel_refused(), None);
        let paid = Saga {
            pivot_passed: true,
            ..saga("running", false, 3)
        };
        assert!(paid.cancel_refused().unwrap().contains("confirmed"));
        for state in ["completed", "compensated", "parked", "resolved"] {
            assert!(saga(state, false, 1).cancel_refused().is_some(), "{state}");
        }
    }

    #[test]
    fn what_is_confirmed_is_given_up_unless_somebody_is_at_it() {
        assert_eq!(saga("completed", false, 5).give_up_refused(), None);
        assert_eq!(saga("waiting", false, 4).give_up_refused(), None);
        let leased = Saga {
            leased: true,
            ..saga("running", false, 4)
        };
        for refused in [leased, saga("parked", false, 4), saga("waiting", true, 2)] {
            assert!(refused.give_up_refused().is_some());
        }
    }
}
