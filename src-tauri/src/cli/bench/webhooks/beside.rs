//! Fifty endpoints, of which ten are dead, five hang and five fail now and then: what those cost the thirty that work.
//!
//! Three kinds of run in turns at one pace: the thirty alone, beside twenty more that work, and beside the twenty bad ones. The second
//! tells what more messages cost from what bad endpoints cost. Each arrival is timed from before its event's append, which writes what
//! is owed to all, and from its commit on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bizing_engine::runtime::ids;
use bizing_engine::store::vault::Vault;
use uuid::Uuid;

use super::super::ground::Ground;
use super::super::rounds::{Figure, Sample, rounded};
use super::super::{BenchError, Common};
use super::desk::HookDesk;
use super::sink::{Manner, Sink};

const HEALTHY: usize = 30;
const DEAD: usize = 10;
const HANGING: usize = 5;
const FLAPPING: usize = 5;
/// Events a second, each owed to every endpoint.
const PER_S: u32 = 20;
const PLACES: i32 = 8;
const TIMEOUT_MS: i32 = 3_000;
/// Nothing came for so long: something is lost.
const STALLED: Duration = Duration::from_secs(60);
const KINDS: [Others; 3] = [Others::None, Others::Good, Others::Bad];

#[derive(Clone, Copy, PartialEq)]
enum Others {
    None,
    Good,
    Bad,
}

pub async fn run(common: &Common, ground: &Ground, vault: &Vault) -> Result<Figure, BenchError> {
    let mut took: [Vec<Way>; 3] = Default::default();
    for round in 0..=common.rounds {
        for turn in 0..KINDS.len() {
            let kind = (round + turn) % KINDS.len();
            let ways = once(common, ground, vault, KINDS[kind]).await?;
            // The first of each is not counted.
            if round > 0 {
                took[kind].extend(ways);
            }
        }
    }
    let committed = took.each_ref().map(|ways| sample(ways, |w| w.committed_ms));
    let [alone, beside_good, beside_bad] = took.each_ref().map(|ways| sample(ways, |w| w.asked_ms));
    let p = |sample: &Sample, p: f64| rounded(sample.percentile(p));
    Ok(Figure::new(
        "webhooks",
        "fifty",
        beside_bad.percentile(0.99),
        "ms p99 beside twenty bad",
    )
    .with("p99_ms_alone", p(&alone, 0.99))
    .with("p99_ms_beside_good", p(&beside_good, 0.99))
    .with("p50_ms", p(&beside_bad, 0.5))
    .with("p50_ms_alone", p(&alone, 0.5))
    .with("p50_ms_beside_good", p(&beside_good, 0.5))
    .with("p99_ms_from_commit", p(&committed[2], 0.99))
    .with("p99_ms_from_commit_alone", p(&committed[0], 0.99))
    .with("p99_ms_from_commit_beside_good", p(&committed[1], 0.99))
    .with("samples", alone.latencies_ms.len()))
}

/// As many events as fast as they can be appended, beside the bad ones: each healthy endpoint gets each of them.
pub async fn all(events: u32, ground: &Ground, vault: &Vault) -> Result<Figure, BenchError> {
    let began = Instant::now();
    let ways = send(events, None, ground, vault, Others::Bad).await?;
    let took = ways.iter().map(|w| w.asked_ms).collect();
    let all = Sample::of(ways.len() as u64, began.elapsed(), took);
    Ok(
        Figure::new("webhooks", "fifty-all", all.rate, "healthy deliveries/s")
            .with("events", events)
            .with("arrived", all.latencies_ms.len())
            .with("p50_ms", rounded(all.percentile(0.5)))
            .with("p99_ms", rounded(all.percentile(0.99))),
    )
}

async fn once(
    common: &Common,
    ground: &Ground,
    vault: &Vault,
    others: Others,
) -> Result<Vec<Way>, BenchError> {
    let events = (common.lasting().as_secs_f64() * f64::from(PER_S)).ceil() as u32;
    send(events, Some(PER_S), ground, vault, others).await
}

