//! What follows from a try: is it over, and if not, when is it made again.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::delivery::http::{Answer, Failure, FailureClass};

/// The receiver's own mistake, or one that only a person mends: soon again is of no use.
const SLOW: Duration = Duration::from_secs(30 * 60);
/// Of what an endpoint asks for, this much is honoured.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Of a test: somebody waits for its answer, and a day later nobody wants it.
pub const OF_A_TEST: [i32; 3] = [0, 5, 30];
/// After so many tries an answer that means "never" is believed.
const BELIEVED_AFTER: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    Delivered,
    /// In so many seconds.
    Again(f64),
    GaveUp,
}

/// What a try says about its endpoint, besides whether it got through.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Signals {
    /// 429, 502, 503, 504: less at once.
    pub slow_down: bool,
    /// 410: never again.
    pub gone: bool,
    /// It names a time before which it wants nothing.
    pub wait: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub next: Next,
    pub signals: Signals,
    /// `accepted`, `later`, `refused`, `not_sent`, `unclear`
    pub result: &'static str,
    pub class: Option<&'static str>,
    pub error: Option<String>,
}

/// `tries`: made with this one, of those that count. `schedule`: seconds before each. `dice`: 0 to 1, for the jitter.
pub fn judge(
    result: &Result<Answer, Failure>,
    sent: bool,
    tries: usize,
    schedule: &[i32],
    dice: f64,
    now: DateTime<Utc>,
) -> Verdict {
    match result {
        Ok(answer) if (200..300).contains(&answer.status) => Verdict {
            next: Next::Delivered,
            signals: Signals::default(),
            result: "accepted",
            class: None,
            error: None,
        },
        Ok(answer) => answered(answer, tries, schedule, dice, now),
        Err(failure) => {
            let slow = matches!(
                failure.class,
                FailureClass::Blocked | FailureClass::Certificate | FailureClass::NoSuchName
            );
            Verdict {
                next: match failure.class {
                    // It does not become smaller.
                    FailureClass::TooLarge => Next::GaveUp,
                    _ => again(tries, schedule, dice, slow),
                },
                signals: Signals::default(),
                // It may have arrived: the receiver knows it by its id.
                result: if sent { "unclear" } else { "not_sent" },
                class: Some(failure.class.word()),
                error: Some(failure.text.clone()),
            }
        }
    }
}

fn answered(
    answer: &Answer,
    tries: usize,
    schedule: &[i32],
    dice: f64,
    now: DateTime<Utc>,
) -> Verdict {
    let status = answer.status;
    let header = |name: &str| answer.headers.get(name).and_then(|v| v.to_str().ok());
    let never = status == 410
        || (matches!(status, 404 | 405 | 413 | 415) && tries >= BELIEVED_AFTER.min(schedule.len()));
    let (class, error) = match status {
        300..400 => (
            "redirect",
            match header("location") {
                Some(to) => {
                    format!("answered {status} and points to {to}; redirects are not followed")
                }
                None => format!("answered {status}; redirects are not followed"),
            },
        ),
        410 => (
            "gone",
            "answered 410: the endpoint wants nothing any more".to_owned(),
        ),
        _ => ("status", format!("answered {status}")),
    };
    Verdict {
        next: if never {
            Next::GaveUp
        } else {
            again(tries, schedule, dice, false)
        },
        signals: Signals {
            slow_down: matches!(status, 429 | 502 | 503 | 504),
            gone: status == 410,
            wait: header("retry-after").and_then(|text| retry_after(text, now)),
        },
        result: if never { "refused" } else { "later" },
        class: Some(class),
        error: Some(error),
    }
}

fn again(tries: usize, schedule: &[i32], dice: f64, slow: bool) -> Next {
    let Some(pause) = schedule.get(tries) else {
        return Next::GaveUp;
    };
    let mut pause = f64::from(*pause);
    if slow {
        pause = pause.max(SLOW.as_secs_f64());
    }
    // A fifth less to a fifth more, so that what failed together does not come back together.
    Next::Again(pause * (0.8 + 0.4 * dice.clamp(0.0, 1.0)))
}

/// The same of a test, whatever went wrong with it.
pub fn of_a_test(next: Next) -> Next {
    match next {
        Next::Again(seconds) => Next::Again(seconds.min(f64::from(OF_A_TEST[2]))),
        over => over,
    }
}

