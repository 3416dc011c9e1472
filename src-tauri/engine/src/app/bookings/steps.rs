//! What the dots of a booking show, one for each step of its saga. Pure: facts of the saga's row in, states out.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::app::wire::{SagaState, StepState};
use crate::saga::definition::{BOOKING, Definition, Step};

/// What the dots depend on, as `read.sagas_v1` has it.
#[derive(Debug, Clone)]
pub struct SagaFacts {
    pub definition: &'static Definition,
    pub state: String,
    /// `C`: taking everything back.
    pub undoing: bool,
    /// The step being worked on; beyond the last when all are done, -1 when all are undone.
    pub cursor: i16,
    /// Where undoing began.
    pub undo_from: Option<i16>,
    pub not_needed: Vec<String>,
    /// `unknown`, `declined`, `busy`, `refused`, `not_sent`
    pub error_class: Option<String>,
    pub outcome: Option<String>,
    pub cancel_requested: bool,
    pub paused: bool,
    pub await_key: Option<String>,
    pub wake_at: Option<DateTime<Utc>>,
    /// `customer`, `message`, `refund`, …: what the executor said it waits for.
    pub waits_for: Option<String>,
}

impl Default for SagaFacts {
    fn default() -> SagaFacts {
        SagaFacts {
            definition: &BOOKING,
            state: String::new(),
            undoing: false,
            cursor: 0,
            undo_from: None,
            not_needed: vec![],
            error_class: None,
            outcome: None,
            cancel_requested: false,
            paused: false,
            await_key: None,
            wake_at: None,
            waits_for: None,
        }
    }
}

impl SagaFacts {
    /// The step at work.
    pub fn step(&self) -> Option<Step> {
        self.definition.at(self.cursor)
    }

