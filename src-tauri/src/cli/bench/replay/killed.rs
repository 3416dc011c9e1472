//! A rebuild whose workers die: of the whole log, at 500 appends a second, killed at twenty random points of it (the swap
//! included) while a window reads; then compared, row by row, with one that nobody disturbed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bizing_engine::projection::{self, Rebuilder};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::ids;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::committer::{Committer, Settings};
use bizing_engine::store::read;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::window::{BEFORE, LONGEST, ask_for, ask_until};
use crate::cli::bench::ground::Ground;
use crate::cli::bench::rounds::{Figure, rounded};
use crate::cli::bench::{BenchError, Common, subscribe};

const DEATHS: u32 = 20;
const DOOMED: &str = "bizing-desk doomed worker";

pub async fn run(
    common: &Common,
    ground: &Ground,
    superuser: &PgPool,
    last: i64,
) -> Result<(), BenchError> {
    sqlx::raw_sql("update read.generations set paused_at = null; update read.generations set position = (select max(position) from read.generations where name = 'bookings') where name <> 'bookings'")
        .execute(superuser)
        .await?;
    let worker = ground.pool("worker", 4).await?;
    let projector = projection::pool(&worker, 8).await?;
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
    }
    let world = World {
        ground,
        superuser,
        admin: ground.pool("admin", 1).await?,
        worker: worker.clone(),
    };
    let (told, mut heard) = mpsc::channel(65_536);
    let measured = async {
        ask_for(&desk, Duration::from_secs(2)).await?;
        let before = ask_for(&desk, BEFORE).await?;
        let began = Instant::now();
        let over = std::sync::OnceLock::new();
        // A read that fails ends the bench: the window must not notice any of it.
        let (ended, during) = tokio::join!(
            async {
                let ended = world.killed().await;
                let _ = over.set(());
                ended
            },
            ask_until(&desk, || async { Ok(over.get().is_some()) })
        );
        Ok::<_, BenchError>((before, ended?, during?, began.elapsed()))
    };
    let (before, died, during, took) = tokio::select! {
        ended = measured => ended?,
        ended = subscribe::write(&committer, told, LONGEST) => {
            ended?;
            return Err("the rebuild did not end in time".into());
        }
        () = async { while heard.recv().await.is_some() {} } => return Err("nobody appends".into()),
    };
    let (differ, events) = world.differ().await?;
    tasks.shut_down().await;
    let mut figure = Figure::new(
        "replay",
        "rebuild-killed",
        during.percentile(0.99),
        "ms p99 of the list",
    )
    .with("events_before", last)
    .with("events_at_the_end", events)
    .with("deaths", died.values().sum::<u32>())
    .with("died_in", json!(died))
    .with("rows_that_differ", differ)
    .with("reads", during.latencies_ms.len())
    .with("reads_that_failed", 0)
    .with("took_s", rounded(took.as_secs_f64()));
    figure.limit = Some(before.percentile(0.99));
    common.print(&figure);
    match differ {
        0 => Ok(()),
        n => Err(format!("{n} rows are not what an undisturbed rebuild makes").into()),
    }
}

struct World<'a> {
    ground: &'a Ground,
    superuser: &'a PgPool,
    admin: PgPool,
    worker: PgPool,
}

