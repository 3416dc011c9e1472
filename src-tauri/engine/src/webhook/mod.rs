//! The inbox: what comes in is verified, kept, acknowledged, and only then acted on. Webhook and poll write the same
//! rows, so the same event twice is one event.

pub mod inbox;
pub mod poll;
pub mod secrets;
