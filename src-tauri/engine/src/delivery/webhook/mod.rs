//! Webhooks as a kind of destination: an endpoint is told of each event that it wants, at least once.
//!
//! Promises: every send is one logged attempt; a send whose answer was lost is made again with the same id; an endpoint
//! that is down or slow takes places only from itself; a fault of ours uses up no try. The database holds all of it, so that a
//! restart goes on where the last process stopped.

pub mod body;
pub mod card;
mod claim;
mod endpoint;
mod finish;
mod headers;
mod lanes;
pub mod schedule;
mod seen;
mod send;
pub mod sign;
mod upkeep;
mod worker;

pub use claim::{CLAIM, began};
pub use endpoint::{guard, headers_place, secret_place};
pub use finish::FINISH;
pub use headers::{BadHeader, check_custom, masked};
pub use worker::{Connections, Parts, Webhooks};
