//! Reading the log as a person does: what matches, a page at a time, from either end.
//!
//! Promises: a page starts at a position and not at an offset, so it is cheap wherever it lies; nothing above the safe
//! position is shown, so that no page ever misses an event that appears later below it; what no index answers is looked
//! for stretch by stretch, and a look that has taken long enough says how far it came, so that the next one goes on there.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::read::{ReadError, Recorded, all_recorded};
use crate::domain::ids::StreamId;

/// Everything that is given must hold; nothing given means the whole log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these names.
    pub types: Vec<String>,
    pub stream: Option<StreamId>,
    pub category: Option<String>,
    pub correlation: Option<Uuid>,
    pub causation: Option<Uuid>,
    /// For whom it was written: the person in whose name a worker wrote it, else the login that did.
    pub actor: Option<String>,
    /// Recorded in `[from, to)`.
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// SQL/JSON path over the stored data: a predicate (`$.price.amount_minor > 10000`) that holds, or a path
    /// (`$.resources[*] ? (@.unit == 2)`) that finds something.
    pub json_path: Option<String>,
}

/// Where a page begins and which way it goes. Events come in the order in which they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Older than the position, newest first.
    Before(i64),
    /// Newer than the position, oldest first.
    After(i64),
}

impl Way {
    pub const NEWEST: Way = Way::Before(i64::MAX);
    pub const OLDEST: Way = Way::After(0);
}

#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    #[error("`{path}` is not an SQL/JSON path: {why}")]
    Path { path: String, why: String },
    #[error("looking through the log took longer than {} s", .0.as_secs())]
    TooSlow(Duration),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the log could not be read")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for BrowseError {
    fn from(error: sqlx::Error) -> BrowseError {
        let code = error.as_database_error().and_then(|e| e.code());
        match code.as_deref() {
            Some("57014") => BrowseError::TooSlow(LONGEST),
            _ => BrowseError::Database(error),
        }
    }
}

/// A statement takes no longer.
pub const LONGEST: Duration = Duration::from_secs(10);

/// How much of the log one look goes through where no index answers the filter.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Positions of the first stretch. Those that follow are as long as what was learned from it.
    pub stretch: i64,
    /// After that much time the look ends with the stretch that it is in.
    pub time: Duration,
}

impl Effort {
    /// Somebody waits, and is told how far it is.
    pub const WHILE_WAITING: Effort = Effort {
        stretch: 20_000,
        time: Duration::from_secs(1),
    };
}

/// A stretch is never shorter, nor longer.
const STRETCHES: (i64, i64) = (1_000, 2_000_000);

/// What a look found.
#[derive(Debug)]
pub struct Looked {
    /// One more than was asked for where there are more.
    pub events: Vec<Recorded>,
    /// `Some`: it ended before it had found enough or had come to the end. All on this side of it was looked at: with this
    /// for its position, the same [`Way`] goes on.
    pub stopped: Option<i64>,
}
/// Positions follow recorded times but for this much: longer than an append waits for a stream, or a clock is set back.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);
/// Events that [`below`] looks at, at most.
const LOOKED_AT: i64 = 20_000;

/// Events that match, one more than `limit` where there are more. `upto` comes from [`super::read::safe_position`], in a
/// statement of its own before this. In a transaction of the caller's, which is cut off after [`LONGEST`].
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    way: Way,
    upto: i64,
    limit: i64,
) -> Result<Vec<Recorded>, BrowseError> {
    limit_time(conn).await?;
    let Some(found) = Found::new(conn, filter, upto).await? else {
        return Ok(vec![]);
    };
    found
        .read(conn, way, found.bounds(way), limit.saturating_add(1))
        .await
}

