//! A database per test, copied from a template that is migrated once per run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use bizing_engine::store::migrate::{self, Installation};
use bizing_engine::store::roles;
use bizing_postgres::{Cluster, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::proxy::Proxy;

pub const PASSWORD: &str = "test";
pub const GROUPS: [&str; 5] = ["viewer", "staff", "manager", "admin", "worker"];

struct Server {
    superuser: PgConnectOptions,
    installation: Installation,
    /// Stops with the process.
    _cluster: Cluster,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct TestDb {
    pub name: String,
    pub installation: Installation,
    superuser: PgConnectOptions,
}

impl TestDb {
    pub async fn new() -> TestDb {
        let server = SERVER.get_or_init(start).await;
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut conn = PgConnection::connect_with(&server.superuser.clone().database("postgres"))
            .await
            .expect("the test server answers");
        // Copies are refused while another copy looks at the template: one at a time.
        sqlx::query("select pg_advisory_lock(1)")
            .execute(&mut conn)
            .await
            .expect("lock");
        sqlx::query(AssertSqlSafe(format!(
            "create database {name} template template_desk strategy file_copy"
        )))
        .execute(&mut conn)
        .await
        .expect("copy of the template");
        let id = &server.installation.id;
        for statement in [
            format!("revoke connect, temporary on database {name} from public"),
            format!("grant connect on database {name} to bizing_viewer_{id}, bizing_worker_{id}"),
            format!("grant create on database {name} to bizing_owner_{id}"),
        ] {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut conn)
                .await
                .expect("grants on the copy");
        }
        conn.close().await.expect("close");
        TestDb {
            name,
            installation: server.installation.clone(),
            superuser: server.superuser.clone(),
        }
    }

    pub fn superuser(&self) -> PgConnectOptions {
        self.superuser.clone().database(&self.name)
    }

    /// Connection options of a login in this group.
    pub fn login(&self, group: &str) -> PgConnectOptions {
        self.superuser()
            .username(&format!("test_{group}_{}", self.installation.id))
            .password(PASSWORD)
    }

    /// The same, through a proxy that [`Proxy::to_database`] put before the server.
    pub fn login_through(&self, group: &str, proxy: &Proxy) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(proxy.addr.port())
            .ssl_mode(PgSslMode::Disable)
            .username(&format!("test_{group}_{}", self.installation.id))
            .password(PASSWORD)
            .database(&self.name)
    }

    pub async fn pool(&self, group: &str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(6)
            .connect_with(self.login(group))
            .await
            .expect("a test login connects")
    }

    pub async fn pool_named(&self, group: &str, application: &str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(6)
            .connect_with(self.login(group).application_name(application))
            .await
            .expect("a test login connects")
    }

    pub async fn superuser_pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(3)
            .connect_with(self.superuser())
            .await
            .expect("the superuser connects")
    }
}

async fn start() -> Server {
    let folder = scratch();
    forget_old_runs(&folder);
    let root: PathBuf = folder.join(format!("bizing-test-{}", std::process::id()));
    let (cluster, superuser, installation) = fresh(&root, "template_desk").await;
    Server {
        superuser,
        installation,
        _cluster: cluster,
    }
}

/// Options of a server that is only for tests, on this folder.
pub fn server(root: &std::path::Path) -> Options {
    Options {
        no_sync: true,
        max_connections: 300,
        ..Options::new(root)
    }
}

/// A private server on this folder, with one migrated database and a login in each group.
async fn fresh(
    root: &std::path::Path,
    database: &str,
) -> (Cluster, PgConnectOptions, Installation) {
    let cluster = Cluster::start(server(root))
        .await
        .expect("a private test server starts");
    let superuser = cluster.connect_options("postgres");
    migrate::ensure_database(&superuser, database)
        .await
        .expect("the database");
    let mut conn = PgConnection::connect_with(&superuser.clone().database(database))
        .await
        .expect("connect");
    // Tests are about what is true after a commit, not after a power cut.
    sqlx::query("alter system set fsync = off")
        .execute(&mut conn)
        .await
        .expect("fsync off");
    sqlx::query("select pg_reload_conf()")
        .execute(&mut conn)
        .await
        .expect("reload");
    let installation = migrate::migrate(&mut conn, "demo", "sandbox")
        .await
        .expect("migrations apply to an empty database");
    for group in GROUPS {
        let user = format!("test_{group}_{}", installation.id);
        roles::ensure_login(&mut conn, &installation.id, group, &user, PASSWORD)
            .await
            .expect("test login");
    }
    conn.close().await.expect("close");
    (cluster, superuser, installation)
}

/// A server of a test's own, which the test may stop and start again on its folder.
pub async fn own_server() -> (Cluster, PathBuf, TestDb) {
    static SERVERS: AtomicU32 = AtomicU32::new(0);
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let root = scratch().join(format!("bizing-test-{}-own-{number}", std::process::id()));
    let (cluster, superuser, installation) = fresh(&root, "own").await;
    let db = TestDb {
        name: "own".to_owned(),
        installation,
        superuser,
    };
    (cluster, root, db)
}

/// Memory where there is plenty of it: a test run makes and drops thousands of files.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let roomy = std::process::Command::new("df")
        .args(["--output=avail", "-k", "/dev/shm"])
        .output()
        .ok()
        .and_then(|o| {
            String::from_utf8_lossy(&o.stdout)
                .lines()
                .nth(1)
                .and_then(|l| l.trim().parse::<u64>().ok())
        });
    if roomy.is_some_and(|kb| kb > 3_000_000) {
        memory
    } else {
        std::env::temp_dir()
    }
}

impl Drop for TestDb {
    /// A run of hundreds of tests keeps no hundreds of databases.
    fn drop(&mut self) {
        let (options, name) = (
            self.superuser.clone().database("postgres"),
            self.name.clone(),
        );
        // Not waited for: the server asks every backend first, also those whose client runs on this very thread.
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                if let Ok(mut conn) = PgConnection::connect_with(&options).await {
                    let sql = format!("drop database if exists {name} with (force)");
                    let _ = sqlx::query(AssertSqlSafe(sql)).execute(&mut conn).await;
                }
            });
        });
    }
}

/// Folders of test runs whose process is gone.
fn forget_old_runs(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name
            .strip_prefix("bizing-test-")
            .and_then(|p| p.parse::<u32>().ok())
        else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