    pub fn read_context(&mut self, context: &Value) {
        self.undo_from = context["undo_from"]
            .as_i64()
            .and_then(|n| i16::try_from(n).ok());
        self.not_needed = context["not_needed"]
            .as_array()
            .map(|names| {
                names
                    .iter()
                    .filter_map(|n| n.as_str().map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        self.waits_for = context["waits_for"].as_str().map(str::to_owned);
    }

    pub fn finished(&self) -> bool {
        matches!(
            self.state.as_str(),
            "completed" | "compensated" | "resolved"
        )
    }

    /// An answer of a provider is missing.
    pub fn outcome_unknown(&self) -> bool {
        !self.finished() && self.error_class.as_deref() == Some("unknown")
    }
}

pub fn steps(saga: &SagaFacts) -> Vec<StepState> {
    let state = |(i, step): (usize, &Step)| match !saga.not_needed.iter().any(|n| n == step.name())
    {
        false => StepState::NotNeeded,
        true if saga.undoing => undoing(saga, i as i16),
        true => forward(saga, i as i16),
    };
    saga.definition
        .steps
        .iter()
        .enumerate()
        .map(state)
        .collect()
}

fn forward(saga: &SagaFacts, step: i16) -> StepState {
    match saga.state.as_str() {
        "completed"
            if saga.definition.at(step) == Some(Step::Notify)
                && saga.outcome.as_deref() == Some("completed_with_warnings") =>
        {
            StepState::Failed
        }
        "completed" => StepState::Done,
        _ if step < saga.cursor => StepState::Done,
        _ if step > saga.cursor => StepState::NotBegun,
        "parked" => StepState::NeedsPerson,
        // A person ended it by hand; what the step itself did is in the evidence.
        "resolved" => StepState::Done,
        _ if saga.outcome_unknown() => StepState::Unknown,
        "waiting" => StepState::Waiting,
        _ => StepState::Running,
    }
}

fn undoing(saga: &SagaFacts, step: i16) -> StepState {
    let from = saga.undo_from.unwrap_or(saga.cursor);
    match saga.state.as_str() {
        _ if step > from => StepState::NotBegun,
        // The step at which it turned around is why it turned, unless somebody asked for it.
        _ if step > saga.cursor && step == from && !saga.cancel_requested => StepState::Failed,
        _ if step > saga.cursor => StepState::Undone,
        _ if step < saga.cursor => StepState::Done,
        "parked" => StepState::NeedsPerson,
        "resolved" => StepState::Undone,
        _ if saga.outcome_unknown() => StepState::Unknown,
        "waiting" => StepState::Waiting,
        _ => StepState::Running,
    }
}

/// The saga in one word, as the window shows it.
pub fn saga_state(saga: &SagaFacts) -> SagaState {
    if saga.paused && !saga.finished() {
        return SagaState::Paused;
    }
    match saga.state.as_str() {
        "completed" if saga.outcome.as_deref() == Some("completed_with_warnings") => {
            SagaState::DoneWithWarnings
        }
        "completed" => SagaState::Done,
        "compensated" => SagaState::Undone,
        "resolved" => SagaState::Resolved,
        "parked" => SagaState::NeedsPerson,
        "compensating" => SagaState::Undoing,
        "waiting" if saga.undoing && saga.await_key.is_none() => SagaState::Undoing,
        "waiting"
            if !saga.undoing && saga.step() == Some(Step::Payment) && saga.await_key.is_some() =>
        {
            SagaState::WaitingForCustomer
        }
        "waiting" => SagaState::WaitingForProvider,
        _ => SagaState::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saga::definition::{BOOKING_FREE, CANCELLATION};
    use StepState::*;

    fn facts(state: &str, undoing: bool, cursor: i16) -> SagaFacts {
        SagaFacts {
            state: state.to_owned(),
            undoing,
            cursor,
            ..SagaFacts::default()
        }
    }

    fn check(saga: SagaFacts, dots: [StepState; 5], word: SagaState) {
        assert_eq!(steps(&saga), dots, "{saga:?}");
        assert_eq!(saga_state(&saga), word, "{saga:?}");
    }

    #[test]
    fn going_forward_the_cursor_is_the_step_at_work() {
        check(
            facts("running", false, 2),
            [Done, Done, Running, NotBegun, NotBegun],
            SagaState::Running,
        );
        check(facts("completed", false, 5), [Done; 5], SagaState::Done);
    }

    #[test]
    fn an_open_payment_page_waits_for_the_customer() {
        let saga = SagaFacts {
            await_key: Some("stripe:cs_1".into()),
            ..facts("waiting", false, 1)
        };
        check(
            saga,
            [Done, Waiting, NotBegun, NotBegun, NotBegun],
            SagaState::WaitingForCustomer,
        );
    }

    #[test]
    fn a_missing_answer_is_neither_done_nor_failed() {
        let saga = SagaFacts {
            error_class: Some("unknown".into()),
            ..facts("waiting", false, 2)
        };
        check(
            saga,
            [Done, Done, Unknown, NotBegun, NotBegun],
            SagaState::WaitingForProvider,
        );
    }

    #[test]
    fn a_step_that_is_not_needed_shows_so_in_every_state() {
        for (state, cursor) in [("waiting", 4), ("completed", 5)] {
            let saga = SagaFacts {
                not_needed: vec!["payment".into(), "capture".into()],
                ..facts(state, false, cursor)
            };
            let dots = steps(&saga);
            assert_eq!(dots[..4], [Done, NotNeeded, NotNeeded, Done]);
        }
    }

    #[test]
    fn the_step_that_turned_it_around_failed_and_the_ones_before_are_undone() {
        let saga = SagaFacts {
            undo_from: Some(4),
            ..facts("compensating", true, 2)
        };
        check(
            saga,
            [Done, Done, Running, Undone, Failed],
            SagaState::Undoing,
        );
        let saga = SagaFacts {
            undo_from: Some(4),
            ..facts("compensated", true, -1)
        };
        check(
            saga,
            [Undone, Undone, Undone, Undone, Failed],
            SagaState::Undone,
        );
    }

    #[test]
    fn what_a_person_took_back_did_not_fail() {
        let saga = SagaFacts {
            undo_from: Some(1),
            cancel_requested: true,
            ..facts("compensated", true, -1)
        };
        check(
            saga,
            [Undone, Undone, NotBegun, NotBegun, NotBegun],
            SagaState::Undone,
        );
    }

    #[test]
    fn a_refund_that_failed_needs_a_person_at_its_step() {
        let saga = SagaFacts {
            undo_from: Some(4),
            ..facts("parked", true, 2)
        };
        check(
            saga,
            [Done, Done, NeedsPerson, Undone, Failed],
            SagaState::NeedsPerson,
        );
    }

    #[test]
    fn done_with_a_warning_says_which_step_warned() {
        let saga = SagaFacts {
            outcome: Some("completed_with_warnings".into()),
            ..facts("completed", false, 5)
        };
        check(
            saga,
            [Done, Done, Done, Done, Failed],
            SagaState::DoneWithWarnings,
        );
    }

    #[test]
    fn each_definition_has_its_own_dots() {
        let free = SagaFacts {
            definition: &BOOKING_FREE,
            ..facts("waiting", false, 2)
        };
        assert_eq!(steps(&free), [Done, Done, Waiting]);
        let given_up = SagaFacts {
            definition: &CANCELLATION,
            not_needed: vec!["refund".into()],
            ..facts("completed", false, 4)
        };
        assert_eq!(steps(&given_up), [Done, NotNeeded, Done, Done]);
    }

    #[test]
    fn a_pause_hides_no_end() {
        let paused = SagaFacts {
            paused: true,
            ..facts("running", false, 1)
        };
        assert_eq!(saga_state(&paused), SagaState::Paused);
        let ended = SagaFacts {
            paused: true,
            ..facts("completed", false, 5)
        };
        assert_eq!(saga_state(&ended), SagaState::Done);
    }
}
