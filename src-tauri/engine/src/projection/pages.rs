//! Pages of the log on their way into projections: while one is written, the next is read and decoded.

use std::sync::{Mutex, MutexGuard};

use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::Projection;
use super::runner::TailError;
use crate::store::read::{self as log, Recorded};

/// Events that are read and written at once. Far behind, more: each page has a price of its own.
const PAGE: i64 = 2_000;
const LONG_PAGE: i64 = 10_000;
/// Positions from which projections may be far behind at the same time with a page in advance for each.
const AHEAD: usize = 3;

/// Events after a position.
pub struct Page {
    pub events: Vec<Recorded>,
    /// Nothing is missing up to here.
    pub upto: i64,
    /// There may be more behind it.
    pub full: bool,
}

/// Who reads, and what was read in advance. The log below the safe position never changes, so no page gets old.
#[derive(Default)]
pub struct Pages(Mutex<Vec<Ahead>>);

struct Ahead {
    from: i64,
    reading: Reading,
}

type Reading = JoinHandle<Result<Page, TailError>>;

impl Pages {
    /// The page after `from` for these projections. `upto` comes from the safe position.
    pub async fn after(
        &self,
        pool: &PgPool,
        from: i64,
        upto: i64,
        readers: &[&'static Projection],
    ) -> Result<Page, TailError> {
        let ahead = match self.take(from) {
            Some(reading) => Some(ended(reading).await?),
            None => None,
        };
        let page = match ahead.filter(|page| page.upto <= upto) {
            Some(page) => page,
            None => ended(read(pool, from, upto, readers)).await?,
        };
        if page.full && upto > page.upto {
            self.read_ahead(pool, page.upto, upto, readers);
        }
        Ok(page)
    }

    fn read_ahead(&self, pool: &PgPool, from: i64, upto: i64, readers: &[&'static Projection]) {
        let mut ahead = self.held();
        ahead.retain(|a| a.from != from);
        if ahead.len() == AHEAD {
            ahead.remove(0);
        }
        ahead.push(Ahead {
            from,
            reading: read(pool, from, upto, readers),
        });
    }

    fn take(&self, from: i64) -> Option<Reading> {
        let mut ahead = self.held();
        let at = ahead.iter().position(|a| a.from == from)?;
        Some(ahead.remove(at).reading)
    }

    fn held(&self) -> MutexGuard<'_, Vec<Ahead>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn read(pool: &PgPool, from: i64, upto: i64, readers: &[&'static Projection]) -> Reading {
    #[allow(
        clippy::disallowed_methods,
        reason = "it ends with its page, whoever still waits for it: cut in the middle of a COPY, its connection would be lost"
    )]
    tokio::spawn(one(pool.clone(), from, upto, readers.to_vec()))
}

async fn ended(reading: Reading) -> Result<Page, TailError> {
    match reading.await {
        Ok(page) => page,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime ends, and this with it.
        Err(_) => Err(TailError::Database(sqlx::Error::PoolClosed)),
    }
}

async fn one(
    pool: PgPool,
    from: i64,
    upto: i64,
    readers: Vec<&'static Projection>,
) -> Result<Page, TailError> {
    let far = upto - from > LONG_PAGE;
    let most = if far { LONG_PAGE } else { PAGE };
    let mut conn = pool.acquire().await?;
    let events = log::log(&mut conn, from, upto, most).await?;
    drop(conn);
    if far {
        // Here, beside whoever writes the page before. What cannot be read is told to each that asks for it again.
        for event in &events {
            if readers.iter().any(|projection| projection.wants(event)) {
                let _ = event.event();
            }
        }
    }
    let full = events.len() as i64 == most;
    let upto = match events.last() {
        Some(last) if full => last.position,
        // Positions without an event below the safe one will never have one.
        _ => upto,
    };
    Ok(Page { events, upto, full })
}
