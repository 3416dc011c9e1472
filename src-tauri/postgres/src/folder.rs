//! The folder on disk: who may enter it, what stands where, and the password.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::StartError;

/// A log larger than this is set aside when the server starts.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// Canonical, so that two spellings of one folder meet at the same locks and the same socket.
    pub root: PathBuf,
    /// The account to drop to; `None` when this process runs the server as itself.
    pub account: Option<Account>,
}

impl Folder {
    /// Makes the folder if need be, and makes sure that nobody else can look inside.
    pub fn prepare(root: &Path) -> Result<Self, StartError> {
        let made =
            make_with_parents(root).map_err(|e| StartError::io("making the folder", root, e))?;
        let root =
            fs::canonicalize(root).map_err(|e| StartError::io("opening the folder", root, e))?;
        let folder = Self {
            account: choose_account(&root),
            root,
        };
        // Only what we just made, or a folder that is empty or already ours, is handed over and closed to others: a
        // caller who names, say, /srv by mistake must not find it changed.
        for path in &made {
            folder
                .own(path)
                .map_err(|e| StartError::io("handing over the folder", path, e))?;
        }
        if made.is_empty()
            && folder
                .is_ours()
                .map_err(|e| StartError::io("reading the folder", &folder.root, e))?
        {
            let close = folder
                .own(&folder.root)
                .and_then(|()| restrict(&folder.root));
            close.map_err(|e| StartError::io("closing the folder to others", &folder.root, e))?;
        }
        folder.check_data()?;
        Ok(folder)
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The major version of the cluster in `data`, or `None` if there is no cluster yet.
    pub fn data_major(&self) -> Result<Option<u32>, StartError> {
        let path = self.data().join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                let source = io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("it says {text:?}, not a version"),
                );
                StartError::io("reading the version of the data", &path, source)
            }),
            // initdb works under another name, so a `data` without a version is not an unfinished cluster of ours.
            Err(e) if e.kind() == io::ErrorKind::NotFound && is_absent_or_empty(&self.data()) => {
                Ok(None)
            }
            Err(e) => Err(StartError::io("reading the version of the data", &path, e)),
        }
    }

    /// The superuser's password. With `make`, a new one is written where there is none.
    pub fn password(&self, make: bool) -> Result<String, StartError> {
        let path = self.root.join("password");
        let lost = |what| StartError::Password {
            root: self.root.clone(),
            what,
        };
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            // A power cut between creating and writing it: nothing has been protected by it yet.
            Ok(_) if make => fs::remove_file(&path)
                .map_err(|e| StartError::io("replacing the empty", &path, e))?,
            Ok(_) => return Err(lost("is empty")),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !make => {
                return Err(lost("is missing"));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StartError::io("reading", &path, e)),
        }
        let password: String = rand::random::<[u8; 24]>()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let written = self
            .open(&path, OpenOptions::new().write(true).create_new(true))
            .and_then(|mut file| {
                file.write_all(password.as_bytes())?;
                file.sync_all()
            });
        written.map_err(|e| StartError::io("writing the password", &path, e))?;
        Ok(password)
    }

    /// The server's log, opened for appending; a long one is set aside first. Also its present length.
    pub fn open_log(&self) -> Result<(File, u64), StartError> {
        let path = self.log();
        let failed = |e| StartError::io("opening the log", &path, e);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
            fs::rename(&path, self.root.join("postgres.log.1")).map_err(failed)?;
        }
        let file = self
            .open(&path, OpenOptions::new().append(true).create(true))
            .map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok((file, length))
    }

    /// Opens one of our files: mode 0600, owned by the server's account, and never through a link that somebody with
    /// access to the folder may have put in its place.
    pub fn open(&self, path: &Path, how: &mut OpenOptions) -> io::Result<File> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            how.mode(0o600).custom_flags(libc::O_NOFOLLOW);
        }
        let file = how.open(path)?;
        #[cfg(unix)]
        if let Some(account) = &self.account {
            std::os::unix::fs::fchown(&file, Some(account.uid), Some(account.gid))?;
        }
        Ok(file)
    }

    /// Makes a folder of mode 0700 for the server's account. One that exists is kept if it is that already.
    pub fn make_private(&self, path: &Path) -> Result<(), StartError> {
        match make_one(path) {
            Ok(()) => self
                .own(path)
                .map_err(|e| StartError::io("handing over the folder", path, e)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.check_private(path),
            Err(e) => Err(StartError::io("making the folder", path, e)),
        }
    }

    /// Gives `path` to the server's account, if that is not ourselves.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        if let Some(account) = &self.account {
            std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))?;
        }
        #[cfg(not(unix))]
        let _ = path;
        Ok(())
    }

    /// Where the Unix socket goes; `None` where the server listens on the loopback instead.
    #[cfg(unix)]
    pub fn socket_folder(&self) -> Result<Option<PathBuf>, StartError> {
        let beside = self.root.join("run");
        if socket_fits(&beside) {
            return self.make_private(&beside).map(|()| Some(beside));
        }
        let uid = self.server_uid();
        let name = format!(
            "bizing-{uid}-{:016x}",
            fnv1a(self.root.as_os_str().as_encoded_bytes())
        );
        // The session's own folder belongs to our user, so it does not serve another account.
        let session = std::env::var_os("XDG_RUNTIME_DIR")
            .filter(|_| self.account.is_none())
            .map(PathBuf::from);
        let bases = [
            session.filter(|dir| dir.is_dir()),
            Some(std::env::temp_dir()),
            Some("/tmp".into()),
        ];
        let short = bases
            .into_iter()
            .flatten()
            .map(|base| base.join(&name))
            .find(|path| socket_fits(path));
        let Some(path) = short else {
            let source = io::Error::new(
                io::ErrorKind::InvalidFilename,
                "no folder with a short enough path for a socket",
            );
            return Err(StartError::io("placing the socket of", &self.root, source));
        };
        self.make_private(&path).map(|()| Some(path))
    }

    #[cfg(not(unix))]
    pub fn socket_folder(&self) -> Result<Option<PathBuf>, StartError> {
        Ok(None)
    }

    fn is_ours(&self) -> io::Result<bool> {
        Ok(self.root.join("start.lock").exists() || fs::read_dir(&self.root)?.next().is_none())
    }

    #[cfg(unix)]
    fn server_uid(&self) -> u32 {
        self.account
            .as_ref()
            .map_or_else(crate::account::effective_uid, |account| account.uid)
    }

    /// The server opens only a folder of its own that others cannot enter. A loose mode is ours to mend, an owner not.
    #[cfg(unix)]
    fn check_data(&self) -> Result<(), StartError> {
        use std::os::unix::fs::MetadataExt;
        let data = self.data();
        let meta = match fs::metadata(&data) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StartError::io("reading", &data, e)),
        };
        if meta.uid() != self.server_uid() {
            return Err(StartError::Permission {
                detail: format!(
                    "it belongs to {}, and the server would run as {}",
                    crate::account::describe(meta.uid()),
                    crate::account::describe(self.server_uid())
                ),
                fix: format!(
                    "Run the app as its owner, or give it away: chown -R {} {}",
                    self.server_uid(),
                    data.display()
                ),
                path: data,
            });
        }
        if meta.mode() & 0o027 != 0 {
            restrict(&data)
                .map_err(|e| StartError::io("closing the folder to others", &data, e))?;
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_data(&self) -> Result<(), StartError> {
        Ok(())
    }

    /// In a shared place such as /tmp somebody may have made the folder before us, to read along.
    #[cfg(unix)]
    fn check_private(&self, path: &Path) -> Result<(), StartError> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::symlink_metadata(path).map_err(|e| StartError::io("reading", path, e))?;
        let ours = meta.is_dir()
            && (meta.uid() == self.server_uid() || meta.uid() == crate::account::effective_uid());
        if !ours {
            return Err(StartError::Permission {
                path: path.into(),
                detail: format!(
                    "it is needed for the server's socket, but belongs to {}",
                    crate::account::describe(meta.uid())
                ),
                fix: "Remove it, then start again.".into(),
            });
        }
        let close = restrict(path).and_then(|()| self.own(path));
        close.map_err(|e| StartError::io("closing the folder to others", path, e))
    }

    #[cfg(not(unix))]
    fn check_private(&self, _path: &Path) -> Result<(), StartError> {
        Ok(())
    }
}

fn is_absent_or_empty(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}

/// Makes `path` and its missing parents, and says which it made, outermost first.
fn make_with_parents(path: &Path) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
        .collect();
    let mut made = Vec::new();
    for path in missing.into_iter().rev() {
        match make_one(path) {
            Ok(()) => made.push(path.to_owned()),
            // Another process starts at the same moment.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(made)
}

fn make_one(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(path);
    #[cfg(not(unix))]
    fs::create_dir(path)
}

/// On Windows the folder inherits the rights of the user's profile, which already keep others out.
fn restrict(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if fs::metadata(path)?.permissions().mode() & 0o777 != 0o700 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(unix)]
fn choose_account(root: &Path) -> Option<Account> {
    crate::account::choose(root)
}

#[cfg(not(unix))]
fn choose_account(_root: &Path) -> Option<Account> {
    None
}

/// The system's structure for a socket's address holds this many bytes of path and a zero.
#[cfg(unix)]
fn socket_fits(folder: &Path) -> bool {
    let limit = if cfg!(target_os = "linux") { 107 } else { 103 };
    folder.as_os_str().len() + "/.s.PGSQL.5432".len() <= limit
}

/// A short stable name for a long path: every process and every release must find the same one.
#[cfg(unix)]
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
