//! Measures a private server's life on the disk below a folder, with everything flushed: one JSON line a figure.
//!
//! `cargo run --release -p bizing-postgres --example figures -- <folder>`; the folder must be empty or new.

use std::time::Instant;

use bizing_postgres::{Cluster, Options, StartError};

const ROUNDS: usize = 9;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args().nth(1).ok_or("say which folder")?;
    let options = Options::new(&root);
    let (first, mut cluster) = timed(options.clone()).await?;
    let (mut warm, mut join, mut stop) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (ms, joined) = timed(options.clone()).await?;
        join.push(ms);
        joined.stop().await?;
        let began = Instant::now();
        cluster.stop().await?;
        stop.push(began.elapsed().as_secs_f64() * 1e3);
        let (ms, started) = timed(options.clone()).await?;
        warm.push(ms);
        cluster = started;
    }
    for (case, mut values) in [
        ("first", vec![first]),
        ("warm", warm),
        ("join", join),
        ("stop", stop),
    ] {
        values.sort_by(f64::total_cmp);
        let (median, worst) = (values[values.len() / 2], values[values.len() - 1]);
        println!(
            r#"{{"bench":"postgres","case":"{case}","value":{median:.1},"worst":{worst:.1},"unit":"ms"}}"#
        );
    }
    Ok(())
}

async fn timed(options: Options) -> Result<(f64, Cluster), StartError> {
    let began = Instant::now();
    let cluster = Cluster::start(options).await?;
    Ok((began.elapsed().as_secs_f64() * 1e3, cluster))
}
