//! Pages of the log on their way into projections: while one is written, the next is read and decoded.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::Projection;
use super::runner::TailError;
use crate::store::read::{self as log, Reads, Recorded};

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
pub struct Pages {
    ahead: Mutex<Vec<Ahead>>,
    /// To be freed beside whoever writes the next.
    spent: Mutex<Option<Page>>,
}

struct Ahead {
    from: i64,
    wanted: Wanted,
    reading: Reading,
}

/// What a page holds of the log.
#[derive(Clone, PartialEq)]
struct Wanted {
    /// `None`: every type.
    types: Option<BTreeSet<&'static str>>,
    /// Types of which nobody looks at what they say. `None`: events are whole, and say also who wrote them and why.
    bare: Option<BTreeSet<&'static str>>,
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
        let wanted = Wanted::by(readers);
        let ahead = match self.take(from, &wanted) {
            Some(reading) => Some(ended(reading).await?),
            None => None,
        };
        let page = match ahead.filter(|page| page.upto <= upto) {
            Some(page) => page,
            None => ended(read(pool, from, upto, wanted.clone(), None)).await?,
        };
        let spent = self.spent().take();
        if page.full && upto > page.upto {
            self.read_ahead(pool, page.upto, upto, wanted, spent);
        }
        Ok(page)
    }

    fn read_ahead(&self, pool: &PgPool, from: i64, upto: i64, wanted: Wanted, spent: Option<Page>) {
        let mut ahead = self.held();
        ahead.retain(|a| a.from != from);
        if ahead.len() == AHEAD {
            ahead.remove(0);
        }
        ahead.push(Ahead {
            from,
            reading: read(pool, from, upto, wanted.clone(), spent),
            wanted,
        });
    }

    fn take(&self, from: i64, wanted: &Wanted) -> Option<Reading> {
        let mut ahead = self.held();
        let fits = |a: &Ahead| a.from == from && a.wanted == *wanted;
        let at = ahead.iter().position(fits)?;
        Some(ahead.remove(at).reading)
    }

    fn held(&self) -> MutexGuard<'_, Vec<Ahead>> {
        self.ahead.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Some hundred thousand pieces of memory: given back while the next page is read, not before it is written.
    pub fn done_with(&self, page: Page) {
        if page.full {
            *self.spent() = Some(page);
        }
    }

    fn spent(&self) -> MutexGuard<'_, Option<Page>> {
        self.spent.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Wanted {
    fn by(readers: &[&'static Projection]) -> Wanted {
        let types: Option<Vec<_>> = readers.iter().map(|p| p.event_types).collect();
        let bare: Option<Vec<_>> = readers
            .iter()
            .map(|p| match p.reads {
                Reads::Whole => None,
                Reads::Said { bare } => Some(bare),
            })
            .collect();
        let nobodys = |name: &&str| readers.iter().all(|p| p.ignores_data_of(name));
        Wanted {
            types: types.map(|types| types.concat().into_iter().collect()),
            bare: bare.map(|bare| bare.concat().into_iter().filter(nobodys).collect()),
        }
    }
}

fn read(pool: &PgPool, from: i64, upto: i64, wanted: Wanted, spent: Option<Page>) -> Reading {
    let pool = pool.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "it ends with its page, whoever still waits for it: cut in the middle of a COPY, its connection would be lost"
    )]
    tokio::spawn(async move {
        drop(spent);
        one(pool, from, upto, wanted).await
    })
}

async fn ended(reading: Reading) -> Result<Page, TailError> {
    match reading.await {
        Ok(page) => page,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime ends, and this with it.
        Err(_) => Err(TailError::Database(sqlx::Error::PoolClosed)),
    }
}

async fn one(pool: PgPool, from: i64, upto: i64, wanted: Wanted) -> Result<Page, TailError> {
    let far = upto - from > LONG_PAGE;
    let most = if far { LONG_PAGE } else { PAGE };
    let mut conn = pool.acquire().await?;
    let events = if far {
        let list = |set: BTreeSet<&'static str>| set.into_iter().collect::<Vec<_>>();
        let (types, bare) = (wanted.types.map(list), wanted.bare.map(list));
        let reads = match &bare {
            None => Reads::Whole,
            Some(bare) => Reads::Said { bare },
        };
        log::log_of(&mut conn, from, upto, types.as_deref(), reads, most).await?
    } else {
        log::log(&mut conn, from, upto, most).await?
    };
    drop(conn);
    if far {
        // Here, beside whoever writes the page before. What cannot be read is told to each that asks for it again.
        for event in events.iter().filter(|e| !e.is_bare()) {
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
