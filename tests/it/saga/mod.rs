//! The booking saga against real Postgres, real HTTP and real SMTP.

mod chaos;
mod crash;
mod gate;
mod link;
mod operator;
mod paths;
mod referee;
mod steps;
