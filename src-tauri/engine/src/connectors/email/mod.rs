//! E-mail: what a customer is told, and how it reaches the mail server.
//!
//! Three parts that know nothing of each other's insides:
//! - `render` and `calendar` turn [`BookingFacts`] into words and into an iCalendar object. Pure:
//!   no clock, no IO.
//! - [`Mail`] is one message to one person; `compose` makes its bytes and lets no value become a
//!   header.
//! - [`Mailer`] hands those bytes to a mail server and says truthfully what is known afterwards.
//!
//! The promise that everything above relies on: [`SendFailure::NotSent`] means that the server
//! cannot have the message, [`SendFailure::Unknown`] that it may. SMTP hands a message over with
//! one line, the final dot; the border runs exactly there. No database, no retry and no queue here:
//! the delivery pipeline owns those.

mod address;
mod compose;
mod config;
mod facts;
mod failure;
mod ics;
mod mailer;
mod money;
mod render;
mod session;
mod texts;
mod vtimezone;
mod wire;
mod words;

pub use compose::{Calendar, Mail};
pub use config::{ConfigError, Password, Security, SmtpConfig};
pub use facts::{Amount, BookingFacts};
pub use failure::SendFailure;
pub use ics::{CalendarMethod, calendar};
pub use mailer::{Accepted, Mailer};
pub use render::{Draft, RenderError, Template, render};

#[cfg(test)]
mod tests;
