//! Up to where what is due to an endpoint was gone through.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in what is due to an endpoint: since when, and which.
pub type Mark = (DateTime<Utc>, Uuid);

/// To go past fewer once more costs less than to forget one for a moment.
const WORTH: usize = 16;
/// What stands before the mark and may be taken all the same waits no longer: it was committed late, somebody else had it locked, or it
/// was given back.
const TRUSTED: Duration = Duration::from_millis(250);

/// What is leased stays in the index until it is recorded, before all that may be claimed. A claim that begins where the last one ended
/// need not go past it: with two thousand under way that was nine of ten rows that it looked at.
#[derive(Default)]
pub struct Seen {
    to: Option<Mark>,
    /// The last claim from the beginning.
    whole_at: Option<Instant>,
}

impl Seen {
    /// Where the next claim begins. Each mark is for one: after a claim that brought nothing comes one from the beginning.
    pub fn take(&mut self, holds: usize, now: Instant) -> Option<Mark> {
        let fresh = self.whole_at.is_some_and(|at| now - at < TRUSTED);
        let mark = self.to.take().filter(|_| fresh && holds >= WORTH);
        if mark.is_none() {
            self.whole_at = Some(now);
        }
        mark
    }

    pub fn claimed(&mut self, mark: Option<Mark>) {
        self.to = self.to.max(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(second: i64) -> Option<Mark> {
        Some((DateTime::from_timestamp(second, 0)?, Uuid::nil()))
    }

    #[test]
    fn a_claim_begins_where_the_last_one_ended() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        seen.claimed(mark(1));
        assert_eq!(seen.take(WORTH, now), None, "nobody began at the beginning");
        for second in [3, 2] {
            seen.claimed(mark(second));
        }
        seen.claimed(None);
        assert_eq!(seen.take(WORTH, now), mark(3));
    }

    #[test]
    fn it_begins_at_the_beginning_after_one_that_brought_nothing_for_few_and_every_quarter_of_a_second()
     {
        let (mut seen, now) = (Seen::default(), Instant::now());
        assert_eq!(seen.take(WORTH, now), None);
        assert_eq!(seen.take(WORTH, now), None, "nothing came of the last");
        seen.claimed(mark(1));
        assert_eq!(seen.take(WORTH - 1, now), None);
        seen.claimed(mark(1));
        let later = now + TRUSTED;
        assert_eq!(seen.take(WORTH, later), None);
        seen.claimed(mark(2));
        assert_eq!(
            seen.take(WORTH, later),
            mark(2),
            "that was from the beginning"
        );
    }
}
