//! A few figures for whoever watches the desk from outside: `GET /metrics` in Prometheus' text format, and a line in the
//! log of `serve` every few minutes.
//!
//! Written by hand: a gauge is one line of that format, and all names and labels are our own words, so there is nothing
//! to escape that a library would save us from.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use super::wire::AppError;
use crate::runtime::metrics::{APPENDS, BUCKETS_US};

const TOLD_EVERY: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub safe_position: i64,
    /// The last that was given out. Above the safe one stand appends that are still open, and what was written behind them.
    pub issued_position: i64,
    pub generations: Vec<Generation>,
    pub sagas_open: i64,
    pub sagas_parked: i64,
    pub deliveries_waiting: i64,
    pub deliveries_unclear: i64,
    pub workers: i64,
    /// Since the newest backup was taken; and since the newest good one was.
    pub backup_age_s: Option<f64>,
    pub good_backup_age_s: Option<f64>,
}

/// How far the rows of a projection are; one that is being built beside the live one is its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    pub name: String,
    pub generation: i32,
    pub role: String,
    pub position: i64,
    pub lag_events: i64,
    pub parked: bool,
}

pub async fn prometheus(desk: &Desk) -> Result<String, AppError> {
    Ok(text(&figures(&desk.people).await?))
}

pub async fn figures(people: &PgPool) -> Result<Figures, AppError> {
    let mut conn = people.acquire().await?;
    let (safe_position, issued_position): (i64, i64) =
        sqlx::query_as("select api.safe_position(), api.issued_position()")
            .fetch_one(&mut *conn)
            .await?;
    let generations = sqlx::query(
        "select name, generation, role, position, parked is not null as parked from read.generations where role <> 'previous' order by 1, 2",
    )
    .fetch_all(&mut *conn)
    .await?;
    let row = sqlx::query(
        "select (select count(*) from read.sagas_v1 where finished_at is null and state in ('running', 'waiting', 'compensating')) as sagas_open,
                (select count(*) from read.sagas_v1 where state = 'parked') as sagas_parked,
                (select count(*) from read.deliveries_v1 where state in ('scheduled', 'sending')) as deliveries_waiting,
                (select count(*) from read.deliveries_v1 where state = 'unclear') as deliveries_unclear,
                (select count(*) from read.workers_v1 where heartbeat_at > now() - interval '60 seconds') as workers,
                (select extract(epoch from now() - max(started_at))::float8 from read.backups_v1 where manifest is not null) as backup_age,
                (select extract(epoch from now() - max(started_at))::float8 from read.backups_v1
                  where proof is not null and proof->>'problem' is null) as good_backup_age",
    )
    .fetch_one(&mut *conn)
    .await?;
    Ok(Figures {
        safe_position,
        issued_position,
        generations: generations
            .iter()
            .map(|g| {
                let position: i64 = g.try_get("position")?;
                Ok(Generation {
                    name: g.try_get("name")?,
                    generation: g.try_get("generation")?,
                    role: g.try_get("role")?,
                    position,
                    lag_events: (issued_position - position).max(0),
                    parked: g.try_get("parked")?,
                })
            })
            .collect::<sqlx::Result<_>>()?,
        sagas_open: row.try_get("sagas_open")?,
        sagas_parked: row.try_get("sagas_parked")?,
        deliveries_waiting: row.try_get("deliveries_waiting")?,
        deliveries_unclear: row.try_get("deliveries_unclear")?,
        workers: row.try_get("workers")?,
        backup_age_s: row.try_get("backup_age")?,
        good_backup_age_s: row.try_get("good_backup_age")?,
    })
}

/// A line in the log every few minutes, for as long as the process runs.
pub async fn tell(people: PgPool, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TOLD_EVERY) => {}
        }
        let Ok(f) = figures(&people).await else {
            continue;
        };
        let appends = APPENDS.counted();
        let slowest = f
            .generations
            .iter()
            .filter(|g| g.role == "live")
            .max_by_key(|g| g.lag_events);
        tracing::info!(
            position = f.safe_position,
            appends = appends.count,
            append_mean_us = appends.sum_us.checked_div(appends.count).unwrap_or(0),
            events = appends.carried,
            lag_events = slowest.map_or(0, |g| g.lag_events),
            slowest = slowest.map(|g| g.name.as_str()),
            building = f
                .generations
                .iter()
                .filter(|g| g.role == "building")
                .count(),
            sagas_open = f.sagas_open,
            deliveries_waiting = f.deliveries_waiting,
            good_backup_age_s = f.good_backup_age_s,
            "how the desk is"
        );
    }
}

