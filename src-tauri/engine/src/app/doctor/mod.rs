//! The doctor: audits of what must hold between tables that no constraint can tie together. It reads and never mends.
//!
//! Promise: each audit is one statement, so it sees one moment; what it reports was true at that moment. The hash chain
//! alone is looked at some streams at a time. It needs the worker's or an admin's login.

mod audits;
mod desk;

use std::fmt;

use serde::Serialize;
use sqlx::{PgConnection, PgPool, Row};

use super::wire::AppError;
pub use audits::{ALL, Audit};
pub(in crate::app) use desk::last_chain;
pub use desk::{Examiner, examine, examined, proofs};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every event's hash was computed again.
    pub deep: bool,
    pub audits: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub ok: bool,
    pub found: i64,
    /// The first few, in words.
    pub sample: Vec<String>,
    pub meaning: &'static str,
    pub what_to_do: &'static str,
}

const SAMPLE: i64 = 5;

/// How far an audit of the whole log is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub audit: &'static str,
    pub streams: i64,
    pub of: i64,
}

pub async fn run(pool: &PgPool, deep: bool) -> Result<Report, AppError> {
    run_with(pool, deep, &mut |_| {}).await
}

pub async fn run_with(
    pool: &PgPool,
    deep: bool,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, AppError> {
    let mut conn = pool.acquire().await?;
    let mut findings = Vec::with_capacity(ALL.len());
    for audit in ALL.iter().filter(|a| deep || !a.deep) {
        findings.push(look(&mut conn, audit, on_progress).await?);
    }
    Ok(Report {
        deep,
        audits: findings,
    })
}

/// Only whether the log itself is whole, hash by hash: what a restored copy must show.
pub async fn log(
    conn: &mut PgConnection,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> sqlx::Result<Vec<Finding>> {
    let mut findings = vec![];
    for audit in ALL.iter().filter(|a| a.name.starts_with("stream.")) {
        findings.push(look(conn, audit, on_progress).await?);
    }
    Ok(findings)
}

async fn look(
    conn: &mut PgConnection,
    audit: &Audit,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> sqlx::Result<Finding> {
    let (found, sample) = if audit.by_streams {
        stream_by_stream(conn, audit, on_progress).await?
    } else {
        once(conn, audit.sql, None).await?
    };
    Ok(Finding {
        name: audit.name,
        ok: found == 0,
        found,
        sample,
        meaning: audit.meaning,
        what_to_do: audit.what_to_do,
    })
}

/// Some streams at a time, so that neither the server's memory nor a transaction grows with the log.
async fn stream_by_stream(
    conn: &mut PgConnection,
    audit: &Audit,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> sqlx::Result<(i64, Vec<String>)> {
    let last: i64 = sqlx::query_scalar("select coalesce(max(stream_no), 0) from core.streams")
        .fetch_one(&mut *conn)
        .await?;
    let (mut after, mut step, mut found, mut sample) = (0, 500, 0, Vec::new());
    while after < last {
        let upto = last.min(after + step);
        let begun = std::time::Instant::now();
        let (more, lines) = once(conn, audit.sql, Some((after, upto))).await?;
        found += more;
        sample.extend(lines);
        sample.truncate(SAMPLE as usize);
        // About a second each, however long the streams are.
        step = match begun.elapsed().as_millis() {
            0..500 => step * 2,
            2_000.. => (step / 2).max(1),
            _ => step,
        };
        after = upto;
        on_progress(Progress {
            audit: audit.name,
            streams: after,
            of: last,
        });
    }
    Ok((found, sample))
}

async fn once(
    conn: &mut PgConnection,
    sql: &'static str,
    streams: Option<(i64, i64)>,
) -> sqlx::Result<(i64, Vec<String>)> {
    let mut tx = sqlx::Connection::begin(&mut *conn).await?;
    // A window's connections cut off what lasts 30 seconds; the log of some years takes longer to read.
    sqlx::raw_sql("set transaction read only; set local statement_timeout = '30min'")
        .execute(&mut *tx)
        .await?;
    // The text is one of the constants in `audits`.
    let text = format!(
        "select count(*), coalesce((array_agg(what order by what))[1:{SAMPLE}], '{{}}') from ({sql}) as found(what)"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(text));
    if let Some((after, upto)) = streams {
        query = query.bind(after).bind(upto);
    }
    let row = query.fetch_one(&mut *tx).await?;
    tx.rollback().await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

impl Report {
    pub fn ok(&self) -> bool {
        self.audits.iter().all(|a| a.ok)
    }

    /// What was found, without the audits that found nothing.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.audits.iter().filter(|a| !a.ok)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for audit in &self.audits {
            if audit.ok {
                writeln!(f, "ok     {}", audit.name)?;
                continue;
            }
            writeln!(f, "FOUND  {}: {}", audit.name, audit.found)?;
            for line in &audit.sample {
                writeln!(f, "         - {line}")?;
            }
            let more = audit.found - audit.sample.len() as i64;
            if more > 0 {
                writeln!(f, "         - and {more} more")?;
            }
            writeln!(f, "       Means: {}", audit.meaning)?;
            writeln!(f, "       To do: {}", audit.what_to_do)?;
        }
        let wrong = self.findings().count();
        let checks = self.audits.len();
        match wrong {
            0 => write!(f, "{checks} checks, nothing found."),
            1 => write!(f, "{checks} checks, one found something."),
            n => write!(f, "{checks} checks, {n} found something."),
        }?;
        if self.deep {
            Ok(())
        } else {
            write!(f, " Hashes were not computed again; --deep does.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_audit_has_a_name_of_its_own_and_says_what_to_do() {
        for (n, audit) in ALL.iter().enumerate() {
            assert!(audit.name.contains('.'), "{}", audit.name);
            assert!(
                ALL.iter().skip(n + 1).all(|other| other.name != audit.name),
                "{} twice",
                audit.name
            );
            assert!(
                audit.meaning.ends_with('.') && audit.what_to_do.ends_with('.'),
                "{}: sentences",
                audit.name
            );
        }
    }

    #[test]
    fn a_report_reads_as_findings_with_what_to_do() {
        let finding = |name, found: i64, sample: &[&str]| Finding {
            name,
            ok: found == 0,
            found,
            sample: sample.iter().map(|s| (*s).to_owned()).collect(),
            meaning: "It means this.",
            what_to_do: "Do that.",
        };
        let report = Report {
            deep: false,
            audits: vec![
                finding("money.a", 0, &[]),
                finding("hold.b", 3, &["one", "two"]),
            ],
        };
        assert!(!report.ok());
        assert_eq!(
            report.to_string(),
            "ok     money.a\nFOUND  hold.b: 3\n         - one\n         - two\n         - and 1 more\n       Means: It means this.\n       \
             To do: Do that.\n2 checks, one found something. Hashes were not computed again; --deep does."
        );
    }
}
