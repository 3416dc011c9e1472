//! The tail reader of a process: one look at the log, many projections.
//!
//! Why no event is skipped: the safe position is read in a statement of its own before the events are, and everything
//! at or below it is decided by then (docs/ARCHITECTURE.md). Why none counts twice: the checkpoint's row is locked,
//! compared and moved in the transaction that writes the rows.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::folded::{self, Build};
use super::generation::{self, Role};
use super::pages::{Page, Pages};
use super::rest::Resting;
use super::{ALL, ApplyError, Generation, Known, Projection, rates};
use crate::runtime::bell::Bell;
use crate::runtime::hints::{self, Hints};
use crate::store::read::{self, ReadError, Recorded};
use crate::store::subscription::{self, SubscriptionError};

const IDLE: Duration = Duration::from_secs(1);
/// Pauses between the tries at an event that does not go in.
const TRIES_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Connections that fill read models: they log in as the worker and act as the projector, which can cause nothing.
pub async fn pool(worker: &PgPool, most: u32) -> sqlx::Result<PgPool> {
    let installation: String =
        sqlx::query_scalar("select installation_id from read.installation_v1")
            .fetch_one(worker)
            .await?;
    let to = (*worker.connect_options())
        .clone()
        .application_name("bizing-desk projections")
        .options([("role", format!("bizing_projector_{installation}"))]);
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_secs(10))
        // A rebuild that is stopped leaves a COPY in the middle, and the next statement on that connection would be given
        // what is left of it for an answer. Such a connection is closed.
        .after_release(|conn, _| {
            Box::pin(async move {
                let answer: sqlx::Result<i32> =
                    sqlx::query_scalar("select 1").fetch_one(conn).await;
                Ok(matches!(answer, Ok(1)))
            })
        })
        .connect_with(to)
        .await
}

