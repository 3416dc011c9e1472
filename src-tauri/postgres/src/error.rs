//! What can go wrong, in sentences for the person in front of the screen: what happened, where, and what to do.
//!
//! The server and `initdb` report in free text, so [`StartError::from_output`] reads that text; it is run with
//! `LC_ALL=C`, hence always English.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::process;

/// Below this much free space a failure without a text of its own is put down to the disk: the text could not be
/// written to the log either.
const NEARLY_FULL: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("No usable PostgreSQL server was found. Tried: {}. {fix}", list(tried))]
    NotFound { tried: Vec<Tried>, fix: String },

    #[error(
        "The data in {} was written by PostgreSQL {folder}, and only a server of that version can open it, but here \
         there is {}. Install PostgreSQL {folder}, or set BIZING_PG_BIN to its folder; with both versions installed, \
         `bizing-desk upgrade-database` moves the data to the newer one. The data is untouched.",
        data.display(), majors(found)
    )]
    Major {
        data: PathBuf,
        folder: u32,
        found: Vec<(PathBuf, u32)>,
    },

    #[error("The disk that holds {} is full ({detail}). Free some space, then start again. The data is kept.", path.display())]
    DiskFull { path: PathBuf, detail: String },

    #[error(
        "The server could not get shared memory ({detail}). That is not the disk but /dev/shm: give it at least 64 MB \
         (in a container: --shm-size=64m), then start again."
    )]
    SharedMemory { detail: String },

    #[error("{} cannot be written: its file system is read-only. Mount it for writing or choose another folder.", path.display())]
    ReadOnly { path: PathBuf },

    #[error("{} cannot be used: {detail}. {fix}", path.display())]
    Permission {
        path: PathBuf,
        detail: String,
        fix: String,
    },

    #[error(
        "This process runs as root and PostgreSQL does not, so the server would run as {account}, but that account \
         cannot enter {}. Choose a folder that it can reach (outside /root, for instance below /var/lib), or run as a \
         plain user.",
        path.display()
    )]
    Unreachable { path: PathBuf, account: Account },

    #[error(
        "The password of the server in {} is lost: {} {what}. Put the file back from a backup of the folder. The data \
         is untouched.",
        root.display(), root.join("password").display()
    )]
    Password { root: PathBuf, what: &'static str },

    #[error(
        "Another server answers for {}: {detail}. Stop that server, or choose another folder; nothing was changed.",
        data.display()
    )]
    Occupied { data: PathBuf, detail: String },

    #[error(
        "A server that was killed has left work running in {} (process {}). Wait until it ends, or end it, then start \
         again.",
        data.display(), numbers(pids)
    )]
    StillWorking { data: PathBuf, pids: Vec<i32> },

    #[error("A new database could not be made in {}: initdb said: {output}", root.display())]
    Initialize { root: PathBuf, output: String },

    #[error("The server ended while it started ({status}). The end of {} says: {output}", log.display())]
    Exited {
        status: String,
        log: PathBuf,
        output: String,
    },

    #[error("The server in {} runs but does not answer as it should. See {} for its reasons.", data.display(), log.display())]
    Unanswered {
        data: PathBuf,
        log: PathBuf,
        source: sqlx::Error,
    },

    #[error("{doing} {} failed. Mend the cause, then start again; nothing was deleted.", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error("The server (process {pid}) could not be told to stop.")]
    Signal { pid: i32, source: io::Error },
    #[error(
        "The server (process {pid}) was told to stop, then to quit, and still runs. It was not killed: that would risk its data."
    )]
    StillRunning { pid: i32 },
}

/// One place where a server was looked for, and what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub place: String,
    pub found: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.place, self.found)
    }
}

impl StartError {
    /// An I/O error with its place. The kinds that a person can mend get their own variant.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path: path.into() },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.into(),
                detail: source.to_string(),
            },
            io::ErrorKind::PermissionDenied => Self::Permission {
                path: path.into(),
                detail: format!("{doing} is not permitted"),
                fix: "Give it to the user who runs the app (chown), or choose another folder."
                    .into(),
            },
            _ => Self::Io {
                doing,
                path: path.into(),
                source,
            },
        }
    }

    /// The mendable reason in what `initdb` or the server wrote before it gave up, if there is one.
    pub(crate) fn from_output(path: &Path, output: &str) -> Option<Self> {
        let line = |needle: &str| output.lines().find(|l| l.contains(needle)).map(message);
        if let Some(detail) = line("could not resize shared memory segment") {
            return Some(Self::SharedMemory { detail });
        }
        if let Some(detail) =
            line("No space left on device").or_else(|| line("Disk quota exceeded"))
        {
            return Some(Self::DiskFull {
                path: path.into(),
                detail,
            });
        }
        if line("Read-only file system").is_some() {
            return Some(Self::ReadOnly { path: path.into() });
        }
        if let Some(detail) = line("Permission denied") {
            let fix =
                "Give the whole folder to the account that runs the server (chown -R).".into();
            return Some(Self::Permission {
                path: path.into(),
                detail,
                fix,
            });
        }
        let free = process::free_bytes(path)?;
        (free < NEARLY_FULL).then(|| Self::DiskFull {
            path: path.into(),
            detail: format!("{free} bytes are free"),
        })
    }
}

/// A line without its time and its level.
fn message(line: &str) -> String {
    let start = ["FATAL:", "PANIC:", "ERROR:", "error:"]
        .iter()
        .find_map(|level| Some(line.find(level)? + level.len()));
    line[start.unwrap_or(0)..].trim().to_owned()
}

fn list(tried: &[Tried]) -> String {
    let places: Vec<String> = tried.iter().map(Tried::to_string).collect();
    if places.is_empty() {
        "nothing".into()
    } else {
        places.join("; ")
    }
}

fn majors(found: &[(PathBuf, u32)]) -> String {
    let each: Vec<String> = found
        .iter()
        .map(|(dir, major)| format!("{major} in {}", dir.display()))
        .collect();
    if each.is_empty() {
        "none".into()
    } else {
        each.join(", ")
    }
}

fn numbers(pids: &[i32]) -> String {
    pids.iter()
        .map(i32::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expected: fn(&StartError) -> bool, text: &str) {
        let error = StartError::from_output(Path::new("/"), output).expect("a reason");
        assert!(
            expected(&error) && error.to_string().contains(text),
            "{error}"
        );
    }

    #[test]
    fn a_small_shared_memory_is_not_taken_for_a_full_disk() {
        let output = "running bootstrap script ... FATAL:  could not resize shared memory segment \"/PostgreSQL.1\" to 1048576 bytes: No space left on device";
        check(
            output,
            |e| matches!(e, StartError::SharedMemory { .. }),
            "/dev/shm",
        );
    }

    #[test]
    fn a_full_disk_is_known_by_the_servers_words() {
        let output = "LOG:  starting\nFATAL:  could not write lock file \"postmaster.pid\": No space left on device\n";
        check(
            output,
            |e| matches!(e, StartError::DiskFull { .. }),
            "is full (could not write lock file",
        );
    }

    #[test]
    fn the_cause_is_in_the_chain_and_not_also_in_the_text() {
        let error = StartError::io(
            "opening",
            Path::new("/x"),
            io::Error::from_raw_os_error(libc::EIO),
        );
        assert!(std::error::Error::source(&error).is_some());
        assert!(!error.to_string().contains("os error"), "{error}");
    }
}
