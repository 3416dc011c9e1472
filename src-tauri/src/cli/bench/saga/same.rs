//! The limit: the same commits, issued bare. What the server was asked for one saga is read from its own log, word by word, and
//! asked again in the same binary words with other ids, another hour and another reference: no decisions and no provider in between.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bizing_engine::domain::event::BookingCreated;
use bizing_engine::domain::ids::Reference;
use bizing_engine::runtime::ids;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgPoolOptions, PgTypeInfo, Postgres,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Connection, Either, Encode, Executor as _,
    PgConnection, PgPool, Row as _, SqlSafeStr as _, Statement as _, Type, TypeInfo as _,
    ValueRef as _,
};
use uuid::Uuid;

use super::super::BenchError;
use super::super::ground::Ground;
use super::super::rounds::Writer;
use super::{BenchDesk, begins};

/// What is another one in each saga. Each is as long as the one it stands for, so that lengths around it stay true.
#[derive(Clone, Copy)]
enum Fill {
    /// The person who is booked, as text and as sixteen bytes.
    Resource,
    ResourceBytes,
    Id(usize),
    IdBytes(usize),
    /// So many hours after the booking begins.
    Time(i64),
    TimeBytes(i64),
    Reference,
    Intent,
}

enum Part {
    Same(Vec<u8>),
    Own(Fill),
}

/// One parameter, in the words of the wire.
struct Argument {
    kind: PgTypeInfo,
    /// `None`: null.
    parts: Option<Vec<Part>>,
}

struct Statement {
    /// `select ... from saga.write($1, ...)`.
    text: String,
    arguments: Vec<Argument>,
}

impl Statement {
    /// Asked by the front desk's login, not by the worker's.
    fn books(&self) -> bool {
        self.text.contains("api.book(")
    }
}

/// What one saga asked, in its order.
pub struct Script {
    statements: Vec<Statement>,
    ids: usize,
}

impl Script {
    /// Lets the server write down what one booking asks, after one that warms up.
    pub async fn of(desk: &BenchDesk, ground: &Ground) -> Result<Script, BenchError> {
        let mut superuser = PgConnection::connect_with(&ground.superuser()).await?;
        let writes_down = |least: &str| {
            AssertSqlSafe(format!(
                "alter role bench_admin set log_min_duration_statement = {least};
                 alter role bench_worker set log_min_duration_statement = {least}"
            ))
        };
        sqlx::raw_sql(writes_down("0"))
            .execute(&mut superuser)
            .await?;
        // Connections of its own: the setting holds for those that are made under it.
        let told = BenchDesk::new(ground, &desk.provider).await?;
        let mut client = told.client(ground).await?;
        client.book(false).await?;
        let mut log = std::fs::File::open(ground.log())?;
        let from = log.seek(SeekFrom::End(0))?;
        let created = client.book(false).await?;
        drop(client);
        told.executor.pool.close().await;
        sqlx::raw_sql(writes_down("default"))
            .execute(&mut superuser)
            .await?;
        superuser.close().await?;
        let mut text = String::new();
        log.seek(SeekFrom::Start(from))?;
        log.read_to_string(&mut text)?;
        let said = executed(&text)?;
        let (needles, ids) = needles(&said, &created, told.executor.worker.0);
        let mut statements = vec![];
        for (text, literals) in said {
            let login = match text.contains("api.book(") {
                true => "admin",
                false => "worker",
            };
            statements.push(read(ground.login(login), text, &literals, &needles).await?);
        }
        if !statements.first().is_some_and(Statement::books) || statements.len() < 2 {
            return Err("the server's log does not hold what a saga asks".into());
        }
        Ok(Script { statements, ids })
    }
}

/// The statements of a log, each with its parameters as SQL literals.
fn executed(log: &str) -> Result<Vec<(String, Vec<String>)>, BenchError> {
    let mut said = vec![];
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((_, asked)) = line.split_once("  execute ") else {
            continue;
        };
        let (_, text) = asked
            .split_once(": ")
            .ok_or("an execute without its statement")?;
        let detail = lines.peek().and_then(|l| l.split_once("DETAIL:"));
        said.push((
            text.to_owned(),
            detail.map_or(vec![], |(_, detail)| literals(detail)),
        ));
    }
    Ok(said)
}

