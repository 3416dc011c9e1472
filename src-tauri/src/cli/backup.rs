use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bizing_engine::app::backups::{
    Manifest, Occasion, OnProgress, Proof, Why, check_name, exists, put_in_place,
};
use bizing_engine::app::host::Backups;
use bizing_engine::app::wire::AppError;
use bizing_engine::runtime::config::Config;

use super::failed;
use crate::{Ended, Failed, runtime};

pub fn take(config: Config, verify: bool) -> Ended {
    with(config, async |backups| {
        let occasion = Occasion::new(Why::Asked);
        let manifest = backups
            .room
            .back_up(occasion, said("Backing up"))
            .await
            .map_err(failed)?;
        println!(
            "{}",
            backups.room.shelf().folder().join(&manifest.file).display()
        );
        println!("  {}", what_is_in(&manifest));
        if verify {
            let proof = backups
                .room
                .verify(&manifest, None, said("Restoring on trial"));
            return proved(&proof.await.map_err(failed)?);
        }
        println!("  Not verified yet: --verify restores it on trial.");
        Ok(())
    })
}

pub fn list(config: Config) -> Ended {
    with(config, async |backups| {
        let all = backups.room.shelf().list().map_err(shown)?;
        println!("{}", backups.room.shelf().folder().display());
        for manifest in &all {
            let good = match &manifest.proof {
                None => "not verified".to_owned(),
                Some(p) if p.good() => format!("verified {}", p.at.format("%Y-%m-%d %H:%M UTC")),
                Some(p) => format!(
                    "CANNOT BE RESTORED: {}",
                    p.problem.as_deref().unwrap_or_default()
                ),
            };
            println!("  {}  {}, {good}", manifest.file, what_is_in(manifest));
        }
        match all.iter().find(|m| m.good()) {
            Some(last) => println!(
                "Last good backup: {}",
                last.started_at.format("%Y-%m-%d %H:%M UTC")
            ),
            None => println!("No backup has been verified yet."),
        }
        Ok(())
    })
}

pub fn delete(config: Config, file: &Path, yes: bool) -> Ended {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    with(config, async |backups| {
        let all = backups.room.shelf().list().map_err(shown)?;
        if let Some(manifest) = all.iter().find(|m| m.file == name) {
            println!("{}\n  {}", manifest.file, what_is_in(manifest));
            if !yes {
                return Err(Failed::Usage(
                    "Nothing was deleted. Say --yes to do it; it cannot be brought back."
                        .to_owned(),
                ));
            }
        }
        let gone = backups.room.delete(&name).await.map_err(shown)?;
        println!(
            "Deleted, {:.1} MB are free again.",
            gone.size_bytes as f64 / 1e6
        );
        Ok(())
    })
}

/// In place of the database that is used, unless another name is given. Nothing is overwritten either way.
pub fn restore(config: Config, file: &Path, into: Option<String>, yes: bool) -> Ended {
    let manifest = Manifest::read(file).map_err(shown)?;
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    with(config, async |backups| {
        let used = &backups.database;
        let new_folder = into.as_deref().filter(|into| into.contains(['/', '\\']));
        if let (Some(name), None) = (&into, new_folder) {
            check_name(name).map_err(shown)?;
        }
        let admin = backups.room.admin();
        let replaced = into.is_none() && exists(admin, used).await.map_err(shown)?;
        let again = backups
            .room
            .erasures()
            .await
            .map_err(shown)?
            .iter()
            .filter(|e| e.erased_at > manifest.started_at)
            .count();
        println!("{}", file.display());
        println!("  {}", what_is_in(&manifest));
        println!(
            "  What was recorded after {} is not in it.",
            manifest.started_at.format("%Y-%m-%d %H:%M UTC")
        );
        if again > 0 {
            println!("  {again} customers who were erased since are erased in it again.");
        }
        match (&into, replaced) {
            (Some(path), _) if new_folder.is_some() => {
                println!("  It becomes the new data folder {path}; nothing else changes.");
            }
            (Some(name), _) => {
                println!("  It becomes the new database `{name}`; nothing else changes.")
            }
            (None, true) => println!(
                "  It becomes `{used}`. The database that has that name now is kept under another."
            ),
            (None, false) => println!("  It becomes `{used}`."),
        }
        if !yes {
            return Err(Failed::Usage(
                "Nothing was done. Say --yes to do it.".to_owned(),
            ));
        }
        if let Some(path) = new_folder {
            let path = std::path::absolute(path).map_err(|e| Failed::Usage(e.to_string()))?;
            let erased = backups
                .room
                .restore_into_folder(&folder, &manifest, &path, said("Restoring"))
                .await
                .map_err(failed)?;
            println!(
                "Restored {} events into {}, {erased} customers erased again.\nOpen it with BIZING_DATA={}",
                manifest.facts.events,
                path.display(),
                path.display()
            );
            return Ok(());
        }
        let name = match &into {
            Some(name) => name.clone(),
            None if !replaced => used.clone(),
            None => format!("{used}_restored"),
        };
        let erased = backups
            .room
            .restore(&folder, &manifest, &name, said("Restoring"))
            .await
            .map_err(failed)?;
        println!(
            "Restored {} events into `{name}`, {erased} customers erased again.",
            manifest.facts.events
        );
        if replaced {
            let kept = put_in_place(admin, &name, used).await.map_err(|error| {
                let (Failed::Run(why) | Failed::Usage(why) | Failed::Differs(why)) = shown(error);
                Failed::Run(format!("{why}\nThe restored copy is ready as `{name}`."))
            })?;
            println!("`{used}` is the restored one now; the one before is kept as `{kept}`.");
        }
        Ok(())
    })
}

fn with(config: Config, work: impl AsyncFnOnce(&Backups) -> Ended) -> Ended {
    runtime()?.block_on(async {
        let backups = Backups::open(config).await.map_err(failed)?;
        let ended = work(&backups).await;
        backups.close().await;
        ended
    })
}

fn what_is_in(m: &Manifest) -> String {
    format!(
        "{}, {} events up to position {}, schema {}, {}, {:.1} MB",
        m.why.word().replace('_', " "),
        m.facts.events,
        m.facts.last_position,
        m.facts.schema_version,
        m.mode,
        m.size_bytes as f64 / 1e6,
    )
}

fn proved(proof: &Proof) -> Ended {
    match &proof.problem {
        None => {
            println!(
                "  Verified: {} events restored, counts and hash chains are the same, {:.1} s.",
                proof.events.unwrap_or(0),
                proof.seconds
            );
            Ok(())
        }
        Some(problem) => Err(Failed::Run(format!("It cannot be relied on: {problem}."))),
    }
}

/// A line on stderr each second, from the second second on.
fn said(what: &'static str) -> OnProgress {
    let (begun, last) = (Instant::now(), AtomicU64::new(1));
    Arc::new(move |p| {
        let now = begun.elapsed().as_secs();
        if last.fetch_max(now, Ordering::Relaxed) < now {
            let of = p.of.map_or(String::new(), |n| format!(" of {n}"));
            let _ = writeln!(
                std::io::stderr(),
                "{what}: {now} s, {}{of} parts, {:.1} MB",
                p.done,
                p.bytes as f64 / 1e6
            );
        }
    })
}

fn shown(error: impl Into<AppError>) -> Failed {
    failed(error.into())
}
