//! Appends against a server whose disk is really full: each is answered and there, or refused with a clear sentence and not
//! there; and everything goes on once there is room. A small disk of one's own takes root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bizing_engine::app::doctor;
use bizing_engine::app::wire::AppError;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::{AppendError, Expected};
use bizing_engine::store::committer::{Committer, Settings};
use bizing_engine::store::{migrate, roles};
use bizing_postgres::{Cluster, Options};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use super::*;
use crate::support::db::PASSWORD;
use crate::support::wait_until;

const WRITERS: usize = 4;
/// Refusals of each writer that show that the disk is full and stays so.
const ENOUGH: usize = 3;

/// A file system in memory, unmounted at the end.
struct Disk {
    at: TempDir,
}

impl Disk {
    /// `None`, with the reason printed, where this account may not mount one.
    fn of(megabytes: u32) -> Option<Disk> {
        let at = crate::served::data_folder();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m,mode=711"),
                "tmpfs",
            ])
            .arg(at.path())
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: this account may not mount a small disk");
            return None;
        }
        Some(Disk { at })
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Leaves this much room and takes the rest.
    fn fill_but(&self, kilobytes: u64) {
        let free = bizing_postgres::free_bytes(self.path()).unwrap() >> 10;
        let size = usize::try_from((free - kilobytes) << 10).unwrap();
        std::fs::write(self.ballast(), vec![1; size]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A server of its own with a desk in it.
struct Server {
    cluster: Option<Cluster>,
    root: PathBuf,
    login: PgConnectOptions,
    superuser: PgConnectOptions,
}

impl Server {
    async fn at(root: PathBuf) -> Server {
        let cluster = start(&root).await;
        let superuser = cluster.connect_options("desk");
        migrate::ensure_database(&superuser, "desk").await.unwrap();
        let mut conn = PgConnection::connect_with(&superuser).await.unwrap();
        let installation = migrate::migrate(&mut conn, "demo", "sandbox")
            .await
            .unwrap();
        let user = format!("test_worker_{}", installation.id);
        roles::ensure_login(&mut conn, &installation.id, "worker", &user, PASSWORD)
            .await
            .unwrap();
        Server {
            login: superuser.clone().username(&user).password(PASSWORD),
            cluster: Some(cluster),
            root,
            superuser,
        }
    }

    async fn run(&self, sql: String) {
        let mut conn = PgConnection::connect_with(&self.superuser).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .unwrap();
    }

    async fn pool(&self) -> PgPool {
        let pool = PgPoolOptions::new().max_connections(8);
        pool.connect_with(self.login.clone()).await.unwrap()
    }

    /// As the desk does it when its server is gone. `stop` is not asked for: it may have died.
    async fn start_again(&mut self) {
        drop(self.cluster.take());
        self.cluster = Some(start(&self.root).await);
    }
}

async fn start(root: &Path) -> Cluster {
    let options = Options {
        no_sync: true,
        ..Options::new(root)
    };
    Cluster::start(options).await.unwrap()
}

/// What became of each append.
#[derive(Default)]
struct Told {
    there: BTreeSet<String>,
    not_there: BTreeSet<String>,
    /// The server was gone in the middle of a commit: either, and nothing in between.
    not_known: BTreeSet<String>,
    sentences: BTreeSet<String>,
}

impl Told {
    fn take(&mut self, text: String, answer: Result<Appended, AppendError>) -> bool {
        let error = match answer {
            Ok(_) => {
                self.there.insert(text);
                return true;
            }
            Err(error) => error,
        };
        let full = matches!(&error, AppendError::Database(e) if e.as_database_error().is_some_and(|d| d.code().as_deref() == Some("53100")));
        match full {
            true => self.not_there.insert(text),
            false => self.not_known.insert(text),
        };
        self.sentences.insert(match error {
            AppendError::Database(error) => AppError::from(error).message,
            error => error.to_string(),
        });
        false
    }

    fn and(mut self, other: Told) -> Told {
        self.there.extend(other.there);
        self.not_there.extend(other.not_there);
        self.not_known.extend(other.not_known);
        self.sentences.extend(other.sentences);
        self
    }
}

/// Some writers through both doors, until the disk is full for each of them. A text stands for its event.
async fn append_until_full(pool: &PgPool, committer: &Committer) -> Told {
    let writer = async |n: usize| {
        let (mut told, mut refused) = (Told::default(), 0);
        for i in 0.. {
            // A page or so each, so that it ends soon.
            let text = format!("{n}-{i}-{}", "x".repeat(6_000));
            let request = notes(new_booking(), Expected::Version(0), &[&text]);
            let answer = match n % 2 {
                0 => one(pool, request).await,
                _ => committer.append(&context(), request).await,
            };
            refused = if told.take(text, answer) {
                0
            } else {
                refused + 1
            };
            if refused == ENOUGH {
                break;
            }
        }
        told
    };
    let all = futures_util::future::join_all((0..WRITERS).map(writer)).await;
    all.into_iter().fold(Told::default(), Told::and)
}

/// Everything that was answered is there, nothing that was refused is, and the log is whole.
async fn is_true(server: &Server, pool: &PgPool, told: &Told) {
    let there: Vec<String> =
        sqlx::query_scalar("select data->>'provider_message_id' from read.events_v1")
            .fetch_all(pool)
            .await
            .unwrap();
    let there: BTreeSet<String> = there.into_iter().collect();
    let short = |texts: &BTreeSet<String>| -> Vec<String> {
        texts.iter().map(|t| t.chars().take(12).collect()).collect()
    };
    let lost: BTreeSet<String> = told.there.difference(&there).cloned().collect();
    assert_eq!(
        short(&lost),
        Vec::<String>::new(),
        "answered, and not there"
    );
    let ghosts: BTreeSet<String> = told.not_there.intersection(&there).cloned().collect();
    assert_eq!(short(&ghosts), Vec::<String>::new(), "refused, and there");
    let known: BTreeSet<String> = told.there.union(&told.not_known).cloned().collect();
    let strange: BTreeSet<String> = there.difference(&known).cloned().collect();
    assert_eq!(short(&strange), Vec::<String>::new(), "nobody wrote it");
    let mut conn = PgConnection::connect_with(&server.superuser).await.unwrap();
    for finding in doctor::log(&mut conn, &mut |_| {}).await.unwrap() {
        assert!(finding.ok, "{}: {:?}", finding.name, finding.sample);
    }
    let empty: i64 = sqlx::query_scalar("select count(*) from core.streams where version = 0")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(empty, 0, "a stream without an event is half an append");
}

#[tokio::test]
async fn a_full_disk_under_the_log_refuses_each_append_with_a_sentence_and_writes_nothing_of_it() {
    let Some(disk) = Disk::of(48) else { return };
    let folder = crate::served::data_folder();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    let server = Server::at(folder.path().join("pg")).await;
    // The newest partition and its indexes lie on the small disk, and nothing else does.
    let place = disk.path().join("log");
    std::fs::create_dir(&place).unwrap();
    let owner = std::fs::metadata(folder.path().join("pg/data")).unwrap();
    std::os::unix::fs::chown(
        &place,
        Some(std::os::unix::fs::MetadataExt::uid(&owner)),
        Some(std::os::unix::fs::MetadataExt::gid(&owner)),
    )
    .unwrap();
    server
        .run(format!(
            "create tablespace small location '{}'",
            place.display()
        ))
        .await;
    server
        .run(
            "do $$ declare x record; begin
               alter table core.events_0000 set tablespace small;
               for x in select indexrelid::regclass as name from pg_index where indrelid = 'core.events_0000'::regclass loop
                 execute format('alter index %s set tablespace small', x.name);
               end loop;
             end $$"
            .to_owned(),
        )
        .await;
    disk.fill_but(4_000);

    let pool = server.pool().await;
    let tasks = Tasks::default();
    let committer = Committer::start(
        server.login.clone(),
        &tasks,
        Bell::default(),
        Settings::default(),
    );
    let told = append_until_full(&pool, &committer).await;
    assert!(told.there.len() > 20 && told.not_there.len() >= WRITERS * ENOUGH);
    assert_eq!(told.not_known, BTreeSet::new(), "the server itself goes on");
    assert_eq!(
        told.sentences,
        BTreeSet::from([
            "The disk of the database is full. Nothing was changed by this request.".to_owned()
        ])
    );
    is_true(&server, &pool, &told).await;
    // Reading works meanwhile, and readers do not wait for what was refused.
    let (safe, issued): (i64, i64) =
        sqlx::query_as("select api.safe_position(), api.issued_position()")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(safe, issued);

    disk.make_room();
    let mut after = Told::default();
    for i in 0..20 {
        let text = format!("after-{i}");
        let request = notes(new_booking(), Expected::Version(0), &[&text]);
        let answer = match i % 2 {
            0 => one(&pool, request).await,
            _ => committer.append(&context(), request).await,
        };
        assert!(after.take(text, answer), "{:?}", after.sentences);
    }
    is_true(&server, &pool, &told.and(after)).await;
    tasks.shut_down().await;
}

#[tokio::test]
async fn a_server_whose_whole_disk_is_full_loses_nothing_and_goes_on_once_there_is_room() {
    let Some(disk) = Disk::of(420) else { return };
    let mut server = Server::at(disk.path().join("pg")).await;
    let pool = server.pool().await;
    let tasks = Tasks::default();
    // Where the write-ahead log has no room either, the server itself stops; an answer is then waited for, not for ever.
    let settings = Settings {
        lookup: Duration::from_secs(3),
        ..Settings::default()
    };
    let committer = Committer::start(server.login.clone(), &tasks, Bell::default(), settings);
    disk.fill_but(3_000);
    let told = append_until_full(&pool, &committer).await;
    assert!(told.there.len() > 20, "{:?}", told.sentences);
    for sentence in &told.sentences {
        assert!(
            sentence.contains("disk of the database is full")
                || sentence.contains("does not answer")
                || sentence.contains("not known"),
            "{sentence}"
        );
    }

    disk.make_room();
    if PgConnection::connect_with(&server.superuser).await.is_err() {
        server.start_again().await;
    }
    wait_until(
        "the server answers again",
        Duration::from_secs(60),
        async || PgConnection::connect_with(&server.superuser).await.is_ok(),
    )
    .await;
    let pool = server.pool().await;
    let mut after = Told::default();
    wait_until("appends go on", Duration::from_secs(60), async || {
        one(&pool, notes(new_booking(), Expected::Any, &["first after"]))
            .await
            .is_ok()
    })
    .await;
    after.not_known.insert("first after".to_owned());
    for i in 0..20 {
        let text = format!("after-{i}");
        let request = notes(new_booking(), Expected::Version(0), &[&text]);
        let answer = match i % 2 {
            0 => one(&pool, request).await,
            _ => committer.append(&context(), request).await,
        };
        assert!(after.take(text, answer), "{:?}", after.sentences);
    }
    is_true(&server, &pool, &told.and(after)).await;
    tasks.shut_down().await;
    if let Some(cluster) = server.cluster.take() {
        cluster.stop().await.unwrap();
    }
}
