//! Asking Stripe what happened: a desk behind a router has no address that Stripe could call.
//!
//! The cursor is the newest event that is kept. A round asks for what came after it. Events can become visible late, out of
//! order, so the last minutes before the cursor are read again once a minute; what is known costs nothing. A cursor that
//! Stripe no longer knows is answered by reading the whole list back, a page a round: a crash goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bizing_stripe::{EventPage, EventRecord, Failure, Stripe};
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};

use super::inbox::{self, Came};

/// What concerns a booking's money. Stripe takes at most 20 types in one question.
pub const TYPES: [&str; 20] = [
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.requires_action",
    "payment_intent.processing",
    "charge.captured",
    "charge.expired",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "checkout.session.completed",
    "checkout.session.expired",
];

const PAGE: u8 = 100;
/// Stripe's clock counts whole seconds, and what it lists may lag behind it.
const OVERLAP_S: i64 = 300;
const OVERLAP_EVERY: Duration = Duration::from_secs(60);
/// What Stripe keeps.
const KEPT_S: i64 = 30 * 86_400;
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

pub struct Poller {
    pub pool: PgPool,
    pub stripe: Arc<Stripe>,
    /// Questions in a row that had no answer.
    pub failures: AtomicU32,
}

#[derive(FromRow)]
struct Cursor {
    cursor: Option<String>,
    cursor_created: Option<DateTime<Utc>>,
    backfill_first: Option<String>,
    backfill_first_created: Option<DateTime<Utc>>,
    backfill_after: Option<String>,
    overlaps: bool,
}

impl Poller {
    /// One round. Returns how long to wait until the next: short while a payment is awaited, longer each time Stripe does not
    /// answer. What was told and cannot be kept is said where people look for it.
    pub async fn round(&self, awaited: Duration, quiet: Duration) -> sqlx::Result<Duration> {
        let done = self.ask(awaited, quiet).await;
        if let Err(error) = &done {
            self.failures.fetch_add(1, Ordering::Relaxed);
            let problem = format!("what Stripe told could not be kept: {error}");
            if let Err(silent) = self.note_problem(&problem, false).await {
                tracing::debug!(
                    error = &silent as &dyn std::error::Error,
                    "that could not be noted either"
                );
            }
        }
        done
    }

    async fn ask(&self, awaited: Duration, quiet: Duration) -> sqlx::Result<Duration> {
        let at = self.cursor().await?;
        let read = if at.backfill_first.is_some() {
            self.read_back(&at).await
        } else {
            self.read_on(&at).await
        };
        let more = match read {
            Ok(page) => page.take(&self.pool, &at).await?,
            // The cursor is older than what Stripe keeps, or of another account.
            Err(Failure::Refused { code, .. }) if code == "resource_missing" && lost(&at) => {
                self.begin_anew().await?;
                true
            }
            Err(failure) => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                let unreached = matches!(failure, Failure::NotSent { .. });
                self.note_problem(&failure.to_string(), unreached).await?;
                let pause = match failure {
                    Failure::Busy {
                        retry_after: Some(pause),
                        ..
                    } => pause,
                    _ => quiet.saturating_mul(2_u32.saturating_pow(failures.min(8))),
                };
                return self.every(pause.clamp(awaited, LONGEST_PAUSE)).await;
            }
        };
        self.failures.store(0, Ordering::Relaxed);
        if more {
            return Ok(Duration::ZERO);
        }
        let waits: bool = sqlx::query_scalar("select exists (select 1 from saga.instance where finished_at is null and state = 'waiting' and await_key like 'stripe:%')")
            .fetch_one(&self.pool)
            .await?;
        self.every(if waits { awaited } else { quiet }).await
    }

    /// Whether its last question had no answer.
    pub fn fails(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0
    }

    /// Whether a person asked for a look since the last one.
    pub async fn asked(&self) -> sqlx::Result<bool> {
        let asked = sqlx::query_scalar(
            "select asked_at > checked_at is true from delivery.poll_cursor where source = 'stripe'",
        );
        Ok(asked.fetch_optional(&self.pool).await? == Some(true))
    }

    async fn cursor(&self) -> sqlx::Result<Cursor> {
        sqlx::query_as(
            "insert into delivery.poll_cursor as c (source, polls) values ('stripe', true)
             on conflict (source) do update set polls = true
             returning cursor, cursor_created, backfill_first, backfill_first_created, backfill_after,
                       c.cursor is not null and c.overlap_at < now() - $1 is not false as overlaps",
        )
        .bind(OVERLAP_EVERY)
        .fetch_one(&self.pool)
        .await
    }

    async fn read_on(&self, at: &Cursor) -> Result<Read, Failure> {
        if let (true, Some(created)) = (at.overlaps, at.cursor_created) {
            let page = self.overlap(created.timestamp() - OVERLAP_S).await?;
            return Ok(Read::Overlap(page));
        }
        self.stripe
            .events_after(at.cursor.as_deref(), &TYPES, PAGE)
            .await
            .map(Read::On)
    }

    /// All of the last minutes: a busy desk has more than a page of them.
    async fn overlap(&self, since: i64) -> Result<EventPage, Failure> {
        let mut all = self.stripe.events_since(since, &TYPES, None).await?;
        while let (true, Some(oldest)) = (all.has_more, all.events.last()) {
            let after = oldest.id.clone();
            let next = self
                .stripe
                .events_since(since, &TYPES, Some(&after))
                .await?;
            all.has_more = next.has_more && !next.events.is_empty();
            all.events.extend(next.events);
        }
        Ok(all)
    }

    async fn read_back(&self, at: &Cursor) -> Result<Read, Failure> {
        let since = Utc::now().timestamp() - KEPT_S;
        self.stripe
            .events_since(
                since,
                &TYPES,
                at.backfill_after
                    .as_deref()
                    .filter(|after| !after.is_empty()),
            )
            .await
            .map(Read::Back)
    }

    /// Sagas that wait look for themselves, so nothing depends on how long this takes.
    async fn begin_anew(&self) -> sqlx::Result<()> {
        tracing::warn!(
            "Stripe no longer knows where its list of events was read up to; all that it keeps is read again"
        );
        sqlx::query("update delivery.poll_cursor set cursor = null, cursor_created = null, backfill_first = '', backfill_after = '' where source = 'stripe'")
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    async fn every(&self, pause: Duration) -> sqlx::Result<Duration> {
        sqlx::query("update delivery.poll_cursor set every_s = $1 where source = 'stripe' and every_s is distinct from $1")
            .bind(i32::try_from(pause.as_secs()).unwrap_or(i32::MAX))
            .execute(&self.pool)
            .await?;
        Ok(pause)
    }

    /// `unreached`: there was no connection, which says something about our own network.
    async fn note_problem(&self, problem: &str, unreached: bool) -> sqlx::Result<()> {
        sqlx::query("update delivery.poll_cursor set checked_at = now(), problem = $1, unreached_at = case when $2 then now() end where source = 'stripe'")
            .bind(problem)
            .bind(unreached)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }
}

