//! Writes the log as lines. What lies at or below the safe position never changes, so no snapshot is held open: page after
//! page is read and forgotten.

use std::io::Write;

use serde_json::value::RawValue;
use sqlx::{PgConnection, Row};

use super::TransferError;
use super::format::{Chain, EventLine, FORMAT, Header, Place, VERSION};
use crate::store::read;

const PAGE: i64 = 2_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub events: u64,
    pub last_position: i64,
    pub bytes: u64,
    pub log_sha256: String,
}

/// Everything after `from`, up to where the log is decided now. `progress` hears how many events of how many are written.
pub async fn export(
    conn: &mut PgConnection,
    from: i64,
    out: &mut (dyn Write + Send),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Exported, TransferError> {
    let upto = read::safe_position(conn).await?;
    if from < 0 || from > upto {
        return Err(TransferError::From { from, upto });
    }
    let header = header(conn, from, upto).await?;
    let mut chain = Chain::default();
    let mut exported = Exported {
        events: 0,
        last_position: header.after.position,
        bytes: 0,
        log_sha256: String::new(),
    };
    let mut write = |text: String| {
        exported.bytes += text.len() as u64;
        out.write_all(text.as_bytes()).map_err(TransferError::Write)
    };
    write(chain.header(&header))?;
    let (mut at, mut events) = (from, 0);
    loop {
        let page = bodies(conn, at, upto, PAGE).await?;
        for (_, body) in &page {
            write(chain.event(body))?;
        }
        events += page.len() as u64;
        progress(events, header.events);
        match page.last() {
            Some((position, _)) => at = *position,
            None => break,
        }
    }
    let last_position = if events > 0 {
        at
    } else {
        header.after.position
    };
    write(chain.footer(events, last_position))?;
    out.flush().map_err(TransferError::Write)?;
    Ok(Exported {
        events,
        last_position,
        log_sha256: chain.log_sha256(),
        ..exported
    })
}

async fn header(conn: &mut PgConnection, from: i64, upto: i64) -> Result<Header, TransferError> {
    let row = sqlx::query(
        "select i.installation_id, i.mode, now() as now, (select count(*) from core.events where position > $1 and position <= $2) as events
           from read.installation_v1 i",
    )
    .bind(from)
    .bind(upto)
    .fetch_one(&mut *conn)
    .await?;
    Ok(Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        installation: row.try_get("installation_id")?,
        mode: row.try_get("mode")?,
        app_version: env!("CARGO_PKG_VERSION").to_owned(),
        exported_at: row.try_get("now")?,
        after: place(conn, from).await?,
        upto,
        events: row.try_get::<i64, _>("events")?.unsigned_abs(),
    })
}

/// The newest event at or below a position.
pub(super) async fn place(conn: &mut PgConnection, upto: i64) -> sqlx::Result<Place> {
    let row = sqlx::query(
        "select position, encode(hash, 'hex') from core.events where position <= $1 order by position desc limit 1",
    )
    .bind(upto)
    .fetch_optional(conn)
    .await?;
    row.map_or(Ok(Place::default()), |row| {
        Ok(Place {
            position: row.try_get(0)?,
            hash: row.try_get(1)?,
        })
    })
}

/// The bodies of lines for events with `after < position <= upto`.
pub(super) async fn bodies(
    conn: &mut PgConnection,
    after: i64,
    upto: i64,
    limit: i64,
) -> Result<Vec<(i64, String)>, TransferError> {
    let rows = sqlx::query(
        "select e.position, s.stream_id, e.version, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id, e.occurred_at,
                e.recorded_at, e.actor, e.metadata::text, e.data::text, encode(e.hash, 'hex')
           from core.events e join core.streams s using (stream_no) join core.event_types t using (type_no)
          where e.position > $1 and e.position <= $2 order by e.position limit $3",
    )
    .bind(after)
    .bind(upto)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(body).collect()
}

fn body(row: &sqlx::postgres::PgRow) -> Result<(i64, String), TransferError> {
    let raw = |text: &'_ str| -> Result<Box<RawValue>, TransferError> {
        serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(Box::new(e)).into())
    };
    let (metadata, data) = (raw(row.try_get(11)?)?, raw(row.try_get(12)?)?);
    let event = EventLine {
        position: row.try_get(0)?,
        stream: row.try_get::<&str, _>(1)?.into(),
        version: row.try_get(2)?,
        name: row.try_get::<&str, _>(3)?.into(),
        schema_version: row.try_get(4)?,
        event_id: row.try_get(5)?,
        correlation_id: row.try_get(6)?,
        causation_id: row.try_get(7)?,
        occurred_at: row.try_get(8)?,
        recorded_at: row.try_get(9)?,
        actor: row.try_get::<&str, _>(10)?.into(),
        metadata: &metadata,
        data: &data,
        hash: row.try_get::<&str, _>(13)?.into(),
    };
    Ok((event.position, event.body()))
}
