//! Reading: one stream after another beside bare SELECTs, and the whole log in pages beside COPY out.

use std::sync::Arc;
use std::time::Instant;

use bizing_engine::domain::ids::{BookingId, CorrelationId, StreamId};
use bizing_engine::runtime::ids;
use bizing_engine::store::append::{Append, Context, Expected, append_in};
use bizing_engine::store::read;
use chrono::Utc;
use futures_util::TryStreamExt;
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{PgPool, Row};

use super::append::payload::{LIFE, event};
use super::ground::Ground;
use super::rounds::{Sample, Writer, compare, drive};
use super::{BenchError, Common};

/// Of ten events each.
const STREAMS: usize = 5_000;
/// Of a hundred.
const LONG_STREAMS: usize = 200;
const PAGE: i64 = 2_000;
const READERS: u32 = 8;
const UNIT: &str = "events/s";

pub async fn run(common: Common, ground: Arc<Ground>) -> Result<(), BenchError> {
    let pool = ground.pool("worker", READERS).await?;
    for (case, streams, events) in [
        ("stream-8", STREAMS, LIFE),
        ("stream-100", LONG_STREAMS, 100),
    ] {
        let streams = fill(&pool, streams, events).await?;
        if !common.wants(case) {
            continue;
        }
        let mut bare = readers(&pool, &streams, Door::Bare);
        let mut ours = readers(&pool, &streams, Door::Ours);
        let figure = compare(
            &common,
            "read",
            case,
            UNIT,
            async || drive(&mut bare, common.lasting()).await,
            async || drive(&mut ours, common.lasting()).await,
        )
        .await?;
        common.print(&figure);
    }
    if common.wants("log") {
        let figure = compare(
            &common,
            "read",
            "log",
            UNIT,
            async || copy_out(&pool).await,
            async || whole_log(&pool).await,
        )
        .await?;
        common.print(&figure);
    }
    Ok(())
}

/// Streams of that many events, by the shipped append.
async fn fill(
    pool: &PgPool,
    streams: usize,
    events: i64,
) -> Result<Arc<Vec<(i64, BookingId)>>, BenchError> {
    let context = Context {
        correlation: CorrelationId(ids::v7()),
        causation: None,
        on_behalf_of: None,
    };
    let bookings: Vec<BookingId> = (0..streams).map(|_| BookingId(ids::v7())).collect();
    for some in bookings.chunks(50) {
        let appends = some
            .iter()
            .map(|b| {
                Append::new(
                    *b,
                    Expected::Version(0),
                    (1..=events).map(event).collect(),
                    Utc::now(),
                )
            })
            .collect();
        let mut tx = bizing_engine::store::begin(pool).await?;
        append_in(&mut tx, &context, appends).await?;
        tx.commit().await?;
    }
    let names: Vec<String> = bookings.iter().map(|b| StreamId::from(*b).0).collect();
    let numbers =
        sqlx::query("select stream_no, stream_id from core.streams where stream_id = any($1)")
            .bind(names)
            .fetch_all(pool)
            .await?
            .iter()
            .filter_map(|row| {
                let stream = StreamId(row.try_get("stream_id").ok()?);
                Some((row.try_get("stream_no").ok()?, stream.booking()?))
            })
            .collect();
    Ok(Arc::new(numbers))
}

#[derive(Clone, Copy)]
enum Door {
    Bare,
    Ours,
}

struct Reader {
    pool: PgPool,
    streams: Arc<Vec<(i64, BookingId)>>,
    at: usize,
    door: Door,
}

fn readers(pool: &PgPool, streams: &Arc<Vec<(i64, BookingId)>>, door: Door) -> Vec<Reader> {
    (0..READERS as usize)
        .map(|i| Reader {
            pool: pool.clone(),
            streams: streams.clone(),
            at: i * 617,
            door,
        })
        .collect()
}

impl Writer for Reader {
    async fn write(&mut self) -> Result<u64, BenchError> {
        // A stride that meets every stream, far from the one before.
        self.at = (self.at + 1_009) % self.streams.len();
        let (number, booking) = self.streams[self.at];
        let mut conn = self.pool.acquire().await?;
        let events = match self.door {
            Door::Ours => read::stream(&mut conn, &booking.into(), 0).await?.len(),
            Door::Bare => sqlx::query(
                "select position, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata, data
                   from core.events_0000 where stream_no = $1 order by version",
            )
            .bind(number)
            .fetch_all(&mut *conn)
            .await?
            .len(),
        };
        Ok(events as u64)
    }
}

async fn copy_out(pool: &PgPool) -> Result<Sample, BenchError> {
    let began = Instant::now();
    let mut out = pool
        .copy_out_raw(
            "copy (select position, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata, data
                     from core.events_0000 order by position) to stdout",
        )
        .await?;
    let mut rows = 0;
    while let Some(bytes) = out.try_next().await? {
        rows += bytes.iter().filter(|b| **b == b'\n').count() as u64;
    }
    Ok(Sample::of(rows, began.elapsed(), vec![]))
}

async fn whole_log(pool: &PgPool) -> Result<Sample, BenchError> {
    let began = Instant::now();
    let mut conn = pool.acquire().await?;
    let (mut after, mut count) = (0, 0);
    let safe = read::safe_position(&mut conn).await?;
    loop {
        let page = read::log(&mut conn, after, safe, PAGE).await?;
        count += page.len() as u64;
        match page.last() {
            Some(last) => after = last.position,
            None => return Ok(Sample::of(count, began.elapsed(), vec![])),
        }
    }
}
