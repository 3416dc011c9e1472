//! Much of the log at once, whole: by binary COPY, without a row object for each event, and with the name of a stream
//! asked for once and not for each of its events.

use std::collections::HashMap;
use std::sync::OnceLock;

use futures_util::TryStreamExt;
use sqlx::PgConnection;

use super::copy::{self, Damaged, Fields};
use super::read::Recorded;
use super::scan::{self, Kind};
use crate::domain::ids::StreamId;

/// Events of all streams with `after < position <= upto`, in order.
pub async fn read(
    conn: &mut PgConnection,
    after: i64,
    upto: i64,
    limit: i64,
) -> sqlx::Result<Vec<Recorded>> {
    // Read after the safe position was: whatever stands below that is of a type that was registered before.
    let kinds = scan::kinds(conn).await?;
    // COPY takes no parameters; these are numbers.
    let sql = format!(
        "copy (select stream_no, position, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata, data
                 from core.events where position > {after} and position <= {upto} order by position limit {limit}) to stdout (format binary)"
    );
    let mut page: Vec<(i64, Recorded)> = vec![];
    let mut reader = copy::Reader::default();
    let mut stream = conn.copy_out_raw(&sql).await?;
    while let Some(chunk) = stream.try_next().await? {
        reader
            .feed(&chunk, |fields| {
                page.push(recorded(fields, &kinds)?);
                Ok(())
            })
            .map_err(|damaged| sqlx::Error::Protocol(damaged.to_string()))?;
    }
    drop(stream);
    named(conn, page).await
}

fn recorded(mut fields: Fields<'_>, kinds: &[Option<Kind>]) -> Result<(i64, Recorded), Damaged> {
    let (stream_no, position, version) = (fields.bigint()?, fields.bigint()?, fields.bigint()?);
    let kind = usize::try_from(fields.int()?).ok();
    let kind = kind.and_then(|no| kinds.get(no)?.as_ref());
    let kind = kind.ok_or(Damaged("an event has a type that is not registered"))?;
    let recorded = Recorded {
        stream: StreamId(String::new()),
        position,
        version,
        name: kind.name.clone(),
        schema_version: kind.schema_version,
        event_id: fields.uuid()?,
        correlation_id: fields.uuid()?,
        causation_id: fields.uuid_or_null()?,
        occurred_at: fields.time()?,
        recorded_at: fields.time()?,
        actor: fields.text()?.to_owned(),
        metadata: fields.json()?.into(),
        data: fields.json()?.into(),
        reader: kind.reader,
        event: OnceLock::new(),
    };
    Ok((stream_no, recorded))
}

/// With the streams' names.
async fn named(conn: &mut PgConnection, page: Vec<(i64, Recorded)>) -> sqlx::Result<Vec<Recorded>> {
    let mut numbers: Vec<i64> = page.iter().map(|(no, _)| *no).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let names: Vec<(i64, String)> =
        sqlx::query_as("select stream_no, stream_id from core.streams where stream_no = any($1)")
            .bind(&numbers)
            .fetch_all(conn)
            .await?;
    let names: HashMap<i64, String> = names.into_iter().collect();
    page.into_iter()
        .map(|(no, mut recorded)| {
            let name = names.get(&no).ok_or_else(|| {
                sqlx::Error::Protocol(format!("stream {no} has events and no row of its own"))
            })?;
            recorded.stream = StreamId(name.clone());
            Ok(recorded)
        })
        .collect()
}