/// `$1 = 'a', $2 = NULL` as `'a'` and `NULL`.
fn literals(detail: &str) -> Vec<String> {
    let (mut all, mut quoted, mut names) = (vec![], false, true);
    for c in detail.chars() {
        match c {
            '$' if !quoted => {
                names = true;
                all.push(String::new());
            }
            '=' if names => names = false,
            ',' | ' ' if !quoted => {}
            _ if names => {}
            _ => {
                quoted ^= c == '\'';
                if let Some(last) = all.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    all
}

type Needles = Vec<(Vec<u8>, Fill)>;

/// What is looked for in the parameters, and how many ids are drawn for each saga.
fn needles(
    said: &[(String, Vec<String>)],
    created: &BookingCreated,
    worker: Uuid,
) -> (Needles, usize) {
    let resource = created.resources[0].resource_id.0;
    let text: String = said.iter().map(|(_, literals)| literals.concat()).collect();
    let mut ids: Vec<Uuid> = vec![];
    for id in uuids(&text) {
        if !ids.contains(&id) && id != worker && id != resource {
            ids.push(id);
        }
    }
    let mut needles: Needles = vec![
        (resource.to_string().into(), Fill::Resource),
        (resource.as_bytes().into(), Fill::ResourceBytes),
        (created.reference.0.clone().into(), Fill::Reference),
    ];
    for (n, id) in ids.iter().enumerate() {
        needles.push((id.to_string().into(), Fill::Id(n)));
        needles.push((id.as_bytes().into(), Fill::IdBytes(n)));
    }
    for (hours, at) in [(0, created.start_utc), (1, created.end_utc)] {
        needles.push((minute(at).into(), Fill::Time(hours)));
        needles.push((wire(at).into(), Fill::TimeBytes(hours)));
    }
    if let Some(at) = text.find("pi_bench") {
        let end = text[at..].find(['"', '\\']).map_or(text.len(), |n| at + n);
        needles.push((text[at..end].into(), Fill::Intent));
    }
    (needles, ids.len())
}

/// As it stands in a document; the seconds of all our hours are the same.
fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M").to_string()
}

/// As PostgreSQL sends it: microseconds since 2000.
fn wire(at: DateTime<Utc>) -> [u8; 8] {
    (at.timestamp_micros() - 946_684_800_000_000).to_be_bytes()
}

fn uuids(text: &str) -> impl Iterator<Item = Uuid> {
    (0..text.len().saturating_sub(35)).filter_map(|at| {
        let id = text.get(at..at + 36)?;
        (id.as_bytes()[8] == b'-').then(|| id.parse().ok())?
    })
}

/// Asks the server for the binary form of each literal, in the type that the statement wants.
async fn read(
    login: PgConnectOptions,
    text: String,
    literals: &[String],
    needles: &Needles,
) -> Result<Statement, BenchError> {
    let mut conn = PgConnection::connect_with(&login).await?;
    let prepared = conn
        .prepare(AssertSqlSafe(text.clone()).into_sql_str())
        .await?;
    let Some(Either::Left(kinds)) = prepared.parameters() else {
        return Err("no types of the parameters".into());
    };
    let select: Vec<String> = literals
        .iter()
        .zip(kinds)
        .map(|(literal, kind)| format!("{literal}::{}", kind.name()))
        .collect();
    // A query with a plan, since only those answer in binary.
    let row = sqlx::query(AssertSqlSafe(format!("select {}", select.join(", "))))
        .fetch_one(&mut conn)
        .await?;
    let mut arguments = vec![];
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        let parts = match value.is_null() {
            true => None,
            false => Some(cut(value.as_bytes()?, needles)),
        };
        arguments.push(Argument {
            kind: column.type_info().clone(),
            parts,
        });
    }
    conn.close().await?;
    Ok(Statement { text, arguments })
}

fn cut(bytes: &[u8], needles: &Needles) -> Vec<Part> {
    let (mut parts, mut same, mut at) = (vec![], vec![], 0);
    while at < bytes.len() {
        match needles.iter().find(|(n, _)| bytes[at..].starts_with(n)) {
            Some((needle, fill)) => {
                parts.push(Part::Same(std::mem::take(&mut same)));
                parts.push(Part::Own(*fill));
                at += needle.len();
            }
            None => {
                same.push(bytes[at]);
                at += 1;
            }
        }
    }
    parts.push(Part::Same(same));
    parts
}

/// Bytes that are bound as they are.
struct Raw {
    kind: PgTypeInfo,
    bytes: Option<Vec<u8>>,
}

impl Type<Postgres> for Raw {
    fn type_info() -> PgTypeInfo {
        // Never asked: each says its own.
        PgTypeInfo::with_name("bytea")
    }
}

impl Encode<'_, Postgres> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(match &self.bytes {
            Some(bytes) => {
                buffer.extend_from_slice(bytes);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.clone())
    }
}

