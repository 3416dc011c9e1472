//! One integration binary: each further one would be another link.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop here")]

mod host;
mod http;
mod projection;
mod reading;
mod saga;
mod served;
mod store;
mod support;
