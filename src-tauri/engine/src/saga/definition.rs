//! What sagas there are: their steps by version, and the figures by which they run.
//!
//! A definition is data, in `saga.definition` for the database and here for the program; a test holds one against the
//! other. A saga stays on the version it was started with.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Hold,
    Payment,
    Capture,
    Confirm,
    Notify,
    Cancel,
    Refund,
    Release,
}

impl Step {
    const ALL: [Step; 8] = [
        Step::Hold,
        Step::Payment,
        Step::Capture,
        Step::Confirm,
        Step::Notify,
        Step::Cancel,
        Step::Refund,
        Step::Release,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Step::Hold => "hold",
            Step::Payment => "payment",
            Step::Capture => "capture",
            Step::Confirm => "confirm",
            Step::Notify => "notify",
            Step::Cancel => "cancel",
            Step::Refund => "refund",
            Step::Release => "release",
        }
    }

    pub fn named(name: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|s| s.name() == name)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: &'static str,
    pub version: i32,
    pub steps: &'static [Step],
    /// The template of the message that its last step waits for.
    pub message: &'static str,
    /// From this place on nothing is taken back.
    pub forward_only_from: Option<i16>,
}

/// A booking with a payment.
pub static BOOKING: Definition = Definition {
    name: "booking",
    version: 1,
    steps: &[
        Step::Hold,
        Step::Payment,
        Step::Capture,
        Step::Confirm,
        Step::Notify,
    ],
    message: "booking_confirmed",
    forward_only_from: None,
};

/// A booking for which nothing is asked of a provider: free, or paid at the venue.
pub static BOOKING_FREE: Definition = Definition {
    name: "booking_free",
    version: 1,
    steps: &[Step::Hold, Step::Confirm, Step::Notify],
    message: "booking_confirmed",
    forward_only_from: None,
};

/// A confirmed booking is given up under the terms of the policy.
pub static CANCELLATION: Definition = Definition {
    name: "cancellation",
    version: 1,
    steps: &[Step::Cancel, Step::Refund, Step::Release, Step::Notify],
    message: "booking_cancelled",
    forward_only_from: Some(1),
};

/// All that this program can run.
pub static KNOWN: [&Definition; 3] = [&BOOKING, &BOOKING_FREE, &CANCELLATION];

impl Definition {
    pub fn named(name: &str, version: i32) -> Option<&'static Definition> {
        KNOWN
            .into_iter()
            .find(|d| d.name == name && d.version == version)
    }

    /// `None` beyond the ends: -1 when all is undone, [`Definition::end`] when all is done.
    pub fn at(&self, cursor: i16) -> Option<Step> {
        usize::try_from(cursor)
            .ok()
            .and_then(|i| self.steps.get(i))
            .copied()
    }

    /// Where a step stands. One that it does not have is beyond its end.
    pub fn place(&self, step: Step) -> i16 {
        self.steps
            .iter()
            .position(|s| *s == step)
            .map_or(self.end(), |i| i as i16)
    }

    pub fn end(&self) -> i16 {
        self.steps.len() as i16
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
    /// The longest pause once the counted tries are used up and there is still time.
    pub patient_cap: Duration,
    /// Tries at an undo before a person decides, and for how long it goes on beyond them. `None`: not at all.
    pub undo_tries: i32,
    pub undo_budget: Option<Duration>,
    /// Tries at a capture whose outcome stays open before a person decides. It goes on beyond them until only this much is
    /// left of the authorisation, in which a person can still do something. `None`: not at all.
    pub capture_tries: i32,
    pub capture_margin: Option<Duration>,
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
            patient_cap: minutes(60),
            undo_tries: 12,
            undo_budget: Some(minutes(6 * 60)),
            capture_tries: 40,
            capture_margin: Some(minutes(12 * 60)),
            hold_with_card: minutes(15),
            hold_with_link: minutes(24 * 60),
            return_url: "https://example.com/booking".to_owned(),
        }
    }
}
