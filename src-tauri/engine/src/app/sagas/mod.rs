//! The operator's console: what needs whom, one saga with everything about it, and what a person does about it.
//!
//! Each act is one function of the database: it checks who asks, plans again under the saga's lock, keeps the reason,
//! and counts a command once. What is said here in sentences, it says in words.

mod act;
mod ask;
mod batch;
mod csv;
pub(in crate::app) mod disputes;
mod figures;
mod filter;
mod list;
mod orphans;
mod page;
mod plan;
mod policy;
mod providers;
mod says;
mod words;

pub use act::{approval, command, decide, preview};
pub use ask::{ask, get as get_ask};
pub use batch::{
    change as change_batch, page as get_batch, preview as preview_batch,
    preview_asked as preview_asked_batch, start as start_batch,
};
pub use csv::{page as export_page, write as export};
pub use figures::figures;
pub use list::list;
pub use orphans::{
    ask as ask_sweep, check as check_orphan, close as close_orphan, decide as decide_orphan,
};
pub use page::page;
pub use policy::{get as get_policy, put as put_policy};
pub use providers::{list as list_providers, open as open_gate, put as put_provider};
