//! The booking saga against real Postgres, real HTTP and real SMTP.

mod crash;
mod link;
mod paths;
mod referee;
mod steps;
