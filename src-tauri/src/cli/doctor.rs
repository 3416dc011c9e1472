use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind, open_for_command};
use bizing_engine::runtime::config::Config;

use super::failed;
use crate::{Ended, Failed, runtime};

pub fn run(config: Config, deep: bool) -> Ended {
    runtime()?.block_on(async {
        let host = Host::new(config, HostKind::Command);
        let desk = open_for_command(&host).await;
        let ended = match desk {
            Ok(desk) => examine(&desk, deep).await,
            Err(error) => Err(failed(error)),
        };
        host.shut_down().await;
        ended
    })
}

/// Prints each finding and what to do about it; fails when there is one.
async fn examine(_desk: &Desk, _deep: bool) -> Ended {
    Err(Failed::Run("This version has no checks yet.".to_owned()))
}
