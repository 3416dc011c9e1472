//! Rebuilds: the rows of a projection made anew beside the live ones, compared with them, and swapped in.
//!
//! Promises: readers never see half a table, since nobody reads the new rows before the swap, and the swap is one
//! transaction; what is done stays done, since each part commits with its mark and a new owner goes on from there; two
//! owners cannot both write, since a part is marked once and a position moves once. It can cause nothing: its
//! connections act as the projector, which may write no event, saga or delivery.

mod compare;
mod job;
mod load;
mod plan;
mod swap;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::job::{Job, Phase};
use super::folded::{self, Build};
use super::generation::{self, Generation};
use super::runner::{Tail, TailError, whole};
use super::{ALL, ApplyError, Known, People, Projection, among};
use crate::runtime::bell::Bell;
use crate::runtime::hints::Hints;
use crate::runtime::ids;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While a rebuild runs, so often it says how far it is and learns what was asked.
const BEAT: Duration = Duration::from_millis(700);
const KEPT_FOR: &str = "7 days";
const SWEEP_EVERY: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("the rebuild's rows could not be read or written")]
    Database(#[from] sqlx::Error),
    #[error("the rows could not be made")]
    Apply(#[from] ApplyError),
    #[error("the rows could not be brought up to date")]
    Tail(#[from] TailError),
    #[error("no program here knows {name} in version {version}")]
    Unknown { name: String, version: i32 },
    #[error(
        "a newer build folded these rows ({0}): let that one go on, or cancel this and replay from the start"
    )]
    NewerBuild(String),
    #[error("it met an event that it cannot apply: {0}")]
    Parked(String),
    #[error("the live rows kept readers or writers waiting: the swap will be tried again")]
    Busy,
}

/// Why a piece of work ended before its end.
enum Stopped {
    /// Somebody asked for it (pause, cancel), or another owner has it.
    Asked,
    Failed(RebuildError),
}

impl<E: Into<RebuildError>> From<E> for Stopped {
    fn from(error: E) -> Stopped {
        Stopped::Failed(error.into())
    }
}

/// A worker's share of rebuilds: it carries out what admins asked for, one at a time.
pub struct Rebuilder {
    pool: PgPool,
    hints: Hints,
    owner: Uuid,
    pub known: Known,
    /// How long a rebuild waits for its owner before another takes it.
    pub lease: Duration,
}

/// What the pieces of a running rebuild share.
struct Progress {
    done: AtomicI64,
    speed: AtomicI64,
}

impl Rebuilder {
    /// `pool` comes from [`super::pool`].
    pub fn new(pool: PgPool, hints: Hints) -> Rebuilder {
        Rebuilder {
            pool,
            hints,
            owner: ids::v7(),
            known: &ALL,
            lease: Duration::from_secs(15),
        }
    }

