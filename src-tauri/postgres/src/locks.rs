//! The start lock: while it is held, nobody else looks at the folder, makes a cluster or starts a server.
//!
//! The lock is the operating system's and falls with the process, however that ends. The file is never removed, since
//! two processes could then hold two locks of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::{Duration, Instant};

use crate::error::StartError;
use crate::folder::Folder;

/// How often a wait that may rightly last is mentioned in the log.
pub(crate) const MENTION: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct StartLock(#[expect(dead_code, reason = "held, not used")] File);

impl StartLock {
    /// Waits as long as it takes: the holder may be recovering a large database after a crash.
    pub async fn acquire(folder: &Folder) -> Result<Self, StartError> {
        let path = folder.root.join("start.lock");
        let failed = |e| StartError::io("locking", &path, e);
        // Not inherited by the server: std opens every file close-on-exec.
        let file = folder
            .open(
                &path,
                OpenOptions::new().read(true).write(true).create(true),
            )
            .map_err(failed)?;
        let mut mentioned = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
            if mentioned.elapsed() > MENTION {
                mentioned = Instant::now();
                tracing::info!(folder = %folder.root.display(), "another process is starting the database, waiting for it");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
