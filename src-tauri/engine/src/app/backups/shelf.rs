//! The folder where the backups of one database lie, and how long they are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::fault::BackupError;
use super::manifest::{Manifest, Why};
use crate::runtime::files;

pub const KEPT_DAYS: u32 = 14;
/// However old: this many stay, and the newest that was proved good.
const KEPT_LEAST: usize = 3;
/// Before a migration; there may be years between two.
const KEPT_OF_MIGRATIONS: usize = 5;
/// What was not finished by then never will be.
const LITTER: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// `<data>/backups/<database>`
    pub fn of(data: &Path, database: &str) -> Shelf {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name: String = database
            .chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect();
        Shelf {
            folder: data.join("backups").join(name),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn prepare(&self) -> Result<(), BackupError> {
        files::make_private_folder(&self.folder)
            .map_err(|e| BackupError::file("making the folder", &self.folder, e))
    }

    /// Newest first. What cannot be read is passed over: it is no backup.
    pub fn list(&self) -> Result<Vec<Manifest>, BackupError> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(BackupError::file("reading", &self.folder, e)),
        };
        let mut all: Vec<Manifest> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "json"))
            .filter_map(|path| match Manifest::read(&path) {
                Ok(manifest) => Some(manifest),
                Err(error) => {
                    tracing::warn!(file = %path.display(), error = &error as &dyn std::error::Error, "not a backup");
                    None
                }
            })
            .filter(|m| self.folder.join(&m.file).exists())
            .collect();
        all.sort_by_key(|m| std::cmp::Reverse(m.started_at));
        Ok(all)
    }

    /// Removes what is no longer kept, and what was never finished. Returns what went.
    pub fn tidy(&self, now: DateTime<Utc>) -> Result<Vec<Manifest>, BackupError> {
        let all = self.list()?;
        let gone = outdated(&all, now);
        for manifest in &gone {
            self.remove(manifest)?;
            tracing::info!(file = manifest.file, "an old backup made room");
        }
        self.sweep();
        Ok(gone)
    }

    /// Removes the backup of this name, by hand. The newest that was proved good stays, whoever asks.
    pub fn delete(&self, file: &str) -> Result<Manifest, BackupError> {
        let all = self.list()?;
        let wanted = all.iter().find(|m| m.file == file);
        let wanted = wanted.ok_or_else(|| BackupError::NotHere {
            path: self.folder.join(file),
        })?;
        if all.iter().find(|m| m.good()) == Some(wanted) {
            return Err(BackupError::LastGood {
                file: file.to_owned(),
            });
        }
        self.remove(wanted)?;
        Ok(wanted.clone())
    }

    /// The manifest first: a dump without one is litter, a manifest without its dump would be a promise.
    fn remove(&self, manifest: &Manifest) -> Result<(), BackupError> {
        for path in [
            manifest.path_in(&self.folder),
            self.folder.join(&manifest.file),
        ] {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(BackupError::file("removing", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Of our own shapes only: `….dump.new`, and dumps whose manifest never came.
    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let unfinished = name.ends_with(".dump.new")
                || (name.ends_with(".dump") && !path.with_extension("json").exists());
            let old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LITTER));
            if unfinished && old {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

/// `all` newest first.
fn outdated(all: &[Manifest], now: DateTime<Utc>) -> Vec<Manifest> {
    let newest_good = all.iter().find(|m| m.good()).map(|m| m.backup_id);
    let mut migrations = 0;
    all.iter()
        .enumerate()
        .filter(|(n, m)| {
            let young = now - m.started_at < TimeDelta::days(i64::from(KEPT_DAYS));
            migrations += usize::from(m.why == Why::BeforeMigration);
            let of_migration = m.why == Why::BeforeMigration && migrations <= KEPT_OF_MIGRATIONS;
            !(young || *n < KEPT_LEAST || of_migration || Some(m.backup_id) == newest_good)
        })
        .map(|(_, m)| m.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{FORMAT, Facts, Proof};
    use super::*;

    fn backup(days_ago: i64, why: Why, good: bool) -> Manifest {
        let at = now() - TimeDelta::days(days_ago);
        Manifest {
            format: FORMAT,
            backup_id: uuid::Uuid::from_u128(days_ago as u128),
            why,
            by: None,
            before_schema: None,
            installation_id: "abcd2345".into(),
            kind: "own".into(),
            mode: "sandbox".into(),
            database: "bizing_own".into(),
            started_at: at,
            finished_at: at,
            app_version: "0.1.0".into(),
            server_version: "15.18".into(),
            tools_major: 15,
            file: format!("{days_ago}.dump"),
            size_bytes: 1,
            sha256: String::new(),
            facts: Facts {
                schema_version: 7,
                last_position: 0,
                events: 0,
                streams: 0,
                chain: "0".into(),
                rows: Default::default(),
            },
            proof: good.then_some(Proof {
                at,
                seconds: 1.0,
                events: Some(0),
                chain_intact: Some(true),
                problem: None,
            }),
        }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    fn gone(all: &[Manifest]) -> Vec<i64> {
        let day = |m: &Manifest| (now() - m.started_at).num_days();
        outdated(all, now()).iter().map(day).collect()
    }

    #[test]
    fn two_weeks_are_kept_and_the_few_newest_however_old() {
        let all: Vec<_> = (0..20).map(|d| backup(d, Why::Daily, false)).collect();
        assert_eq!(gone(&all), [14, 15, 16, 17, 18, 19]);
        let old: Vec<_> = (100..105).map(|d| backup(d, Why::Daily, false)).collect();
        assert_eq!(gone(&old), [103, 104], "a desk that was off for months");
    }

    #[test]
    fn the_newest_good_one_and_those_before_migrations_stay() {
        let mut all: Vec<_> = (0..4).map(|d| backup(d, Why::Asked, false)).collect();
        all.push(backup(40, Why::Daily, true));
        all.push(backup(41, Why::Daily, true));
        all.extend((50..57).map(|d| backup(d, Why::BeforeMigration, false)));
        assert_eq!(gone(&all), [41, 55, 56]);
    }

    #[test]
    fn a_backup_is_deleted_by_its_name_and_the_last_good_one_is_not() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(data.path(), "bizing_own");
        shelf.prepare().unwrap();
        for (day, good) in [(1, false), (2, true), (3, true)] {
            let one = backup(day, Why::Asked, good);
            std::fs::write(shelf.folder().join(&one.file), "x").unwrap();
            one.write(shelf.folder()).unwrap();
        }
        let files = || -> Vec<String> {
            let all = shelf.list().unwrap();
            all.into_iter().map(|m| m.file).collect()
        };
        assert!(matches!(
            shelf.delete("2.dump"),
            Err(BackupError::LastGood { .. })
        ));
        for sly in ["../3.dump", "4.dump", ""] {
            assert!(matches!(
                shelf.delete(sly),
                Err(BackupError::NotHere { .. })
            ));
        }
        assert_eq!(files(), ["1.dump", "2.dump", "3.dump"]);
        shelf.delete("3.dump").unwrap();
        shelf.delete("1.dump").unwrap();
        assert_eq!(files(), ["2.dump"]);
        assert!(!shelf.folder().join("1.dump").exists());
    }

    #[test]
    fn only_whole_backups_are_listed_and_a_half_one_is_no_backup() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(data.path(), "odd name/../x");
        assert!(shelf.folder().starts_with(data.path().join("backups")));
        assert_eq!(shelf.list().unwrap(), vec![]);
        shelf.prepare().unwrap();
        let whole = backup(1, Why::Daily, true);
        std::fs::write(shelf.folder().join(&whole.file), "x").unwrap();
        whole.write(shelf.folder()).unwrap();
        backup(2, Why::Daily, false).write(shelf.folder()).unwrap(); // its dump is missing
        std::fs::write(shelf.folder().join("3.dump"), "x").unwrap(); // its manifest is missing
        std::fs::write(shelf.folder().join("4.json"), "{").unwrap();
        assert_eq!(shelf.list().unwrap(), vec![whole]);
    }

    #[test]
    fn a_manifest_cannot_point_out_of_its_folder() {
        let data = tempfile::tempdir().unwrap();
        let mut sly = backup(1, Why::Daily, false);
        let path = sly.path_in(data.path());
        sly.file = "../../etc/passwd".into();
        std::fs::write(&path, serde_json::to_vec(&sly).unwrap()).unwrap();
        assert!(Manifest::read(&path).is_err());
    }
}
