//! A real `bizing-desk serve` with a data folder of its own, and a browser's view of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::support::wait_until;

pub const STARTS: Duration = Duration::from_secs(60);

pub struct Served {
    child: Child,
    /// `http://127.0.0.1:…`
    pub url: String,
    pub token: String,
    pub log: PathBuf,
    browser: Client,
}

/// The command with nothing of this machine's desk in its environment. Long runs may name a release build of it.
pub fn command(data: &Path) -> Command {
    let program = std::env::var_os("DESK_PROGRAM");
    let mut command = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_bizing-desk").into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("BIZING_") || name.starts_with("PG") || name == "DATABASE_URL" {
            command.env_remove(&*name);
        }
    }
    if let Some(bin) = std::env::var_os("BIZING_PG_BIN") {
        command.env("BIZING_PG_BIN", bin);
    }
    command.env("BIZING_DATA", data).env("BIZING_NO_SYNC", "1");
    command
}

/// A command under a login of its own, to its end: how it ended, and what it said.
pub async fn run(login: &PgConnectOptions, arguments: &[&str]) -> (Option<i32>, String) {
    let data = tempfile::tempdir().unwrap();
    let mut command = command(data.path());
    command
        .env("DATABASE_URL", login.to_url_lossy().as_str())
        .args(arguments);
    // What the test itself works goes on meanwhile.
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    (status.code(), said)
}

impl Served {
    pub fn start(data: &Path) -> Served {
        Served::with(data, &[])
    }

    pub fn with(data: &Path, environment: &[(&str, &str)]) -> Served {
        let mut command = command(data);
        command.envs(environment.iter().copied()).arg("serve");
        let log = data.join("stderr.log");
        let stderr = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("Bizing Desk: ")
            .unwrap_or_else(|| panic!("it printed {line:?}"));
        let (url, token) = address.split_once("/?token=").unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let browser = Client::builder()
            .cookie_store(true)
            .no_proxy()
            .build()
            .unwrap();
        Served {
            child,
            url: url.to_owned(),
            token: token.to_owned(),
            log,
            browser,
        }
    }

    /// Opens the printed address, as a person does.
    pub async fn enter(&self) -> StatusCode {
        let address = format!("{}/?token={}", self.url, self.token);
        self.browser.get(address).send().await.unwrap().status()
    }

    pub async fn rpc(&self, name: &str, params: Value) -> (StatusCode, Value) {
        let request = self
            .browser
            .post(format!("{}/rpc/{name}", self.url))
            .header("x-bizing-desk", "1");
        let response = request.json(&params).send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap())
    }

    pub async fn ok(&self, name: &str, params: Value) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let (status, reply) = self.rpc(name, params.clone()).await;
            // On a busy machine the database may take its time; whoever is told to come again later does, as the window does.
            if reply["retry"]["when"] == "after" && Instant::now() < until {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            assert_eq!(status, StatusCode::OK, "{name}: {reply}");
            return reply;
        }
    }

    pub async fn phase(&self) -> Value {
        self.ok("host_state", json!({})).await["phase"].clone()
    }

    /// Waits until the start is over, one way or the other.
    pub async fn settled(&self) -> Value {
        wait_until("the start is over", STARTS, async || {
            self.phase().await["is"] != "starting"
        })
        .await;
        self.phase().await
    }

    pub async fn ready(&self) {
        let phase = self.settled().await;
        assert_eq!(phase["is"], "ready", "{phase}");
    }

    pub async fn explore(&self) {
        self.enter().await;
        self.ok("choose_start", json!({ "choice": "explore" }))
            .await;
        self.ready().await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// As a power cut would, for this one process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits.
    pub async fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not stop: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A failed test must leave nothing running; a process that has ended is not signalled again.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A data folder that the account of the private server can walk through.
pub fn data_folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("bizing-desk-")
        .tempdir()
        .unwrap()
}
