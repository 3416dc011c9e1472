//! The running server: starting or joining it, connecting to it, leaving or stopping it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection, Error as SqlError};

use crate::discover::{self, Binaries};
use crate::error::{StartError, StopError};
use crate::folder::Folder;
use crate::initialize::initialize;
use crate::launch::{Launched, Server, launch};
use crate::locks::StartLock;
use crate::ownership::Ownership;
use crate::pidfile::{self, Content, PidFile, Status};
use crate::{Options, SUPERUSER, process, spawn, survey};

/// How long a fast shutdown may take before the server is told to quit without one.
const FAST: Duration = Duration::from_secs(10);
/// How long what is in a new server's way may stay there.
const IN_THE_WAY: Duration = Duration::from_secs(60);
/// How long a server that says it is ready may fail to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a killed owner may take to end for good.
const DYING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A running server on one folder.
///
/// Dropping the owner's handle stops the server and waits for it, usually some 30 ms; [`Cluster::stop`] does the same
/// without blocking a thread. Dropping a joiner's handle changes nothing.
#[derive(Debug)]
pub struct Cluster {
    folder: Folder,
    binaries: Binaries,
    file: PidFile,
    password: Password,
    /// `None`: somebody else stops the server.
    ownership: Option<Ownership>,
    /// `None`: joined or adopted, so not our child.
    server: Option<Server>,
}

impl Cluster {
    /// Starts the server of `options.root`, or joins it if it runs already. When this returns, a connection with our
    /// password has proved that the server serves this very folder.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let folder = Folder::prepare(&options.root)?;
        let _lock = StartLock::acquire(&folder).await?;
        let major = folder.data_major()?;
        let binaries = find(&folder, &options, major).await?;
        let socket = folder.socket_folder()?;
        let began = Instant::now();
        loop {
            if let Some(file) = survey::settle(&folder, socket.as_deref()).await? {
                if let Some(cluster) = Self::join(&folder, &binaries, file).await? {
                    return Ok(cluster);
                }
                continue;
            }
            // The survey found no data only if there is none, so `data_major` is still true.
            let password = folder.password(folder.data_major()?.is_none())?;
            spawn::check_reach(&folder, &binaries).await?;
            if folder.data_major()?.is_none() {
                initialize(&folder, &binaries, &options).await?;
            }
            let ownership = Ownership::found(&folder)?;
            match launch(&folder, socket.as_deref(), &binaries, &options).await? {
                Launched::Ready(file, server) => {
                    let password = Password(password);
                    let ownership = Some(ownership);
                    let cluster = Self {
                        folder,
                        binaries,
                        file,
                        password,
                        ownership,
                        server,
                    };
                    cluster
                        .verify()
                        .await
                        .map_err(|refusal| refusal.into_error(&cluster.folder))?;
                    tracing::info!(folder = %cluster.folder.root.display(), pid = cluster.file.pid, "the database is started");
                    return Ok(cluster);
                }
                Launched::InTheWay(error) if began.elapsed() > IN_THE_WAY => return Err(error),
                Launched::InTheWay(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Joins a server that said it is ready; `None` if it is about to end after all.
    async fn join(
        folder: &Folder,
        binaries: &Binaries,
        file: PidFile,
    ) -> Result<Option<Self>, StartError> {
        let password = Password(folder.password(false)?);
        let (folder, binaries) = (folder.clone(), binaries.clone());
        let mut cluster = Self {
            folder,
            binaries,
            file,
            password,
            ownership: None,
            server: None,
        };
        let began = Instant::now();
        if let Some((ownership, last)) = Ownership::adopt(&cluster.folder)? {
            // Locks of a killed process fall a moment before its death signal is sent. While the server still has that
            // parent the signal is yet to come; afterwards the server knows of it before it answers anybody.
            let dying = last.filter(|pid| {
                *pid != std::process::id() as i32 && process::parent(cluster.file.pid) == Some(*pid)
            });
            if dying.is_some() && began.elapsed() < DYING {
                drop(ownership);
                tokio::time::sleep(PAUSE).await;
                return Ok(None);
            }
            cluster.ownership = Some(ownership.sign(&cluster.folder)?);
        }
        loop {
            match cluster.verify().await {
                Ok(()) => break,
                Err(Refusal::NotNow(_)) if !cluster.is_alive().await => {
                    // Not ours to stop: it stops by itself or is gone.
                    cluster.ownership = None;
                    return Ok(None);
                }
                Err(Refusal::NotNow(_)) if began.elapsed() < ANSWER => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(refusal) => {
                    cluster.ownership = None;
                    return Err(refusal.into_error(&cluster.folder));
                }
            }
        }
        let (pid, owner) = (cluster.file.pid, cluster.is_owner());
        tracing::info!(folder = %cluster.folder.root.display(), pid, owner, "joined the running database");
        Ok(Some(cluster))
    }

    /// The superuser's connection, over the private socket. `PGOPTIONS` of the environment still applies.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        // Everything else that the environment could slip in is set here.
        let options = PgConnectOptions::new_without_pgpass()
            .username(SUPERUSER)
            .password(&self.password.0)
            .database(database)
            .port(self.file.port)
            .ssl_mode(PgSslMode::Disable)
            .application_name("bizing-desk");
        match &self.file.socket {
            Some(folder) => options.socket(folder),
            None => options.host("127.0.0.1"),
        }
    }

    pub fn root(&self) -> &Path {
        &self.folder.root
    }

    /// The folder of the server's programs, where `pg_dump` of the right version is.
    pub fn bin(&self) -> &Path {
        &self.binaries.dir
    }

    pub fn major(&self) -> u32 {
        self.binaries.major
    }

    /// Whether the server stops with this handle.
    pub fn is_owner(&self) -> bool {
        self.ownership.is_some()
    }

    pub fn postmaster_pid(&self) -> i32 {
        self.file.pid
    }

    /// Whether this very server still runs and is not stopping. `false` means: drop the handle and start again.
    #[expect(
        clippy::unused_async,
        reason = "callers must not depend on it being cheap"
    )]
    pub async fn is_alive(&self) -> bool {
        let data = self.data();
        let Ok(Content::Server(now)) = pidfile::read(&data) else {
            return false;
        };
        let runs = if cfg!(windows) {
            true
        } else {
            process::serves(now.pid, &data)
        };
        runs && now.pid == self.file.pid && now.status != Status::Stopping
    }

