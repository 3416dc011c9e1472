//! Many endpoints, many of them bad; and workers that die at any moment. `make hooks-stress` runs the long forms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::sink::{Say, Sink};
use super::{Hooks, append, dying, message_id};
use crate::support::wait_until;

const DEAD: usize = 10;
const HANGING: usize = 5;
const FLAPPING: usize = 5;
const HEALTHY: usize = 30;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How fast events are appended.
#[derive(Clone, Copy)]
enum Pace {
    /// As fast as they are sent, and no faster: what is measured is the way, not a heap.
    AsSent,
    /// So many a second, one by one, whatever becomes of them.
    PerS(f64),
}

/// The time from append to arrival at healthy endpoints, in milliseconds, sorted.
async fn run(events: usize, bad: bool, pace: Pace, limit: Duration) -> Vec<f64> {
    let hooks = Hooks::new().await;
    let healthy: Vec<Sink> = {
        let mut sinks = vec![];
        for _ in 0..HEALTHY {
            sinks.push(Sink::start().await);
        }
        sinks
    };
    let mut good = vec![];
    for sink in &healthy {
        good.push(hooks.endpoint(&sink.url(), json!({})).await);
    }
    if bad {
        for _ in 0..DEAD {
            // Nobody listens there any more.
            let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", closed.local_addr().unwrap());
            drop(closed);
            hooks.endpoint(&url, json!({})).await;
        }
        for _ in 0..HANGING {
            let sink = Sink::saying(|_, _| Say::Never).await;
            hooks
                .endpoint(&sink.url(), json!({ "timeout_ms": 3000 }))
                .await;
        }
        for _ in 0..FLAPPING {
            let sink =
                Sink::saying(|n, _| Say::Code(if (n / 7) % 2 == 0 { 200 } else { 500 })).await;
            hooks
                .endpoint(
                    &sink.url(),
                    json!({ "schedule_s": [0, 1, 1, 1, 1, 1, 1, 1, 1, 1] }),
                )
                .await;
        }
    }
    let worker = hooks.desk.work().await;
    let mut appended: BTreeMap<String, Instant> = BTreeMap::new();
    let began = Instant::now();
    while appended.len() < events {
        let some = match pace {
            Pace::AsSent => 10,
            Pace::PerS(per_s) => {
                let due = began + Duration::from_secs_f64(appended.len() as f64 / per_s);
                tokio::time::sleep_until(due.into()).await;
                1
            }
        };
        let at = Instant::now();
        for id in hooks
            .append(Uuid::now_v7(), some.min(events - appended.len()))
            .await
        {
            appended.insert(message_id(id), at);
        }
        if let Pace::PerS(_) = pace {
            continue;
        }
        let behind = || {
            healthy
                .iter()
                .map(|s| appended.len().saturating_sub(s.count()))
                .max()
                .unwrap_or(0)
        };
        while behind() > 50 && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    wait_until(
        "every healthy endpoint has got everything",
        limit,
        async || healthy.iter().all(|s| s.count() >= events),
    )
    .await;
    let mut took = vec![];
    for (sink, made) in healthy.iter().zip(&good) {
        let got = sink.got();
        let ids: BTreeSet<String> = got.iter().map(super::sink::Got::id).collect();
        assert!(
            ids.iter().eq(appended.keys()),
            "each event at each healthy endpoint"
        );
        assert!(
            got.iter()
                .all(|g| g.verify(std::slice::from_ref(&made.secret)).is_ok())
        );
        took.extend(
            got.iter()
                .map(|g| (g.at - appended[&g.id()]).as_secs_f64() * 1_000.0),
        );
    }
    worker.close().await;
    took.sort_by(f64::total_cmp);
    took
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * p) as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_endpoints_of_which_twenty_are_bad_and_every_healthy_one_gets_everything() {
    run(100, true, Pace::AsSent, Duration::from_secs(120)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make hooks-stress"]
async fn stress_fifty_endpoints() {
    let events = number("HOOKS_EVENTS").unwrap_or(100_000) as usize;
    let limit = Duration::from_secs(3_600);
    // A pace that the computer can hold shows what the bad ones do to the others. Without one, the computer is full, and the twenty
    // more endpoints to which each event is owed count as well.
    let pace = number("HOOKS_PER_S").map_or(Pace::AsSent, |n| Pace::PerS(n as f64));
    for round in 0..number("HOOKS_ROUNDS").unwrap_or(1) {
        let (began, without) = (Instant::now(), run(events, false, pace, limit).await);
        let (between, with) = (Instant::now(), run(events, true, pace, limit).await);
        println!(
            "round {round}: {events} events in {:.0} and {:.0} s, healthy endpoints p50 {:.1} ms and p99 {:.1} ms; beside 20 bad ones p50 {:.1} ms and p99 {:.1} ms",
            (between - began).as_secs_f64(),
            between.elapsed().as_secs_f64(),
            percentile(&without, 0.5),
            percentile(&without, 0.99),
            percentile(&with, 0.5),
            percentile(&with, 0.99),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make hooks-stress"]
async fn stress_workers_killed() {
    let kills = number("HOOKS_KILLS").unwrap_or(200);
    let seed = number("HOOKS_SEED").unwrap_or_else(|| Uuid::now_v7().as_u128() as u64);
    println!("{kills} kills, HOOKS_SEED={seed}");
    let mut dice = seed;
    let mut below = move |n: u64| {
        dice = dice
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (dice >> 33) % n
    };
    let hooks = dying::hooks().await;
    let sink = Sink::start().await;
    let made = hooks
        .endpoint(&sink.url(), json!({ "max_in_flight": 32 }))
        .await;
    let mut owed = BTreeSet::new();
    for _ in 0..kills {
        let worker = dying::start(&hooks);
        let until = Instant::now() + Duration::from_millis(120 + below(400));
        while Instant::now() < until {
            owed.extend(
                append(&hooks.desk.worker_pool, Uuid::now_v7(), 20)
                    .await
                    .into_iter()
                    .map(message_id),
            );
        }
        worker.kill();
        dying::leases_run_out(&hooks).await;
    }
    let worker = hooks.desk.work().await;
    wait_until(
        "all of it has arrived",
        Duration::from_secs(600),
        async || {
            hooks.desk.bell.ring();
            hooks.states(made.id).await == [("delivered".to_owned(), owed.len() as i64)]
        },
    )
    .await;
    let got = sink.ids();
    let distinct: BTreeSet<String> = got.iter().cloned().collect();
    assert_eq!(distinct, owed, "0 lost, 0 invented");
    let interrupted = dying::cut_off(&hooks).await;
    let doubled = got.len() - distinct.len();
    println!(
        "{kills} kills: {} messages, 0 lost, {doubled} sent twice, {interrupted} tries cut off",
        owed.len()
    );
    assert!(
        doubled as i64 <= interrupted,
        "only what was cut off is sent twice"
    );
    worker.close().await;
}
