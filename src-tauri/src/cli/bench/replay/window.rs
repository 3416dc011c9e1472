//! What a window notices of a rebuild: its list of bookings, asked all the while, at 500 appends a second; first without
//! a rebuild and then during one of the whole log, at each of the speeds that a person is offered by default.

use std::time::{Duration, Instant};

use bizing_engine::app::bookings::list::list;
use bizing_engine::app::desk::Desk;
use bizing_engine::app::wire::{BookingSort, ListBookings};
use bizing_engine::projection::{self, Rebuilder};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::ids;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::committer::{Committer, Settings};
use sqlx::PgPool;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::cli::bench::ground::Ground;
use crate::cli::bench::rounds::{Figure, Sample, rounded};
use crate::cli::bench::{BenchError, Common, subscribe};

const ASK_EVERY: Duration = Duration::from_millis(20);
/// Of the past, before a rebuild is asked for.
pub const BEFORE: Duration = Duration::from_secs(15);
pub const LONGEST: Duration = Duration::from_secs(600);

pub async fn run(
    common: &Common,
    ground: &Ground,
    superuser: &PgPool,
    last: i64,
) -> Result<(), BenchError> {
    // All read models follow, as they do; those that were not filled begin at the end of the log.
    sqlx::raw_sql("update read.generations set paused_at = null; update read.generations set position = (select max(position) from read.generations where name = 'bookings') where name <> 'bookings'")
        .execute(superuser)
        .await?;
    let worker = ground.pool("worker", 4).await?;
    let projector = projection::pool(&worker, 8).await?;
    let admin = ground.pool("admin", 1).await?;
    let desk = ground.viewer_desk().await?;
    let (tasks, bell) = (Tasks::default(), Bell::default());
    let committer = Committer::start(
        ground.login("worker"),
        &tasks,
        bell.clone(),
        Settings::default(),
    );
    {
        let (pool, bell, stop) = (projector.clone(), bell.clone(), tasks.stopping());
        tasks.forever("projections", move || {
            projection::run(pool.clone(), bell.clone(), Hints::default(), stop.clone())
        });
        let (pool, bell, stop) = (projector.clone(), Bell::default(), tasks.stopping());
        tasks.forever("rebuilds", move || {
            Rebuilder::new(pool.clone(), Hints::default()).run(bell.clone(), stop.clone())
        });
    }
    let (told, mut heard) = mpsc::channel(65_536);
    let measured = async {
        ask_for(&desk, Duration::from_secs(2)).await?;
        for speed in ["gentle", "normal"] {
            let before = ask_for(&desk, BEFORE).await?;
            let began = Instant::now();
            let rebuild = start(&admin, speed).await?;
            let during = ask_until(&desk, || over(&admin, rebuild)).await?;
            let mut figure = Figure::new(
                "replay",
                "window-during-rebuild",
                during.percentile(0.99),
                "ms p99",
            )
            .with("speed", speed)
            .with("events", last)
            .with("rebuild_s", rounded(began.elapsed().as_secs_f64()))
            .with("p50_ms", rounded(during.percentile(0.5)))
            .with("p50_before_ms", rounded(before.percentile(0.5)))
            .with("samples", during.latencies_ms.len());
            figure.limit = Some(before.percentile(0.99));
            common.print(&figure);
        }
        Ok::<_, BenchError>(())
    };
    tokio::select! {
        ended = measured => ended?,
        ended = subscribe::write(&committer, told, LONGEST) => ended?,
        () = async { while heard.recv().await.is_some() {} } => {}
    }
    tasks.shut_down().await;
    Ok(())
}

pub async fn ask_for(desk: &Desk, lasting: Duration) -> Result<Sample, BenchError> {
    let began = Instant::now();
    ask_until(desk, || async { Ok(began.elapsed() > lasting) }).await
}

/// The first page, as a window shows it when it is opened, fifty times a second at most.
pub async fn ask_until(
    desk: &Desk,
    mut over: impl AsyncFnMut() -> Result<bool, BenchError>,
) -> Result<Sample, BenchError> {
    let (began, mut latencies) = (Instant::now(), vec![]);
    let mut tick = tokio::time::interval(ASK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !over().await? {
        tick.tick().await;
        let asked = Instant::now();
        let request = ListBookings {
            search: None,
            states: vec![],
            payments: vec![],
            service_id: None,
            resource_id: None,
            from: None,
            to: None,
            sort: BookingSort::Starts,
            descending: false,
            after: None,
            limit: 200,
        };
        list(desk, request).await.map_err(|e| e.message)?;
        latencies.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(Sample::of(
        latencies.len() as u64,
        began.elapsed(),
        latencies,
    ))
}

async fn start(admin: &PgPool, speed: &str) -> Result<Uuid, BenchError> {
    let id = ids::v7();
    let status: String = sqlx::query_scalar(
        "select api.start_replay($1, 'bookings', 1, '{\"from\": \"start\"}', 0, null, 'dry_run', $2, 'measured by the bench')",
    )
    .bind(id)
    .bind(speed)
    .fetch_one(admin)
    .await?;
    match status.as_str() {
        "done" => Ok(id),
        _ => Err(format!("the rebuild was refused: {status}").into()),
    }
}

async fn over(admin: &PgPool, rebuild: Uuid) -> Result<bool, BenchError> {
    let (state, error): (String, Option<String>) =
        sqlx::query_as("select state, error from read.rebuilds where rebuild_id = $1")
            .bind(rebuild)
            .fetch_one(admin)
            .await?;
    match error {
        Some(error) => Err(format!("the rebuild stopped: {error}").into()),
        None => Ok(state == "done"),
    }
}
