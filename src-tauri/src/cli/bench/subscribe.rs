//! Following: how long from an append until the read models show it, and what the safe point costs to ask.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bizing_engine::domain::event::Event;
use bizing_engine::domain::ids::{BookingId, CorrelationId, Reference};
use bizing_engine::projection;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::ids;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::{Append, Context, Expected};
use bizing_engine::store::committer::{Committer, Settings};
use bizing_engine::store::read;
use chrono::Utc;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::ground::Ground;
use super::rounds::{Figure, Sample, rounded};
use super::{BenchError, Common};

const PER_SECOND: u64 = 500;

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let pool = ground.pool("worker", 12).await?;
    let (tasks, bell) = (Tasks::default(), Bell::default());
    let committer = Committer::start(
        ground.login("worker"),
        &tasks,
        bell.clone(),
        Settings::default(),
    );
    {
        let (pool, bell, stop) = (pool.clone(), bell.clone(), tasks.stopping());
        tasks.forever("projections", move || {
            projection::run(pool.clone(), bell.clone(), Hints::default(), stop.clone())
        });
    }
    for name in ["safe-point-idle", "visible-500", "safe-point-500"] {
        if !common.wants(name) {
            continue;
        }
        let (visible, asked) = match name {
            "safe-point-idle" => (None, safe_point(&pool, common.lasting()).await?),
            _ => at_pace(&common, &pool, &committer).await?,
        };
        let sample = if name == "visible-500" {
            visible.unwrap_or_default()
        } else {
            asked
        };
        let figure = Figure::new("subscribe", name, sample.percentile(0.5), "ms p50")
            .with("p99_ms", rounded(sample.percentile(0.99)))
            .with("samples", sample.latencies_ms.len());
        common.print(&figure);
    }
    tasks.shut_down().await;
    Ok(())
}

/// Appends at a steady pace, while somebody asks for the safe point now and then.
async fn at_pace(
    common: &Common,
    pool: &PgPool,
    committer: &Committer,
) -> Result<(Option<Sample>, Sample), BenchError> {
    let lasting = common.lasting() * u32::try_from(common.rounds.max(1))?;
    let done = AtomicBool::new(false);
    let (told, waiting) = mpsc::channel(65_536);
    let writing = async {
        let ended = write(committer, told, lasting).await;
        done.store(true, Ordering::SeqCst);
        ended
    };
    let (written, seen, asked) =
        tokio::join!(writing, watch(pool, waiting), calm_safe_point(pool, &done));
    written?;
    Ok((Some(seen?), asked?))
}

/// One booking after the other, without waiting for the one before.
pub async fn write(
    committer: &Committer,
    told: mpsc::Sender<(i64, Instant)>,
    lasting: Duration,
) -> Result<(), BenchError> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    while began.elapsed() < lasting {
        tick.tick().await;
        let (committer, told) = (committer.clone(), told.clone());
        tasks.spawn(async move {
            let asked = Instant::now();
            let context = Context {
                correlation: CorrelationId(ids::v7()),
                causation: None,
                on_behalf_of: None,
            };
            let done = committer.append(&context, booking()?).await?;
            if let Some(position) = done.last_position {
                told.send((position, asked)).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Looks every millisecond how far the slowest read model is.
async fn watch(
    pool: &PgPool,
    mut told: mpsc::Receiver<(i64, Instant)>,
) -> Result<Sample, BenchError> {
    let mut waiting: VecDeque<(i64, Instant)> = VecDeque::new();
    let (began, mut latencies, mut open) = (Instant::now(), vec![], true);
    while open || !waiting.is_empty() {
        loop {
            match told.try_recv() {
                Ok(one) => waiting.push_back(one),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        let stands: i64 = sqlx::query_scalar("select min(position) from read.checkpoints")
            .fetch_one(pool)
            .await?;
        let now = Instant::now();
        waiting.retain(|(position, asked)| {
            let visible = *position <= stands;
            if visible {
                latencies.push((now - *asked).as_secs_f64() * 1_000.0);
            }
            !visible
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Sample::of(
        latencies.len() as u64,
        began.elapsed(),
        latencies,
    ))
}

async fn calm_safe_point(pool: &PgPool, done: &AtomicBool) -> Result<Sample, BenchError> {
    let mut latencies = vec![];
    while !done.load(Ordering::SeqCst) {
        latencies.extend(
            safe_point(pool, Duration::from_millis(2))
                .await?
                .latencies_ms,
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Sample::of(0, Duration::from_secs(1), latencies))
}

async fn safe_point(pool: &PgPool, lasting: Duration) -> Result<Sample, BenchError> {
    let mut conn = pool.acquire().await?;
    let (began, mut latencies) = (Instant::now(), vec![]);
    while began.elapsed() < lasting {
        let asked = Instant::now();
        read::safe_position(&mut conn).await?;
        latencies.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(Sample::of(
        latencies.len() as u64,
        began.elapsed(),
        latencies,
    ))
}

/// A booking that every read model takes.
fn booking() -> Result<Append, BenchError> {
    let id = BookingId(ids::v7());
    let mut created: Event = serde_json::from_str(include_str!(
        "../../../engine/src/domain/fixtures/BookingCreated.v1.json"
    ))?;
    if let Event::BookingCreated(created) = &mut created {
        created.booking_id = id;
        created.reference = Reference::from_bits(ids::reference_bits());
    }
    Ok(Append::new(
        id,
        Expected::Version(0),
        vec![created],
        Utc::now(),
    ))
}
