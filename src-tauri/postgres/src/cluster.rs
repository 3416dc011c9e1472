//! The running server: starting or joining it, connecting to it, leaving or stopping it.

mod stop;
mod verify;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use self::stop::Stop;
use self::verify::{Refusal, verify};
use crate::discover::{self, Binaries};
use crate::error::{StartError, StopError};
use crate::folder::Folder;
use crate::initialize::initialize;
use crate::launch::{Launched, Server, launch};
use crate::locks::StartLock;
use crate::ownership::Ownership;
use crate::pidfile::{self, Content, PidFile, Status};
use crate::{Options, SUPERUSER, process, spawn, survey, upgrade};

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
        upgrade::finish_swap(&folder)?;
        let major = folder.data_major()?;
        let binaries = find(&folder, &options, major).await?;
        Self::start_under(&folder, &options, &binaries).await
    }

    /// For who holds the start lock.
    pub(crate) async fn start_under(
        folder: &Folder,
        options: &Options,
        binaries: &Binaries,
    ) -> Result<Self, StartError> {
        let (folder, binaries) = (folder.clone(), binaries.clone());
        let socket = folder.socket_folder()?;
        let began = Instant::now();
        loop {
            if let Some(file) = survey::settle(&folder, socket.as_deref()).await? {
                if let Some(cluster) = Self::join(&folder, &binaries, file).await? {
                    return Ok(cluster);
                }
                continue;
            }
            spawn::check_reach(&folder, &binaries).await?;
            // Asked again: on the second round there may be a cluster.
            let is_new = folder.data_major()?.is_none();
            let password = folder.password(is_new)?;
            if is_new {
                initialize(&folder, &binaries, options).await?;
            }
            let ownership = Ownership::found(&folder)?;
            match launch(&folder, socket.as_deref(), &binaries, options).await? {
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
                    verify(&cluster.connect_options("postgres"), &cluster.data())
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
            // The locks of a killed process fall a moment before its death signal is sent. While the server still has
            // that parent the signal is yet to come; afterwards the server knows of it before it answers anybody.
            let us = std::process::id() as i32;
            while let Some(pid) = last.filter(|pid| *pid != us)
                && process::parent(cluster.file.pid) == Some(pid)
                && began.elapsed() < DYING
            {
                tokio::time::sleep(PAUSE).await;
            }
            cluster.ownership = Some(ownership.sign(&cluster.folder)?);
        }
        loop {
            match verify(&cluster.connect_options("postgres"), &cluster.data()).await {
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

    /// As the system shows it: canonical.
    fn data(&self) -> PathBuf {
        let data = self.folder.data();
        std::fs::canonicalize(&data).unwrap_or(data)
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
