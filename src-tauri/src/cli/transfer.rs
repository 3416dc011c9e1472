//! `export` and `import`: the log as a file. Progress goes to stderr, so that `export -` can be piped.

use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bizing_engine::app::host::{Host, HostKind, pool_for_audit};
use bizing_engine::app::transfer::{self, Exported, TransferError};
use bizing_engine::runtime::config::Config;

use super::{failed, with_desk};
use crate::{Ended, Failed};

/// Big enough that the disk, and not the number of calls, sets the pace.
const BUFFER_BYTES: usize = 1 << 20;

pub fn export(config: Config, file: &Path, from: i64) -> Ended {
    with_desk(
        || Host::new(config, HostKind::Command),
        async |host, desk| {
            // An admin's login may read the log as the worker's may.
            let pool = pool_for_audit(host).await.unwrap_or(desk.people.clone());
            let mut conn = pool.acquire().await.map_err(broke)?;
            let mut pace = Pace::new("exported");
            let mut progress = |n, of| pace.at(n, of);
            if file == Path::new("-") {
                let mut out = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout());
                let done = transfer::export(&mut conn, from, &mut out, &mut progress).await;
                pace.end(&sentence(&done.map_err(|e| failed(e.into()))?));
                return Ok(());
            }
            let part = Part::create(file)?;
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, &part.open);
            let done = transfer::export(&mut conn, from, &mut out, &mut progress).await;
            drop(out);
            let done = done.map_err(|e| failed(e.into()))?;
            part.finish()?;
            pace.end(&sentence(&done));
            Ok(())
        },
    )
}

pub fn import(config: Config, file: &Path, dry_run: bool) -> Ended {
    let open = || {
        File::open(file)
            .map(|f| BufReader::with_capacity(BUFFER_BYTES, f))
            .map_err(|e| failed(TransferError::Read(e).into()))
    };
    // The whole file first, before any desk is opened: what is cut off or altered changes nothing.
    let mut pace = Pace::new("verified");
    let verified = transfer::verify(&mut open()?, &mut |n, of| pace.at(n, of));
    let (header, footer) = verified.map_err(|e| failed(e.into()))?;
    pace.end(&format!(
        "The file is whole: {} events of installation {} ({}) up to position {}, sha256 {}.",
        footer.events, header.installation, header.mode, footer.last_position, footer.log_sha256
    ));
    with_desk(
        || Host::new(config, HostKind::Command),
        async |_, desk| {
            let mut conn = desk.people.acquire().await.map_err(broke)?;
            let mut file = open()?;
            let mut pace = Pace::new(if dry_run { "tried" } else { "imported" });
            let mut progress = |n, of| pace.at(n, of);
            let done = match dry_run {
                true => transfer::dry_run(&mut conn, &mut file, &mut progress).await,
                false => {
                    transfer::import(&mut conn, &mut file, transfer::BATCH_EVENTS, &mut progress)
                        .await
                }
            };
            let done = done.map_err(|e| failed(e.into()))?;
            let held = match done.there_before {
                0 => String::new(),
                n => format!(" {n} were there already."),
            };
            pace.end(&match dry_run {
                true => format!(
                    "{} events would be imported, and nothing was changed.{held}",
                    done.events
                ),
                false => format!(
                    "{} events are imported; the log ends at position {}.{held}",
                    done.events, done.last_position
                ),
            });
            Ok(())
        },
    )
}

fn broke(error: sqlx::Error) -> Failed {
    failed(error.into())
}

fn sentence(done: &Exported) -> String {
    format!(
        "{} events up to position {}, {:.1} MB, sha256 {}.",
        done.events,
        done.last_position,
        done.bytes as f64 / 1e6,
        done.log_sha256
    )
}

/// A file under another name until it is whole: half an export never stands where a whole one is looked for.
struct Part {
    open: File,
    part: PathBuf,
    whole: PathBuf,
    finished: bool,
}

impl Part {
    fn create(whole: &Path) -> Result<Part, Failed> {
        if whole.exists() {
            return Err(Failed::Run(format!(
                "{} is there already. Name another file, or move it away.",
                whole.display()
            )));
        }
        let mut part = whole.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let open = options
            .open(&part)
            .map_err(|e| failed(TransferError::Write(e).into()))?;
        Ok(Part {
            open,
            part,
            whole: whole.to_owned(),
            finished: false,
        })
    }

    fn finish(mut self) -> Ended {
        let done = self
            .open
            .sync_all()
            .and_then(|()| std::fs::rename(&self.part, &self.whole));
        done.map_err(|e| failed(TransferError::Write(e).into()))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// How far it is and how fast, twice a second where somebody looks on.
struct Pace {
    what: &'static str,
    begun: Instant,
    shown: Instant,
    events: u64,
}

impl Pace {
    fn new(what: &'static str) -> Pace {
        let now = Instant::now();
        Pace {
            what,
            begun: now,
            shown: now,
            events: 0,
        }
    }

    fn at(&mut self, events: u64, of: u64) {
        self.events = events;
        if std::io::stderr().is_terminal() && self.shown.elapsed().as_millis() > 500 {
            self.shown = Instant::now();
            eprint!(
                "\r{} of {of} events {}, {}/s  ",
                events,
                self.what,
                self.rate()
            );
        }
    }

    fn rate(&self) -> u64 {
        (self.events as f64 / self.begun.elapsed().as_secs_f64().max(0.001)) as u64
    }

    fn end(&self, sentence: &str) {
        let lead = if std::io::stderr().is_terminal() {
            "\r"
        } else {
            ""
        };
        let _ = writeln!(
            std::io::stderr(),
            "{lead}{sentence} {:.1} s, {} events/s.",
            self.begun.elapsed().as_secs_f64(),
            self.rate()
        );
    }
}
