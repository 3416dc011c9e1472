//! Appending, beside bare one-row INSERTs into a table with the same columns and indexes at the same concurrency.

mod limit;
mod ours;
pub mod payload;

use std::sync::Arc;
use std::time::Duration;

use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::committer::{Committer, Settings};
use limit::{Bare, Copy, InTransaction};
use ours::{Group, Several, UseCase};

use super::ground::Ground;
use super::rounds::{Figure, Sample, Writer, compare, drive, median, rounded};
use super::{BenchError, Common};

const UNIT: &str = "events/s";

#[derive(clap::Args)]
pub struct Append {
    #[command(flatten)]
    pub common: Common,
    /// How many committers carry pure appends.
    #[arg(long, default_value_t = Settings::default().committers)]
    committers: usize,
}

pub async fn run(append: Append, ground: Arc<Ground>) -> Result<(), BenchError> {
    let common = append.common;
    limit::make_table(&ground).await?;
    let tasks = Tasks::default();
    let settings = Settings {
        committers: append.committers,
        ..Settings::default()
    };
    let committer = Committer::start(ground.login("worker"), &tasks, Bell::default(), settings);

    for writers in [1, 8, 32, 128] {
        let case = format!("single-{writers}");
        if common.wants(&case) {
            let bare = Bare::many(&ground, writers).await?;
            let ours = Group::many(&committer, writers, 1);
            common.print(&against(&common, &case, bare, ours).await?);
        }
    }
    for writers in [8, 32] {
        let case = format!("use-case-{writers}");
        if common.wants(&case) {
            let bare = Bare::many(&ground, writers).await?;
            let ours = UseCase::many(&ground, writers).await?;
            let figure = against(&common, &case, bare, ours).await?;
            // What both come to with a transaction of several statements around it.
            let mut bare = InTransaction::many(&ground, writers).await?;
            let mut ours = Several::many(&ground, writers).await?;
            let bare = drive(&mut bare, common.lasting()).await?.rate;
            let ours = drive(&mut ours, common.lasting()).await?.rate;
            common.print(
                &figure
                    .with("in_transaction", rounded(ours))
                    .with("bare_in_transaction", rounded(bare)),
            );
        }
    }
    if common.wants("batch-100") {
        let copy = Copy::many(&ground, 8).await?;
        let ours = Group::many(&committer, 8, 100);
        common.print(&against(&common, "batch-100", copy, ours).await?);
    }
    if common.wants("idle") {
        idle(&common, &ground, &committer).await?;
    }
    tasks.shut_down().await;
    Ok(())
}

async fn against<L: Writer, O: Writer>(
    common: &Common,
    case: &str,
    mut limit: Vec<L>,
    mut ours: Vec<O>,
) -> Result<Figure, BenchError> {
    compare(
        common,
        "append",
        case,
        UNIT,
        async || drive(&mut limit, common.lasting()).await,
        async || drive(&mut ours, common.lasting()).await,
    )
    .await
}

/// One writer with pauses: what a single append costs when nobody shares its commit.
async fn idle(common: &Common, ground: &Ground, committer: &Committer) -> Result<(), BenchError> {
    let mut bare = Bare::many(ground, 1).await?;
    let mut group = Group::many(committer, 1, 1);
    let mut direct = UseCase::many(ground, 1).await?;
    let (mut b, mut g, mut d) = (vec![], vec![], vec![]);
    for round in 0..=common.rounds {
        let each = common.lasting() / 3;
        let samples = (
            calm(&mut bare, each).await?,
            calm(&mut direct, each).await?,
            calm(&mut group, each).await?,
        );
        if round > 0 {
            b.push(samples.0.percentile(0.5));
            d.push(samples.1.percentile(0.5));
            g.push(samples.2.percentile(0.5));
        }
    }
    for (case, values) in [("idle-direct", d), ("idle-group", g)] {
        let mut figure = Figure::new("append", case, median(values), "ms p50");
        figure.limit = Some(median(b.clone()));
        common.print(&figure.with("rounds", rounded(common.rounds as f64)));
    }
    Ok(())
}

async fn calm<W: Writer>(writers: &mut [W], lasting: Duration) -> Result<Sample, BenchError> {
    let began = std::time::Instant::now();
    let mut latencies = vec![];
    while began.elapsed() < lasting {
        for writer in writers.iter_mut() {
            let asked = std::time::Instant::now();
            writer.write().await?;
            latencies.push(asked.elapsed().as_secs_f64() * 1_000.0);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(Sample::of(
        latencies.len() as u64,
        began.elapsed(),
        latencies,
    ))
}
