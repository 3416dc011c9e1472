//! Catching up with what came meanwhile, and the swap.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row};

use super::job::Job;
use super::load::parked;
use super::{Progress, RebuildError, Stopped};
use crate::projection::Rows;
use crate::projection::generation::Generation;
use crate::projection::runner::Tail;
use crate::store::read;

/// So many tries at the swap, each half a second long at most, before readers are left alone for a while.
const TRIES: u32 = 40;
/// Nearer than this, the rest comes with the swap.
const NEAR: i64 = 200;

/// Where the live rows are, and whether they move.
struct Live {
    position: i64,
    moves: bool,
}

async fn live(conn: &mut PgConnection, name: &str, lock: &'static str) -> sqlx::Result<Live> {
    // `lock` is one of our constants.
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select position, parked is null and paused_at is null as moves from read.generations where name = $1 and role = 'live' {lock}"
    )))
    .bind(name)
    .fetch_one(conn)
    .await?;
    Ok(Live {
        position: row.try_get("position")?,
        moves: row.try_get("moves")?,
    })
}

/// Brings the new rows to where the live ones are; past them, where those stand still.
pub async fn catch_up(
    pool: &PgPool,
    job: &Job,
    tail: &Tail,
    built: &mut Generation,
    progress: &Progress,
) -> Result<(), Stopped> {
    let projection = built.projection(tail.known);
    let in_order = projection.is_some_and(|p| matches!(p.rows, Rows::OfMany(_)));
    loop {
        let mut conn = pool.acquire().await?;
        let safe = read::safe_position(&mut conn).await?;
        let live = live(&mut conn, &job.name, "").await?;
        drop(conn);
        // Above the end of the log is nothing to catch up with: it went backwards beneath the live rows.
        let upto = if live.moves {
            live.position.min(safe)
        } else {
            safe
        };
        let whole = tail
            .follow(built, upto, |at| {
                if in_order {
                    progress.done.store(at, Ordering::Relaxed);
                }
            })
            .await?;
        if !whole {
            return Err(parked(pool, built).await);
        }
        if upto - built.position < NEAR {
            return Ok(());
        }
    }
}

/// Holds the live rows still for the moment that the last events take, with the new ones at the same position. The
/// transaction is the caller's to use and to end.
pub async fn aligned<'c>(
    pool: &'c PgPool,
    job: &Job,
    tail: &Tail,
    built: &mut Generation,
) -> Result<(sqlx::Transaction<'c, sqlx::Postgres>, bool), Stopped> {
    let mut held = crate::store::begin(pool).await?;
    sqlx::query("set local lock_timeout = '500ms'")
        .execute(&mut *held)
        .await?;
    let live = live(&mut held, &job.name, "for update").await?;
    if built.position < live.position && !tail.follow(built, live.position, |_| {}).await? {
        return Err(parked(pool, built).await);
    }
    Ok((held, built.position == live.position))
}

/// The new rows become those that are read. Readers wait for as long as it takes to rename a view.
pub async fn swap(
    pool: &PgPool,
    job: &Job,
    tail: &Tail,
    built: &mut Generation,
) -> Result<(), Stopped> {
    for _ in 0..TRIES {
        // As near as can be before anything is held.
        let mut conn = pool.acquire().await?;
        let near = live(&mut conn, &job.name, "").await?.position;
        drop(conn);
        if !tail.follow(built, near, |_| {}).await? {
            return Err(parked(pool, built).await);
        }
        match once(pool, job, tail, built).await {
            Err(Stopped::Failed(RebuildError::Database(error))) if timed_out(&error) => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            ended => return ended,
        }
    }
    Err(Stopped::Failed(RebuildError::Busy))
}

async fn once(
    pool: &PgPool,
    job: &Job,
    tail: &Tail,
    built: &mut Generation,
) -> Result<(), Stopped> {
    let (mut tx, _) = aligned(pool, job, tail, built).await?;
    sqlx::query("select core.swap_rebuild($1, $2)")
        .bind(job.id)
        .bind(job.fence)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

fn timed_out(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|d| d.code())
        .is_some_and(|code| code == "55P03" || code == "40P01")
}
