//! Other event stores for Postgres beside ours: the same machine, a server with the same settings and flushes, the same data
//! in an event, each through its own public interface, in turns.
//!
//! A writer owns its streams and changes them after ten events, as in `bizing-desk bench append`; what is appended states
//! the version that it expects, since each of them guards it by a unique index. The peers keep no order over all streams, no
//! hash chain and no messages that are owed; ours does, and is measured by its own bench, which brings a server of its own.

mod cqrs;
mod prima;

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bizing_postgres::{Cluster, Options, SUPERUSER};
use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

pub type Failure = Box<dyn Error + Send + Sync>;

/// Events of a stream before its writer goes on to the next.
pub const LIFE: usize = 10;
/// Events of a stream that is loaded.
pub const LONG: usize = 100;
const WRITERS: [usize; 3] = [1, 8, 32];
const READERS: usize = 8;
const STREAMS: usize = 200;

#[derive(Parser)]
struct Arguments {
    /// Our program; without it only the peers are measured.
    #[arg(long)]
    desk: Option<PathBuf>,
    /// Where the servers put their data.
    #[arg(long)]
    folder: Option<PathBuf>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Of each case of a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// What an event says: some 250 bytes, the same as in our bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    pub delivery_id: Uuid,
    pub template: String,
    pub channel: String,
    pub provider_message_id: String,
    pub attempt: i32,
}

impl Sent {
    pub fn new() -> Sent {
        Sent {
            delivery_id: Uuid::now_v7(),
            template: "booking_confirmed".to_owned(),
            channel: "email".to_owned(),
            provider_message_id:
                "<20261122T101530.4f7d2c9a8b3e4d15a6c1-halcyon.lisboa.chiado@mail.example.com> \
                 queued as 7C9A1F2E44 by the relay at the first try"
                    .to_owned(),
            attempt: 1,
        }
    }
}

/// A store, as a writer and a reader see it.
pub trait Peer: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    type Stream: Send;

    fn begin(&self) -> Self::Stream;
    fn id(stream: &Self::Stream) -> Uuid;
    /// One event at the end of the stream, in a transaction of its own.
    fn append(&self, stream: &mut Self::Stream)
    -> impl Future<Output = Result<(), Failure>> + Send;
    /// The events of a stream, decoded.
    fn load(&self, id: Uuid) -> impl Future<Output = Result<usize, Failure>> + Send;
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let lasting = Duration::from_secs(arguments.seconds);
    let folder = match &arguments.folder {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let cluster = Cluster::start(Options {
        max_connections: 300,
        ..Options::new(folder.path())
    })
    .await?;
    let esrs = prima::Esrs::open(database(&cluster, "esrs").await?).await?;
    let cqrs = cqrs::PostgresEs::open(database(&cluster, "postgres_es").await?).await?;
    let (esrs_long, cqrs_long) = (long(&esrs).await?, long(&cqrs).await?);

    for round in 0..=arguments.rounds {
        for writers in WRITERS {
            let case = format!("single-{writers}");
            let some = [
                (prima::Esrs::NAME, appended(&esrs, writers, lasting).await?),
                (
                    cqrs::PostgresEs::NAME,
                    appended(&cqrs, writers, lasting).await?,
                ),
            ];
            told(round, &case, &some);
            ours(&arguments, round, "append", &case)?;
        }
        let case = "stream-100";
        let some = [
            (prima::Esrs::NAME, loaded(&esrs, &esrs_long, lasting).await?),
            (
                cqrs::PostgresEs::NAME,
                loaded(&cqrs, &cqrs_long, lasting).await?,
            ),
        ];
        told(round, case, &some);
        ours(&arguments, round, "read", case)?;
    }
    Ok(cluster.stop().await?)
}

/// The first round warms up.
fn told(round: usize, case: &str, some: &[(&str, f64)]) {
    for (store, value) in some.iter().filter(|_| round > 0) {
        println!(
            "{}",
            json!({ "store": store, "case": case, "round": round, "events_s": value.round() })
        );
    }
}

