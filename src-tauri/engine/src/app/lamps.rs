//! The lamps of the status bar: what was last seen of the database, Stripe and the mail server, and how to mend it.
//! Grey when nobody looked: never green on hope.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::wire::{Lamp, LampState, ProjectionStatus};
use crate::store::schema::Unread;

/// When something was last asked, and what was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub at: Option<DateTime<Utc>>,
    pub problem: Option<String>,
}

/// At the least; a desk that nobody looks at asks more rarely, and says how often.
const STRIPE_GOES_STALE: TimeDelta = TimeDelta::seconds(90);
/// Mail is looked at less often: a connection costs its server more than a list costs Stripe.
const MAIL_GOES_STALE: TimeDelta = TimeDelta::minutes(15);
const SLOW: Duration = Duration::from_millis(250);

const NO_WORKER: &str = "No computer does background work right now. Open the desk of an admin, or start `bizing-desk serve`.";

/// What may be wrong with the database beside being slow. The gravest is told.
#[derive(Default)]
pub struct Worries<'a> {
    pub parked: Option<&'a ProjectionStatus>,
    pub unread: &'a [Unread],
    pub lag_cause: Option<&'a str>,
    pub backup_overdue: bool,
    pub old_snapshot: Option<&'a str>,
}

pub fn database(now: DateTime<Utc>, latency: Duration, worries: &Worries<'_>) -> Lamp {
    let told = |problem: String, hint: &str| (Some(problem), Some(hint.to_owned()));
    let (problem, hint) = if let Some(p) = worries.parked {
        told(
            format!("The view `{}` stopped at an event it cannot read.", p.name),
            "What it shows is as of that event. Run `bizing-desk doctor`: it names the event and how to go on.",
        )
    } else if let Some(unread) = worries.unread.first() {
        told(
            format!(
                "The log may hold {unread}, which this version of the app cannot read: {}.",
                unread.why
            ),
            "Update the app on this computer. A view that meets such an event stops there; everything else goes on.",
        )
    } else if let Some(cause) = worries.lag_cause {
        told(
            format!("An open transaction keeps new events back ({cause})."),
            "Nothing is lost. It goes on as soon as that transaction ends; whoever runs the database can end it.",
        )
    } else if worries.backup_overdue {
        told(
            "For more than two days no backup was taken and restored on trial.".to_owned(),
            "See under Settings, Database why, and take one now.",
        )
    } else if let Some(who) = worries.old_snapshot {
        told(
            format!("A transaction that stays open keeps old rows from being cleaned up ({who})."),
            "Nothing waits for it, but tables grow. If it is no backup or report, whoever runs the database ends it.",
        )
    } else if latency > SLOW {
        told(
            format!("The database takes {} ms to answer.", latency.as_millis()),
            "Look at the network between here and the database, and at the load of its computer.",
        )
    } else {
        (None, None)
    };
    Lamp {
        state: if problem.is_some() {
            LampState::Limited
        } else {
            LampState::Works
        },
        checked_at: Some(now),
        latency_ms: Some(u32::try_from(latency.as_millis()).unwrap_or(u32::MAX)),
        problem,
        hint,
    }
}

/// `every`: how often it is asked at present.
pub fn stripe(
    now: DateTime<Utc>,
    seen: Option<Checked>,
    every: Option<TimeDelta>,
    workers: i64,
    set: bool,
) -> Lamp {
    let usual = every.unwrap_or_default() + TimeDelta::seconds(30);
    lamp(
        now,
        seen,
        workers,
        set,
        usual.max(STRIPE_GOES_STALE),
        "Stripe is not set up, so nothing can be paid by card or link.",
        "Set `BIZING_STRIPE_KEY` to a secret or restricted key of your Stripe account and start the app again.",
        "Check that this computer reaches api.stripe.com and that the key in `BIZING_STRIPE_KEY` is still valid.",
    )
}

