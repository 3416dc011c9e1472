//! What the database answers in a word, in a sentence for whoever asked.

use serde_json::Value;

use crate::app::wire::{AppError, Code};

/// Why an action cannot be done now.
pub fn refusal(code: &str) -> String {
    let sentence = match code {
        "needs_staff" => "Your login may look, not change.",
        "needs_manager" => "This is a manager's decision.",
        "needs_admin" => "This needs an admin.",
        "finished" => "This saga is over. Open it again first.",
        "not_finished" => "It is not over yet.",
        "paused" => "It is paused. Let it go on first.",
        "not_paused" => "It is not paused.",
        "parked" => "It waits for a decision, so nothing runs that could be paused.",
        "not_parked" => "It does not wait for a person.",
        "at_work" => "A worker is at it right now. Try again in a moment.",
        "nothing_failed" => "Nothing has failed: there is nothing to try again.",
        "undoing" => "It is being taken back already.",
        "message_unclear" => {
            "The message may have arrived. Sending it again could tell the customer twice: call them instead."
        }
        "not_skippable" => "Only a message can be left out; money and slots cannot.",
        "not_confirmed" => "The booking is not confirmed, so it cannot be left as it is.",
        "outcome_known" => "What became of each call is known.",
        "outcome" => "Say whether it happened or not.",
        "not_waiting" => "It does not wait for the customer.",
        "no_hold" => "No slot is held that could be held longer.",
        "hold_most" => "A slot is held for a week at most, and this one was.",
        "begun" => "It would have begun already: nothing is left to hold.",
        "slot_taken" => {
            "The hold was over, and another booking has the slot: it cannot be held again."
        }
        "not_leased" => "No worker holds it.",
        "owner_alive" => "The worker that holds it is alive.",
        "forward_only" => {
            "A cancellation is not taken back: the customer is told, and the slot is free."
        }
        "given_up" => "This booking is being given up, or was: its cancellation decides.",
        "cancelling" => "It is cancelled already.",
        "withdrawn" => {
            "It was called off before it began. Cancel the booking again if it is needed."
        }
        "not_confirmed_yet" => "The booking is not confirmed: undo it instead.",
        "decide_first" => "A person must first decide how this booking goes on.",
        "refund_pending" => "A refund is on its way. Wait until Stripe has settled it.",
        "waive_manager" => "Only a manager may let a fee go.",
        "nothing_to_correct" => {
            "Nothing in this step's request can be corrected: an address or a card can."
        }
        "message_delivered" => "The message arrived.",
        "outcome_open" => "It is not known yet what became of the last call: it may still happen.",
        "page_open" => {
            "A payment page is open for the customer: another card could be charged beside it."
        }
        "no_other_version" => "There is no other version of its definition.",
        "no_version" => "There is no such version of its definition.",
        "same_version" => "It runs by that version already.",
        "call_open" => "A call is open: a definition changes only between two steps.",
        "no_such_step" => "That version does not have the step at which this saga stands.",
        "no_worker_for_it" => "No running worker knows that version: start a newer program first.",
        "closed" => "This case is closed already.",
        "nothing_there" => "Stripe does not show it: there is nothing to take or to give.",
        "not_there" => "Stripe does not know it any more.",
        "in_the_books" => {
            "The books have it already, with another sum. Decide about its saga, or put it right at Stripe and check it again."
        }
        "saga_at_work" => {
            "A saga of this booking is at work and may find this by itself. Wait until it is over, or waits for a person."
        }
        "no_booking" => {
            "It names no booking that this desk has. Give it back, or say what it was and close the case."
        }
        "no_payment" => "This is a refund: it has gone back already.",
        "not_taken" => {
            "The money is not taken: an authorisation ends by itself, or is cancelled at Stripe. Check it again then."
        }
        "second_person" => {
            "As much goes back only with a second person. Ask again: another manager will see it and decide."
        }
        "asked_already" => "It was asked for already: a second person decides.",
        "rejected" => "A second person said no.",
        "other_currency" => "It is in another currency than the booking.",
        "refund_open" => {
            "This refund is not through yet. Check it again when Stripe has settled it."
        }
        "too_much" => {
            "More would have gone back than was taken: the ledger has given this money back already. Look at Stripe whether the customer has it twice."
        }
        "not_asked" => {
            "This booking is not paid through Stripe: give the money back, or say what it was."
        }
        "has_payment" => {
            "The booking has a payment of its own: the customer paid twice. Give this one back."
        }
        "other_amount" => {
            "It is another sum than the booking costs. Give it back, or say what it was and close the case."
        }
        "saga_over" => {
            "The booking is over, and its saga could not give this money back any more. Give it back from here."
        }
        "given_back" => {
            "Stripe has given some of it back already. Give back the rest, or check it again."
        }
        "other_payment" => "It is of another payment than this booking's.",
        "known" => "The ledger knows it already.",
        "deed_open" => "Somebody else decides about this case right now.",
        "disputed" => {
            "The customer's bank contests the payment: a refund beside that would pay twice. Wait until the dispute is over."
        }
        "dispute_lost" => {
            "The customer's bank has taken the money back: a refund on top would pay twice."
        }
        "batch_ended" => "It was left when the decision for many was ended.",
        "not_undoing" => "It is not being taken back. Undoing everything begins where it stands.",
        "undone_already" => "That step is taken back already.",
        "all_undone" => "Everything is taken back already.",
        "no_step" => "Its definition has no such step.",
        "undo_open" => {
            "A step that would be passed over is not taken back yet. Begin there, or settle its call first."
        }
        "money_here" => {
            "Money is here, and from this step on nothing gives it back. Undo from the refund instead."
        }
        "nothing_to_refund" => "No money is here that could go back.",
        "not_refunding" => {
            "Its terms say what goes back. A part of that can be decided where the refund waits for a person."
        }
        "sum_not_positive" => {
            "A refund is more than nothing. To keep all of it, end the saga with evidence."
        }
        "sum_too_large" => "More than could go back: enter less, or undo all of it.",
        "sum_odd" => "In this currency the last digit of a sum must be 0: Stripe takes no other.",
        "changed" | "plan_changed" => "It changed while you looked.",
        other => return format!("The database refused: {other}."),
    };
    sentence.to_owned()
}