fn lost(at: &Cursor) -> bool {
    at.cursor.is_some()
        || at
            .backfill_after
            .as_deref()
            .is_some_and(|after| !after.is_empty())
}

/// What a question was for says what its answer does to the cursor.
enum Read {
    /// After the cursor, oldest first.
    On(EventPage),
    /// The minutes before the cursor, newest first: only kept.
    Overlap(EventPage),
    /// Everything, newest first, a page at a time.
    Back(EventPage),
}

impl Read {
    /// Keeps the events and moves the cursor in one transaction. `true`: there is more at once.
    async fn take(&self, pool: &PgPool, at: &Cursor) -> sqlx::Result<bool> {
        let (Read::On(page) | Read::Overlap(page) | Read::Back(page)) = self;
        let mut tx = crate::store::begin(pool).await?;
        if !page.events.is_empty() {
            inbox::keep(&mut tx, &page.events, Came::Poll).await?;
        }
        let stands = (at.cursor.clone(), at.cursor_created);
        let (cursor, back, more) = match self {
            Read::On(page) => (
                newest(page.events.last()).unwrap_or(stands),
                None,
                page.events.len() >= usize::from(PAGE),
            ),
            // The question that this one came before.
            Read::Overlap(_) => (stands, None, true),
            Read::Back(page) => {
                let first = match at.backfill_first.as_deref() {
                    Some("") | None => newest(page.events.first()),
                    Some(id) => Some((Some(id.to_owned()), at.backfill_first_created)),
                };
                match page.events.last().filter(|_| page.has_more) {
                    Some(oldest) => (
                        stands,
                        Some((first.unwrap_or_default(), oldest.id.clone())),
                        true,
                    ),
                    None => (first.unwrap_or(stands), None, false),
                }
            }
        };
        let (first, after) =
            back.map_or(((None, None), None), |(first, after)| (first, Some(after)));
        sqlx::query(
            "update delivery.poll_cursor
                set cursor = $1, cursor_created = $2, backfill_first = $3, backfill_first_created = $4, backfill_after = $5,
                    overlap_at = case when $6 or overlap_at is null then now() else overlap_at end, checked_at = now(), problem = null, skew_s = coalesce($7, skew_s)
              where source = 'stripe'",
        )
        .bind(cursor.0)
        .bind(cursor.1)
        .bind(first.0)
        .bind(first.1)
        .bind(after)
        .bind(!matches!(self, Read::On(_)))
        .bind(page.answered_at.map(skew))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(more)
    }
}

fn newest(event: Option<&EventRecord>) -> Option<(Option<String>, Option<DateTime<Utc>>)> {
    event.map(|e| (Some(e.id.clone()), DateTime::from_timestamp(e.created, 0)))
}

/// Our clock less theirs. Theirs counts whole seconds, so half a second is theirs on the average.
fn skew(answered_at: i64) -> f64 {
    let ahead = Utc::now().timestamp_millis() as f64 / 1000.0 - (answered_at as f64 + 0.5);
    if ahead.abs() < 1.5 { 0.0 } else { ahead }
}