/// The same, no further than `effort` goes: see [`Looked::stopped`].
pub async fn look(
    conn: &mut PgConnection,
    filter: &Filter,
    way: Way,
    upto: i64,
    limit: i64,
    effort: Effort,
) -> Result<Looked, BrowseError> {
    limit_time(conn).await?;
    let mut looked = Looked {
        events: vec![],
        stopped: None,
    };
    let Some(found) = Found::new(conn, filter, upto).await? else {
        return Ok(looked);
    };
    let (above, upto) = found.bounds(way);
    let wanted = limit.saturating_add(1);
    if !found.searches() {
        looked.events = found.read(conn, way, (above, upto), wanted).await?;
        return Ok(looked);
    }
    let (began, mut stretch) = (Instant::now(), effort.stretch.max(1));
    // Above `low` and up to `high` nobody has looked yet.
    let (mut low, mut high) = (above, upto);
    while low < high {
        let of = match way {
            Way::Before(_) => (low.max(high.saturating_sub(stretch)), high),
            Way::After(_) => (low, high.min(low.saturating_add(stretch))),
        };
        let stretch_began = Instant::now();
        let left = wanted - looked.events.len() as i64;
        let more = found.read(conn, way, of, left).await?;
        looked.events.extend(more);
        if looked.events.len() as i64 == wanted {
            return Ok(looked);
        }
        match way {
            Way::Before(_) => high = of.0,
            Way::After(_) => low = of.1,
        }
        if low < high && began.elapsed() >= effort.time {
            looked.stopped = Some(match way {
                Way::Before(_) => high + 1,
                Way::After(_) => low,
            });
            break;
        }
        // Some eight stretches to a look: few enough to cost nothing, and the last one does not overrun it by much.
        let took = stretch_began.elapsed();
        if took < effort.time / 8 {
            stretch = stretch.saturating_mul(2).min(STRETCHES.1);
        } else if took > effort.time / 3 {
            stretch = (stretch / 2).max(STRETCHES.0);
        }
    }
    Ok(looked)
}

/// When the last event at or below a position was recorded: how far back a look has come.
pub async fn time_at(
    conn: &mut PgConnection,
    position: i64,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar(
        "select recorded_at from read.log_v1 where position <= $1 order by position desc limit 1",
    )
    .bind(position)
    .fetch_optional(conn)
    .await
}

/// The plan of [`page`], for tests that ask whether an index is used.
pub async fn explain(
    conn: &mut PgConnection,
    filter: &Filter,
    way: Way,
    upto: i64,
    limit: i64,
) -> Result<String, BrowseError> {
    let Some(found) = Found::new(conn, filter, upto).await? else {
        return Ok(String::new());
    };
    let mut query = QueryBuilder::new("explain (analyze, timing off, costs off) ");
    found.push(&mut query, way, found.bounds(way), limit.saturating_add(1));
    let rows = query.build().persistent(false).fetch_all(conn).await?;
    let lines: Vec<String> = rows
        .iter()
        .map(|r| r.try_get(0))
        .collect::<Result<_, _>>()?;
    Ok(lines.join("\n"))
}

/// How many match, where an index answers that: of one stream or one conversation. `None`: it would read the log.
pub async fn count(
    conn: &mut PgConnection,
    filter: &Filter,
    upto: i64,
) -> Result<Option<i64>, BrowseError> {
    if filter.stream.is_none() && filter.correlation.is_none() && filter.causation.is_none() {
        return Ok(None);
    }
    let Some(found) = Found::new(conn, filter, upto).await? else {
        return Ok(Some(0));
    };
    if !found.narrow() {
        return Ok(None);
    }
    let mut query = QueryBuilder::new("select count(*) from read.log_v1 e");
    found.push_where(&mut query, found.bounds(Way::NEWEST));
    let row = query.build().persistent(false).fetch_one(conn).await?;
    Ok(Some(row.try_get(0)?))
}

/// The path, when the server can read it. Outside of a transaction that matters: a refusal aborts it.
pub async fn check_path(conn: &mut PgConnection, path: &str) -> Result<(), BrowseError> {
    let checked = sqlx::query("select jsonb_path_exists('{}', $1::text::jsonpath, '{}', true)")
        .bind(path)
        .execute(conn)
        .await;
    match checked {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error))
            if error
                .code()
                .is_some_and(|c| c.starts_with("42") || c.starts_with("22")) =>
        {
            Err(BrowseError::Path {
                path: path.to_owned(),
                why: error.message().replace(" of jsonpath input", ""),
            })
        }
        Err(error) => Err(error.into()),
    }
}

