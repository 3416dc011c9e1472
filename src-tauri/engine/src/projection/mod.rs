//! Projections: tables that follow the log, so that the window can read what the events say.
//!
//! Promises: a projection's checkpoint moves in the transaction of its rows, so each event counts once, whoever runs
//! it and however often it is killed; rows are a function of the log, so [`reset`] and a replay give the same ones; an
//! event that cannot be applied parks its projection where everybody sees it, and no other.
//! Must not: decide anything, call anybody, or be needed for a decision.

mod bookings;
mod customer_history;
mod customers;
mod daily_report;
mod delivery_statistics;
mod folded;
mod generation;
mod ledger;
mod pages;
mod people;
mod rates;
mod rebuild;
mod rest;
mod rows;
mod runner;
mod saga_statistics;
mod schedule;
mod timeline;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::store::read::{ReadError, Reads, Recorded};
use crate::store::scan::ScanError;
use crate::store::seal::SealError;

pub use bookings::{payment_word, state_word};
pub use folded::{Folded, beyond};
pub use generation::Generation;
pub use people::{ERASED, People};
pub use rebuild::Rebuilder;
pub use runner::{Tail, pool, run};
pub use watch::watch;

/// A read model: what it is called, what it wants, and how a batch of events changes its rows.
///
/// One is a module here, a line in [`ALL`] and a migration that declares its tables (migrations/0008_generations.sql).
pub struct Projection {
    pub name: &'static str,
    /// Of its rows. Another shape is another version, built beside this one.
    pub version: i32,
    /// `None`: every event of a booking. One that is added is recommended a rebuild for (`folded.rs`). One that is taken away
    /// needs another version: rows that were folded with it would be left alone, as those of a newer build.
    pub event_types: Option<&'static [&'static str]>,
    /// Far behind, no more of an event is read than the projections look at that read the page.
    pub reads: Reads<'static>,
    pub rows: Rows,
    pub apply: Apply,
    /// How a rebuild fills empty tables.
    pub load: Load,
}

/// How a rebuild fills empty tables, where there is a faster way than to apply every event as it came.
pub enum Load {
    Apply,
    /// One statement fills a part: `$1` and `$2` are its streams by number, `[$1, $2)`, `$3` the last position, `$4`
    /// the positions that are passed by. Only for [`Rows::OfBooking`].
    Statement(&'static str),
    /// A part is folded in memory and written at once. Only for [`Rows::OfBooking`].
    Fold(Fold),
}

pub type Fold =
    for<'a> fn(&'a mut PgConnection, &'a Part, &'a People) -> BoxFuture<'a, Result<(), ApplyError>>;

/// Some streams, from their beginning.
#[derive(Debug, Clone)]
pub struct Part {
    /// By number, `[lo, hi)`.
    pub lo: i64,
    pub hi: i64,
    pub upto: i64,
    /// Positions that a person let the projection pass by.
    pub skips: Arc<HashSet<i64>>,
}

/// What a row follows from. It decides how the projection can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Each row has a `booking_id` and follows from that booking's stream (and its customer's registration) alone: it
    /// can be built in parallel, and replayed for one stream or from a position.
    OfBooking,
    /// Rows gather what many streams say. The sentence tells a person why only a replay from zero is true.
    OfMany(&'static str),
}

/// Events come in the order of the log, none twice. Runs in the transaction that also moves the position, and with the
/// generation's schema as its search path: it names its tables without one.
pub type Apply =
    for<'a> fn(&'a mut PgConnection, &'a [&'a Recorded]) -> BoxFuture<'a, Result<(), ApplyError>>;

pub static ALL: [&Projection; 9] = [
    &bookings::PROJECTION,
    &customers::PROJECTION,
    &timeline::PROJECTION,
    &schedule::PROJECTION,
    &customer_history::PROJECTION,
    &ledger::PROJECTION,
    &saga_statistics::PROJECTION,
    &delivery_statistics::PROJECTION,
    &daily_report::PROJECTION,
];

