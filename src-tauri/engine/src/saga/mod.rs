//! The saga orchestrator: steps with what undoes each, by definitions that are data (`definition`).
//!
//! Promises: money is never guessed (an effect is written before it is asked for, and an unknown outcome is looked
//! up); a straggler's write is refused by the fence; undo runs in strict reverse and starts at the step that failed;
//! a person decides what no rule can. `plan` decides, `executor` does, `store` writes.

pub mod adopt;
pub mod answers;
pub mod ask;
pub mod commit;
pub mod definition;
pub mod disputes;
pub mod executor;
pub mod fees;
pub mod gate;
pub mod guards;
pub mod instance;
pub mod late;
pub mod notify;
pub mod orphans;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod rules;
pub mod source;
pub mod start;
pub mod store;
pub mod world;
