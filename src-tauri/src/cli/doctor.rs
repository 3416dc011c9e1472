use std::io::Write;
use std::time::Instant;

use bizing_engine::app::doctor;
use bizing_engine::app::host::{Host, HostKind, open_for_command, pool_for_audit};
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::ids;

use super::failed;
use crate::{Ended, Failed, runtime};

pub fn run(config: Config, deep: bool) -> Ended {
    runtime()?.block_on(async {
        let host = Host::new(config, HostKind::Command);
        let desk = open_for_command(&host).await;
        let ended = match desk {
            Ok(desk) => {
                if let Some(changed) = &desk.log_change {
                    println!("Note: {changed}.\n");
                }
                examine(&host, deep).await
            }
            Err(error) => Err(failed(error)),
        };
        host.shut_down().await;
        ended
    })
}

/// Prints each finding and what to do about it; fails when there is one.
async fn examine(host: &Host, deep: bool) -> Ended {
    let pool = pool_for_audit(host).await.map_err(failed)?;
    let (begun, mut told) = (Instant::now(), 1);
    let mut progress = |p: doctor::Progress| {
        let seconds = begun.elapsed().as_secs();
        if seconds > told {
            told = seconds;
            let _ = writeln!(
                std::io::stderr(),
                "{}: {} of {} streams, {seconds} s",
                p.audit,
                p.streams,
                p.of
            );
        }
    };
    let report = doctor::examined(&pool, deep, ids::v7(), &mut progress)
        .await
        .map_err(failed)?;
    println!("{report}");
    if report.ok() {
        return Ok(());
    }
    Err(Failed::Run(format!(
        "{} of {} checks found something.",
        report.findings().count(),
        report.audits.len()
    )))
}
