//! What is going on in the data folder: a server of ours, remains of one, or nothing.
//!
//! Runs under the start lock, so no server of this crate appears meanwhile. This is the only place that removes lock
//! files, and it does so only when no process works in the folder and nobody answers.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::StartError;
use crate::folder::Folder;
use crate::locks::MENTION;
use crate::pidfile::{self, Content, PidFile, Status};
use crate::process;

/// How long workers of a killed server may take to notice its death. Idle ones need milliseconds.
const LEFTOVERS: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

enum Found {
    Nothing,
    Server(PidFile),
    Leftovers(Vec<i32>),
}

/// Waits until the folder is quiet (`None`) or a server of ours is ready. A server that starts may be recovering, so it
/// is waited for as long as it lives; one that stops is waited out.
pub(crate) async fn settle(
    folder: &Folder,
    socket: Option<&Path>,
) -> Result<Option<PidFile>, StartError> {
    let began = Instant::now();
    let mut mentioned = began;
    loop {
        let doing = match survey(folder, socket)? {
            Found::Nothing => return Ok(None),
            Found::Server(file) => match file.status {
                Status::Ready => return Ok(Some(file)),
                Status::Starting => "the server is starting or recovering",
                Status::Stopping => "the server is stopping",
            },
            Found::Leftovers(pids) if began.elapsed() > LEFTOVERS => {
                return Err(StartError::StillWorking {
                    data: folder.data(),
                    pids,
                });
            }
            Found::Leftovers(_) => "work of a killed server is ending",
        };
        if mentioned.elapsed() > MENTION {
            mentioned = Instant::now();
            tracing::info!(folder = %folder.root.display(), "{doing}, waiting for it");
        }
        tokio::time::sleep(STEP).await;
    }
}

fn survey(folder: &Folder, socket: Option<&Path>) -> Result<Found, StartError> {
    // The system shows processes' folders with all links resolved.
    let data = match fs::canonicalize(folder.data()) {
        Ok(data) => data,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(StartError::io("opening", &folder.data(), e)),
    };
    let content =
        pidfile::read(&data).map_err(|e| StartError::io("reading the lock file in", &data, e))?;
    if let Content::Server(file) = &content {
        let ours = if cfg!(windows) {
            answers(file)
        } else {
            process::serves(file.pid, &data)
        };
        if ours {
            return Ok(Found::Server(file.clone()));
        }
    }
    let pids = process::servers_in(&data);
    if !pids.is_empty() {
        return Ok(Found::Leftovers(pids));
    }
    match content {
        Content::Missing => {}
        // A container may share the folder and hide its processes; its server still answers on the socket.
        Content::Server(file) if answers(&file) => {
            let detail = format!(
                "process {} is not to be seen from here but accepts connections",
                file.pid
            );
            return Err(StartError::Occupied { data, detail });
        }
        // On Windows the server itself tells a stale file from a live one, through a named pipe.
        Content::Server(_) if cfg!(windows) => return Ok(Found::Nothing),
        content => {
            tracing::warn!(folder = %data.display(), ?content, "clearing the lock file of a server that is gone");
            remove(&data.join(pidfile::NAME))?;
        }
    }
    // A killed server leaves its socket and a second lock file beside it.
    if let Some(socket) = socket {
        remove(&socket.join(".s.PGSQL.5432.lock"))?;
        remove(&socket.join(".s.PGSQL.5432"))?;
    }
    Ok(Found::Nothing)
}

/// Whether anybody accepts connections where the file says.
fn answers(file: &PidFile) -> bool {
    #[cfg(unix)]
    if let Some(folder) = &file.socket {
        return std::os::unix::net::UnixStream::connect(
            folder.join(format!(".s.PGSQL.{}", file.port)),
        )
        .is_ok();
    }
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], file.port));
    file.port != 0
        && std::net::TcpStream::connect_timeout(&loopback, Duration::from_secs(1)).is_ok()
}

fn remove(path: &Path) -> Result<(), StartError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StartError::io("clearing", path, e)),
        _ => Ok(()),
    }
}
