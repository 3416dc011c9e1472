//! Making a new cluster: `initdb` into a folder of a random name, settings, then one rename.
//!
//! A start that is killed half-way leaves a `data.new.*` behind and never a half-made `data`.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::Options;
use crate::SUPERUSER;
use crate::discover::Binaries;
use crate::error::StartError;
use crate::folder::Folder;
use crate::process;
use crate::settings;
use crate::spawn::{self, AtOurDeath};

/// A fresh cluster takes 39 MB; the rest is for the log of changes, which may grow to 256 MB before it is trimmed.
const ROOM: u64 = 300 * 1024 * 1024;
const PREFIX: &str = "data.new.";

/// Called under the start lock, with the password already written.
pub(crate) async fn initialize(
    folder: &Folder,
    binaries: &Binaries,
    options: &Options,
) -> Result<(), StartError> {
    if let Some(free) = process::free_bytes(&folder.root).filter(|free| *free < ROOM) {
        let detail = format!(
            "{} MB are free, a new database needs {} MB",
            free >> 20,
            ROOM >> 20
        );
        return Err(StartError::DiskFull {
            path: folder.root.clone(),
            detail,
        });
    }
    sweep(folder);
    let fresh = folder
        .root
        .join(format!("{PREFIX}{:016x}", rand::random::<u64>()));
    folder.make_private(&fresh)?;
    let made = match run_initdb(folder, binaries, options, &fresh).await {
        Ok(()) => finish(folder, binaries.major, &fresh),
        Err(error) => Err(error),
    };
    if made.is_err() {
        // Ours, made a moment ago and never used.
        let _ = fs::remove_dir_all(&fresh);
    }
    made
}

async fn run_initdb(
    folder: &Folder,
    binaries: &Binaries,
    options: &Options,
    fresh: &Path,
) -> Result<(), StartError> {
    let mut command = spawn::command(
        &binaries.tool("initdb"),
        folder.account.as_ref(),
        AtOurDeath::Kill,
    );
    command.arg("-D").arg(fresh).args([
        "-U",
        SUPERUSER,
        "-E",
        "UTF8",
        "--data-checksums",
        "--no-instructions",
    ]);
    // `peer` would tie the database to the login's name, `trust` would let every local account in.
    command.args([
        "--auth-local=scram-sha-256",
        "--auth-host=scram-sha-256",
        "--text-search-config=simple",
    ]);
    let mut pwfile = std::ffi::OsString::from("--pwfile=");
    pwfile.push(folder.root.join("password"));
    command.arg(pwfile);
    if binaries.major >= 17 {
        // The server's own: no change of the system's C library can ever reorder an index.
        command.args(["--locale-provider=builtin", "--locale=C.UTF-8"]);
    } else {
        command.arg(if cfg!(target_os = "linux") {
            "--locale=C.UTF-8"
        } else {
            "--locale=C"
        });
    }
    if options.no_sync {
        command.arg("--no-sync");
    }
    // The reasons come through a pipe, since a file on a full disk would stay empty.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed = |e| StartError::io("running initdb of", &binaries.dir, e);
    let mut running = Running(spawn::spawn(command).await.map_err(failed)?);
    let stderr = running.0.stderr.take();
    let output = tokio::task::spawn_blocking(move || read_all(stderr))
        .await
        .unwrap_or_default();
    let status = running.0.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let root = folder.root.clone();
    Err(
        StartError::from_output(&root, &output).unwrap_or_else(|| StartError::Initialize {
            root,
            output: format!("{} ({status})", output.trim()),
        }),
    )
}

fn finish(folder: &Folder, major: u32, fresh: &Path) -> Result<(), StartError> {
    let write = || {
        settings::write(folder, &fresh.join(settings::FILE), &settings::text(major))?;
        let main = fresh.join("postgresql.conf");
        let mut text = fs::read_to_string(&main)?;
        text.push_str(settings::INCLUDE);
        settings::write(folder, &main, &text)?;
        // An empty folder may stand where the data belongs; a full one makes this, and so the rename, fail.
        match fs::remove_dir(folder.data()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => fs::rename(fresh, folder.data())?,
        }
        #[cfg(unix)]
        fs::File::open(&folder.root)?.sync_all()?;
        Ok(())
    };
    write().map_err(|e| StartError::io("finishing the new database in", &folder.root, e))
}

/// Removes what killed starts left. Only names of our own shape, and never anything that was ever called `data`.
fn sweep(folder: &Folder) {
    for entry in fs::read_dir(&folder.root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if ours.is_some_and(|rest| {
            rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        }) && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(folder = %entry.path().display(), %error, "an unfinished database could not be removed");
        }
    }
}

fn read_all(stderr: Option<std::process::ChildStderr>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stderr) = stderr {
        // What was read before an error is still worth showing.
        let _ = stderr.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ends `initdb` when the start is given up, and leaves no zombie.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