async fn limit_time(conn: &mut PgConnection) -> Result<(), BrowseError> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(LONGEST.as_millis().to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// A filter in the numbers that the log is kept by.
struct Found<'a> {
    filter: &'a Filter,
    types: Option<Vec<i32>>,
    /// Number, first and last position.
    stream: Option<(i64, i64, i64)>,
    /// Conversations that an event caused by this can be in.
    conversations: Option<Vec<Uuid>>,
    above: i64,
    upto: i64,
}

impl<'a> Found<'a> {
    /// `None`: nothing can match.
    async fn new(
        conn: &mut PgConnection,
        filter: &'a Filter,
        upto: i64,
    ) -> Result<Option<Found<'a>>, BrowseError> {
        let types: Option<Vec<i32>> = match &filter.types[..] {
            [] => None,
            names => Some(
                sqlx::query_scalar("select type_no from read.event_types_v1 where name = any($1)")
                    .bind(names)
                    .fetch_all(&mut *conn)
                    .await?,
            ),
        };
        let mut stream = None;
        if let Some(id) = &filter.stream {
            stream = sqlx::query_as(
                "select stream_no, first_position, last_position from read.streams_v1 where stream_id = $1 and version > 0",
            )
            .bind(&id.0)
            .fetch_optional(&mut *conn)
            .await?;
            if stream.is_none() {
                return Ok(None);
            }
        }
        let mut conversations: Option<Vec<Uuid>> = None;
        if let Some(cause) = filter.causation {
            let caused = caused_by(conn, cause).await?;
            conversations = Some(caused).filter(|c| !c.is_empty());
        }
        let mut found = Found {
            filter,
            types,
            stream,
            conversations,
            above: 0,
            upto,
        };
        if let Some(from) = filter.from {
            found.above = position_at(conn, from - OVERLAP).await?;
        }
        if let Some(to) = filter.to {
            found.upto = upto.min(position_at(conn, to + OVERLAP).await?);
        }
        let nothing = found.types.as_ref().is_some_and(Vec::is_empty);
        Ok((!nothing).then_some(found))
    }

    /// Whether an index leaves only a few events.
    fn narrow(&self) -> bool {
        self.stream.is_some() || self.filter.correlation.is_some() || self.conversations.is_some()
    }

    /// Whether what matches can only be found by looking at one event after the other.
    fn searches(&self) -> bool {
        let f = self.filter;
        let by_content = f.actor.is_some() || f.category.is_some() || f.json_path.is_some();
        !self.narrow() && (by_content || f.causation.is_some())
    }

    /// Above the first, up to the second: where what matches can stand.
    fn bounds(&self, way: Way) -> (i64, i64) {
        let (mut above, mut upto) = (self.above, self.upto);
        match way {
            Way::Before(position) => upto = upto.min(position.saturating_sub(1)),
            Way::After(position) => above = above.max(position),
        }
        if let Some((_, first, last)) = self.stream {
            above = above.max(first - 1);
            upto = upto.min(last);
        }
        (above, upto)
    }

    async fn read(
        &self,
        conn: &mut PgConnection,
        way: Way,
        of: (i64, i64),
        rows: i64,
    ) -> Result<Vec<Recorded>, BrowseError> {
        let mut query = QueryBuilder::new("");
        self.push(&mut query, way, of, rows);
        // Not kept: a plan made without the values would not know how many rows a filter leaves.
        let rows = query.build().persistent(false).fetch_all(conn).await?;
        Ok(all_recorded(&rows)?)
    }

    fn push(&self, query: &mut QueryBuilder<Postgres>, way: Way, of: (i64, i64), rows: i64) {
        let order = match way {
            Way::Before(_) => " order by e.position desc",
            Way::After(_) => " order by e.position",
        };
        query.push(
            "select s.stream_id, e.position, e.version, e.type_no, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id,
                    e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data from (select e.* from ",
        );
        match &self.types {
            // Each type has its own way through its index, chosen by how many there are of it; together they are merged and cut.
            Some(types) if !self.narrow() => {
                for (n, type_no) in types.iter().enumerate() {
                    query.push(if n == 0 { "((" } else { " union all (" });
                    query.push("select e.* from read.log_v1 e");
                    self.push_where(query, of);
                    query.push(" and e.type_no = ").push_bind(*type_no);
                    query.push(order).push(" limit ").push_bind(rows);
                    query.push(")");
                }
                query.push(") e");
            }
            _ => {
                query.push("read.log_v1 e");
                self.push_where(query, of);
            }
        }
        query
            .push(order)
            .push(" limit ")
            .push_bind(rows)
            .push(") e join read.streams_v1 s on s.stream_no = e.stream_no join read.event_types_v1 t on t.type_no = e.type_no")
            .push(order);
    }

    fn push_where(&self, query: &mut QueryBuilder<Postgres>, (above, upto): (i64, i64)) {
        query.push(" where e.position > ").push_bind(above);
        query.push(" and e.position <= ").push_bind(upto);
        if let Some((stream_no, ..)) = self.stream {
            query.push(" and e.stream_no = ").push_bind(stream_no);
        }
        if let (Some(types), true) = (&self.types, self.narrow()) {
            query.push(" and e.type_no = any(").push_bind(types.clone());
            query.push(")");
        }
        let filter = self.filter;
        if let Some(id) = filter.correlation {
            query.push(" and e.correlation_id = ").push_bind(id);
        }
        if let Some(ids) = &self.conversations {
            query
                .push(" and e.correlation_id = any(")
                .push_bind(ids.clone());
            query.push(")");
        }
        if let Some(id) = filter.causation {
            query.push(" and e.causation_id = ").push_bind(id);
        }
        if let Some(actor) = &filter.actor {
            query
                .push(" and coalesce(e.metadata->>'on_behalf_of', e.actor::text) = ")
                .push_bind(actor.clone());
        }
        if let Some(category) = &filter.category {
            // Asked of each event as it is met: a join would read the log before it is cut.
            query
                .push(" and (select s.category from read.streams_v1 s where s.stream_no = e.stream_no) = ")
                .push_bind(category.clone());
        }
        if let Some(from) = filter.from {
            query.push(" and e.recorded_at >= ").push_bind(from);
        }
        if let Some(to) = filter.to {
            query.push(" and e.recorded_at < ").push_bind(to);
        }
        if let Some(path) = &filter.json_path {
            query
                .push(" and coalesce(jsonb_path_query_first(e.data, ")
                .push_bind(path.clone())
                .push("::text::jsonpath, '{}', true) not in ('false', 'null'), false)");
        }
    }
}

