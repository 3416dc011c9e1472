//! Much of the log at once, whole: by binary COPY, without a row object for each event, and with the name of a stream
//! asked for once and not for each of its events.

use std::collections::HashMap;
use std::sync::OnceLock;

use futures_util::TryStreamExt;
use sqlx::PgConnection;

use super::copy::{self, Damaged, Fields};
use super::read::{Reads, Recorded, Streams};
use super::scan::{self, Kind};
use crate::domain::ids::StreamId;

/// Events of all streams with `after < position <= upto`, in order; of these types, or of all.
pub async fn log(
    conn: &mut PgConnection,
    after: i64,
    upto: i64,
    types: Option<&[&str]>,
    reads: Reads<'_>,
    limit: i64,
) -> sqlx::Result<Vec<Recorded>> {
    let which = format!("position > {after} and position <= {upto}");
    let page = read(conn, &which, types, reads, "position", limit).await?;
    Ok(page.into_iter().map(|(_, recorded)| recorded).collect())
}

/// Events stream by stream, each in its order, with the stream's number; of these types, or of all.
pub async fn streams(
    conn: &mut PgConnection,
    which: Streams,
    types: Option<&[&str]>,
    limit: i64,
) -> sqlx::Result<Vec<(i64, Recorded)>> {
    let Streams {
        from,
        after_version,
        before,
        upto,
        only_of,
    } = which;
    let only_of = only_of.map_or(String::new(), |rebuild| {
        format!(
            " and exists (select 1 from read.rebuild_streams x where x.rebuild_id = '{rebuild}' and x.stream_no = events.stream_no)"
        )
    });
    let which = format!(
        "stream_no >= {from} and (stream_no, version) > ({from}, {after_version}) and stream_no < {before} and position <= {upto}{only_of}"
    );
    read(
        conn,
        &which,
        types,
        Reads::Whole,
        "stream_no, version",
        limit,
    )
    .await
}

/// `which` and `order` are made here, of numbers: COPY takes no parameters.
async fn read(
    conn: &mut PgConnection,
    which: &str,
    types: Option<&[&str]>,
    reads: Reads<'_>,
    order: &str,
    limit: i64,
) -> sqlx::Result<Vec<(i64, Recorded)>> {
    // Read after the safe position was: whatever stands below that is of a type that was registered before.
    let kinds = scan::kinds(conn).await?;
    let types = types.map_or(String::new(), |types| {
        let these = |kind: &Kind| types.contains(&kind.name.as_str());
        format!(" and type_no in ({})", scan::numbers(&kinds, these))
    });
    let rest = match reads {
        Reads::Whole => "causation_id, occurred_at, recorded_at, actor, metadata, data".to_owned(),
        // Of a type or version that this program does not know, all is read: it must not pass over what it cannot read.
        Reads::Said { bare } => {
            let these = |kind: &Kind| kind.reader.is_ok() && bare.contains(&kind.name.as_str());
            format!(
                "null::uuid, occurred_at, recorded_at, '', null::jsonb, case when type_no not in ({}) then data end",
                scan::numbers(&kinds, these)
            )
        }
    };
    let sql = format!(
        "copy (select stream_no, position, version, type_no, event_id, correlation_id, {rest}
                 from core.events where {which}{types} order by {order} limit {limit}) to stdout (format binary)"
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
    name(conn, &mut page).await?;
    Ok(page)
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
        metadata: fields.json_or_null()?.unwrap_or_default().into(),
        data: fields.json_or_null()?.unwrap_or_default().into(),
        reader: kind.reader,
        event: OnceLock::new(),
    };
    Ok((stream_no, recorded))
}

/// Gives the events their streams' names.
async fn name(conn: &mut PgConnection, page: &mut [(i64, Recorded)]) -> sqlx::Result<()> {
    let mut numbers: Vec<i64> = page.iter().map(|(no, _)| *no).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let names: Vec<(i64, String)> =
        sqlx::query_as("select stream_no, stream_id from core.streams where stream_no = any($1)")
            .bind(&numbers)
            .fetch_all(conn)
            .await?;
    let names: HashMap<i64, String> = names.into_iter().collect();
    for (no, recorded) in page {
        let name = names.get(no).ok_or_else(|| {
            sqlx::Error::Protocol(format!("stream {no} has events and no row of its own"))
        })?;
        recorded.stream = StreamId(name.clone());
    }
    Ok(())
}
