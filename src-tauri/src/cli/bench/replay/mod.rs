//! Replay: the past read typed, followed by the running projection, and rebuilt beside it; each beside COPY out of the
//! same log. And what a window notices of a rebuild.

mod exported;
mod fill;
mod killed;
mod window;

use std::sync::Arc;
use std::time::Instant;

use bizing_engine::projection::{self, Rebuilder, Tail};
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::ids;
use bizing_engine::store::read;
use bizing_engine::store::scan::{Scan, ScanError, scan};
use futures_util::TryStreamExt;
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{PgPool, Row};

use super::ground::Ground;
use super::rounds::{Sample, compare};
use super::{BenchError, Common};

const UNIT: &str = "events/s";

#[derive(clap::Args)]
pub struct Replay {
    #[command(flatten)]
    pub common: Common,
    /// Events in the log.
    #[arg(long, default_value_t = 1_000_000)]
    pub events: usize,
}

pub async fn run(events: usize, common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let last = fill::fill(&ground, events).await?;
    let worker = ground.pool("worker", 4).await?;
    let projector = projection::pool(&worker, 8).await?;
    let superuser = PgPool::connect_with(ground.superuser()).await?;
    let limit = async || copy_out(&worker, ALL).await;
    let print = |figure: super::rounds::Figure| {
        common.print(
            &figure
                .with("events", last)
                .with("rss_mb", resident("VmRSS"))
                .with("rss_most_mb", resident("VmHWM")),
        );
    };
    if common.wants("typed-read") {
        forget_the_peak();
        // The columns that a scan reads, on both sides.
        let limit = async || copy_out(&worker, SCANNED).await;
        let ours = async || typed_read(&worker, last).await;
        print(compare(&common, "replay", "typed-read", UNIT, limit, ours).await?);
    }
    if common.wants("typed-pages") {
        forget_the_peak();
        let ours = async || typed_pages(&worker, last).await;
        print(compare(&common, "replay", "typed-pages", UNIT, limit, ours).await?);
    }
    if common.wants("exported") {
        let desk = ground.viewer_desk().await?;
        forget_the_peak();
        let ours = async || exported::whole(&desk).await;
        print(compare(&common, "replay", "exported", UNIT, limit, ours).await?);
    }
    if common.wants("incremental-bookings") {
        forget_the_peak();
        let ours = async || incremental(&superuser, &projector, last).await;
        print(compare(&common, "replay", "incremental-bookings", UNIT, limit, ours).await?);
    }
    if common.wants("rebuild-bookings") {
        // The live rows stand at the end of the log, so that the rebuild has something to be compared with.
        incremental(&superuser, &projector, last).await?;
        let admin = ground.pool("admin", 1).await?;
        forget_the_peak();
        let mut whole = vec![];
        let ours = async || {
            let (sample, compared) = rebuild(&admin, &projector, last).await?;
            whole.push(super::rounds::rounded(compared));
            Ok(sample)
        };
        let figure = compare(&common, "replay", "rebuild-bookings", UNIT, limit, ours).await?;
        // With the comparison of every row: until somebody could say "swap".
        print(figure.with("compared_events_s", whole));
    }
    if common.wants("window-during-rebuild") {
        incremental(&superuser, &projector, last).await?;
        window::run(&common, &ground, &superuser, last).await?;
    }
    if common.names("rebuild-killed") {
        incremental(&superuser, &projector, last).await?;
        killed::run(&common, &ground, &superuser, last).await?;
    }
    Ok(())
}

/// What an event is, but for its hash.
const ALL: &str = "position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata, data";
/// What a scan reads of it.
const SCANNED: &str = "stream_no, position, version, type_no, occurred_at, correlation_id, data";

async fn copy_out(pool: &PgPool, columns: &str) -> Result<Sample, BenchError> {
    let began = Instant::now();
    let mut out = pool
        .copy_out_raw(&format!(
            "copy (select {columns} from core.events order by position) to stdout"
        ))
        .await?;
    let mut rows = 0;
    while out.try_next().await?.is_some() {
        rows += 1;
    }
    Ok(Sample::of(rows, began.elapsed(), vec![]))
}

