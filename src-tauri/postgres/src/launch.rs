//! Starting the server and waiting until it is ready.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Options;
use crate::discover::Binaries;
use crate::error::StartError;
use crate::folder::Folder;
use crate::locks::MENTION;
use crate::pidfile::{self, Content, PidFile, Status};
use crate::settings;
use crate::spawn::{self, AtOurDeath};

/// How much of the log's end an error shows.
const TAIL: u64 = 2_000;

pub(crate) enum Launched {
    Ready(PidFile, Option<Server>),
    /// Somebody or something was in the way that may be gone in a moment: survey the folder anew.
    InTheWay(StartError),
}

/// A server that is our child. Dropped while it runs, it is told to stop and waited for in the background: nothing in
/// this crate ever kills a server.
#[derive(Debug)]
pub(crate) struct Server(Option<Child>);

impl Server {
    /// Whether it has ended. From then on its number may belong to somebody else.
    pub fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.0.as_mut().map_or(Ok(None), Child::try_wait)
    }

    fn pid(&self) -> i32 {
        self.0.as_ref().map_or(0, |child| child.id() as i32)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.ended()
            && let Some(child) = self.0.take()
        {
            spawn::dismiss(child);
        }
    }
}

/// Called under the start lock, in a folder that the survey found quiet.
pub(crate) async fn launch(
    folder: &Folder,
    socket: Option<&Path>,
    binaries: &Binaries,
    options: &Options,
) -> Result<Launched, StartError> {
    settings::refresh(folder, binaries.major)
        .map_err(|e| StartError::io("writing the settings in", &folder.data(), e))?;
    let (log, before) = folder.open_log()?;
    let failed = |e| StartError::io("starting the server of", &binaries.dir, e);
    let mut server = match socket {
        Some(socket) => {
            let command = as_child(folder, socket, binaries, options, log).map_err(failed)?;
            Server(Some(spawn::spawn(command).await.map_err(failed)?))
        }
        None => {
            drop(log);
            let mut command = through_pg_ctl(folder, binaries, options).map_err(failed)?;
            // It returns at once; the server is then nobody's child.
            let status = tokio::task::spawn_blocking(move || command.status()).await;
            status.map_err(io::Error::other).flatten().map_err(failed)?;
            Server(None)
        }
    };
    let began = Instant::now();
    let (mut mentioned, mut step) = (began, Duration::from_millis(5));
    // No limit while it lives: recovery after a crash takes as long as it takes.
    loop {
        if let Content::Server(file) = pidfile::read(&folder.data()).unwrap_or(Content::Missing)
            && file.status == Status::Ready
            && (socket.is_none() || file.pid == server.pid())
        {
            return Ok(Launched::Ready(file, socket.map(|_| server)));
        }
        let status = server
            .ended()
            .map_err(failed)?
            .map(|status| status.to_string());
        // Not our child, so its end does not show; before it recovers it writes its lock file.
        let silent = socket.is_none()
            && began.elapsed() > Duration::from_secs(60)
            && !folder.data().join(pidfile::NAME).exists();
        if let Some(status) = status.or_else(|| silent.then(|| "no sign of life for 60 s".into())) {
            return explain(folder, before, status);
        }
        if mentioned.elapsed() > MENTION {
            mentioned = Instant::now();
            tracing::info!(
                seconds = began.elapsed().as_secs(),
                "the database is recovering, waiting for it"
            );
        }
        tokio::time::sleep(step).await;
        step = (step * 2).min(Duration::from_millis(20));
    }
}

/// A direct child rather than `pg_ctl start`, which detaches: then there is no exit status and no death signal.
fn as_child(
    folder: &Folder,
    socket: &Path,
    binaries: &Binaries,
    options: &Options,
    log: File,
) -> io::Result<Command> {
    let mut command = spawn::command(
        &binaries.tool("postgres"),
        folder.account.as_ref(),
        AtOurDeath::ShutDown,
    );
    // The option is a list; quoted, a comma or a space in the path is a part of its only entry.
    let mut quoted = std::ffi::OsString::from("\"");
    for (i, part) in split_quotes(socket).into_iter().enumerate() {
        if i > 0 {
            quoted.push("\"\"");
        }
        quoted.push(part);
    }
    quoted.push("\"");
    command
        .arg("-D")
        .arg(folder.data())
        .args(["-c", "port=5432", "-c", "listen_addresses="])
        .arg("-k")
        .arg(quoted);
    for setting in settings::of_this_start(options) {
        command.arg("-c").arg(setting);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Where there is no Unix socket: `postgres.exe` refuses an administrator's rights and takes no signals, `pg_ctl` drops
/// the former and knows another way for the latter. Not run.
fn through_pg_ctl(folder: &Folder, binaries: &Binaries, options: &Options) -> io::Result<Command> {
    // The server rejects port 0. Between closing this one and its start somebody may take it; the start is tried again.
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port();
    let mut server = format!("-c port={port} -c listen_addresses=127.0.0.1");
    for setting in settings::of_this_start(options) {
        server.push_str(" -c ");
        server.push_str(&setting);
    }
    let mut command = spawn::command(
        &binaries.tool("pg_ctl"),
        folder.account.as_ref(),
        AtOurDeath::ShutDown,
    );
    command
        .args(["start", "--no-wait", "--silent", "-D"])
        .arg(folder.data())
        .arg("-l")
        .arg(folder.log());
    command
        .arg("-o")
        .arg(server)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

/// Why a server ended before it was ready, from what it wrote after `before`.
fn explain(folder: &Folder, before: u64, status: String) -> Result<Launched, StartError> {
    let log = folder.log();
    let output = tail(&log, before).unwrap_or_default();
    let passing = [
        "pre-existing shared memory block",
        "lock file \"",
        "could not bind",
        "could not create any TCP/IP",
    ];
    let in_the_way = passing.iter().any(|text| output.contains(text));
    if !in_the_way && let Some(known) = StartError::from_output(&folder.root, &output) {
        return Err(known);
    }
    let error = StartError::Exited {
        status,
        log,
        output: output.trim().to_owned(),
    };
    if in_the_way {
        Ok(Launched::InTheWay(error))
    } else {
        Err(error)
    }
}

fn tail(log: &Path, before: u64) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(
        before.max(length.saturating_sub(TAIL)).min(length),
    ))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The path in pieces between its quotation marks.
fn split_quotes(path: &Path) -> Vec<&std::ffi::OsStr> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        path.as_os_str()
            .as_bytes()
            .split(|byte| *byte == b'"')
            .map(std::ffi::OsStr::from_bytes)
            .collect()
    }
    #[cfg(not(unix))]
    vec![path.as_os_str()]
}
