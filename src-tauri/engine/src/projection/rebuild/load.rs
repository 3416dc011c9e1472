//! Reading the past into the new rows: parts side by side where rows belong to one booking, else in the log's order.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::job::{Job, Speed};
use super::{Loading, Progress, RebuildError, Stopped};
use crate::projection::generation::Generation;
use crate::projection::runner::Tail;
use crate::projection::{ApplyError, Load, Part, Projection, Rows};
use crate::store::read::{self, Recorded};

/// Events that are held while a part is applied as it came.
const HELD: i64 = 5_000;

/// Fills the tables up to the target, makes their indexes, and notes the position.
pub async fn read(
    pool: &PgPool,
    job: &Job,
    projection: &'static Projection,
    tail: &Tail,
    built: &mut Generation,
    progress: &Progress,
) -> Result<(), Stopped> {
    let target = job.target.unwrap_or(0);
    if let Rows::OfMany(_) = projection.rows {
        indexes(pool, job).await?;
        let whole = tail
            .follow(built, target, |at| {
                progress.done.store(at, Ordering::Relaxed)
            })
            .await?;
        return if whole {
            Ok(())
        } else {
            Err(parked(pool, built).await)
        };
    }
    let partial = job.from_position > 0 || job.stream.is_some();
    let as_it_came = partial || matches!(projection.load, Load::Apply);
    if as_it_came {
        // What applies an event looks for the row it changes.
        indexes(pool, job).await?;
    }
    parts(pool, job, projection, built, progress, partial).await?;
    if !as_it_came {
        indexes(pool, job).await?;
    }
    // A third of the usual sample, since nobody reads until it is there; autovacuum takes a whole one in its own time.
    let mut tx = crate::store::begin(pool).await?;
    sqlx::query("select set_config('default_statistics_target', '33', true)")
        .execute(&mut *tx)
        .await?;
    sqlx::query("select core.analyze_generation($1, $2)")
        .bind(job.id)
        .bind(job.fence)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    sqlx::query("update read.generations set position = $3, updated_at = now() where name = $1 and generation = $2 and position < $3")
        .bind(&built.name)
        .bind(built.generation)
        .bind(target)
        .execute(pool)
        .await?;
    built.position = built.position.max(target);
    Ok(())
}

/// Where the new rows stopped.
pub(super) async fn parked(pool: &PgPool, built: &Generation) -> Stopped {
    let error: sqlx::Result<Option<String>> = sqlx::query_scalar(
        "select format('event %s: %s', parked->>'position', parked->>'error') from read.generations
          where name = $1 and generation = $2 and parked is not null",
    )
    .bind(&built.name)
    .bind(built.generation)
    .fetch_optional(pool)
    .await;
    match error {
        Ok(Some(error)) => {
            // Whoever resumes it wants it to be tried again.
            let _ = sqlx::query("update read.generations set parked = null, parked_at = null where name = $1 and generation = $2 and role = 'building'")
                .bind(&built.name)
                .bind(built.generation)
                .execute(pool)
                .await;
            Stopped::Failed(RebuildError::Parked(error))
        }
        Ok(None) => Stopped::Asked,
        Err(error) => Stopped::Failed(error.into()),
    }
}

struct Todo {
    part: i32,
    events: i64,
    range: Part,
}

