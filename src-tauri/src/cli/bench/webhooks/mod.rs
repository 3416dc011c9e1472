//! Webhooks: deliveries that are durable and recorded, beside a bare keep-alive client to the same receiver; the way from an
//! append to its arrival, at rest and beside an endpoint that hangs.

mod beside;
mod desk;
mod sink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bizing_engine::runtime::ids;
use bizing_engine::store::vault::Vault;
use desk::HookDesk;
use sink::{Manner, Sink};

use super::cpu::Cpu;
use super::ground::Ground;
use super::rounds::{Figure, Sample, Writer, compare, drive, rounded};
use super::{BenchError, Common};

const UNIT: &str = "deliveries/s";
/// What is under way at once, of all endpoints together.
const PLACES: i32 = 64;
const TIMEOUT_MS: i32 = 15_000;
/// As many as wait at an endpoint that answers nothing.
const DUE_AT_HANGING: i64 = 500_000;

#[derive(clap::Args)]
pub struct Webhooks {
    #[command(flatten)]
    pub common: Common,
    /// Of the case `fifty-all`, each owed to fifty endpoints.
    #[arg(long, default_value_t = 2_000)]
    pub events: u32,
}

pub async fn run(events: u32, common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let (sink, vault) = (Sink::start()?, Vault::default());
    for endpoints in [1, 10, 50] {
        let case = format!("endpoints-{endpoints}");
        if common.wants(&case) {
            common.print(&throughput(&common, &ground, &sink, &vault, &case, endpoints).await?);
        }
    }
    for (case, due) in [("quiet", 0), ("beside-hanging", DUE_AT_HANGING)] {
        if common.wants(case) {
            common.print(&latency(&common, &ground, &sink, &vault, case, due).await?);
        }
    }
    if common.wants("fifty") {
        common.print(&beside::run(&common, &ground, &vault).await?);
    }
    if common.wants("fifty-all") {
        common.print(&beside::all(events, &ground, &vault).await?);
    }
    Ok(())
}

async fn throughput(
    common: &Common,
    ground: &Ground,
    sink: &Sink,
    vault: &Vault,
    case: &str,
    endpoints: usize,
) -> Result<Figure, BenchError> {
    let desk = HookDesk::open(ground, vault).await?;
    let places = (PLACES / i32::try_from(endpoints)?).max(8);
    for _ in 0..endpoints {
        desk.endpoint(&sink.url(), places, TIMEOUT_MS).await?;
    }
    let body = desk.body().await?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(256)
        .build()?;
    let mut bare: Vec<Bare> = (0..PLACES)
        .map(|_| Bare {
            client: client.clone(),
            url: sink.url(),
            body: body.clone(),
        })
        .collect();
    let worker = desk.work();
    // As many as take about a round, from what the round before took.
    let mut next = 4_000;
    let mut spent = Cpu::default();
    let mut sent = 0;
    let figure = compare(
        common,
        "webhooks",
        case,
        UNIT,
        async || drive(&mut bare, common.lasting()).await,
        async || {
            desk.owe(next).await?;
            let all = sink.arrived() + u64::try_from(next)?;
            let before = Cpu::now(&desk.people, &sink.thread).await?;
            let began = Instant::now();
            desk.bell.ring();
            // Only then is the database asked: the question costs it something, too.
            while sink.arrived() < all {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            desk.until_delivered().await?;
            let took = began.elapsed();
            spent += Cpu::now(&desk.people, &sink.thread).await? - before;
            sent += next;
            let rate = next as f64 / took.as_secs_f64();
            next = ((rate * common.lasting().as_secs_f64()) as i64).clamp(1_000, 200_000);
            Ok(Sample {
                rate,
                latencies_ms: vec![],
            })
        },
    )
    .await?;
    worker.shut_down().await;
    desk.close().await;
    let each = |us: u64| rounded(us as f64 / sent as f64);
    Ok(figure
        .with("cpu_us", each(spent.ours_us + spent.postgres_us))
        .with("cpu_us_worker", each(spent.ours_us))
        .with("cpu_us_postgres", each(spent.postgres_us))
        .with("body_bytes", body.len()))
}

/// One POST after the other on a connection that is kept.
struct Bare {
    client: reqwest::Client,
    url: String,
    body: String,
}

impl Writer for Bare {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let sent = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", "msg_bare")
            .body(self.body.clone())
            .send()
            .await?;
        let answer = sent.error_for_status()?;
        answer.bytes().await?;
        Ok(1)
    }
}

/// One event at a time, with pauses: from before its append until the receiver has it.
async fn latency(
    common: &Common,
    ground: &Ground,
    sink: &Sink,
    vault: &Vault,
    case: &str,
    due: i64,
) -> Result<Figure, BenchError> {
    let desk = HookDesk::open(ground, vault).await?;
    let hanging = Sink::like(Manner::Hangs)?;
    desk.endpoint(&sink.url(), 8, TIMEOUT_MS).await?;
    if due > 0 {
        let id = desk.endpoint(&hanging.url(), 8, TIMEOUT_MS).await?;
        desk.owe_to(id, due).await?;
    }
    let worker = desk.work();
    let lasting = common.lasting() * u32::try_from(common.rounds.max(1))?;
    let (began, mut latencies) = (Instant::now(), vec![]);
    let mut warm = 20;
    while began.elapsed() < lasting || latencies.len() < 100 {
        let event = ids::v7();
        let waiting = sink.expect(event);
        let asked = Instant::now();
        desk.append(event).await?;
        let arrived = tokio::time::timeout(Duration::from_secs(30), waiting).await??;
        if warm > 0 {
            warm -= 1;
        } else {
            latencies.push((arrived - asked).as_secs_f64() * 1_000.0);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.shut_down().await;
    let sample = Sample::of(latencies.len() as u64, began.elapsed(), latencies);
    desk.close().await;
    Ok(
        Figure::new("webhooks", case, sample.percentile(0.5), "ms p50")
            .with("p99_ms", rounded(sample.percentile(0.99)))
            .with("samples", sample.latencies_ms.len())
            .with("due_at_hanging", due),
    )
}