/// What one saga has that no other has.
struct Own {
    resource: Uuid,
    ids: Vec<Uuid>,
    begins: DateTime<Utc>,
    reference: Reference,
    intent: u32,
}

impl Own {
    fn arguments(&self, statement: &Statement) -> Result<PgArguments, BenchError> {
        let mut arguments = PgArguments::default();
        for argument in &statement.arguments {
            let bytes = argument.parts.as_ref().map(|parts| {
                let mut bytes = vec![];
                for part in parts {
                    self.write(part, &mut bytes);
                }
                bytes
            });
            arguments.add(Raw {
                kind: argument.kind.clone(),
                bytes,
            })?;
        }
        Ok(arguments)
    }

    fn write(&self, part: &Part, bytes: &mut Vec<u8>) {
        let after = |hours: i64| self.begins + TimeDelta::hours(hours);
        match part {
            Part::Same(same) => bytes.extend(same),
            Part::Own(Fill::Resource) => bytes.extend(self.resource.to_string().bytes()),
            Part::Own(Fill::ResourceBytes) => bytes.extend(self.resource.as_bytes()),
            Part::Own(Fill::Id(n)) => bytes.extend(self.ids[*n].to_string().bytes()),
            Part::Own(Fill::IdBytes(n)) => bytes.extend(self.ids[*n].as_bytes()),
            Part::Own(Fill::Time(hours)) => bytes.extend(minute(after(*hours)).bytes()),
            Part::Own(Fill::TimeBytes(hours)) => bytes.extend(wire(after(*hours))),
            Part::Own(Fill::Reference) => bytes.extend(self.reference.0.bytes()),
            Part::Own(Fill::Intent) => bytes.extend(format!("pi_bench{:012}", self.intent).bytes()),
        }
    }
}

/// As many connections to the worker's login as the desk has.
pub async fn workers(ground: &Ground) -> Result<PgPool, BenchError> {
    Ok(PgPoolOptions::new()
        .max_connections(8)
        .test_before_acquire(false)
        .connect_with(ground.login("worker"))
        .await?)
}

/// One who books without a desk in between.
pub struct Same {
    desk: PgConnection,
    workers: PgPool,
    script: Arc<Script>,
    resource: Uuid,
    next: i64,
}

impl Same {
    pub async fn connect(
        desk: &BenchDesk,
        ground: &Ground,
        script: &Arc<Script>,
        workers: &PgPool,
    ) -> Result<Same, BenchError> {
        let client = desk.client(ground).await?;
        Ok(Same {
            desk: client.conn,
            workers: workers.clone(),
            script: script.clone(),
            resource: client.resource,
            next: 0,
        })
    }
}

impl Writer for Same {
    async fn write(&mut self) -> Result<u64, BenchError> {
        self.next += 1;
        let own = Own {
            resource: self.resource,
            ids: (0..self.script.ids).map(|_| ids::v7()).collect(),
            begins: begins(self.next)?,
            reference: Reference::from_bits(ids::reference_bits()),
            intent: ids::reference_bits(),
        };
        for statement in &self.script.statements {
            let text = AssertSqlSafe(statement.text.clone());
            let query = sqlx::query_with(text, own.arguments(statement)?);
            if statement.books() {
                query.fetch_one(&mut self.desk).await?;
                continue;
            }
            let row = query.fetch_one(&self.workers).await?;
            // A refused write is quick, and no limit of anything.
            let status: String = row.try_get("status")?;
            if status != "done" {
                return Err(format!("the same statement was refused: {status}").into());
            }
        }
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_log_are_literals() {
        assert_eq!(
            literals("  parameters: $1 = 'it''s $2 = x, y', $2 = NULL, $13 = '{\"a\": 1}'"),
            ["'it''s $2 = x, y'", "NULL", "'{\"a\": 1}'"]
        );
    }

    #[test]
    fn what_is_a_sagas_own_is_cut_out_of_text_and_bytes() {
        let id = ids::v7();
        let text = format!("{{\"booking\": \"{id}\", \"of\": \"BK-1\"}}");
        assert_eq!(uuids(&text).collect::<Vec<_>>(), [id]);
        let needles = vec![
            (id.to_string().into(), Fill::Id(0)),
            (id.as_bytes().into(), Fill::IdBytes(0)),
            (b"BK-1".into(), Fill::Reference),
        ];
        let own = |bytes: &[u8]| {
            let parts = cut(bytes, &needles);
            parts.iter().filter(|p| matches!(p, Part::Own(_))).count()
        };
        assert_eq!(
            (own(text.as_bytes()), own(id.as_bytes()), own(b"BK-")),
            (2, 1, 0)
        );
    }
}
