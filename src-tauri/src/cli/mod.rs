//! The commands that do one thing and end.

pub mod backup;
pub mod bench;
pub mod demo;
pub mod doctor;
pub mod erase;
pub mod hooks;
pub mod migrate;
pub mod once;
pub mod people;
pub mod projections;
pub mod replay;
pub mod report;
pub mod sagas;
pub mod sandbox;
pub mod state;
pub mod transfer;
pub mod types;
pub mod upgrade;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, open_for_command};
use bizing_engine::app::wire::AppError;
use serde::Serialize;
use serde_json::Value;

use crate::{Ended, Failed, runtime};

/// An error as the terminal shows it: what happened, then what to do.
pub fn failed(error: AppError) -> Failed {
    match error.hint {
        Some(hint) => Failed::Run(format!("{}\n{hint}", error.message)),
        None => Failed::Run(error.message),
    }
}

/// A word as it stands in the window's own language and in JSON.
fn said<T: Serialize>(word: &T) -> String {
    match serde_json::to_value(word) {
        Ok(Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

/// Opens the chosen desk for one command, and closes it again whatever becomes of that.
fn with_desk(host: impl FnOnce() -> Host, run: impl AsyncFnOnce(&Host, &Desk) -> Ended) -> Ended {
    runtime()?.block_on(async {
        let host = host();
        let ended = match open_for_command(&host).await {
            Ok(desk) => run(&host, &desk).await,
            Err(error) => Err(failed(error)),
        };
        host.shut_down().await;
        ended
    })
}