fn text(f: &Figures) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "# HELP bizing_{name} {help}\n# TYPE bizing_{name} {kind}"
        );
        for (labels, value) in samples {
            let _ = writeln!(out, "bizing_{name}{labels} {value}");
        }
    };
    let one = |value: i64| [(String::new(), value as f64)];
    let of = |value: fn(&Generation) -> i64| -> Vec<(String, f64)> {
        f.generations
            .iter()
            .map(|g| {
                let labels = format!(
                    "{{projection=\"{}\",generation=\"{}\",role=\"{}\"}}",
                    g.name, g.generation, g.role
                );
                (labels, value(g) as f64)
            })
            .collect()
    };
    let age = |age: Option<f64>| -> Vec<(String, f64)> {
        age.map(|a| (String::new(), a)).into_iter().collect()
    };

    family(
        "log_safe_position",
        "gauge",
        "Every event up to here is decided.",
        &one(f.safe_position),
    );
    family(
        "log_issued_position",
        "gauge",
        "The last position given out; what lies above the safe one waits for an append that is still open.",
        &one(f.issued_position),
    );
    family(
        "projection_position",
        "gauge",
        "Events up to here are in the rows; its rate is events applied, of a rebuild its progress.",
        &of(|g| g.position),
    );
    family(
        "projection_lag_events",
        "gauge",
        "Positions that are given out and not applied yet.",
        &of(|g| g.lag_events),
    );
    family(
        "projection_parked",
        "gauge",
        "1 when it stopped at an event that it cannot apply.",
        &of(|g| i64::from(g.parked)),
    );
    family(
        "sagas_open",
        "gauge",
        "Sagas that are not at their end.",
        &one(f.sagas_open),
    );
    family(
        "sagas_parked",
        "gauge",
        "Sagas that wait for a person.",
        &one(f.sagas_parked),
    );
    family(
        "deliveries_waiting",
        "gauge",
        "Messages owed and not sent.",
        &one(f.deliveries_waiting),
    );
    family(
        "deliveries_unclear",
        "gauge",
        "Messages of which nobody knows whether they arrived.",
        &one(f.deliveries_unclear),
    );
    family(
        "workers",
        "gauge",
        "Processes that do background work.",
        &one(f.workers),
    );
    family(
        "backup_age_seconds",
        "gauge",
        "Since the newest backup was taken.",
        &age(f.backup_age_s),
    );
    family(
        "good_backup_age_seconds",
        "gauge",
        "Since the newest backup was taken that was restored on trial.",
        &age(f.good_backup_age_s),
    );

    let appends = APPENDS.counted();
    family(
        "appended_events_total",
        "counter",
        "Events that this process sent to the log.",
        &one(appends.carried as i64),
    );
    let mut samples: Vec<(String, f64)> = BUCKETS_US
        .iter()
        .zip(appends.up_to)
        .map(|(end, n)| (format!("_bucket{{le=\"{}\"}}", *end as f64 / 1e6), n as f64))
        .collect();
    samples.push(("_bucket{le=\"+Inf\"}".to_owned(), appends.count as f64));
    samples.push(("_sum".to_owned(), appends.sum_us as f64 / 1e6));
    samples.push(("_count".to_owned(), appends.count as f64));
    family(
        "append_seconds",
        "histogram",
        "Round trips of appends by this process.",
        &samples,
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out_and_each_family_says_what_it_is() {
        let figures = Figures {
            safe_position: 12,
            issued_position: 14,
            generations: vec![Generation {
                name: "bookings".into(),
                generation: 2,
                role: "building".into(),
                position: 5,
                lag_events: 7,
                parked: false,
            }],
            sagas_open: 0,
            sagas_parked: 1,
            deliveries_waiting: 0,
            deliveries_unclear: 0,
            workers: 1,
            backup_age_s: Some(1.5),
            good_backup_age_s: None,
        };
        let text = text(&figures);
        for line in [
            "bizing_log_safe_position 12",
            "bizing_log_issued_position 14",
            "bizing_projection_lag_events{projection=\"bookings\",generation=\"2\",role=\"building\"} 7",
            "bizing_backup_age_seconds 1.5",
            "# TYPE bizing_append_seconds histogram",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("good_backup_age"));
        let families = text.lines().filter(|l| l.starts_with("# TYPE")).count();
        assert_eq!(
            families,
            text.lines().filter(|l| l.starts_with("# HELP")).count()
        );
    }
}
