//! Stopping the server, the same way for a handle that is stopped and one that is dropped.
//!
//! First a fast shutdown, then, if that hangs, an immediate one, from which the next start recovers. There is no third
//! step: a server that is killed leaves workers and shared memory behind.

use std::time::{Duration, Instant};

use super::{Cluster, PAUSE};
use crate::error::StopError;

use crate::pidfile::{self, Content};
use crate::process;

/// How long a fast shutdown may take before the server is told to quit without one.
const FAST: Duration = Duration::from_secs(10);

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = Stop::begin();
        loop {
            match stop.advance(self) {
                Ok(true) => return,
                Ok(false) => std::thread::sleep(PAUSE),
                Err(error) => return tracing::error!(%error, "the database could not be stopped"),
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum How {
    Fast,
    Immediate,
}

pub(super) struct Stop {
    since: Instant,
    told: Option<How>,
}

impl Stop {
    pub fn begin() -> Self {
        Self {
            since: Instant::now(),
            told: None,
        }
    }

    /// Takes the step that is due; `true` when there is nothing left to do.
    pub fn advance(&mut self, cluster: &mut Cluster) -> Result<bool, StopError> {
        if cluster.ownership.is_none() {
            return Ok(true);
        }
        if cluster.has_ended() {
            cluster.ownership = None;
            return Ok(true);
        }
        let how = match self.told {
            None => How::Fast,
            Some(How::Fast) if self.since.elapsed() > FAST => {
                tracing::warn!(
                    pid = cluster.file.pid,
                    "the database does not stop, telling it to quit; it will recover at the next start"
                );
                How::Immediate
            }
            // It kills its own workers after 5 s, so it ends within that time unless it hangs.
            Some(How::Immediate) if self.since.elapsed() > FAST * 2 => {
                cluster.ownership = None;
                return Err(StopError::StillRunning {
                    pid: cluster.file.pid,
                });
            }
            Some(_) => return Ok(false),
        };
        if let Err(source) = cluster.tell(how)
            && !cluster.has_ended()
        {
            cluster.ownership = None;
            return Err(StopError::Signal {
                pid: cluster.file.pid,
                source,
            });
        }
        self.told = Some(how);
        Ok(false)
    }
}

impl Cluster {
    fn has_ended(&mut self) -> bool {
        match &mut self.server {
            // An error here would mean that it was waited for already.
            Some(server) => !matches!(server.ended(), Ok(None)),
            None if cfg!(windows) => {
                !matches!(pidfile::read(&self.folder.data()), Ok(Content::Server(now)) if now.pid == self.file.pid)
            }
            None => !process::serves(self.file.pid, &self.data()),
        }
    }

    /// Called only while it has not ended, so the number is the server's.
    #[cfg(unix)]
    fn tell(&self, how: How) -> std::io::Result<()> {
        let signal = match how {
            How::Fast => libc::SIGINT,
            How::Immediate => libc::SIGQUIT,
        };
        process::signal(self.file.pid, signal)
    }

    #[cfg(not(unix))]
    fn tell(&self, how: How) -> std::io::Result<()> {
        let mode = match how {
            How::Fast => "fast",
            How::Immediate => "immediate",
        };
        use crate::spawn;
        let mut command = spawn::command(
            &self.binaries.tool("pg_ctl"),
            None,
            spawn::AtOurDeath::ShutDown,
        );
        command
            .args(["stop", "--no-wait", "--silent", "-m", mode, "-D"])
            .arg(self.folder.data());
        command.status().map(drop)
    }
}