/// Seconds or a date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        // Some count in parts of a second.
        Ok(seconds) if seconds >= 0.0 && text.starts_with(|c: char| c.is_ascii_digit()) => {
            Duration::from_secs_f64(seconds.ceil().min(LONGEST_WAIT.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => {
            let at: DateTime<Utc> = httpdate::parse_http_date(text).ok()?.into();
            (at - now).to_std().unwrap_or_default()
        }
    };
    (!wait.is_zero()).then_some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;
    use crate::delivery::http::Blocked;

    const TEN: [i32; 10] = [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400];

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Result<Answer, Failure> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Ok(Answer {
            status,
            headers: map,
            body: vec![],
            cut: false,
        })
    }

    fn after(result: &Result<Answer, Failure>, tries: usize, dice: f64) -> Verdict {
        judge(result, true, tries, &TEN, dice, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn ten_tries_in_75_hours_and_35_minutes_and_then_it_is_over() {
        let pauses: Vec<_> = (1..=10)
            .map(|n| after(&answer(500, &[]), n, 0.5).next)
            .collect();
        let expected: Vec<_> = TEN[1..]
            .iter()
            .map(|s| Next::Again(f64::from(*s)))
            .chain([Next::GaveUp])
            .collect();
        assert_eq!(pauses, expected);
        assert_eq!(TEN.iter().sum::<i32>(), 75 * 3600 + 35 * 60 + 5);
    }

    #[test]
    fn a_test_is_tried_three_times_within_a_minute_whatever_goes_wrong() {
        let refused = Err(Failure::blocked(Blocked::Strange));
        for result in [&answer(500, &[]), &refused] {
            let next = |tries| {
                let verdict = judge(result, true, tries, &OF_A_TEST, 1.0, DateTime::UNIX_EPOCH);
                of_a_test(verdict.next)
            };
            let soon = |next: Next| matches!(next, Next::Again(s) if s <= 30.0);
            assert!(soon(next(1)) && soon(next(2)), "{result:?}");
            assert_eq!(next(3), Next::GaveUp, "{result:?}");
        }
    }

    #[test]
    fn the_jitter_is_a_fifth_either_way() {
        for (dice, expected) in [(0.0, 240.0), (1.0, 360.0)] {
            let Next::Again(pause) = after(&answer(500, &[]), 2, dice).next else {
                panic!("not over yet")
            };
            assert!((pause - expected).abs() < 0.001, "{pause}");
        }
    }

    #[test]
    fn an_answer_that_means_never_is_believed_the_third_time_and_gone_at_once() {
        for status in [404, 405, 413, 415] {
            assert_ne!(after(&answer(status, &[]), 2, 0.5).next, Next::GaveUp);
            assert_eq!(after(&answer(status, &[]), 3, 0.5).next, Next::GaveUp);
        }
        assert_ne!(after(&answer(400, &[]), 3, 0.5).next, Next::GaveUp);
        let gone = after(&answer(410, &[]), 1, 0.5);
        assert_eq!((gone.next, gone.signals.gone), (Next::GaveUp, true));
    }

    #[test]
    fn a_redirect_is_a_failure_that_names_where_it_points() {
        let verdict = after(&answer(307, &[("location", "http://10.0.0.1/")]), 1, 0.5);
        assert_eq!(verdict.class, Some("redirect"));
        assert!(verdict.error.unwrap().contains("http://10.0.0.1/"));
    }

    #[test]
    fn what_an_endpoint_asks_for_is_honoured_up_to_a_day() {
        let wait = |text: &str| {
            after(&answer(429, &[("retry-after", text)]), 1, 0.5)
                .signals
                .wait
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("99999999999999999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("0.65"), Some(Duration::from_secs(1)));
        assert_eq!(
            wait("Thu, 01 Jan 1970 00:10:00 GMT"),
            Some(Duration::from_secs(600))
        );
        for nothing in [
            "0",
            "-5",
            "inf",
            "NaN",
            "soon",
            "",
            "Wed, 01 Jan 1969 00:00:00 GMT",
        ] {
            assert_eq!(wait(nothing), None, "{nothing}");
        }
        for status in [429, 502, 503, 504] {
            assert!(after(&answer(status, &[]), 1, 0.5).signals.slow_down);
        }
        assert!(!after(&answer(500, &[]), 1, 0.5).signals.slow_down);
    }

    #[test]
    fn what_only_a_person_mends_is_tried_slowly() {
        let refused = Err(Failure::new(FailureClass::Certificate, "expired"));
        assert_eq!(after(&refused, 1, 0.5).next, Next::Again(1800.0));
        assert_eq!(after(&refused, 5, 0.5).next, Next::Again(18000.0));
        let late = Err(Failure::new(FailureClass::Timeout, "no answer"));
        assert_eq!(after(&late, 1, 0.5).next, Next::Again(5.0));
        assert_eq!(after(&late, 1, 0.5).result, "unclear");
    }
}
