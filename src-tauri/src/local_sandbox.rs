//! The sandbox of this data folder. Any number of processes may want it; the one that holds the lock runs it, the others
//! use it, and when its process ends one of them takes it over on the same ports.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bizing_engine::app::host::{SandboxAddr, SandboxStarter};
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::runtime::{files, ids};
use bizing_sandbox::{Options, Sandbox, WebhookTarget};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How long another process may take to start it.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(2);

#[derive(Clone, Default)]
pub struct LocalSandbox(Arc<Parts>);

#[derive(Default)]
struct Parts {
    running: Mutex<Option<Running>>,
    /// Where this process takes events, when it listens.
    webhooks: Mutex<Option<String>>,
    tasks: Mutex<Option<Tasks>>,
}

struct Running {
    sandbox: Sandbox,
    /// Held for as long as the sandbox runs here.
    _lock: File,
}

/// `address.json`: where it answers, and what it shares with those who use it. No money hangs on these secrets.
#[derive(Clone, Serialize, Deserialize)]
struct Address {
    api: SocketAddr,
    smtp: SocketAddr,
    secret_key: String,
    webhook_secret: String,
}

impl LocalSandbox {
    /// The sandbox sends its events there, should this process come to run it.
    pub fn send_events_to(&self, url: String) {
        *locked(&self.0.webhooks) = Some(url);
    }

    async fn find(&self, data: &Path) -> Result<SandboxAddr, String> {
        let folder = data.join("sandbox");
        files::make_private_folder(&folder)
            .map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
        if let Some(address) = self.here(&folder) {
            return Ok(address.into());
        }
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            if let Some(lock) = lock(&folder)? {
                break self.run(&folder, lock).await?;
            }
            if let Some(address) = read(&folder)
                && answers(&address).await
            {
                tracing::info!(address = %address.api, "using the sandbox of another process");
                break address;
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "another process holds {} but its sandbox does not answer; end that process",
                    folder.join("lock").display()
                ));
            }
            sleep(Duration::from_millis(100)).await;
        };
        self.watch(folder);
        Ok(address.into())
    }

    fn here(&self, folder: &Path) -> Option<Address> {
        locked(&self.0.running).as_ref()?;
        read(folder)
    }

    /// Starts it, on the ports it had before if they are free: links that customers hold go on working.
    async fn run(&self, folder: &Path, lock: File) -> Result<Address, String> {
        let before = read(folder);
        let secret = |prefix: &str| format!("{prefix}{}", ids::password());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut address = before.clone().unwrap_or_else(|| Address {
            api: any,
            smtp: any,
            secret_key: secret("sk_test_"),
            webhook_secret: secret("whsec_"),
        });
        let webhook = locked(&self.0.webhooks).clone().map(|url| WebhookTarget {
            url,
            secret: address.webhook_secret.clone(),
        });
        let options = |listen, smtp| Options {
            listen,
            smtp: Some(smtp),
            journal: Some(folder.join("journal.jsonl")),
            webhook: webhook.clone(),
            secret_key: address.secret_key.clone(),
        };
        let started = match Sandbox::start(options(address.api, address.smtp)).await {
            Err(error) if before.is_some() => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the sandbox takes other ports than before"
                );
                Sandbox::start(options(any, any)).await
            }
            started => started,
        };
        let sandbox = started.map_err(|error| format!("{error:#}"))?;
        address.api = at(&sandbox.url()).ok_or("its address cannot be read")?;
        address.smtp = sandbox
            .smtp_addr()
            .ok_or("its mail server does not listen")?;
        let text = serde_json::to_vec_pretty(&address).map_err(|e| e.to_string())?;
        files::replace(&folder.join("address.json"), &text).map_err(|e| {
            format!(
                "its address cannot be written into {}: {e}",
                folder.display()
            )
        })?;
        tracing::info!(address = %address.api, "the sandbox runs in this process");
        *locked(&self.0.running) = Some(Running {
            sandbox,
            _lock: lock,
        });
        Ok(address)
    }

    /// Takes over when the process that runs it is gone.
    fn watch(&self, folder: PathBuf) {
        let mut tasks = locked(&self.0.tasks);
        if tasks.is_some() {
            return;
        }
        let started = Tasks::default();
        let (this, stop) = (self.clone(), started.stopping());
        started.forever("sandbox", move || {
            let (this, folder, stop) = (this.clone(), folder.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = this.take_over(folder) => {}
                }
            }
        });
        *tasks = Some(started);
    }

    async fn take_over(&self, folder: PathBuf) {
        loop {
            sleep(LOOK).await;
            if locked(&self.0.running).is_some() {
                continue;
            }
            if let Ok(Some(lock)) = lock(&folder)
                && let Err(error) = self.run(&folder, lock).await
            {
                tracing::warn!(%error, "the sandbox is gone and does not start");
            }
        }
    }
}

impl SandboxStarter for LocalSandbox {
    fn start<'a>(
        &'a self,
        data: &'a Path,
    ) -> futures_util::future::BoxFuture<'a, Result<SandboxAddr, String>> {
        Box::pin(self.find(data))
    }

    fn stop(&self) -> futures_util::future::BoxFuture<'_, ()> {
        Box::pin(async {
            let tasks = locked(&self.0.tasks).take();
            if let Some(tasks) = tasks {
                tasks.shut_down().await;
            }
            let running = locked(&self.0.running).take();
            if let Some(running) = running {
                running.sandbox.stop().await;
            }
        })
    }
}

impl From<Address> for SandboxAddr {
    fn from(address: Address) -> SandboxAddr {
        SandboxAddr {
            url: format!("http://{}", address.api),
            smtp: address.smtp.to_string(),
            secret_key: address.secret_key.into(),
            webhook_secret: address.webhook_secret.into(),
        }
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(|e| e.into_inner())
}

/// `None`: somebody else has it.
fn lock(folder: &Path) -> Result<Option<File>, String> {
    let path = folder.join("lock");
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = open.map_err(|e| format!("{} cannot be opened: {e}", path.display()))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

fn read(folder: &Path) -> Option<Address> {
    serde_json::from_slice(&std::fs::read(folder.join("address.json")).ok()?).ok()
}

async fn answers(address: &Address) -> bool {
    let connect = tokio::net::TcpStream::connect(address.api);
    matches!(
        tokio::time::timeout(Duration::from_secs(1), connect).await,
        Ok(Ok(_))
    )
}

fn at(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.parse().ok()
}
