//! `bench`: what the store can do, beside what the machine can do.
//!
//! Each bench brings a private server of its own, with `fsync` on and the settings that ship, works through the shipped
//! code with the least role, and measures the limit (bare PostgreSQL) and ours in turns within the same run. One line a
//! case; with `--json` one object a line.

mod append;
mod cpu;
pub mod ground;
mod http;
mod inbox;
mod read;
mod replay;
pub mod rounds;
mod saga;
mod subscribe;
mod webhooks;

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use ground::Ground;
use rounds::Figure;

use crate::{Ended, Failed, runtime, signals};

pub type BenchError = Box<dyn Error + Send + Sync>;

#[derive(clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Appending: one event each at 1 to 128 writers, within a use case, in batches, and at rest.
    Append(append::Append),
    /// Reading single streams and the whole log.
    Read(Common),
    /// Following the log: from an append until the read models show it, and the price of the safe point.
    Subscribe(Common),
    /// Taking in what the provider sends, at 1, 8 and 32 senders, and handing it to its sagas.
    Inbox(Common),
    /// Sagas of five steps with a provider that answers at once, at 1, 8 and 32 clients; and their list among a million.
    Saga(Common),
    /// Webhooks: recorded deliveries at 1, 10 and 50 endpoints, and the way from an append to its arrival.
    Webhooks(webhooks::Webhooks),
    /// Reading the past into read models: typed, by the running projection, and by a rebuild.
    Replay(replay::Replay),
}

/// What every bench is told.
#[derive(clap::Args, Clone)]
pub struct Common {
    /// Print one JSON object a line and case.
    #[arg(long)]
    json: bool,
    /// Only this case; may be given several times.
    #[arg(long)]
    case: Vec<String>,
    /// Measured rounds of each case, after one that is not counted.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds that each half of a round lasts.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Where the private server puts its data: a folder on the disk that is to be measured.
    #[arg(long)]
    folder: Option<PathBuf>,
}

impl Common {
    pub fn wants(&self, case: &str) -> bool {
        self.case.is_empty() || self.case.iter().any(|c| c == case)
    }

    /// Of what takes long, and is done only when it is asked for.
    pub fn names(&self, case: &str) -> bool {
        self.case.iter().any(|c| c == case)
    }

    pub fn lasting(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub fn print(&self, figure: &Figure) {
        if self.json {
            println!("{}", figure.json());
        } else {
            println!("{figure}");
        }
    }
}

pub fn run(bench: Bench) -> Ended {
    match bench.what {
        What::Append(what) => on_ground(what.common.clone(), |_, ground| append::run(what, ground)),
        What::Read(common) => on_ground(common, read::run),
        What::Subscribe(common) => on_ground(common, subscribe::run),
        What::Inbox(common) => on_ground(common, inbox::run),
        What::Saga(common) => on_ground(common, saga::run),
        What::Webhooks(what) => on_ground(what.common.clone(), move |common, ground| {
            webhooks::run(what.events, common, ground)
        }),
        What::Replay(replay) => on_ground(replay.common.clone(), move |common, ground| {
            replay::run(replay.events, common, ground)
        }),
    }
}

/// Runs one bench on a server of its own, which is gone afterwards also when it is interrupted.
fn on_ground<Run, Fut>(common: Common, run: Run) -> Ended
where
    Run: FnOnce(Common, std::sync::Arc<Ground>) -> Fut,
    Fut: Future<Output = Result<(), BenchError>>,
{
    runtime()?.block_on(async {
        let folder = common.folder.clone();
        let ground = Ground::start(folder.as_deref()).await.map_err(told)?;
        let ground = std::sync::Arc::new(ground);
        tokio::select! {
            ended = run(common, ground.clone()) => ended.map_err(told),
            () = signals::asked_to_stop() => Err(Failed::Run("Stopped before the end.".to_owned())),
        }
    })
}

fn told(error: BenchError) -> Failed {
    let mut text = format!("The bench could not go on: {error}");
    let mut cause = error.source();
    while let Some(c) = cause {
        text.push_str(&format!(": {c}"));
        cause = c.source();
    }
    Failed::Run(text)
}
