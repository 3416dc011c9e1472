//! Workers as processes of their own, which can be killed: this test program started again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use bizing_engine::delivery::http::Names;
use bizing_engine::delivery::webhook::{Connections, Parts, Webhooks};
use bizing_engine::domain::ids::WorkerId;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::store::vault::Vault;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::Hooks;
use crate::support::db::PASSWORD;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that others start, not a test"]
async fn a_worker_process() {
    let Ok(database) = std::env::var("HOOKS_DATABASE") else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let login = PgConnectOptions::from_str(&database).expect("an address");
    let webhooks = Webhooks::new(Parts {
        connections: Connections::to(&login),
        worker: WorkerId(Uuid::now_v7()),
        vault: vault(),
        names: Arc::new(Names),
        bell: Bell::default(),
        hints: Hints::default(),
        crash: CrashPoints::default(),
    });
    let ordinary = PgPool::connect_lazy_with(login);
    tokio::join!(
        webhooks.run(Default::default()),
        webhooks.keep_up(Default::default(), ordinary)
    );
}

/// Every process of a test holds the same key.
fn vault() -> Vault {
    let key = base64::engine::general_purpose::STANDARD.encode([7u8; 32]);
    Vault::of(Path::new("/nowhere"), Some(&key))
}

/// Endpoints whose secrets these processes can read.
pub async fn hooks() -> Hooks {
    let mut hooks = Hooks::new().await;
    hooks.desk.vault = vault();
    hooks
}

/// One such process. It dies with the test at the latest, also with one that fails.
pub struct Dying(Child);

impl Dying {
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Dying {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("it is gone");
    }
}

pub fn start(hooks: &Hooks) -> Dying {
    let login = hooks.desk.db.login("worker");
    let socket = login.get_socket().expect("a socket").display().to_string();
    let database = format!(
        "postgres://{}:{PASSWORD}@localhost:{}/{}?host={}",
        login.get_username(),
        login.get_port(),
        hooks.desk.db.name,
        socket.replace('/', "%2F"),
    );
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "hooks::dying::a_worker_process"])
        .env("HOOKS_DATABASE", database)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a worker process");
    Dying(child)
}

/// What the dead held would go on after its lease, or when another process of this computer starts.
pub async fn leases_run_out(hooks: &Hooks) {
    sqlx::query("update delivery.leases set expires_at = now()")
        .execute(&hooks.desk.worker_pool)
        .await
        .unwrap();
}

/// Tries of which nobody knows how they ended.
pub async fn cut_off(hooks: &Hooks) -> i64 {
    sqlx::query_scalar("select count(*) from read.delivery_tries_v1 where result = 'interrupted'")
        .fetch_one(&hooks.desk.people)
        .await
        .unwrap()
}
