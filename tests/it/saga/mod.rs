//! The booking saga against real Postgres, real HTTP and real SMTP.

mod paths;
