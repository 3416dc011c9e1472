//! The sandbox by itself, through its own doors: HTTP, SMTP and the journal.

#![allow(clippy::unwrap_used)] // In a test an unwrap is an assertion.

mod doors;
mod journal;
mod ledger;
mod mail;
mod support;