/// One arrival at a healthy endpoint: how long ago its event was handed to the append, and committed.
struct Way {
    asked_ms: f64,
    committed_ms: f64,
}

fn sample(ways: &[Way], of: fn(&Way) -> f64) -> Sample {
    let took = ways.iter().map(of).collect();
    Sample::of(ways.len() as u64, Duration::from_secs(1), took)
}

async fn send(
    events: u32,
    per_s: Option<u32>,
    ground: &Ground,
    vault: &Vault,
    others: Others,
) -> Result<Vec<Way>, BenchError> {
    let desk = HookDesk::open(ground, vault).await?;
    let sink = Sink::like(Manner::Keeps)?;
    for n in 0..HEALTHY {
        desk.endpoint(&format!("{}/{n}", sink.url()), PLACES, TIMEOUT_MS)
            .await?;
    }
    let others = Sinks::of(others, &desk).await?;
    let worker = desk.work();
    // What it takes to start, to connect and to know the endpoints is not the way of a message.
    desk.append(ids::v7()).await?;
    let began = Instant::now();
    while sink.arrived() < HEALTHY as u64 {
        if began.elapsed() > STALLED {
            return Err("the first event did not arrive at all healthy endpoints".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sink.taken();
    let mut appended: HashMap<Uuid, (Instant, Instant)> = HashMap::new();
    let began = Instant::now();
    for n in 0..events {
        if let Some(per_s) = per_s {
            let due = began + Duration::from_secs(n.into()) / per_s;
            tokio::time::sleep_until(due.into()).await;
        }
        let event = ids::v7();
        let asked = Instant::now();
        desk.append(event).await?;
        appended.insert(event, (asked, Instant::now()));
    }
    // Counted once, however often it came.
    let all = u64::from(events) * HEALTHY as u64;
    let mut first: HashMap<(String, Uuid), Instant> = HashMap::new();
    let mut last = Instant::now();
    while (first.len() as u64) < all && last.elapsed() < STALLED {
        for arrival in sink.taken() {
            last = arrival.at;
            first
                .entry((arrival.path, arrival.event))
                .or_insert(arrival.at);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    worker.shut_down().await;
    desk.close().await;
    drop(others);
    if first.len() as u64 != all {
        return Err(format!("{} of {all} arrived at the healthy endpoints", first.len()).into());
    }
    Ok(first
        .into_iter()
        .filter_map(|((_, event), at)| {
            let (asked, committed) = appended.get(&event)?;
            // It may be there before the append has told its caller.
            let since = |then: &Instant| at.saturating_duration_since(*then).as_secs_f64() * 1e3;
            Some(Way {
                asked_ms: since(asked),
                committed_ms: since(committed),
            })
        })
        .collect())
}

/// Who else is sent to, as long as this lives.
struct Sinks(#[allow(dead_code, reason = "kept open")] Vec<Sink>);

impl Sinks {
    async fn of(others: Others, desk: &HookDesk) -> Result<Sinks, BenchError> {
        let mut sinks = vec![];
        match others {
            Others::None => {}
            Others::Good => {
                let sink = Sink::start()?;
                for n in 0..DEAD + HANGING + FLAPPING {
                    desk.endpoint(&format!("{}/{n}", sink.url()), PLACES, TIMEOUT_MS)
                        .await?;
                }
                sinks.push(sink);
            }
            Others::Bad => {
                let (hangs, flaps) = (Sink::like(Manner::Hangs)?, Sink::like(Manner::Flaps)?);
                for n in 0..DEAD {
                    // Nobody listens there.
                    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
                    desk.endpoint(&format!("http://{closed}/{n}"), PLACES, TIMEOUT_MS)
                        .await?;
                }
                for (sink, many) in [(&hangs, HANGING), (&flaps, FLAPPING)] {
                    for n in 0..many {
                        desk.endpoint(&format!("{}/{n}", sink.url()), PLACES, TIMEOUT_MS)
                            .await?;
                    }
                }
                sinks.extend([hangs, flaps]);
            }
        }
        Ok(Sinks(sinks))
    }
}
