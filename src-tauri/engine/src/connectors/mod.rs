//! Third parties, each behind a small interface in our words.

pub mod booking_mail;
pub mod email;
