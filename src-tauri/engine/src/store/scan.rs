//! Reading much of the log at once, typed: through binary COPY, each event decoded from the bytes as they come.
//!
//! For rebuilds and audits. Memory stays flat: an event is gone when the next one comes.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::copy::{self, Damaged, Fields};
use super::read::ReadError;
use super::upcast::{self, Reader, Unreplayable};
use crate::domain::event::Event;

/// An event as it goes by.
#[derive(Debug)]
pub struct Scanned<'a> {
    pub stream_no: i64,
    pub position: i64,
    pub version: i64,
    pub kind: &'a Kind,
    pub occurred_at: DateTime<Utc>,
    pub correlation_id: Uuid,
    /// `None`: whoever scans has no need of it.
    data: Option<&'a str>,
}

/// One type and version of events.
#[derive(Debug, Clone)]
pub struct Kind {
    pub name: String,
    pub schema_version: i16,
    pub(super) reader: Result<Reader, Unreplayable>,
}

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("the log could not be read")]
    Database(#[from] sqlx::Error),
    #[error("the log could not be read")]
    Damaged(#[from] Damaged),
    #[error("an event has type number {0}, which is not registered")]
    UnknownType(i32),
}

/// What goes by, in the order of positions or stream by stream.
#[derive(Debug, Clone, Copy)]
pub enum Scan {
    /// `after < position <= upto`, in order.
    Log { after: i64, upto: i64 },
    /// Whole streams by number, `[lo, hi)`, each in its order, as far as `upto`.
    Streams { lo: i64, hi: i64, upto: i64 },
}

impl Scanned<'_> {
    /// Whether only its envelope goes by.
    pub fn is_bare(&self) -> bool {
        self.data.is_none()
    }

    /// The event in today's shape.
    pub fn event(&self) -> Result<Event, ReadError> {
        let reader = self.kind.reader.map_err(|source| ReadError::Unreplayable {
            position: self.position,
            name: self.kind.name.clone(),
            version: self.kind.schema_version,
            source,
        })?;
        reader
            .read_text(self.data.unwrap_or("null"))
            .map_err(|source| ReadError::Unreadable {
                position: self.position,
                name: self.kind.name.clone(),
                version: self.kind.schema_version,
                source,
            })
    }
}

/// Calls `each` with every event; gives their number.
pub async fn scan<E: From<ScanError>>(
    conn: &mut PgConnection,
    what: Scan,
    each: impl FnMut(Scanned<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    scan_bare(conn, what, &[], each).await
}

/// The same, with nothing but the envelope of the types that are named here. Of a type or version that this program does
/// not know, all goes by: what it cannot read it must not pass over.
pub async fn scan_bare<E: From<ScanError>>(
    conn: &mut PgConnection,
    what: Scan,
    bare: &[&str],
    mut each: impl FnMut(Scanned<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let kinds = kinds(conn).await.map_err(ScanError::from)?;
    let these = |kind: &Kind| kind.reader.is_ok() && bare.contains(&kind.name.as_str());
    let data = match bare.is_empty() {
        true => "e.data".to_owned(),
        false => format!(
            "case when e.type_no not in ({}) then e.data end",
            numbers(&kinds, these)
        ),
    };
    // COPY takes no parameters; these are numbers.
    let sql = format!(
        "copy (select e.stream_no, e.position, e.version, e.type_no, e.occurred_at, e.correlation_id, {data} from core.events e where {}) \
         to stdout (format binary)",
        match what {
            Scan::Log { after, upto } =>
                format!("e.position > {after} and e.position <= {upto} order by e.position"),
            Scan::Streams { lo, hi, upto } => format!(
                "e.stream_no >= {lo} and e.stream_no < {hi} and e.position <= {upto} order by e.stream_no, e.version"
            ),
        }
    );
    let mut stream = conn.copy_out_raw(&sql).await.map_err(ScanError::from)?;
    let (mut reader, mut count, mut failed) = (copy::Reader::default(), 0, None);
    while let Some(chunk) = stream.try_next().await.map_err(ScanError::from)? {
        reader
            .feed(&chunk, |fields| {
                // After a failure the rest goes by unread: the connection is good for more once it is through.
                if failed.is_none() {
                    count += 1;
                    failed = scanned(fields, &kinds)?.map_or_else(
                        |no| Some(ScanError::UnknownType(no).into()),
                        |event| each(event).err(),
                    );
                }
                Ok(())
            })
            .map_err(ScanError::from)?;
    }
    failed.map_or(Ok(count), Err)
}

/// `Err`: the number of a type that is not registered.
fn scanned<'a>(
    mut fields: Fields<'a>,
    kinds: &'a [Option<Kind>],
) -> Result<Result<Scanned<'a>, i32>, Damaged> {
    let (stream_no, position, version, type_no) = (
        fields.bigint()?,
        fields.bigint()?,
        fields.bigint()?,
        fields.int()?,
    );
    let kind = usize::try_from(type_no).ok().and_then(|no| kinds.get(no));
    let Some(Some(kind)) = kind else {
        return Ok(Err(type_no));
    };
    Ok(Ok(Scanned {
        stream_no,
        position,
        version,
        kind,
        occurred_at: fields.time()?,
        correlation_id: fields.uuid()?,
        data: fields.json_or_null()?,
    }))
}

/// The numbers of those for which `which` holds, as a list of SQL that is never empty: no type has the number 0.
pub(super) fn numbers(kinds: &[Option<Kind>], which: impl Fn(&Kind) -> bool) -> String {
    let mut list = "0".to_owned();
    for (no, kind) in kinds.iter().enumerate() {
        if kind.as_ref().is_some_and(&which) {
            list.push_str(&format!(", {no}"));
        }
    }
    list
}

/// By number.
pub(super) async fn kinds(conn: &mut PgConnection) -> sqlx::Result<Vec<Option<Kind>>> {
    let rows = sqlx::query("select type_no, name, schema_version from core.event_types")
        .fetch_all(conn)
        .await?;
    let mut kinds = vec![];
    for row in &rows {
        let no = usize::try_from(row.try_get::<i32, _>("type_no")?).unwrap_or(0);
        if kinds.len() <= no {
            kinds.resize(no + 1, None);
        }
        let (name, schema_version): (String, i16) =
            (row.try_get("name")?, row.try_get("schema_version")?);
        kinds[no] = Some(Kind {
            reader: upcast::reader(&name, schema_version),
            name,
            schema_version,
        });
    }
    Ok(kinds)
}