/// A refused command as the window gets it. `by`: who was faster, when somebody was.
pub fn refused(code: &str, by: &Value) -> AppError {
    if matches!(code, "changed" | "plan_changed") {
        let message = match (by["who"].as_str(), by["seconds"].as_i64()) {
            (Some(who), Some(seconds)) => {
                // By name, and by login beside it: two may share a name.
                let who = match by["name"].as_str() {
                    Some(name) if name != who => format!("{name} ({who})"),
                    _ => who.to_owned(),
                };
                format!(
                    "{who} changed this {} ago. Nothing was done by you.",
                    ago(seconds)
                )
            }
            _ => "This changed while you looked. Nothing was done by you.".to_owned(),
        };
        return AppError::new(Code::Conflict, message)
            .hint("Look at it as it is now, then decide again.");
    }
    AppError::new(Code::Refused, refusal(code)).hint("Look at it as it is now.")
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{} s", seconds.max(0)),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// What a command lacks, at its field.
pub fn lacks(what: &str) -> AppError {
    let message = match what {
        "evidence" => {
            "Say by what it can be seen, in 3 to 500 signs: a provider's id, a bank's reference, a note."
        }
        "outcome" => "Say whether it happened or not.",
        "checked" => "Look at money, booking and slot, and say so of each: it stands in the audit.",
        "field" => "Say what is corrected: the address or the card.",
        "minutes" => "A hold is made longer by 5 to 1,440 minutes.",
        "until" => "Say until when.",
        "refund_minor" => "Say how much goes back: the rest stays.",
        _ => "Say why in at least 10 signs: it stands in the audit.",
    };
    AppError::invalid(what, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lost_race_names_who_was_faster() {
        let error = refused("plan_changed", &json!({ "who": "ann", "seconds": 2 }));
        assert_eq!(error.code, Code::Conflict);
        assert_eq!(
            error.message,
            "ann changed this 2 s ago. Nothing was done by you."
        );
        let named = refused(
            "plan_changed",
            &json!({ "who": "ann", "name": "Ann Bell", "seconds": 130 }),
        );
        assert_eq!(
            named.message,
            "Ann Bell (ann) changed this 2 min ago. Nothing was done by you."
        );
        assert_eq!(refused("at_work", &Value::Null).code, Code::Refused);
    }
}
