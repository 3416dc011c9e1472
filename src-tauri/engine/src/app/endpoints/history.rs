//! How an endpoint did over time: what got through, what failed, and how long tries took. It is summed up from the counts of its hours,
//! of which there are at most 31 × 24 + 1 whatever was sent, and never from deliveries.

use chrono::{DateTime, Utc};
use sqlx::Row;

use super::took::Took;
use crate::app::desk::Desk;
use crate::app::events::zone;
use crate::app::wire::*;

/// `$1`: this and so many before it. `$2`: `hour` or `day`, as the clock of the place has them: a day may have 23 hours.
const BARS: &str = "
select b at time zone $3 as begins, (b + ('1 ' || $2)::interval) at time zone $3 as ends
  from (select date_trunc($2, now() at time zone $3) as last) l,
       generate_series(l.last - ($1 || ' ' || $2)::interval, l.last, ('1 ' || $2)::interval) b
 order by b";

pub const HISTORY: &str = "
select hour, ok, failed, took from read.destination_hours_v1 where destination_id = $1 and hour >= $2 order by hour";

pub async fn history(
    desk: &Desk,
    request: GetEndpointHistory,
) -> Result<EndpointHistory, AppError> {
    let mut conn = desk.people.acquire().await?;
    let zone = zone(&mut conn).await?;
    let (before, unit) = match request.span {
        EndpointSpan::Day => (23, "hour"),
        EndpointSpan::Week => (6, "day"),
        EndpointSpan::Month => (29, "day"),
    };
    let bars = sqlx::query(BARS)
        .bind(before.to_string())
        .bind(unit)
        .bind(&zone)
        .fetch_all(&mut *conn)
        .await?;
    let bars: Vec<(DateTime<Utc>, DateTime<Utc>)> = bars
        .iter()
        .map(|row| Ok((row.try_get("begins")?, row.try_get("ends")?)))
        .collect::<sqlx::Result<_>>()?;
    let since = bars.first().map(|(begins, _)| *begins);
    let hours = sqlx::query(HISTORY)
        .bind(request.destination_id)
        .bind(since)
        .fetch_all(&mut *conn)
        .await?;
    let hours = hours
        .iter()
        .map(|row| {
            Ok(Hour {
                at: row.try_get("hour")?,
                delivered: whole(row.try_get("ok")?),
                failed: whole(row.try_get("failed")?),
                took: row.try_get::<Vec<i32>, _>("took")?,
            })
        })
        .collect::<sqlx::Result<Vec<_>>>()?;
    Ok(summed(&bars, &hours))
}

struct Hour {
    at: DateTime<Utc>,
    delivered: u32,
    failed: u32,
    took: Vec<i32>,
}

fn whole(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

/// An hour belongs to the bar in which it begins: where a day begins at half past, that hour is the day's before.
fn summed(bars: &[(DateTime<Utc>, DateTime<Utc>)], hours: &[Hour]) -> EndpointHistory {
    let mut all = Took::default();
    let bars: Vec<EndpointBar> = bars
        .iter()
        .map(|&(from, until)| {
            let mut took = Took::default();
            let (mut delivered, mut failed) = (0, 0);
            for hour in hours.iter().filter(|h| from <= h.at && h.at < until) {
                let counts = || hour.took.iter().map(|n| u64::from(whole(*n)));
                took.add(counts());
                all.add(counts());
                delivered += hour.delivered;
                failed += hour.failed;
            }
            EndpointBar {
                from,
                until,
                delivered,
                failed,
                p50_ms: took.percentile(50),
                p95_ms: took.percentile(95),
            }
        })
        .collect();
    EndpointHistory {
        delivered: bars.iter().map(|b| b.delivered).sum(),
        failed: bars.iter().map(|b| b.failed).sum(),
        p50_ms: all.percentile(50),
        p95_ms: all.percentile(95),
        bars,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn hours_become_the_days_in_which_they_begin_and_a_day_without_any_has_no_times() {
        let bars = [
            ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            ("2026-10-25T23:00:00Z", "2026-10-26T23:00:00Z"),
        ]
        .map(|(from, until)| (at(from), at(until)));
        let hour = |hour: &str, delivered, failed, bucket: usize| {
            let mut took = vec![0; 11];
            took[bucket] = i32::try_from(delivered + failed).unwrap();
            Hour {
                at: at(hour),
                delivered,
                failed,
                took,
            }
        };
        let history = summed(
            &bars,
            &[
                hour("2026-10-24T21:00:00Z", 100, 100, 10),
                hour("2026-10-24T22:00:00Z", 15, 0, 2),
                hour("2026-10-25T22:00:00Z", 3, 2, 9),
            ],
        );
        let long = &history.bars[0];
        assert_eq!((long.delivered, long.failed), (18, 2));
        assert_eq!((long.p50_ms, long.p95_ms), (Some(50), Some(10_000)));
        let empty = &history.bars[1];
        assert_eq!((empty.delivered, empty.p50_ms), (0, None));
        assert_eq!(
            (history.delivered, history.failed, history.p50_ms),
            (18, 2, Some(50))
        );
    }
}