/// The conversations of what can cause events: an event, a saga, what was asked of a saga, or the command that made a
/// stream. There is no index by cause, since a conversation is short and has one.
async fn caused_by(conn: &mut PgConnection, cause: Uuid) -> Result<Vec<Uuid>, BrowseError> {
    Ok(sqlx::query_scalar(
        "select correlation_id from read.log_v1 where event_id = $1
         union select correlation_id from read.sagas_v1 where saga_id = $1
         union select i.correlation_id from read.saga_commands_v1 c join read.sagas_v1 i using (saga_id) where c.command_id = $1
         union select e.correlation_id from read.streams_v1 s join read.log_v1 e on e.position = s.first_position
                where s.stream_id = 'booking-' || $1::text",
    )
    .bind(cause)
    .fetch_all(conn)
    .await?)
}

/// A position above which everything stands that was recorded at or after a time, and as little else as can be told from
/// the events around it. Times and positions rise together but for `OVERLAP`: who waited for a stream to append to it was
/// recorded when it began to wait.
pub async fn below(conn: &mut PgConnection, time: DateTime<Utc>) -> sqlx::Result<i64> {
    let surely = position_at(conn, time - OVERLAP).await?;
    // The first that is as young, where it is near. Else some older ones are taken along.
    sqlx::query_scalar(
        "select coalesce(min(position) filter (where recorded_at >= $2) - 1, case when count(*) < $3 then max(position) end, $1)
           from (select position, recorded_at from read.log_v1 where position > $1 order by position limit $3) e",
    )
    .bind(surely)
    .bind(time)
    .bind(LOOKED_AT)
    .fetch_one(conn)
    .await
}

/// The last position that was recorded at or before a time; 0 before the first. Where to look, not what is there.
pub async fn position_at(conn: &mut PgConnection, time: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar("select api.position_at($1)")
        .bind(time)
        .fetch_one(conn)
        .await
}
