//! For a window: notices that the read models moved, whoever moved them, and says what to fetch again.
//!
//! The bell only makes it faster. With the listener cut, a commit of another process still shows within two seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool, Row};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::runtime::bell::Bell;
use crate::runtime::hints::Hints;

/// One question, and the one whether its connection lives: a window that only shows costs little.
const LOOK_EVERY: Duration = Duration::from_millis(1500);
/// The ring comes with the commit, the projection a moment later.
const AFTER_RING: Duration = Duration::from_millis(30);
/// A busy desk rings without end, and nobody reads faster.
const APART: Duration = Duration::from_millis(100);
/// More bookings than this at once mean "everything".
const MANY: usize = 64;
/// More positions than this are not even looked through.
const LOOKED_THROUGH: i64 = 2_000;

/// `pool` logs in as the person.
pub async fn watch(pool: PgPool, bell: Bell, hints: Hints, stop: CancellationToken) {
    let mut seen = Seen::default();
    let mut rings = bell.listen();
    loop {
        rings.borrow_and_update();
        let looked = Instant::now();
        // What moves while nobody listens, or while a look fails, is found by the next: what was seen is still the old.
        if hints.heard() {
            match seen.look(&pool).await {
                Ok(topics) => topics.into_iter().for_each(|t| hints.changed(t)),
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "could not see whether anything moved"
                ),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = rings.changed() => {
                tokio::time::sleep_until((Instant::now() + AFTER_RING).max(looked + APART)).await;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// What was seen at the last look.
#[derive(Default)]
struct Seen {
    positions: Option<HashMap<String, (i64, i32, bool)>>,
    sagas: BTreeMap<Uuid, DateTime<Utc>>,
    sagas_until: Option<DateTime<Utc>>,
    /// What their page shows beside them: decisions for many, what waits for a second person, cases, stopped providers.
    saga_marks: Option<Value>,
    /// The newest arrival, how many wait to be processed, when the provider was asked last.
    inbox: Option<(Option<i64>, i64, Option<DateTime<Utc>>)>,
}

impl Seen {
    async fn look(&mut self, pool: &PgPool) -> sqlx::Result<BTreeSet<String>> {
        let mut conn = pool.acquire().await?;
        // A saga that waits, retries or parks leaves no event. Its row says when it last changed; transactions that began
        // earlier may end later, so each look goes back a few seconds and leaves out what it knows. No index holds the time of the
        // change, which every step writes: what lives is few, and what is over has an index of its own.
        let rows = sqlx::query(
            "select name || '@' || version as name, position, generation, parked is not null as parked, now() as looked_at,
                    (select max(arrival_id) from read.arrivals_v1) as arrivals, (select count(*) from read.inbox_v1 where processed_at is null) as unprocessed,
                    (select max(checked_at) from read.inbox_sources_v1) as polled_at, (select marks from read.saga_marks_v1) as marks,
                    (select jsonb_agg(jsonb_build_array(x.saga_id, x.booking_id, x.updated_at)) from (
                       (select s.saga_id, s.booking_id, s.updated_at from read.sagas_v1 s
                         where s.finished_at is null and s.updated_at > coalesce($1, now()) - interval '5 seconds'
                         order by s.updated_at desc limit 500)
                       union all
                       (select s.saga_id, s.booking_id, s.updated_at from read.sagas_v1 s
                         where s.finished_at > coalesce($1, now()) - interval '5 seconds'
                         order by s.finished_at desc limit 500)) x) as sagas
               from read.checkpoints",
        )
        .bind(self.sagas_until)
        .fetch_all(&mut *conn)
        .await?;
        let mut topics = self.projections(&mut conn, &rows).await?;
        if let Some(row) = rows.first() {
            self.sagas(row, &mut topics)?;
        }
        Ok(topics)
    }

    async fn projections(
        &mut self,
        conn: &mut PgConnection,
        rows: &[PgRow],
    ) -> sqlx::Result<BTreeSet<String>> {
        let mut now = HashMap::new();
        let mut topics = BTreeSet::new();
        for row in rows {
            now.insert(
                row.try_get::<String, _>("name")?,
                (
                    row.try_get("position")?,
                    row.try_get("generation")?,
                    row.try_get("parked")?,
                ),
            );
        }
        if let Some(row) = rows.first() {
            let inbox = Some((
                row.try_get("arrivals")?,
                row.try_get("unprocessed")?,
                row.try_get("polled_at")?,
            ));
            if self.inbox.is_some() && self.inbox != inbox {
                topics.insert("inbox".to_owned());
            }
            self.inbox = inbox;
        }
        let Some(before) = &self.positions else {
            // The first look: the window has just fetched everything by itself.
            self.positions = Some(now);
            return Ok(topics);
        };
        let (mut from, mut to) = (i64::MAX, 0);
        for (name, &(position, generation, parked)) in &now {
            let (was, was_generation, was_parked) =
                before.get(name).copied().unwrap_or((0, generation, false));
            if parked != was_parked {
                topics.insert("status".to_owned());
            }
            if position < was || generation != was_generation {
                // Other rows than before: it was rebuilt, or starts over.
                topics.insert("*".to_owned());
            } else if position > was {
                (from, to) = (from.min(was), to.max(position));
            }
        }
        if to > from {
            topics.extend(changed(conn, from, to).await?);
        }
        self.positions = Some(now);
        Ok(topics)
    }

    fn sagas(&mut self, row: &PgRow, topics: &mut BTreeSet<String>) -> sqlx::Result<()> {
        let first = self.sagas_until.is_none();
        self.sagas_until = row.try_get("looked_at")?;
        let changed: Option<Json<Vec<Changed>>> = row.try_get("sagas")?;
        let mut known = BTreeMap::new();
        for (saga, booking, updated) in changed.map(|all| all.0).unwrap_or_default() {
            if !first && self.sagas.get(&saga) != Some(&updated) {
                topics.insert("bookings".to_owned());
                topics.insert("sagas".to_owned());
                topics.insert("status".to_owned());
                topics.extend(booking.map(|b| format!("booking:{b}")));
            }
            known.insert(saga, updated);
        }
        self.sagas = known;
        let marks = Some(row.try_get("marks")?);
        if !first && self.saga_marks != marks {
            topics.insert("sagas".to_owned());
            topics.insert("status".to_owned());
        }
        self.saga_marks = marks;
        Ok(())
    }
}

/// A saga, its booking, and when it last changed.
type Changed = (Uuid, Option<Uuid>, DateTime<Utc>);

/// What to fetch again after the log moved from one position to another.
async fn changed(conn: &mut PgConnection, from: i64, to: i64) -> sqlx::Result<BTreeSet<String>> {
    let everything = || BTreeSet::from(["*".to_owned()]);
    if to - from > LOOKED_THROUGH {
        return Ok(everything());
    }
    let streams: Vec<String> = sqlx::query_scalar(
        "select distinct stream_id from read.events_v1 where position > $1 and position <= $2 limit $3",
    )
    .bind(from)
    .bind(to)
    .bind(MANY as i64 + 1)
    .fetch_all(conn)
    .await?;
    if streams.len() > MANY {
        return Ok(everything());
    }
    let mut topics = BTreeSet::from(["status".to_owned()]);
    for stream in streams {
        match stream.strip_prefix("booking-") {
            Some(booking) => {
                topics.insert("bookings".to_owned());
                topics.insert(format!("booking:{booking}"));
            }
            None => {
                topics.insert("customers".to_owned());
            }
        }
    }
    Ok(topics)
}