async fn parts(
    pool: &PgPool,
    job: &Job,
    projection: &'static Projection,
    built: &Generation,
    progress: &Progress,
    partial: bool,
) -> Result<(), Stopped> {
    let skips: Vec<i64> =
        sqlx::query_scalar("select position from read.projection_skips where name = $1")
            .bind(&job.name)
            .fetch_all(pool)
            .await?;
    let skips: Arc<HashSet<i64>> = Arc::new(skips.into_iter().collect());
    let rows: Vec<(i32, i64, i64, i64, bool)> = sqlx::query_as(
        "select part, lo, hi, events, done_at is not null from read.rebuild_parts where rebuild_id = $1 order by part",
    )
    .bind(job.id)
    .fetch_all(pool)
    .await?;
    let done: i64 = rows.iter().filter(|r| r.4).map(|r| r.3).sum();
    progress.done.store(done, Ordering::Relaxed);
    let upto = job.target.unwrap_or(0);
    let todo: VecDeque<Todo> = rows
        .into_iter()
        .filter(|r| !r.4)
        .map(|(part, lo, hi, events, _)| Todo {
            part,
            events,
            range: Part {
                lo,
                hi,
                upto,
                skips: skips.clone(),
            },
        })
        .collect();
    let todo = Arc::new(Mutex::new(todo));
    let loading = Arc::new(Loading {
        projection,
        schema: built.schema(),
        people: Arc::default(),
    });
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
    let mut hands = JoinSet::new();
    if let Load::Fold(_) = projection.load
        && !partial
        && Speed::of(progress.speed.load(Ordering::Relaxed)) == Speed::AllCores
    {
        // Beside the first parts, which will all ask for them at once.
        let (pool, loading) = (pool.clone(), loading.clone());
        hands.spawn(async move {
            let mut conn = pool.acquire().await?;
            Ok(loading.people.read(&mut conn, upto).await?)
        });
    }
    let (sent, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let speed = Arc::new(std::sync::atomic::AtomicI64::new(
        progress.speed.load(Ordering::Relaxed),
    ));
    for hand in 0..cores {
        let (pool, job, todo, loading, sent, speed) = (
            pool.clone(),
            job.clone(),
            todo.clone(),
            loading.clone(),
            sent.clone(),
            speed.clone(),
        );
        hands.spawn(async move {
            loop {
                let pace = Speed::of(speed.load(Ordering::Relaxed));
                if hand > 0 && pace != Speed::AllCores {
                    if todo.lock().unwrap_or_else(|e| e.into_inner()).is_empty() {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                let Some(next) = todo.lock().unwrap_or_else(|e| e.into_inner()).pop_front() else {
                    return Ok(());
                };
                let began = Instant::now();
                one(&pool, &job, &loading, &next, partial).await?;
                let _ = sent.send(next.events);
                if pace == Speed::Gentle {
                    tokio::time::sleep(began.elapsed() * 2).await;
                }
            }
        });
    }
    drop(sent);
    loop {
        tokio::select! {
            Some(events) = heard.recv() => {
                progress.done.fetch_add(events, Ordering::Relaxed);
            }
            Some(ended) = hands.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Stopped::Failed(error)),
                Err(panicked) if panicked.is_panic() => std::panic::resume_unwind(panicked.into_panic()),
                Err(_) => return Err(Stopped::Asked),
            },
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            else => return Ok(()),
        }
        speed.store(progress.speed.load(Ordering::Relaxed), Ordering::Relaxed);
        if hands.is_empty() && heard.is_empty() {
            return Ok(());
        }
    }
}

/// A part's rows and its mark, in one transaction.
async fn one(
    pool: &PgPool,
    job: &Job,
    loading: &Loading,
    todo: &Todo,
    partial: bool,
) -> Result<(), RebuildError> {
    let mut tx = crate::store::begin(pool).await?;
    sqlx::query("select set_config('synchronous_commit', 'off', true), set_config('search_path', $1 || ', pg_catalog', true)")
        .bind(&loading.schema)
        .execute(&mut *tx)
        .await?;
    let marked = sqlx::query("update read.rebuild_parts set done_at = now() where rebuild_id = $1 and part = $2 and done_at is null")
        .bind(job.id)
        .bind(todo.part)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if marked == 0 {
        return Ok(());
    }
    match &loading.projection.load {
        Load::Fold(fold) if !partial => fold(&mut tx, &todo.range, &loading.people).await?,
        Load::Statement(sql) if !partial => {
            sqlx::query(*sql)
                .bind(todo.range.lo)
                .bind(todo.range.hi)
                .bind(todo.range.upto)
                .bind(todo.range.skips.iter().copied().collect::<Vec<_>>())
                .execute(&mut *tx)
                .await?;
        }
        _ => as_it_came(&mut tx, job, loading, &todo.range, partial).await?,
    }
    tx.commit().await?;
    Ok(())
}

/// By the projection's own `apply`, a few thousand events at a time, each stream in its order.
async fn as_it_came(
    conn: &mut sqlx::PgConnection,
    job: &Job,
    loading: &Loading,
    part: &Part,
    partial: bool,
) -> Result<(), RebuildError> {
    let (mut stream, mut version) = (part.lo, 0);
    loop {
        let page = read::streams(
            conn,
            read::Streams {
                from: stream,
                after_version: version,
                before: part.hi,
                upto: part.upto,
                only_of: partial.then_some(job.id),
            },
            loading.projection.event_types,
            HELD,
        )
        .await
        .map_err(ApplyError::from)?;
        let Some((last_stream, last)) = page.last() else {
            return Ok(());
        };
        (stream, version) = (*last_stream, last.version);
        let wanted: Vec<&Recorded> = page
            .iter()
            .map(|(_, e)| e)
            .filter(|e| loading.projection.wants(e) && !part.skips.contains(&e.position))
            .collect();
        if !wanted.is_empty() {
            (loading.projection.apply)(conn, &wanted).await?;
        }
        if (page.len() as i64) < HELD {
            return Ok(());
        }
    }
}

/// The keys and indexes that are still missing, side by side. A key is made as an index like the others, and is named a
/// key when they are all there, since that locks out whoever makes one.
async fn indexes(pool: &PgPool, job: &Job) -> Result<(), RebuildError> {
    loop {
        let statements: Vec<String> = sqlx::query_scalar("select core.missing_indexes($1, $2)")
            .bind(&job.name)
            .bind(job.generation)
            .fetch_all(pool)
            .await?;
        if statements.is_empty() {
            return Ok(());
        }
        make(pool, job, statements).await?;
    }
}

async fn make(pool: &PgPool, job: &Job, statements: Vec<String>) -> Result<(), RebuildError> {
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    let hands = match job.speed {
        Speed::AllCores => cores,
        Speed::Gentle | Speed::Normal => 1,
    };
    let todo = Mutex::new(VecDeque::from(statements));
    try_join_all((0..hands).map(|_| async {
        loop {
            let next = todo.lock().unwrap_or_else(|e| e.into_inner()).pop_front();
            let Some(statement) = next else {
                return Ok::<(), RebuildError>(());
            };
            let mut tx = crate::store::begin(pool).await?;
            // Each hand is a core already.
            sqlx::query("select set_config('maintenance_work_mem', '256MB', true), set_config('max_parallel_maintenance_workers', '0', true)")
                .execute(&mut *tx)
                .await?;
            sqlx::query("select core.make_index($1, $2, $3)")
                .bind(job.id)
                .bind(job.fence)
                .bind(statement)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
    }))
    .await?;
    Ok(())
}
