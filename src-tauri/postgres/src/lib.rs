//! A private PostgreSQL server that lives and dies with the app.
//!
//! [`Cluster::start`] gives the caller a running server on one folder: it makes the cluster if there is none, joins the
//! server if one is running, and starts it otherwise. What this crate promises:
//!
//! - **One server a folder.** Any number of processes may start at once; one makes the cluster, one runs the server,
//!   the others join it. A server is joined only after proof that it serves this very folder.
//! - **No stranger is touched.** A process is signalled only when it is a `postgres` working in our data folder; a
//!   lock file that names anybody else is merely cleared.
//! - **Nothing is deleted.** A data folder is never removed, replaced or "repaired": the crate removes only what it made
//!   a moment ago and never finished (`data.new.*`), and lock files whose server is gone.
//! - **The server does not outlive the app** (Linux): killed outright, the app takes the server with it in a clean
//!   shutdown. Elsewhere the next start adopts the server that was left behind.
//! - **No other account gets in.** The socket stands in a folder of mode 0700, the password in a file of mode 0600, and
//!   there is no TCP port (Windows: loopback only).
//!
//! Lost servers are the caller's to notice: when connections fail and [`Cluster::is_alive`] says no, drop the handle and
//! call [`Cluster::start`] again. Everybody may do so at once; one of them starts the server.
//!
//! # Layout of the folder
//!
//! ```text
//! start.lock      held while somebody starts; never removed
//! owner.lock      held by the process that will stop the server; names it
//! password        of the superuser `bizing`, 0600
//! postgres.log    what the server says; the previous one is postgres.log.1
//! run/            the socket, unless the path is too long for one
//! data/           the cluster
//! data.new.<x>/   a cluster in the making; renamed to data/ when complete
//! upgrade.<x>/    a whole folder of another major in the making; its data/ takes the place of ours
//! data.15.bak/    the cluster before such a move; ours to keep, never to remove
//! ```
//!
//! # As root
//!
//! PostgreSQL refuses to run as root, so a root process (a container, CI) starts the server under another account: the
//! one that owns the data folder, else the one behind `sudo`, else the owner of the root folder, else `postgres`, else
//! `nobody`. An empty folder that root owns is handed to that account. The folder itself is never moved: when the
//! account cannot reach it (below `/root`, say), the start fails with an error that names both. Whether a *desktop* may
//! run as root is for the caller to decide.

mod account;
mod cluster;
mod discover;
mod error;
mod folder;
mod initialize;
mod launch;
mod locks;
mod ownership;
mod pidfile;
mod process;
mod settings;
mod spawn;
mod survey;
mod tools;
mod upgrade;

use std::path::PathBuf;

pub use cluster::Cluster;
pub use discover::{Binaries, FLOOR, discover};
pub use error::{StartError, StopError, Tried};
pub use tools::{ToolError, Tools};
pub use upgrade::{Move, UpgradeError, Upgraded};

/// Free space for an ordinary account on the file system of `path`, if the system says.
pub fn free_bytes(path: &std::path::Path) -> Option<u64> {
    process::free_bytes(path)
}

/// The size of the disk that holds this folder.
pub fn disk_bytes(path: &std::path::Path) -> Option<u64> {
    process::disk(path).map(|(_, size)| size)
}

/// The superuser of the private server.
pub const SUPERUSER: &str = "bizing";

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds everything (see the layout above). It is made when it does not exist.
    pub root: PathBuf,
    /// The folder of the server's programs, chosen by a person: it is used or the start fails, never passed over.
    /// [`Options::new`] takes it from `BIZING_PG_BIN`.
    pub bin: Option<PathBuf>,
    /// The server that came with the app: a folder with `bin/` inside. Tried before the system's.
    pub bundled: Option<PathBuf>,
    /// Trades safety for speed: nothing is flushed to the disk. For tests only: a killed server still loses nothing, but
    /// a power cut may lose the database.
    pub no_sync: bool,
    pub max_connections: u16,
}

impl Options {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            bin: std::env::var_os("BIZING_PG_BIN")
                .filter(|v| !v.is_empty())
                .map(PathBuf::from),
            bundled: None,
            no_sync: false,
            max_connections: 60,
        }
    }
}
