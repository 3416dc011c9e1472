//! Ours: the shipped code, under the worker's login.

use bizing_engine::domain::ids::{BookingId, CorrelationId};
use bizing_engine::runtime::ids;
use bizing_engine::store::append::{Append, Context, Expected, append_in};
use bizing_engine::store::committer::Committer;
use chrono::Utc;
use sqlx::{Connection, PgConnection};

use super::payload::{LIFE, event};
use crate::cli::bench::BenchError;
use crate::cli::bench::ground::Ground;
use crate::cli::bench::rounds::Writer;

/// Where a writer stands: it owns its streams, so its expected version is always right.
struct Place {
    booking: BookingId,
    version: i64,
}

impl Place {
    fn new() -> Place {
        Place {
            booking: BookingId(ids::v7()),
            version: 0,
        }
    }

    fn next(&mut self, events: i64) -> Append {
        if self.version >= LIFE {
            *self = Place::new();
        }
        let expected = Expected::Version(self.version);
        let events = (self.version + 1..=self.version + events)
            .map(event)
            .collect::<Vec<_>>();
        self.version += events.len() as i64;
        Append::new(self.booking, expected, events, Utc::now())
    }
}

fn context() -> Context {
    Context {
        correlation: CorrelationId(ids::v7()),
        causation: None,
        on_behalf_of: None,
    }
}

/// A use case whose writes are one statement, which is its own transaction: as bookings and the steps of sagas are written.
pub struct UseCase {
    conn: PgConnection,
    place: Place,
}

impl UseCase {
    pub async fn many(ground: &Ground, n: usize) -> Result<Vec<UseCase>, BenchError> {
        let mut all = vec![];
        for _ in 0..n {
            all.push(UseCase {
                conn: PgConnection::connect_with(&ground.login("worker")).await?,
                place: Place::new(),
            });
        }
        Ok(all)
    }
}

impl Writer for UseCase {
    async fn write(&mut self) -> Result<u64, BenchError> {
        append_in(&mut self.conn, &context(), vec![self.place.next(1)]).await?;
        Ok(1)
    }
}

/// A use case of several statements: the append between `begin` and `commit`.
pub struct Several(UseCase);

impl Several {
    pub async fn many(ground: &Ground, n: usize) -> Result<Vec<Several>, BenchError> {
        let all = UseCase::many(ground, n).await?;
        Ok(all.into_iter().map(Several).collect())
    }
}

impl Writer for Several {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let mut tx = self.0.conn.begin().await?;
        append_in(&mut tx, &context(), vec![self.0.place.next(1)]).await?;
        tx.commit().await?;
        Ok(1)
    }
}

/// A pure append by the committers.
pub struct Group {
    committer: Committer,
    place: Place,
    events: i64,
}

impl Group {
    pub fn many(committer: &Committer, n: usize, events: i64) -> Vec<Group> {
        (0..n)
            .map(|_| Group {
                committer: committer.clone(),
                place: Place::new(),
                events,
            })
            .collect()
    }
}

impl Writer for Group {
    async fn write(&mut self) -> Result<u64, BenchError> {
        let append = self.place.next(self.events);
        self.committer.append(&context(), append).await?;
        Ok(self.events as u64)
    }
}