impl World<'_> {
    /// Until twenty workers have died over it and another one has carried it to its end. In which phase each died.
    async fn killed(&self) -> Result<BTreeMap<String, u32>, BenchError> {
        let mut id = self.start("rebuild").await?;
        let mut died = BTreeMap::new();
        let mut dice = ids::v7().as_u128() as u64 | 1;
        eprintln!("dice {dice}");
        for death in 0..DEATHS {
            // One in four dies over the swap, where the time is shorter.
            match self.state(id).await?.as_str() {
                "waits_for_swap" if death % 4 == 3 => self.change(id, "swap").await?,
                "waits_for_swap" => {
                    self.change(id, "cancel").await?;
                    self.work_until(id, &["cancelled"]).await?;
                    id = self.start("rebuild").await?;
                }
                "done" => id = self.start("rebuild").await?,
                _ => {}
            }
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let longest = match self.phase(id).await?.as_str() {
                "swap" => 60,
                _ => 4_000,
            };
            let pool = self.doomed().await?;
            let mut life = JoinSet::new();
            let doomed = Rebuilder::new(pool.clone(), Hints::default());
            life.spawn(async move { while let Ok(true) = doomed.round().await {} });
            tokio::time::sleep(Duration::from_millis(5 + dice % longest)).await;
            self.kill(&pool, life).await?;
            *died.entry(self.phase(id).await?).or_default() += 1;
        }
        // The last of them may have died over the swap.
        if self.work_until(id, &["waits_for_swap", "done"]).await? == "waits_for_swap" {
            self.change(id, "swap").await?;
            self.work_until(id, &["done"]).await?;
        }
        Ok(died)
    }

    /// The connections of a worker that is to die, told from those of the ones that go on.
    async fn doomed(&self) -> Result<PgPool, BenchError> {
        let to = self.ground.login("worker").application_name(DOOMED);
        let role = format!("bizing_projector_{}", self.ground.installation.id);
        let most = PgPoolOptions::new().max_connections(4);
        Ok(most.connect_with(to.options([("role", role)])).await?)
    }

    /// As kill -9 of its process does: its tasks are gone, and what its connections had open is rolled back.
    async fn kill(&self, pool: &PgPool, mut life: JoinSet<()>) -> Result<(), BenchError> {
        life.abort_all();
        while life.join_next().await.is_some() {}
        sqlx::query(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name = $1",
        )
        .bind(DOOMED)
        .execute(self.superuser)
        .await?;
        pool.close().await;
        sqlx::query("update read.rebuilds set lease_until = null")
            .execute(self.superuser)
            .await?;
        Ok(())
    }

    /// Until it is in one of these states; which.
    async fn work_until(&self, id: Uuid, wanted: &[&str]) -> Result<String, BenchError> {
        let pool = projection::pool(&self.worker, 4).await?;
        let rebuilder = Rebuilder::new(pool.clone(), Hints::default());
        // One round follows the log until somebody decides, so the state is looked at from beside it.
        let mut work = JoinSet::new();
        work.spawn(rounds(rebuilder));
        let began = Instant::now();
        let state = loop {
            let state = self.state(id).await?;
            if wanted.contains(&state.as_str()) {
                break state;
            }
            if began.elapsed() > LONGEST {
                return Err(
                    format!("the rebuild is {state} and comes to none of {wanted:?}").into(),
                );
            }
            tokio::select! {
                Some(ended) = work.join_next() => ended??,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        };
        work.abort_all();
        while work.join_next().await.is_some() {}
        sqlx::query("update read.rebuilds set lease_until = null")
            .execute(self.superuser)
            .await?;
        pool.close().await;
        Ok(state)
    }

    /// Rows in which the live generation is not what the log says, at the end of it; and where that is.
    async fn differ(&self) -> Result<(i64, i64), BenchError> {
        let mut conn = self.worker.acquire().await?;
        let upto = read::safe_position(&mut conn).await?;
        let began = Instant::now();
        loop {
            let at: i64 =
                sqlx::query_scalar("select position from read.checkpoints where name = 'bookings'")
                    .fetch_one(self.superuser)
                    .await?;
            if at >= upto {
                break;
            }
            if began.elapsed() > LONGEST {
                return Err(format!("the read model stays at {at} of {upto}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let id = self.start("dry_run").await?;
        self.work_until(id, &["done"]).await?;
        let row = sqlx::query(
            "select (compare->>'different')::bigint + (compare->>'only_live')::bigint + (compare->>'only_new')::bigint as differ,
                    compare->>'live_hash' = compare->>'new_hash' as same from read.rebuilds where rebuild_id = $1",
        )
        .bind(id)
        .fetch_one(self.superuser)
        .await?;
        let differ: i64 = row.try_get("differ")?;
        if !row.try_get::<bool, _>("same")? && differ == 0 {
            return Err("the checksums differ, and no row does".into());
        }
        Ok((differ, upto))
    }

    async fn start(&self, mode: &str) -> Result<Uuid, BenchError> {
        let id = ids::v7();
        let status: String = sqlx::query_scalar(
            "select api.start_replay($1, 'bookings', 1, '{\"from\": \"start\"}', 0, null, $2, 'normal', 'measured by the bench')",
        )
        .bind(id)
        .bind(mode)
        .fetch_one(&self.admin)
        .await?;
        match status.as_str() {
            "done" => Ok(id),
            _ => Err(format!("the rebuild was refused: {status}").into()),
        }
    }

    async fn change(&self, id: Uuid, action: &str) -> Result<(), BenchError> {
        let status: String =
            sqlx::query_scalar("select api.change_rebuild($1, $2, $3, 'measured by the bench')")
                .bind(ids::v7())
                .bind(id)
                .bind(action)
                .fetch_one(&self.admin)
                .await?;
        match status.as_str() {
            "done" => Ok(()),
            _ => Err(format!("{action} was refused: {status}").into()),
        }
    }

    async fn state(&self, id: Uuid) -> Result<String, BenchError> {
        Ok(
            sqlx::query_scalar("select state from read.rebuilds where rebuild_id = $1")
                .bind(id)
                .fetch_one(self.superuser)
                .await?,
        )
    }

    async fn phase(&self, id: Uuid) -> Result<String, BenchError> {
        Ok(
            sqlx::query_scalar("select phase from read.rebuilds where rebuild_id = $1")
                .bind(id)
                .fetch_one(self.superuser)
                .await?,
        )
    }
}

async fn rounds(rebuilder: Rebuilder) -> Result<(), BenchError> {
    loop {
        if !rebuilder.round().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
