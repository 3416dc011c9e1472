//! Starting child processes that must not outlive us.
//!
//! On Linux a child may ask for a signal at its parent's death, but the "parent" is the *thread* that spawned it: a
//! server spawned from a pool's thread is told to stop when the pool retires that thread. So every child comes from one
//! thread that is never joined and ends with the process.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

use crate::account::Account;
use crate::discover::Binaries;
use crate::error::StartError;
use crate::folder::Folder;

/// What a child gets when we die.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AtOurDeath {
    /// For the server: a fast shutdown, which keeps everything.
    ShutDown,
    /// For `initdb`: its folder is worthless unless complete.
    Kill,
}

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Spawns on the thread that lives as long as the process.
pub(crate) async fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        let run = move || {
            // Never ends: the sender stands in a static.
            for mut job in jobs {
                // The start may have been given up between asking and getting.
                if let Err(Ok(unwanted)) = job.reply.send(job.command.spawn()) {
                    dismiss(unwanted);
                }
            }
        };
        std::thread::Builder::new()
            .name("postgres-keeper".into())
            .spawn(run)
            .ok()
            .map(|_| sender)
    });
    let gone = || io::Error::other("the thread that starts the server could not be made");
    let (reply, answer) = oneshot::channel();
    let sent = keeper
        .as_ref()
        .ok_or_else(gone)?
        .send(Job { command, reply });
    sent.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// Tells a running child to stop, and waits for it in the background. Never by force: it may be a server.
pub(crate) fn dismiss(mut child: Child) {
    #[cfg(unix)]
    let _ = crate::process::signal(child.id() as i32, libc::SIGINT);
    // Without a thread it stays a zombie until we end, which harms nobody.
    let reap = move || child.wait();
    let _ = std::thread::Builder::new()
        .name("postgres-reaper".into())
        .spawn(reap);
}

/// A command for one of the server's programs, independent of the user's language, session and terminal.
pub(crate) fn command(
    program: &std::path::Path,
    account: Option<&Account>,
    fate: AtOurDeath,
) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let meddles = ["PG", "LC_"].iter().any(|start| text.starts_with(start))
            || [
                "LANG",
                "LANGUAGE",
                "LD_LIBRARY_PATH",
                "DYLD_LIBRARY_PATH",
                "TZ",
            ]
            .contains(&&*text);
        if meddles {
            command.env_remove(&name);
        }
    }
    command.env("LC_ALL", "C").env("TZ", "UTC");
    confine(&mut command, account, fate);
    command
}

#[cfg(unix)]
fn confine(command: &mut Command, account: Option<&Account>, fate: AtOurDeath) {
    use std::os::unix::process::CommandExt;
    // Our folder may go away while the server runs; and Ctrl-C in a terminal must reach the app first.
    command.current_dir("/").process_group(0);
    if let Some(account) = account {
        // std drops the supplementary groups as well.
        command.uid(account.uid).gid(account.gid);
    }
    ask_for_death_signal(command, fate);
}

#[cfg(not(unix))]
fn confine(_command: &mut Command, _account: Option<&Account>, _fate: AtOurDeath) {}

#[cfg(target_os = "linux")]
fn ask_for_death_signal(command: &mut Command, fate: AtOurDeath) {
    use std::os::unix::process::CommandExt;
    let signal = match fate {
        AtOurDeath::ShutDown => libc::SIGINT,
        AtOurDeath::Kill => libc::SIGKILL,
    } as libc::c_ulong;
    let us = std::process::id() as libc::pid_t;
    let ask = move || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer and touches no memory.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: getppid takes nothing, touches no memory and cannot fail.
        if unsafe { libc::getppid() } != us {
            // We died before the line above took effect: the signal will never come, so do not start at all.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes two bare system calls and
    // builds errors from a number, which does not allocate. It runs after std's setuid, which would clear the signal.
    unsafe { command.pre_exec(ask) };
}

#[cfg(all(unix, not(target_os = "linux")))]
fn ask_for_death_signal(_command: &mut Command, _fate: AtOurDeath) {}

/// As root: proves that the server's account can run the programs and enter the folder, before anything is made there.
pub(crate) async fn check_reach(folder: &Folder, binaries: &Binaries) -> Result<(), StartError> {
    let Some(account) = &folder.account else {
        return Ok(());
    };
    for place in [std::path::Path::new("/"), &folder.root] {
        let mut probe = command(&binaries.tool("postgres"), Some(account), AtOurDeath::Kill);
        // std changes the user first and the folder after, so a failure is the account's, not ours.
        probe
            .arg("--version")
            .current_dir(place)
            .stdout(std::process::Stdio::null());
        match spawn(probe).await {
            Ok(child) => drop(tokio::task::spawn_blocking(|| child.wait_with_output()).await),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let path = if place == folder.root {
                    &folder.root
                } else {
                    &binaries.dir
                };
                return Err(StartError::Unreachable {
                    path: path.clone(),
                    account: account.clone(),
                });
            }
            Err(e) => {
                return Err(StartError::io(
                    "running the server's programs in",
                    &binaries.dir,
                    e,
                ));
            }
        }
    }
    Ok(())
}