/// Keeps the read models up to date for as long as the process runs. `pool` logs in as the worker.
pub async fn run(pool: PgPool, bell: Bell, hints: Hints, stop: CancellationToken) {
    let tail = Tail::new(pool, hints);
    let mut rings = bell.listen();
    // Where the proof does not hold, nothing is read: better late than skipped.
    while let Err(error) = tail.may_follow().await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the read models do not follow the log"
        );
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(IDLE * 10) => {}
        }
    }
    loop {
        // Marked before looking: a ring during the round makes another round.
        rings.borrow_and_update();
        rates::write(&tail.pool).await;
        match tail.round().await {
            Ok(true) if !stop.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the read models did not move; trying again"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(IDLE) => continue,
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = rings.changed() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("the log could not be read")]
    Log(#[from] ReadError),
    #[error("projection {name} could not be moved")]
    Projection {
        name: &'static str,
        #[source]
        source: ApplyError,
    },
    #[error("the log cannot be followed")]
    Subscription(#[from] SubscriptionError),
    #[error("the positions could not be read")]
    Database(#[from] sqlx::Error),
}

pub struct Tail {
    /// Rows of other shapes are left to whoever knows them.
    pub known: Known,
    pool: PgPool,
    hints: Hints,
    pages: Pages,
    resting: Resting,
}

/// A generation and what fills it.
struct Follower {
    projection: &'static Projection,
    generation: Generation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// Up to the end of the page.
    Whole,
    /// Somebody else moves it, or it was moved since we looked.
    Elsewhere,
    Parked,
}

impl Tail {
    pub fn new(pool: PgPool, hints: Hints) -> Tail {
        Tail {
            known: &ALL,
            pool,
            hints,
            pages: Pages::default(),
            resting: Resting::default(),
        }
    }

    async fn may_follow(&self) -> Result<(), TailError> {
        let mut conn = self.pool.acquire().await?;
        Ok(subscription::check_assumptions(&mut conn).await?)
    }

    /// One page for each position at which projections stand. `true`: there may be more at once.
    pub async fn round(&self) -> Result<bool, TailError> {
        let mut conn = self.pool.acquire().await?;
        let safe = read::safe_position(&mut conn).await?;
        let mut at: BTreeMap<i64, Vec<Follower>> = BTreeMap::new();
        for mut generation in generation::all(&mut conn).await? {
            let Some(projection) = generation.projection(self.known) else {
                continue;
            };
            if generation.position > safe && !generation.parked {
                self.stop_if_backwards(&mut conn, &generation).await?;
                continue;
            }
            // One that is being built is its rebuild's to move.
            if generation.role == Role::Building {
                continue;
            }
            let at_now = generation.position;
            let build = folded::claim(&mut conn, projection, &mut generation, at_now).await?;
            if build == Build::Ours
                && !generation.parked
                && !generation.paused
                && generation.position < safe
                && !self.resting.rests(&generation)
            {
                at.entry(generation.position).or_default().push(Follower {
                    projection,
                    generation,
                });
            }
        }
        drop(conn);

        let (mut more, mut failed) = (false, None);
        // Those that are nearly up to date first: one that is rebuilt must not keep them waiting. Nor must one that cannot be read.
        for (from, followers) in at.into_iter().rev() {
            match self.page(from, safe, &followers).await {
                Ok(may_be) => more |= may_be,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(more), Err)
    }

    async fn page(&self, from: i64, safe: i64, followers: &[Follower]) -> Result<bool, TailError> {
        let readers: Vec<_> = followers.iter().map(|f| f.projection).collect();
        let page = self.pages.after(&self.pool, from, safe, &readers).await?;
        let moves = followers.iter().map(|f| self.advance(f, &page, from));
        let moves = join_all(moves).await;
        let (full, upto) = (page.full, page.upto);
        self.pages.done_with(page);
        let mut whole = false;
        for (follower, moved) in followers.iter().zip(moves) {
            match moved {
                Ok(moved) => {
                    self.resting.went_on(&follower.generation);
                    whole |= moved == Moved::Whole;
                }
                Err(error) => self.rest(follower, &error).await,
            }
        }
        Ok((full || upto < safe) && whole)
    }

    /// Leaves one alone for a while, and says why where everybody sees it once that is not the first time.
    async fn rest(&self, follower: &Follower, error: &ApplyError) {
        let tries = self.resting.failed(&follower.generation);
        tracing::warn!(
            projection = follower.projection.name,
            generation = follower.generation.generation,
            tries,
            error = error as &dyn std::error::Error,
            "a projection could not be moved; it is tried again later"
        );
        if tries == 1 {
            return;
        }
        let said = sqlx::query("update read.generations set trouble = $4 where name = $1 and generation = $2 and position = $3")
            .bind(&follower.generation.name)
            .bind(follower.generation.generation)
            .bind(follower.generation.position)
            .bind(json!({ "position": follower.generation.position, "error": whole(error) }))
            .execute(&self.pool)
            .await;
        if let Err(error) = said {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "nor could it be said why"
            );
        }
    }

    /// Takes one projection to the end of the page. Where the batch does not go in, halves of it are tried, down to
    /// the one event that does not: with that the projection is parked.
    async fn advance(
        &self,
        follower: &Follower,
        page: &Page,
        mut from: i64,
    ) -> Result<Moved, ApplyError> {
        let upto = page.upto;
        let skips = self.skips(follower, from, upto).await?;
        let wanted: Vec<&Recorded> = page
            .events
            .iter()
            .filter(|e| follower.projection.wants(e) && !skips.contains(&e.position))
            .collect();
        let mut rest = &wanted[..];
        let mut size = rest.len();
        let mut tries = TRIES_AFTER.iter();
        loop {
            let (batch, behind) = rest.split_at(size.min(rest.len()));
            let to = match batch.last() {
                Some(last) if !behind.is_empty() => last.position,
                _ => upto,
            };
            match self.commit(follower, batch, from, to).await {
                Ok(false) => return Ok(Moved::Elsewhere),
                Ok(true) => {
                    if follower.generation.role == Role::Live {
                        rates::add(follower.projection.name, batch.len());
                        self.hint(batch);
                    }
                    if behind.is_empty() {
                        return Ok(Moved::Whole);
                    }
                    (from, rest) = (to, behind);
                }
                Err(error) if !error.is_poison() => return Err(error),
                Err(_) if batch.len() > 1 => size = batch.len() / 2,
                Err(error) => match (tries.next(), batch.first()) {
                    (Some(pause), _) => tokio::time::sleep(*pause).await,
                    (None, Some(event)) => {
                        self.park(follower, event, from, &error).await?;
                        return Ok(Moved::Parked);
                    }
                    (None, None) => return Err(error),
                },
            }
        }
    }

    /// What a person let it pass by. Mostly nothing.
    async fn skips(&self, follower: &Follower, from: i64, upto: i64) -> sqlx::Result<Vec<i64>> {
        if !follower.generation.skips {
            return Ok(vec![]);
        }
        sqlx::query_scalar(
            "select position from read.projection_skips where name = $1 and position > $2 and position <= $3",
        )
        .bind(follower.projection.name)
        .bind(from)
        .bind(upto)
        .fetch_all(&self.pool)
        .await
    }

    /// Brings one generation to a position, page by page, and never past the end of the log: there the next events come to
    /// stand. `false`: it stopped before, parked or in other hands.
    pub(super) async fn follow(
        &self,
        generation: &mut Generation,
        upto: i64,
        mut told: impl FnMut(i64),
    ) -> Result<bool, TailError> {
        let Some(projection) = generation.projection(self.known) else {
            return Ok(false);
        };
        let safe = read::safe_position(&mut *self.pool.acquire().await?).await?;
        let upto = upto.min(safe);
        while generation.position < upto {
            let from = generation.position;
            let page = self
                .pages
                .after(&self.pool, from, upto, &[projection])
                .await?;
            let follower = Follower {
                projection,
                generation: generation.clone(),
            };
            let moved = self.advance(&follower, &page, from).await;
            let moved = moved.map_err(|source| TailError::Projection {
                name: projection.name,
                source,
            })?;
            if moved != Moved::Whole {
                return Ok(false);
            }
            generation.position = page.upto;
            told(page.upto);
            self.pages.done_with(page);
        }
        Ok(true)
    }

    /// Rows and checkpoint in one transaction. `false`: it is not ours to move now.
    async fn commit(
        &self,
        follower: &Follower,
        batch: &[&Recorded],
        from: i64,
        to: i64,
    ) -> Result<bool, ApplyError> {
        let mut tx = crate::store::begin(&self.pool).await?;
        // A crash may take the newest rows, and then it takes the position with them: no need to wait for the disk. Plans
        // are made once and not for each batch anew: rows are found by their keys whatever a batch holds, also where a table
        // was empty when the plan was made.
        let standing: Option<(i64, bool)> = sqlx::query_as(
            "select position, parked is not null or paused_at is not null or folded_with is distinct from $4
               from read.generations, set_config('synchronous_commit', 'off', true) sync, set_config('search_path', $3 || ', pg_catalog', true) path,
                    set_config('plan_cache_mode', 'force_generic_plan', true) plans, set_config('enable_seqscan', 'off', true) by_key
              where name = $1 and generation = $2 for update of generations skip locked",
        )
        .bind(&follower.generation.name)
        .bind(follower.generation.generation)
        .bind(follower.generation.schema())
        .bind(follower.generation.folded_with.as_ref().map(Json))
        .fetch_optional(&mut *tx)
        .await?;
        if standing != Some((from, false)) {
            return Ok(false);
        }
        if !batch.is_empty()
            && let Err(error) = (follower.projection.apply)(&mut tx, batch).await
        {
            // Now, and not when the pool gets to it: the next try must not find the checkpoint still locked by this one.
            let _ = tx.rollback().await;
            return Err(error);
        }
        let event_at: Option<DateTime<Utc>> = batch.last().map(|e| e.recorded_at);
        let moved = sqlx::query(
            "update read.generations set position = $4, event_at = coalesce($5, event_at), updated_at = now()
              where name = $1 and generation = $2 and position = $3",
        )
        .bind(&follower.generation.name)
        .bind(follower.generation.generation)
        .bind(from)
        .bind(to)
        .bind(event_at)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if moved != 1 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Stops the projection before the event, where everybody sees it. It goes on once somebody has cleared this.
    async fn park(
        &self,
        follower: &Follower,
        event: &Recorded,
        from: i64,
        error: &ApplyError,
    ) -> Result<(), ApplyError> {
        tracing::error!(projection = follower.projection.name, generation = follower.generation.generation, event.id = %event.event_id, event.position = event.position,
            error = error as &dyn std::error::Error, "an event does not go into this projection: it is parked");
        sqlx::query("update read.generations set parked = $4, parked_at = now(), updated_at = now() where name = $1 and generation = $2 and position = $3 and parked is null")
            .bind(&follower.generation.name)
            .bind(follower.generation.generation)
            .bind(from)
            .bind(json!({ "position": event.position, "event_id": event.event_id, "event_name": event.name,
                          "schema_version": event.schema_version, "stream_id": event.stream.0, "attempts": TRIES_AFTER.len() + 1, "error": whole(error),
                          "excerpt": excerpt(event.data.text(), error) }))
            .execute(&self.pool)
            .await?;
        self.hints.changed("status");
        Ok(())
    }

    /// A checkpoint above the safe position is either behind a lock that a squatter took below it, which passes, or above a
    /// log that went backwards beneath it: then going on would skip whatever is written at these positions next.
    async fn stop_if_backwards(
        &self,
        conn: &mut PgConnection,
        generation: &Generation,
    ) -> Result<(), TailError> {
        let name = &generation.name;
        let error = match subscription::check_checkpoint(conn, name, generation.position).await {
            Ok(()) => return Ok(()),
            Err(SubscriptionError::Database(error)) => return Err(error.into()),
            Err(error) => error,
        };
        tracing::error!(
            projection = name,
            generation = generation.generation,
            error = &error as &dyn std::error::Error,
            "this projection is parked"
        );
        sqlx::query("update read.generations set parked = $4, parked_at = now(), updated_at = now() where name = $1 and generation = $2 and position = $3 and parked is null")
            .bind(name)
            .bind(generation.generation)
            .bind(generation.position)
            .bind(json!({ "position": generation.position, "error": error.to_string() }))
            .execute(conn)
            .await?;
        self.hints.changed("status");
        Ok(())
    }

    fn hint(&self, batch: &[&Recorded]) {
        if batch.is_empty() {
            return;
        }
        self.hints.changed("status");
        let mut bookings = HashSet::new();
        for event in batch {
            match event.stream.booking() {
                Some(booking) => {
                    bookings.insert(booking);
                    if bookings.len() > hints::MANY {
                        return self.hints.changed(hints::EVERYTHING);
                    }
                }
                None => self.hints.changed("customers"),
            }
        }
        if !bookings.is_empty() {
            self.hints.changed("bookings");
        }
        for booking in bookings {
            self.hints.changed(format!("booking:{booking}"));
        }
    }
}

/// The place in an event's data at which reading it ended, with a mark below.
fn excerpt(data: &str, error: &ApplyError) -> Option<String> {
    const BEFORE: usize = 60;
    const AFTER: usize = 30;
    let ApplyError::Event(ReadError::Unreadable { source, .. }) = error else {
        return None;
    };
    // Of an old version, what was read is no longer the text that stands in the log.
    let end = source
        .column()
        .checked_sub(1)
        .filter(|at| *at < data.len())?;
    let begins = |at: &usize| data.is_char_boundary(*at);
    let at = (0..=end).rev().find(begins)?;
    let from = (0..=at.saturating_sub(BEFORE)).rev().find(begins)?;
    let to = (at + AFTER..data.len()).find(begins).unwrap_or(data.len());
    let mark = data[from..at].chars().count();
    Some(format!("{}\n{}^", &data[from..to], " ".repeat(mark)))
}

/// An error with its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        text.push_str(": ");
        text.push_str(&c.to_string());
        cause = c.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_marks_where_reading_ended() {
        let unreadable = |data: &str| {
            let source = serde_json::from_str::<crate::domain::money::Money>(data).unwrap_err();
            ApplyError::Event(ReadError::Unreadable {
                position: 7,
                name: "PaymentReceived".to_owned(),
                version: 1,
                source,
            })
        };
        let data = "{\"amount_minor\": \"é80\", \"currency\": \"EUR\"}";
        assert_eq!(
            excerpt(data, &unreadable(data)).unwrap(),
            "{\"amount_minor\": \"é80\", \"currency\": \"EUR\"}\n                     ^"
        );
        let long = format!(
            "{{\"note\": \"{}\", \"amount_minor\": true}}",
            "ß".repeat(400)
        );
        let shown = excerpt(&long, &unreadable(&long)).unwrap();
        assert!(
            shown
                .lines()
                .next()
                .unwrap()
                .ends_with("\"amount_minor\": true}"),
            "{shown}"
        );
        assert!(excerpt(data, &ApplyError::NotCreated { position: 7 }).is_none());
    }
}