    /// Stops the server if it is ours to stop: open transactions are rolled back, everything committed is kept.
    pub async fn stop(mut self) -> Result<(), StopError> {
        let mut stop = Stop::begin();
        while !stop.advance(&mut self)? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn verify(&self) -> Result<(), Refusal> {
        let mut connection = PgConnection::connect_with(&self.connect_options("postgres")).await?;
        let folder: String = sqlx::query_scalar("select current_setting('data_directory')")
            .fetch_one(&mut connection)
            .await?;
        let _ = connection.close().await;
        let theirs = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone().into());
        if theirs == self.data() {
            Ok(())
        } else {
            Err(Refusal::Foreign(folder))
        }
    }

    /// As the system shows it: canonical.
    fn data(&self) -> PathBuf {
        let data = self.folder.data();
        std::fs::canonicalize(&data).unwrap_or(data)
    }

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

/// The order of a stop, the same for a handle that is stopped and one that is dropped. There is no third step: a server
/// that is killed leaves workers and shared memory behind.
struct Stop {
    since: Instant,
    told: Option<How>,
}

impl Stop {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            told: None,
        }
    }

    /// Takes the step that is due; `true` when there is nothing left to do.
    fn advance(&mut self, cluster: &mut Cluster) -> Result<bool, StopError> {
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

/// Why a connection did not prove the server to be ours.
enum Refusal {
    /// Starting, stopping, or not listening: ask again.
    NotNow(SqlError),
    Password,
    Foreign(String),
    Other(SqlError),
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        let code = error
            .as_database_error()
            .and_then(|e| e.code())
            .unwrap_or_default()
            .into_owned();
        match (code.as_str(), &error) {
            // cannot_connect_now, admin_shutdown, crash_shutdown, too_many_connections
            ("57P03" | "57P01" | "57P02" | "53300", _) | (_, SqlError::Io(_)) => {
                Self::NotNow(error)
            }
            ("28P01" | "28000", _) => Self::Password,
            _ => Self::Other(error),
        }
    }
}

impl Refusal {
    fn into_error(self, folder: &Folder) -> StartError {
        match self {
            Self::Password => StartError::Password {
                root: folder.root.clone(),
                what: "does not open it",
            },
            Self::Foreign(other) => StartError::Occupied {
                data: folder.data(),
                detail: format!("it serves {other}"),
            },
            Self::NotNow(source) | Self::Other(source) => StartError::Unanswered {
                data: folder.data(),
                log: folder.log(),
                source,
            },
        }
    }
}

/// Keeps the password out of logs.
struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Looking for programs runs a few of them, so it happens off the runtime's threads.
async fn find(
    folder: &Folder,
    options: &Options,
    major: Option<u32>,
) -> Result<Binaries, StartError> {
    let (bin, bundled) = (options.bin.clone(), options.bundled.clone());
    let search = move || discover::discover(bin.as_deref(), bundled.as_deref(), major);
    let found = tokio::task::spawn_blocking(search).await;
    let found = found.map_err(|e| {
        StartError::io(
            "looking for the server of",
            &folder.root,
            std::io::Error::other(e),
        )
    })?;
    found.map_err(|error| match error {
        StartError::Major {
            folder: major,
            found,
            ..
        } => StartError::Major {
            data: folder.data(),
            folder: major,
            found,
        },
        other => other,
    })
}
