//! Pages of the log on their way into projections: while one is written, the next is read and decoded.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::Projection;
use super::runner::TailError;
use crate::store::read::{self as log, Recorded};

/// Events that are read and written at once. Far behind, more: each page has a price of its own.
const PAGE: i64 = 2_000;
const LONG_PAGE: i64 = 20_000;
/// Positions from which projections may be far behind at the same time with a page in advance for each.
const AHEAD: usize = 3;

/// Events after a position, of the types that its readers want.
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
    types: Types,
    reading: Reading,
}

/// The types that a page holds. `None`: all.
type Types = Option<BTreeSet<&'static str>>;

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
        let types = types(readers);
        let ahead = match self.take(from, &types) {
            Some(reading) => Some(ended(reading).await?),
            None => None,
        };
        let page = match ahead.filter(|page| page.upto <= upto) {
            Some(page) => page,
            None => ended(read(pool, from, upto, types.clone())).await?,
        };
        if page.full && upto > page.upto {
            self.read_ahead(pool, page.upto, upto, types);
        }
        Ok(page)
    }

    fn read_ahead(&self, pool: &PgPool, from: i64, upto: i64, types: Types) {
        let mut ahead = self.held();
        ahead.retain(|a| a.from != from);
        if ahead.len() == AHEAD {
            ahead.remove(0);
        }
        ahead.push(Ahead {
            from,
            types: types.clone(),
            reading: read(pool, from, upto, types),
        });
    }

    fn take(&self, from: i64, types: &Types) -> Option<Reading> {
        let mut ahead = self.held();
        let fits = |a: &Ahead| a.from == from && a.types == *types;
        let at = ahead.iter().position(fits)?;
        Some(ahead.remove(at).reading)
    }

    fn held(&self) -> MutexGuard<'_, Vec<Ahead>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn types(readers: &[&'static Projection]) -> Types {
    let mut all = BTreeSet::new();
    for projection in readers {
        all.extend(projection.event_types?);
    }
    Some(all)
}

fn read(pool: &PgPool, from: i64, upto: i64, types: Types) -> Reading {
    #[allow(
        clippy::disallowed_methods,
        reason = "it ends with its page, whoever still waits for it: cut in the middle of a COPY, its connection would be lost"
    )]
    tokio::spawn(one(pool.clone(), from, upto, types))
}

async fn ended(reading: Reading) -> Result<Page, TailError> {
    match reading.await {
        Ok(page) => page,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime ends, and this with it.
        Err(_) => Err(TailError::Database(sqlx::Error::PoolClosed)),
    }
}

async fn one(pool: PgPool, from: i64, upto: i64, types: Types) -> Result<Page, TailError> {
    let far = upto - from > LONG_PAGE;
    let most = if far { LONG_PAGE } else { PAGE };
    let mut conn = pool.acquire().await?;
    let events = match types.filter(|_| far) {
        Some(types) => {
            let types: Vec<&str> = types.into_iter().collect();
            log::log_of(&mut conn, from, upto, &types, most).await?
        }
        None => log::log(&mut conn, from, upto, most).await?,
    };
    drop(conn);
    if far {
        // Here, beside whoever writes the page before. What cannot be read is told to each that asks for it again.
        for event in &events {
            let _ = event.event();
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
