//! Restoring into a data folder: a desk of its own on this computer, with a private server, to be looked at beside the one
//! in use, or carried to another computer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bizing_postgres::{Cluster, Options};
use sqlx::{Connection, PgConnection};

use super::erasures::{self, Erasure};
use super::fault::BackupError;
use super::manifest::Manifest;
use super::restore;
use super::shelf::Shelf;
use super::take::OnProgress;
use crate::app::host;
use crate::runtime::config::Config;
use crate::runtime::{files, ids};

/// What a private server takes before anything is in it.
const SERVER: u64 = 300 << 20;

/// An absolute path to a folder that is not there yet, in one that is. Nothing is ever restored into what exists.
pub(super) fn check(path: &Path) -> Result<(), BackupError> {
    let bad = |why: &str| BackupError::BadFolder {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(bad("the whole path is needed, from the root on"));
    }
    if path.symlink_metadata().is_ok() {
        return Err(bad("something of that name is there already"));
    }
    match path.parent() {
        Some(above) if above.is_dir() => Ok(()),
        _ => Err(bad("the folder above it is not there")),
    }
}

/// Fills a folder beside `path` and gives it that name when all of it is there: whoever was erased is erased again before
/// anybody can open it. Returns how many that were.
pub(super) async fn into_folder(
    bin: Option<&Path>,
    from: &Path,
    manifest: &Manifest,
    path: &Path,
    erased: &[Erasure],
    on_progress: OnProgress,
) -> Result<usize, BackupError> {
    check(path)?;
    let above = path.parent().unwrap_or(Path::new("/"));
    let needs = SERVER + 3 * manifest.size_bytes;
    if let Some(free) = bizing_postgres::free_bytes(above).filter(|free| *free < needs) {
        return Err(BackupError::Room {
            folder: above.to_owned(),
            free,
            needs,
        });
    }
    let unfinished = Unfinished(beside(path));
    Config::in_folder(&unfinished.0)
        .prepare_data()
        .map_err(|e| BackupError::file("making the folder", &unfinished.0, e))?;
    let database = match manifest.kind.as_str() {
        "demo" => "bizing_demo",
        _ => "bizing_own",
    };
    let mut options = Options::new(unfinished.0.join("postgres"));
    options.bin = bin.map(Path::to_owned).or(options.bin);
    let cluster = Cluster::start(options).await?;
    let admin = cluster.connect_options("postgres");
    let again = restore::into_new(
        &admin,
        Some(cluster.bin()),
        from,
        manifest,
        database,
        erased,
        on_progress,
    )
    .await?;
    // The journal goes along: a later restore there must know of them too.
    erasures::note(&Shelf::of(&unfinished.0, database), erased)?;
    let mut conn = PgConnection::connect_with(&cluster.connect_options(database)).await?;
    let business: Option<(String, String, String)> = sqlx::query_as(
        "select business_name, zone, currency::text from read.locations_v1 order by name limit 1",
    )
    .fetch_optional(&mut conn)
    .await?;
    conn.close().await?;
    host::remember(&unfinished.0, &manifest.kind, business)
        .map_err(|e| BackupError::file("writing in", &unfinished.0, e))?;
    cluster.stop().await?;
    std::fs::rename(&unfinished.0, path).map_err(|e| BackupError::file("naming", path, e))?;
    files::sync_folder(above).map_err(|e| BackupError::file("flushing", above, e))?;
    Ok(again)
}

/// In the same folder, so that the last step is a rename.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".restoring-{}", ids::letters(6)));
    path.with_file_name(name)
}

/// Goes away unless it was given its name. Its server is stopped by then: it was declared later.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_is_not_there_yet_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        check(&folder.path().join("new")).unwrap();
        for (path, why) in [
            (PathBuf::from("new"), "the whole path"),
            (folder.path().to_owned(), "there already"),
            (folder.path().join("a/b"), "the folder above"),
            (PathBuf::from("/"), "the whole path"),
        ] {
            let told = check(&path).unwrap_err().told();
            assert!(told.contains(why), "{told}");
        }
    }
}
