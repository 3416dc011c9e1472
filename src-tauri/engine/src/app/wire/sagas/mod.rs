//! The operator's console: which sagas need whom, one saga with everything about it, and what can be done.

mod act;
mod batch;
mod figures;
mod list;
mod page;
mod policy;
mod providers;
mod stripe;

pub use act::*;
pub use batch::*;
pub use figures::*;
pub use list::*;
pub use page::*;
pub use policy::*;
pub use providers::*;
pub use stripe::*;
