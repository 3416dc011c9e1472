//! How the private server is tuned: small, safe, and quiet.

use std::fmt::Write as _;
use std::fs;
use std::io;

use crate::Options;
use crate::folder::Folder;

pub(crate) const FILE: &str = "bizing.conf";

/// What `postgresql.conf` gets, once, when the cluster is made. The rest is ours to change with a release.
pub(crate) const INCLUDE: &str = "\ninclude_if_exists = 'bizing.conf'\n";

const COMMON: &str = "\
# Written by the app at each start; changes are lost.
work_mem = 8MB
maintenance_work_mem = 64MB
effective_cache_size = 1GB
jit = off
max_wal_size = 256MB
min_wal_size = 80MB
wal_compression = on
# Backups are dumps; nothing streams from a private server.
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 5min
autovacuum_max_workers = 2
max_worker_processes = 4
max_parallel_workers_per_gather = 1
timezone = 'UTC'
log_timezone = 'UTC'
cluster_name = 'bizing-desk'
log_min_duration_statement = 1s
idle_in_transaction_session_timeout = 10min
";

pub(crate) fn text(major: u32) -> String {
    let mut text = COMMON.to_owned();
    if cfg!(target_os = "linux") {
        // After a crash the server flushes the whole folder, file by file (5 s for 8,000 files) or in one call (0.2 s).
        let _ = writeln!(text, "recovery_init_sync_method = syncfs");
    }
    if major >= 18 {
        // Worker processes for reads cost more memory than a database of this size gains by them.
        let _ = writeln!(text, "io_method = sync");
    }
    text
}

/// Brings the settings of an existing cluster up to this release.
pub(crate) fn refresh(folder: &Folder, major: u32) -> io::Result<()> {
    let path = folder.data().join(FILE);
    let text = text(major);
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // A half-written file would keep the server from starting.
    let fresh = folder.data().join("bizing.conf.new");
    write(folder, &fresh, &text)?;
    fs::rename(&fresh, &path)
}

pub(crate) fn write(folder: &Folder, path: &std::path::Path, text: &str) -> io::Result<()> {
    let mut file = folder.open(
        path,
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true),
    )?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()
}

/// What depends on this very start, for the command line.
pub(crate) fn of_this_start(options: &Options) -> Vec<String> {
    let mut settings = vec![
        format!("max_connections={}", options.max_connections),
        format!("shared_buffers={}MB", buffers_mb(memory_mb())),
    ];
    if options.no_sync {
        // Commits still reach the system at once, so that a killed server loses nothing; only the flush is left out.
        settings.extend(["fsync=off", "full_page_writes=off"].map(String::from));
    }
    settings
}

/// A thirty-second of the machine's memory. The server takes it as its tables are used, so a small desk stays small; a list
/// of 100,000 bookings with its indexes is some 200 MB, and one that leaves the buffers is kept up at half the pace.
fn buffers_mb(memory_mb: u64) -> u64 {
    (memory_mb / 32).clamp(64, 512)
}

#[cfg(unix)]
fn memory_mb() -> u64 {
    // SAFETY: both only read a number that the system knows; what it does not know is -1.
    let (pages, bytes) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(bytes).unwrap_or(0) / (1 << 20)
}

#[cfg(not(unix))]
fn memory_mb() -> u64 {
    4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_takes_a_small_part_of_what_the_machine_has() {
        assert_eq!(
            [0, 2_048, 8_192, 16_384, 131_072].map(buffers_mb),
            [64, 64, 256, 512, 512]
        );
        assert!(memory_mb() > 256, "{}", memory_mb());
    }
}
