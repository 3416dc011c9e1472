//! Logging: to stderr, and to `desk.log` in the data folder, where it can be found after a window was closed.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use bizing_engine::runtime::config::Config;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// A longer log is set aside at the next start.
const LIMIT: u64 = 10 * 1024 * 1024;

/// For processes that stay. What cannot be written to the file is on stderr all the same.
pub fn start(config: &Config) {
    let file = config
        .prepare_data()
        .and_then(|()| open(&config.data.join("desk.log")));
    let (file, problem) = match file {
        Ok(file) => (Some(file), None),
        Err(error) => (None, Some(error)),
    };
    let to_file = file.map(|file| {
        let layer = fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
        layer.with_filter(filter("info"))
    });
    tracing_subscriber::registry()
        .with(stderr("info"))
        .with(to_file)
        .init();
    if let Some(error) = problem {
        tracing::warn!(folder = %config.data.display(), %error, "desk.log cannot be written");
    }
}

/// For commands that answer and end: only what asks for attention.
pub fn to_stderr() {
    tracing_subscriber::registry().with(stderr("warn")).init();
}

fn stderr<S>(level: &str) -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fmt::layer()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .with_filter(filter(level))
}

/// `RUST_LOG` as everywhere; without it our own words, and warnings of the libraries.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(format!(
            "warn,bizing_desk={level},bizing_engine={level},bizing_postgres={level},bizing_sandbox={level}"
        ))
    })
}

fn open(path: &Path) -> std::io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LIMIT) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
