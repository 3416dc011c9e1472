//! Sagas against real Postgres, real HTTP and real SMTP.

mod asking;
mod bad_luck;
mod bulk;
mod by_hand;
mod cancellation;
mod chaos;
mod correcting;
mod crash;
mod disputes;
mod figures;
mod gate;
mod hands;
mod headless;
mod late;
mod link;
mod operator;
mod orphans;
mod paths;
mod plans;
mod policies;
mod providers;
mod random;
mod referee;
mod searched;
mod steps;
mod zombie;