    /// Carries out rebuilds for as long as the process runs.
    pub async fn run(self, bell: Bell, stop: CancellationToken) {
        let mut rings = bell.listen();
        let mut swept: Option<Instant> = None;
        loop {
            rings.borrow_and_update();
            if swept.is_none_or(|at| at.elapsed() > SWEEP_EVERY) {
                swept = Some(Instant::now());
                self.sweep().await;
            }
            tokio::select! {
                () = stop.cancelled() => {
                    self.give_back().await;
                    return;
                }
                worked = self.round() => match worked {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a rebuild could not go on; trying again"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = rings.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Takes one rebuild that nobody holds and carries it as far as it goes now. `false`: there was none.
    pub async fn round(&self) -> Result<bool, RebuildError> {
        let Some(mut job) = job::claim(&self.pool, self.owner, self.lease).await? else {
            return Ok(false);
        };
        let progress = Progress {
            done: AtomicI64::new(job.events_done),
            speed: AtomicI64::new(job.speed as i64),
        };
        let (id, fence) = (job.id, job.fence);
        let ended = tokio::select! {
            ended = self.carry_on(&mut job, &progress) => ended,
            stopped = self.beat(id, fence, &progress) => Err(stopped),
        };
        self.hints.changed("projections");
        match ended {
            Ok(()) | Err(Stopped::Asked) => {}
            // An event that does not go in waits for a person, as it does in the live rows.
            Err(Stopped::Failed(error)) if stands(&error) => {
                tracing::error!(rebuild.id = %id, projection = job.name, error = &error as &dyn std::error::Error, "a rebuild stopped");
                job::pause(&self.pool, &job, &whole(&error)).await?;
            }
            Err(Stopped::Failed(error)) => {
                job::release(&self.pool, &job, Duration::from_secs(1)).await?;
                return Err(error);
            }
        }
        job::release(&self.pool, &job, Duration::ZERO).await?;
        Ok(true)
    }

    async fn carry_on(&self, job: &mut Job, progress: &Progress) -> Result<(), Stopped> {
        if job.state.over() {
            return Ok(self.clean_up(job).await?);
        }
        let projection =
            among(self.known, &job.name, job.version).ok_or_else(|| RebuildError::Unknown {
                name: job.name.clone(),
                version: job.version,
            })?;
        let mut tail = Tail::new(self.pool.clone(), self.hints.clone());
        tail.known = self.known;
        if job.phase == Phase::Prepare {
            job::begin(&self.pool, job, Phase::Prepare).await?;
            plan::prepare(&self.pool, job, projection).await?;
            job::begin(&self.pool, job, Phase::Read).await?;
        }
        let mut built = self.generation(job).await?;
        self.claim(job, projection, &mut built).await?;
        if job.phase == Phase::Read {
            load::read(&self.pool, job, projection, &tail, &mut built, progress).await?;
            job::begin(&self.pool, job, Phase::CatchUp).await?;
        }
        if job.phase == Phase::CatchUp {
            swap::catch_up(&self.pool, job, &tail, &mut built, progress).await?;
            job::begin(&self.pool, job, Phase::Compare).await?;
        }
        if job.phase == Phase::Compare {
            compare::compare(&self.pool, job, &tail, &mut built).await?;
            if job.dry_run {
                job::finish(&self.pool, job).await?;
                return Ok(self.clean_up(job).await?);
            }
            job::wait_for_swap(&self.pool, job).await?;
        }
        // Kept up to date until somebody says so.
        while job.phase != Phase::Swap {
            self.hints.changed("projections");
            tokio::time::sleep(BEAT).await;
            swap::catch_up(&self.pool, job, &tail, &mut built, progress).await?;
            job::refresh(&self.pool, job).await?;
        }
        swap::swap(&self.pool, job, &tail, &mut built).await?;
        self.hints.changed("*");
        self.sweep().await;
        Ok(())
    }

    async fn generation(&self, job: &Job) -> Result<Generation, RebuildError> {
        let mut conn = self.pool.acquire().await?;
        let all = generation::all(&mut conn).await?;
        all.into_iter()
            .find(|g| g.name == job.name && Some(g.generation) == job.generation)
            .ok_or(RebuildError::Database(sqlx::Error::RowNotFound))
    }

    /// Parts are done before the position moves, so what an older owner has read may reach up to the target.
    async fn claim(
        &self,
        job: &Job,
        projection: &Projection,
        built: &mut Generation,
    ) -> Result<(), Stopped> {
        let upto = built.position.max(job.target.unwrap_or(0));
        let mut conn = self.pool.acquire().await?;
        match folded::claim(&mut conn, projection, built, upto).await? {
            Build::Ours => Ok(()),
            Build::Newer(types) => Err(Stopped::Failed(RebuildError::NewerBuild(types.join(", ")))),
            Build::Elsewhere => Err(Stopped::Asked),
        }
    }

    /// Says how far it is; ends when it is not ours to do any more.
    async fn beat(&self, id: Uuid, fence: i64, progress: &Progress) -> Stopped {
        let (mut before, mut at, mut rate) = (
            progress.done.load(Ordering::Relaxed),
            Instant::now(),
            None::<f64>,
        );
        let mut last_answer = Instant::now();
        loop {
            tokio::time::sleep(BEAT).await;
            let done = progress.done.load(Ordering::Relaxed);
            let now = (done - before) as f64 / at.elapsed().as_secs_f64();
            rate = Some(rate.map_or(now, |r: f64| r * 0.7 + now * 0.3)).filter(|r| *r >= 1.0);
            (before, at) = (done, Instant::now());
            match job::beat(&self.pool, id, fence, self.lease, done, rate).await {
                Ok(Some(speed)) => {
                    progress.speed.store(speed as i64, Ordering::Relaxed);
                    last_answer = Instant::now();
                }
                Ok(None) => return Stopped::Asked,
                // After its lease, another may have it.
                Err(error) if last_answer.elapsed() > self.lease => {
                    return Stopped::Failed(error.into());
                }
                Err(_) => {}
            }
            self.hints.changed("projections");
        }
    }

    async fn clean_up(&self, job: &Job) -> Result<(), RebuildError> {
        if let Some(generation) = job.generation {
            drop_generation(&self.pool, &job.name, generation).await?;
        }
        Ok(())
    }

    /// Drops generations that were kept long enough, and all but the newest of those before the live one.
    async fn sweep(&self) {
        let old: sqlx::Result<Vec<(String, i32)>> = sqlx::query_as(
            "select name, generation from (
               select name, generation, retired_at, row_number() over (partition by name order by retired_at desc) as nth
                 from read.generations where role = 'previous') g
              where nth > 1 or retired_at < now() - $1::interval",
        )
        .bind(KEPT_FOR)
        .fetch_all(&self.pool)
        .await;
        for (name, generation) in old.unwrap_or_default() {
            if let Err(error) = drop_generation(&self.pool, &name, generation).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "an old generation stays for now"
                );
            }
        }
    }

    async fn give_back(&self) {
        let given = sqlx::query(
            "update read.rebuilds set owner = null, lease_until = null where owner = $1",
        )
        .bind(self.owner)
        .execute(&self.pool)
        .await;
        if let Err(error) = given {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a rebuild was not given back; its lease ends by itself"
            );
        }
    }
}

/// Whether trying again by itself would give the same.
fn stands(error: &RebuildError) -> bool {
    match error {
        RebuildError::Apply(error) => error.is_poison(),
        RebuildError::Tail(TailError::Projection { source, .. }) => source.is_poison(),
        RebuildError::Unknown { .. } | RebuildError::NewerBuild(_) | RebuildError::Parked(_) => {
            true
        }
        _ => false,
    }
}

async fn drop_generation(pool: &PgPool, name: &str, generation: i32) -> sqlx::Result<bool> {
    let mut tx = crate::store::begin(pool).await?;
    sqlx::query("set local lock_timeout = '2s'")
        .execute(&mut *tx)
        .await?;
    let dropped = sqlx::query_scalar("select core.drop_generation($1, $2)")
        .bind(name)
        .bind(generation)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(dropped)
}

/// What a part needs beside its rows.
struct Loading {
    projection: &'static Projection,
    schema: String,
    people: Arc<People>,
}
