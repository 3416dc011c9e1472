//! `postmaster.pid`, the server's own note about itself.

use std::io;
use std::path::{Path, PathBuf};

pub(crate) const NAME: &str = "postmaster.pid";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub pid: i32,
    pub port: u16,
    /// The socket's folder; `None` where there is no Unix socket.
    pub socket: Option<PathBuf>,
    pub status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Also while the server recovers, and before it has written a status at all.
    Starting,
    Ready,
    Stopping,
}

/// What stands in the file's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Missing,
    /// Empty or cut short: a power cut, or a server that is writing it this moment.
    Unreadable,
    Server(PidFile),
}

pub(crate) fn read(data: &Path) -> io::Result<Content> {
    match std::fs::read(data.join(NAME)) {
        // Paths in the file are bytes of the system, not always UTF-8; only the socket's path matters and we chose it.
        Ok(bytes) => Ok(
            parse(&String::from_utf8_lossy(&bytes)).map_or(Content::Unreadable, Content::Server)
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Content::Missing),
        Err(error) => Err(error),
    }
}

/// Lines: 1 pid, 2 data folder, 3 start time, 4 port, 5 socket folder, 6 address, 7 shared memory key, 8 status.
fn parse(text: &str) -> Option<PidFile> {
    let mut lines = text.lines();
    // A standalone backend (single-user mode) writes its pid as a negative number.
    let pid = lines
        .next()?
        .trim()
        .parse::<i32>()
        .ok()?
        .checked_abs()
        .filter(|pid| *pid > 0)?;
    let mut rest = lines.skip(2);
    let port = rest.next().and_then(|l| l.trim().parse().ok()).unwrap_or(0);
    let socket = rest
        .next()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(PathBuf::from);
    let status = match rest.nth(2).map(str::trim) {
        Some("ready" | "standby") => Status::Ready,
        Some("stopping") => Status::Stopping,
        _ => Status::Starting,
    };
    Some(PidFile {
        pid,
        port,
        socket,
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Option<Status> {
        parse(text).map(|file| file.status)
    }

    #[test]
    fn the_eighth_line_says_ready() {
        let text = "4711\n/srv/data\n1790000000\n5432\n/srv/run\n\n  5432001         7\nready   \n";
        let socket = Some(PathBuf::from("/srv/run"));
        assert_eq!(
            parse(text),
            Some(PidFile {
                pid: 4711,
                port: 5432,
                socket,
                status: Status::Ready
            })
        );
        assert_eq!(
            status(&text.replace("ready   ", "stopping")),
            Some(Status::Stopping)
        );
        assert_eq!(
            status(&text.replace("ready   ", "starting")),
            Some(Status::Starting)
        );
    }

    #[test]
    fn a_file_that_is_still_being_written_means_starting() {
        assert_eq!(status("4711\n/srv/data\n"), Some(Status::Starting));
    }

    #[test]
    fn an_empty_or_foreign_file_names_no_server() {
        for text in ["", "\n", "hello\n", "0\n/x\n"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_single_user_server_counts_by_its_pid() {
        assert_eq!(parse("-4711\n/srv/data\n").map(|file| file.pid), Some(4711));
    }
}
