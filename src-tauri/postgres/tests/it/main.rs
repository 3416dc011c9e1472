//! One test a trap. Every test owns its folder and leaves no server behind. They run as root (the server then runs under
//! another account) and as a plain user; the few that need root say so and pass without doing anything.

#![allow(clippy::disallowed_methods, reason = "a test supervises its own tasks")]

mod support;

mod access;
mod death;
mod disk;
mod first_start;
mod lifecycle;
mod stale;
mod upgrade;