/// What a worker knows how to fill.
pub type Known = &'static [&'static Projection];

/// The projection of that name and shape, as this program knows it.
pub fn known(name: &str, version: i32) -> Option<&'static Projection> {
    among(&ALL, name, version)
}

fn among(all: Known, name: &str, version: i32) -> Option<&'static Projection> {
    all.iter()
        .copied()
        .find(|p| p.name == name && p.version == version)
}

impl Projection {
    pub fn wants(&self, event: &Recorded) -> bool {
        self.event_types
            .is_none_or(|types| types.contains(&event.name.as_str()))
    }

    /// Whether what events of a type say makes no difference to its rows.
    fn ignores_data_of(&self, name: &str) -> bool {
        match self.reads {
            Reads::Whole => false,
            Reads::Said { bare } => {
                bare.contains(&name) || self.event_types.is_some_and(|types| !types.contains(&name))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("an event cannot be read")]
    Event(#[from] ReadError),
    #[error("a customer's data cannot be unsealed")]
    Sealed(#[from] SealError),
    #[error("event {position} belongs to a booking that no event created")]
    NotCreated { position: i64 },
    #[error("the day of an event cannot be told")]
    Zone(#[from] crate::domain::slot::SlotError),
    #[error("the log could not be scanned")]
    Scan(#[from] ScanError),
    #[error("the rows could not be written")]
    Database(#[from] sqlx::Error),
}

impl ApplyError {
    /// Whether the event itself is to blame. A lost connection, a full disk or a missing grant is nobody's poison:
    /// it is tried again for as long as it lasts.
    pub fn is_poison(&self) -> bool {
        match self {
            ApplyError::Database(error)
            | ApplyError::Event(ReadError::Database(error))
            | ApplyError::Scan(ScanError::Database(error))
            | ApplyError::Sealed(SealError::Database(error)) => data_is_wrong(error),
            ApplyError::Scan(ScanError::Damaged(_)) => false,
            ApplyError::Event(_)
            | ApplyError::Sealed(_)
            | ApplyError::Zone(_)
            | ApplyError::Scan(ScanError::UnknownType(_))
            | ApplyError::NotCreated { .. } => true,
        }
    }

    /// The event that is to blame, where it is known.
    pub fn position(&self) -> Option<i64> {
        match self {
            ApplyError::Event(
                ReadError::Unreadable { position, .. } | ReadError::Unreplayable { position, .. },
            )
            | ApplyError::NotCreated { position } => Some(*position),
            _ => None,
        }
    }
}

fn data_is_wrong(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(d) => d.code().is_some_and(|c| {
            // 54000: a value does not fit into an index.
            c == "54000"
                || ["21", "22", "23", "P0"]
                    .iter()
                    .any(|class| c.starts_with(class))
        }),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// Back to position 0 with empty tables, for a replay in place. In the caller's transaction: a running tail that is in
/// the middle of a batch is waited for, and the next one finds its position gone and starts over.
pub async fn reset(conn: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let live: String = sqlx::query_scalar(
        "update read.generations set position = 0, event_at = null, parked = null, folded_with = null, folded_without = '{}', updated_at = now()
          where name = $1 and role = 'live' returning format('p_%s_g%s', name, generation)",
    )
    .bind(name)
    .fetch_one(&mut *conn)
    .await?;
    for table in generation::tables(conn, &live).await? {
        // Both names come from the catalogue and are quoted by it.
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}")))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_event_is_to_blame_for_is_poison() {
        assert!(ApplyError::NotCreated { position: 1 }.is_poison());
        assert!(ApplyError::Sealed(SealError::Damaged).is_poison());
        assert!(!ApplyError::Database(sqlx::Error::PoolTimedOut).is_poison());
        assert!(!ApplyError::Event(ReadError::Database(sqlx::Error::PoolClosed)).is_poison());
    }
}
