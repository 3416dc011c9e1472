//! The booking saga, version 1: five steps and what undoes each.

use std::time::Duration;

pub const NAME: &str = "booking";
pub const VERSION: i32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum Step {
    Hold = 0,
    Payment = 1,
    Capture = 2,
    Confirm = 3,
    Notify = 4,
}

impl Step {
    pub const ALL: [Step; 5] = [
        Step::Hold,
        Step::Payment,
        Step::Capture,
        Step::Confirm,
        Step::Notify,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Step::Hold => "hold",
            Step::Payment => "payment",
            Step::Capture => "capture",
            Step::Confirm => "confirm",
            Step::Notify => "notify",
        }
    }

    /// `None` beyond the ends: -1 when all is undone, 5 when all is done.
    pub fn at(cursor: i16) -> Option<Step> {
        usize::try_from(cursor)
            .ok()
            .and_then(|i| Step::ALL.get(i))
            .copied()
    }
}

/// What one installation may change without a new definition.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a claim of a saga holds without a sign of life.
    pub lease: Duration,
    /// A call ends before the lease does.
    pub call_timeout: Duration,
    /// An effect that was intended longer ago than this is not sent as "the first time".
    pub send_guard: Duration,
    /// A look-up that finds nothing is only believed this long after the last sending.
    pub quarantine: Duration,
    /// Stripe may forget a key after 24 h: from here on, look first.
    pub key_max_age: Duration,
    /// While waiting for a customer or a refund, look this often even if nobody tells us.
    pub look_every: Duration,
    pub backoff_base: Duration,
    pub backoff_cap: Duration,
    /// Tries at an undo before a person decides.
    pub undo_tries: i32,
    /// Tries at a capture whose outcome stays open before a person decides.
    pub capture_tries: i32,
    pub hold_with_card: Duration,
    pub hold_with_link: Duration,
    /// Where a hosted page sends the customer back to.
    pub return_url: String,
}

impl Default for Policy {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Policy {
            lease: Duration::from_secs(45),
            call_timeout: Duration::from_secs(20),
            send_guard: Duration::from_secs(5),
            quarantine: minutes(10),
            key_max_age: minutes(23 * 60),
            look_every: minutes(1),
            backoff_base: Duration::from_secs(1),
            backoff_cap: minutes(5),
            undo_tries: 12,
            capture_tries: 40,
            hold_with_card: minutes(15),
            hold_with_link: minutes(24 * 60),
            return_url: "https://example.com/booking".to_owned(),
        }
    }
}