pub fn mail(now: DateTime<Utc>, seen: Option<Checked>, workers: i64, set: bool) -> Lamp {
    lamp(
        now,
        seen,
        workers,
        set,
        MAIL_GOES_STALE,
        "E-mail is not set up, so no customer is told anything.",
        "Set `BIZING_SMTP_URL=smtp://user:password@host:587` and start the app again.",
        "Check address, user and password in `BIZING_SMTP_URL`, and that this computer reaches the mail server.",
    )
}

#[allow(clippy::too_many_arguments, reason = "two callers, beside each other")]
fn lamp(
    now: DateTime<Utc>,
    seen: Option<Checked>,
    workers: i64,
    set: bool,
    stale_after: TimeDelta,
    not_set: &str,
    set_it: &str,
    mend_it: &str,
) -> Lamp {
    let at = seen.as_ref().and_then(|s| s.at);
    let fresh = at.is_some_and(|at| now - at <= stale_after);
    let problem = seen.and_then(|s| s.problem);
    let (state, problem, hint) = match (fresh, problem) {
        (true, None) => (LampState::Works, None, None),
        (true, Some(problem)) => (LampState::Down, Some(problem), Some(mend_it.to_owned())),
        // A worker elsewhere may hold the key: what it saw last says that it was set up.
        (false, _) if !set && at.is_none() => (
            LampState::NotSet,
            Some(not_set.to_owned()),
            Some(set_it.to_owned()),
        ),
        (false, problem) => (
            LampState::Unknown,
            problem,
            (workers == 0).then(|| NO_WORKER.to_owned()),
        ),
    };
    Lamp {
        state,
        checked_at: at,
        latency_ms: None,
        problem,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::upcast::Unreplayable;

    fn now() -> DateTime<Utc> {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    fn seen(seconds_ago: i64, problem: Option<&str>) -> Option<Checked> {
        Some(Checked {
            at: Some(now() - TimeDelta::seconds(seconds_ago)),
            problem: problem.map(str::to_owned),
        })
    }

    #[test]
    fn only_what_was_just_seen_to_work_is_green() {
        let state = |seen, set| stripe(now(), seen, None, 1, set).state;
        assert_eq!(state(seen(5, None), true), LampState::Works);
        assert_eq!(state(seen(5, Some("refused")), true), LampState::Down);
        assert_eq!(state(seen(91, None), true), LampState::Unknown);
        let alone = stripe(
            now(),
            seen(91, None),
            Some(TimeDelta::seconds(300)),
            1,
            true,
        );
        assert_eq!(alone.state, LampState::Works);
        assert_eq!(state(None, true), LampState::Unknown);
        assert_eq!(state(None, false), LampState::NotSet);
        // A staff window holds no key; the worker elsewhere does.
        assert_eq!(state(seen(5, None), false), LampState::Works);
    }

    #[test]
    fn every_problem_says_how_to_mend_it() {
        let unread = Unread {
            name: "BookingConfirmed".to_owned(),
            version: 9,
            why: Unreplayable::FromTheFuture { knows: 1 },
        };
        let with = |worries: Worries<'_>| database(now(), Duration::ZERO, &worries);
        for lamp in [
            stripe(now(), None, None, 1, false),
            mail(now(), None, 1, false),
            mail(now(), seen(1, Some("535 refused")), 1, true),
            stripe(now(), seen(1, Some("401")), None, 1, true),
            database(now(), Duration::from_secs(1), &Worries::default()),
            with(Worries {
                lag_cause: Some("pid 1"),
                ..Worries::default()
            }),
            with(Worries {
                unread: &[unread],
                ..Worries::default()
            }),
            with(Worries {
                backup_overdue: true,
                ..Worries::default()
            }),
            with(Worries {
                old_snapshot: Some("pid 1"),
                ..Worries::default()
            }),
        ] {
            assert!(lamp.problem.is_some() && lamp.hint.is_some(), "{lamp:?}");
        }
        assert!(
            mail(now(), None, 1, false)
                .hint
                .unwrap()
                .contains("BIZING_SMTP_URL=smtp://")
        );
    }
}
