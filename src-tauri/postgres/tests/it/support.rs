//! A folder, a way to start in it, a way to ask the server something, and a second app to kill.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use bizing_postgres::{Cluster, Options, StartError};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A folder for one cluster. Under root the start hands it to the server's account.
///
/// In memory where there is room: ext4 looks at every file deleted in the last seconds before it makes a new one, and
/// these tests make and delete a thousand files each.
pub fn folder() -> TempDir {
    static BASE: LazyLock<PathBuf> = LazyLock::new(|| {
        let free = Command::new("df")
            .args(["--output=avail", "-k", "/dev/shm"])
            .output()
            .ok();
        let free = free.and_then(|df| {
            String::from_utf8_lossy(&df.stdout)
                .lines()
                .last()?
                .trim()
                .parse()
                .ok()
        });
        if free.unwrap_or(0) > 4 << 20 {
            "/dev/shm".into()
        } else {
            std::env::temp_dir()
        }
    });
    tempfile::Builder::new()
        .prefix("bizing-pg-")
        .tempdir_in(&*BASE)
        .unwrap()
}

/// A folder with a cluster that was made before, once for all tests: making one is the slow part.
pub fn made() -> TempDir {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    extern "C" fn remove() {
        if let Some(template) = TEMPLATE.get() {
            let _ = std::fs::remove_dir_all(template);
        }
    }
    let template = TEMPLATE.get_or_init(|| {
        let path = folder().keep();
        let root = path.clone();
        let make = move || {
            Runtime::new()
                .unwrap()
                .block_on(async { start(&root).await.unwrap().stop().await.unwrap() })
        };
        std::thread::spawn(make).join().unwrap();
        // SAFETY: the function is a plain one that lives as long as the process and does not unwind.
        unsafe { libc::atexit(remove) };
        path
    });
    let folder = folder();
    let status = Command::new("cp")
        .arg("-a")
        .arg(template.join("."))
        .arg(folder.path())
        .status();
    assert!(status.unwrap().success());
    folder
}

pub fn options(root: &Path) -> Options {
    Options {
        no_sync: true,
        ..Options::new(root)
    }
}

pub async fn start(root: &Path) -> Result<Cluster, StartError> {
    Cluster::start(options(root)).await
}

pub async fn connect(cluster: &Cluster) -> PgConnection {
    PgConnection::connect_with(&cluster.connect_options("postgres"))
        .await
        .unwrap()
}

/// One value of a query, as text.
pub async fn ask(cluster: &Cluster, sql: &'static str) -> String {
    sqlx::query_scalar(sql)
        .fetch_one(&mut connect(cluster).await)
        .await
        .unwrap()
}

pub async fn run(cluster: &Cluster, sql: &'static str) {
    sqlx::raw_sql(sql)
        .execute(&mut connect(cluster).await)
        .await
        .unwrap();
}

pub fn lock_file(root: &Path) -> PathBuf {
    root.join("data/postmaster.pid")
}

/// The server's log so far.
pub fn log(root: &Path) -> String {
    std::fs::read_to_string(root.join("postgres.log")).unwrap_or_default()
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing, touches no memory, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

pub fn kill(pid: i32) {
    assert!(pid > 1);
    // SAFETY: two integers, no memory.
    assert_eq!(
        unsafe { libc::kill(pid, libc::SIGKILL) },
        0,
        "no process {pid}"
    );
}

pub async fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process runs; a zombie does not.
pub fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Another process of the app: this test program, run again. It ends when we do.
pub struct App {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Whether it owns the server, and the server's pid; `None` until it has started.
    started: Option<(bool, i32)>,
}

impl App {
    pub fn launch(root: &Path) -> Self {
        Self::launch_with(root, &[])
    }

    pub fn launch_with(root: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["support::app", "--exact", "--ignored", "--nocapture"]);
        command
            .env("BIZING_IT_ROOT", root)
            .envs(env.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            started: None,
        }
    }

    /// Waits until it has its server: (is owner, server's pid).
    pub fn started(&mut self) -> (bool, i32) {
        if let Some(started) = self.started {
            return started;
        }
        let line = self
            .lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.starts_with("APP "))
            .expect("the app said why it failed");
        let mut words = line.split(' ').skip(1);
        let owner = words.next() == Some("true");
        *self
            .started
            .insert((owner, words.next().unwrap().parse().unwrap()))
    }

    pub fn kill(&mut self) {
        kill(self.child.id() as i32);
        self.child.wait().unwrap();
    }

    /// Closes the window.
    pub fn quit(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "not a test: the other process that some tests start"]
fn app() {
    let Some(root) = std::env::var_os("BIZING_IT_ROOT") else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let cluster = runtime
        .block_on(start(Path::new(&root)))
        .unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(run(
        &cluster,
        "create table if not exists kept (n int); insert into kept values (1)",
    ));
    println!("\nAPP {} {}", cluster.is_owner(), cluster.postmaster_pid());
    let _ = std::io::stdin().read_line(&mut String::new());
}
