//! Who was erased, by id, in a file beside the backups: a backup is older than the erasures after it, and whoever
//! restores it must know of them even when the database is gone.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::fault::BackupError;
use super::shelf::Shelf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub customer_id: Uuid,
    pub erased_at: DateTime<Utc>,
}

fn path(shelf: &Shelf) -> PathBuf {
    shelf.folder().join("erasures.ndjson")
}

/// Adds those that the file does not know, and brings them to the disk.
pub fn note(shelf: &Shelf, erasures: &[Erasure]) -> Result<(), BackupError> {
    let known = noted(shelf)?;
    let new: Vec<&Erasure> = erasures
        .iter()
        .filter(|e| !known.iter().any(|k| k.customer_id == e.customer_id))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    shelf.prepare()?;
    let path = path(shelf);
    let write = || {
        // On a line of its own, also after one that a power cut left unfinished.
        let mut text = "\n".to_owned();
        for erasure in new {
            text.push_str(&serde_json::to_string(erasure)?);
            text.push('\n');
        }
        let mut how = OpenOptions::new();
        how.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
        let mut file = how.open(&path)?;
        // One write: two processes that append at once do not mix their lines.
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| BackupError::file("writing", &path, e))
}

/// What the file says. A line that a power cut left half-written says nothing; the database still knows it.
pub fn noted(shelf: &Shelf) -> Result<Vec<Erasure>, BackupError> {
    let path = path(shelf);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(BackupError::file("reading", &path, e)),
    };
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// What the database says. None before the schema knew of erasures.
pub async fn recorded(conn: &mut PgConnection) -> sqlx::Result<Vec<Erasure>> {
    let there: bool = sqlx::query_scalar("select to_regclass('read.erasures_v1') is not null")
        .fetch_one(&mut *conn)
        .await?;
    if !there {
        return Ok(vec![]);
    }
    let rows: Vec<(Uuid, DateTime<Utc>)> =
        sqlx::query_as("select customer_id, erased_at from read.erasures_v1")
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(customer_id, erased_at)| Erasure {
            customer_id,
            erased_at,
        })
        .collect())
}

/// Both together, each person once.
pub fn merged(a: Vec<Erasure>, b: Vec<Erasure>) -> Vec<Erasure> {
    let all: BTreeMap<Uuid, Erasure> = a.into_iter().chain(b).map(|e| (e.customer_id, e)).collect();
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_is_noted_once_and_a_torn_line_hides_no_other() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(data.path(), "bizing_own");
        let erasure = |n| Erasure {
            customer_id: Uuid::from_u128(n),
            erased_at: "2026-11-24T10:00:00Z".parse().unwrap(),
        };
        assert_eq!(noted(&shelf).unwrap(), vec![]);
        note(&shelf, &[erasure(1)]).unwrap();
        note(&shelf, &[erasure(1), erasure(2)]).unwrap();
        assert_eq!(noted(&shelf).unwrap(), vec![erasure(1), erasure(2)]);
        let mut file = OpenOptions::new().append(true).open(path(&shelf)).unwrap();
        file.write_all(b"{\"customer_id\":\"0193").unwrap();
        note(&shelf, &[erasure(3)]).unwrap();
        let all = merged(noted(&shelf).unwrap(), vec![erasure(2)]);
        assert_eq!(all, vec![erasure(1), erasure(2), erasure(3)]);
    }
}
