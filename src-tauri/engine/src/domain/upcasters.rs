//! From an old shape of an event to the next, one pure step at a time. Stored events never change; these run when they
//! are read. A step is never edited once a version has been released: what it says of history is history.

use serde_json::{Value, json};

/// Takes data of version `from` to `from + 1`.
pub struct Step {
    pub from: i16,
    /// What the later version says that the earlier did not, for whoever looks at an event.
    pub what: &'static str,
    pub run: fn(Value) -> Value,
}

/// Steps of a type, from version 1 on, none left out.
pub fn steps(name: &str) -> &'static [Step] {
    match name {
        "BookingCancelled" => BOOKING_CANCELLED,
        _ => &[],
    }
}

static BOOKING_CANCELLED: &[Step] = &[Step {
    from: 1,
    what: "says how long before its start the booking was cancelled, and whether it had been confirmed",
    run: |mut data| {
        // Version 1 kept the reason only. A hold that ran out makes a cancellation, and not an expiry, only of what was
        // confirmed; nobody is told of what was not confirmed; and what was not paid never was.
        let was_confirmed = match data["reason_code"].as_str() {
            Some("hold_expired" | "not_told") => json!(true),
            Some("payment_failed") => json!(false),
            _ => Value::Null,
        };
        data["notice_min"] = Value::Null;
        data["was_confirmed"] = was_confirmed;
        data
    },
}];