async fn typed_read(pool: &PgPool, last: i64) -> Result<Sample, BenchError> {
    let began = Instant::now();
    let mut conn = pool.acquire().await?;
    let mut named = 0;
    let count = scan(
        &mut conn,
        Scan::Log {
            after: 0,
            upto: last,
        },
        |seen| {
            // What an unreadable one is, is told below.
            named += seen.event().map_or(0, |e| e.name().len());
            Ok::<_, ScanError>(())
        },
    )
    .await?;
    if named == 0 {
        return Err("no event could be read".into());
    }
    Ok(Sample::of(count, began.elapsed(), vec![]))
}

/// Whole events in pages, each decoded: what the running projections share.
async fn typed_pages(pool: &PgPool, last: i64) -> Result<Sample, BenchError> {
    let (began, mut after, mut named) = (Instant::now(), 0, 0);
    let mut conn = pool.acquire().await?;
    while after < last {
        let page = read::log(&mut conn, after, last, 10_000).await?;
        named += page
            .iter()
            .filter_map(|e| e.event().ok())
            .map(|e| e.name().len())
            .sum::<usize>();
        after = page.last().map_or(last, |e| e.position);
    }
    if named == 0 {
        return Err("no event could be read".into());
    }
    Ok(Sample::of(last as u64, began.elapsed(), vec![]))
}

/// The running projection from zero, page by page, each with its position in one commit.
async fn incremental(
    superuser: &PgPool,
    projector: &PgPool,
    last: i64,
) -> Result<Sample, BenchError> {
    sqlx::raw_sql(
        "update read.generations set paused_at = now() where name <> 'bookings';
         update read.generations set position = 0 where name = 'bookings';",
    )
    .execute(superuser)
    .await?;
    let live: String = sqlx::query_scalar("select format('p_bookings_g%s.bookings', generation) from read.checkpoints where name = 'bookings'")
        .fetch_one(superuser)
        .await?;
    // The name is made of a number.
    sqlx::query(sqlx::AssertSqlSafe(format!("truncate {live}")))
        .execute(superuser)
        .await?;
    let began = Instant::now();
    let tail = Tail::new(projector.clone(), Hints::default());
    while tail.round().await? {}
    let elapsed = began.elapsed();
    let at: i64 =
        sqlx::query_scalar("select position from read.checkpoints where name = 'bookings'")
            .fetch_one(superuser)
            .await?;
    if at != last {
        return Err(format!("the projection stopped at {at} of {last}").into());
    }
    Ok(Sample::of(last as u64, elapsed, vec![]))
}

/// Until its rows, keys and indexes are there; and the rate until they are compared as well.
async fn rebuild(
    admin: &PgPool,
    projector: &PgPool,
    last: i64,
) -> Result<(Sample, f64), BenchError> {
    let id = ids::v7();
    let status: String = sqlx::query_scalar(
        "select api.start_replay($1, 'bookings', 1, '{\"from\": \"start\"}', 0, null, 'dry_run', 'all_cores', 'measured by the bench')",
    )
    .bind(id)
    .fetch_one(admin)
    .await?;
    if status != "done" {
        return Err(format!("the rebuild was refused: {status}").into());
    }
    let rebuilder = Rebuilder::new(projector.clone(), Hints::default());
    while rebuilder.round().await? {}
    let row = sqlx::query(
        "select state, error, compare->>'live_hash' = compare->>'new_hash' as same,
                extract(epoch from (phases->1->>'ended_at')::timestamptz - (phases->0->>'started_at')::timestamptz)::double precision as built,
                extract(epoch from ended_at - (phases->0->>'started_at')::timestamptz)::double precision as compared
           from read.rebuilds where rebuild_id = $1",
    )
    .bind(id)
    .fetch_one(admin)
    .await?;
    if row.try_get::<&str, _>("state")? != "done"
        || row.try_get::<Option<bool>, _>("same")? != Some(true)
    {
        return Err(format!(
            "the rebuild is not the live rows: {:?}",
            row.try_get::<Option<String>, _>("error")
        )
        .into());
    }
    let (built, compared): (f64, f64) = (row.try_get("built")?, row.try_get("compared")?);
    let sample = Sample {
        rate: last as f64 / built,
        latencies_ms: vec![],
    };
    Ok((sample, last as f64 / compared))
}

/// The next peak is that of what comes now.
fn forget_the_peak() {
    // Where it cannot be forgotten, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Memory of this process; the database's is the server's own.
fn resident(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| {
            l.strip_prefix(which)?
                .trim_start_matches(':')
                .trim()
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kb| kb / 1024)
}