/// A round of our own bench, with what a bare statement reached in it.
fn ours(arguments: &Arguments, round: usize, bench: &str, case: &str) -> Result<(), Failure> {
    let Some(desk) = arguments.desk.as_ref().filter(|_| round > 0) else {
        return Ok(());
    };
    let mut command = Command::new(desk);
    command
        .args([
            "bench",
            bench,
            "--json",
            "--rounds",
            "1",
            "--case",
            case,
            "--seconds",
        ])
        .arg(arguments.seconds.to_string())
        .stderr(Stdio::inherit());
    if let Some(folder) = &arguments.folder {
        command.arg("--folder").arg(folder);
    }
    let line: Value = serde_json::from_slice(&command.output()?.stdout)?;
    println!(
        "{}",
        json!({ "store": "ours", "case": case, "round": round, "events_s": line["value"], "bare_events_s": line["limit"] })
    );
    Ok(())
}

/// A database of its own, with room for every writer.
async fn database(cluster: &Cluster, name: &str) -> Result<PgPool, Failure> {
    const PASSWORD: &str = "peers";
    let admin = sqlx_ours::PgPool::connect_with(cluster.connect_options("postgres")).await?;
    sqlx_ours::raw_sql(sqlx_ours::AssertSqlSafe(format!(
        "create role {name} login password '{PASSWORD}'"
    )))
    .execute(&admin)
    .await?;
    sqlx_ours::raw_sql(sqlx_ours::AssertSqlSafe(format!(
        "create database {name} owner {name}"
    )))
    .execute(&admin)
    .await?;
    let options = cluster.connect_options(name);
    let mut to = PgConnectOptions::new_without_pgpass()
        .username(name)
        .password(PASSWORD)
        .database(name)
        .port(options.get_port())
        .host(options.get_host())
        .ssl_mode(sqlx::postgres::PgSslMode::Disable);
    if let Some(socket) = options.get_socket() {
        to = to.socket(socket);
    }
    debug_assert_ne!(name, SUPERUSER);
    let most = *WRITERS.iter().max().unwrap_or(&READERS) as u32;
    let pool = PgPoolOptions::new()
        .max_connections(most)
        .min_connections(most);
    Ok(pool.test_before_acquire(false).connect_with(to).await?)
}

async fn appended<P: Peer>(peer: &P, writers: usize, lasting: Duration) -> Result<f64, Failure> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let peer = peer.clone();
            tokio::spawn(async move {
                let mut count = 0;
                let mut stream = peer.begin();
                while began.elapsed() < lasting {
                    peer.append(&mut stream).await?;
                    count += 1;
                    if count % LIFE == 0 {
                        stream = peer.begin();
                    }
                }
                Ok::<_, Failure>(count)
            })
        })
        .collect();
    rate(tasks, began).await
}

async fn loaded<P: Peer>(peer: &P, ids: &[Uuid], lasting: Duration) -> Result<f64, Failure> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..READERS)
        .map(|reader| {
            let (peer, ids) = (peer.clone(), ids.to_vec());
            tokio::spawn(async move {
                let (mut count, mut at) = (0, reader * 17);
                while began.elapsed() < lasting {
                    at = (at + 61) % ids.len();
                    count += peer.load(ids[at]).await?;
                }
                Ok::<_, Failure>(count)
            })
        })
        .collect();
    rate(tasks, began).await
}

async fn rate(
    tasks: Vec<tokio::task::JoinHandle<Result<usize, Failure>>>,
    began: Instant,
) -> Result<f64, Failure> {
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Streams to be loaded.
async fn long<P: Peer>(peer: &P) -> Result<Vec<Uuid>, Failure> {
    let mut ids = vec![];
    for _ in 0..STREAMS {
        let mut stream = peer.begin();
        for _ in 0..LONG {
            peer.append(&mut stream).await?;
        }
        ids.push(P::id(&stream));
    }
    if peer.load(ids[0]).await? != LONG {
        return Err(format!("{} does not give back what it was given", P::NAME).into());
    }
    Ok(ids)
}
