//! The operator's console: what needs whom, one saga with everything about it, and what a person does about it.
//!
//! Each act is one function of the database: it checks who asks, plans again under the saga's lock, keeps the reason,
//! and counts a command once. What is said here in sentences, it says in words.

mod act;
mod ask;
mod batch;
mod list;
mod page;
mod plan;
mod policy;
mod says;
mod words;

pub use act::{approval, command, decide, preview};
pub use ask::{ask, get as get_ask};
pub use batch::{change as change_batch, preview as preview_batch, start as start_batch};
pub use list::list;
pub use page::page;
pub use policy::{get as get_policy, put as put_policy};
