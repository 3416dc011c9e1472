//! `replay`: makes a projection's rows anew beside the live ones, shows how far it is and what differs, and swaps them
//! in when told to. Ctrl-C leaves it where it stands: any worker goes on from there, and so does the same command.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use bizing_engine::app::dispatch::dispatch;
use bizing_engine::app::host::{Host, HostKind, open_for_command, pool_for_audit};
use bizing_engine::app::wire::*;
use bizing_engine::projection::{self, Rebuilder};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::ids;
use bizing_engine::runtime::tasks::Tasks;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::failed;
use crate::{Ended, Failed, runtime, signals};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Differences that are printed of each kind.
const SHOWN: u32 = 20;

#[derive(clap::Args)]
pub struct Replay {
    /// Which projection: bookings, customers, timeline, …
    projection: String,
    /// `zero`, `position N`, `time 2026-11-01T00:00` (wall time of the place) or `stream ID`.
    #[arg(long, num_args = 1..=2, value_names = ["WHAT", "WHERE"], default_values_t = ["zero".to_owned()])]
    from: Vec<String>,
    /// Say what would differ, and swap nothing.
    #[arg(long)]
    dry_run: bool,
    /// Swap without asking.
    #[arg(long)]
    yes: bool,
    /// One part at a time with rests, one at a time, or as many as there are cores.
    #[arg(long, value_parser = ["gentle", "normal", "all_cores"], default_value = "normal")]
    speed: String,
    /// Why, for the audit: at least 10 signs.
    #[arg(long, default_value = "Asked for on the command line.")]
    reason: String,
}

pub fn run(config: Config, replay: Replay) -> Ended {
    let from = from(&replay.from).map_err(Failed::Usage)?;
    runtime()?.block_on(async {
        let host = Host::new(config, HostKind::Command);
        let tasks = Tasks::default();
        let ended = match open_for_command(&host).await {
            Ok(_) => {
                work_here(&host, &tasks).await;
                tokio::select! {
                    ended = replayed(&host, &replay, from) => ended,
                    () = signals::asked_to_stop() => Err(Failed::Run(format!(
                        "\nStopped. What is read is kept: a worker goes on from here, or `bizing-desk replay {}` does.",
                        replay.projection
                    ))),
                }
            }
            Err(error) => Err(failed(error)),
        };
        tasks.shut_down().await;
        host.shut_down().await;
        ended
    })
}

/// With a worker's login the work is done here, unless another worker is faster.
async fn work_here(host: &Host, tasks: &Tasks) {
    let Ok(worker) = pool_for_audit(host).await else {
        eprintln!("This computer has no worker's login: a worker elsewhere carries it out.");
        return;
    };
    let stop = tasks.stopping();
    tasks.forever("rebuilds", move || {
        let (worker, stop) = (worker.clone(), stop.clone());
        async move {
            match projection::pool(&worker, 6).await {
                Ok(pool) => {
                    Rebuilder::new(pool, Hints::default())
                        .run(Bell::default(), stop)
                        .await;
                }
                Err(error) => tracing::warn!(%error, "no connection for the rebuild yet"),
            }
        }
    });
}

async fn replayed(host: &Host, replay: &Replay, from: ReplayFrom) -> Ended {
    let id = begun(host, replay, from).await?;
    let mut shown = Instant::now();
    loop {
        let rebuild = get(host, id).await?;
        progress(&rebuild, &mut shown);
        match rebuild.state {
            RebuildState::Running => {}
            RebuildState::Paused => {
                end_line();
                return Err(Failed::Run(match rebuild.error {
                    Some(error) => format!(
                        "It waits for a person: {error}\nSkip the event with a reason, or mend the program, then resume it."
                    ),
                    None => "Somebody paused it. Resume it in the window, or cancel it there."
                        .to_owned(),
                }));
            }
            RebuildState::WaitsForSwap => {
                end_line();
                compared(host, &rebuild).await?;
                if !replay.yes && !agreed()? {
                    return Err(Failed::Run(
                        "Nothing is swapped. The new rows wait and follow the log: swap or cancel them in the window, or run this again."
                            .to_owned(),
                    ));
                }
                let _: Rebuild = ask(
                    host,
                    "swap_rebuild",
                    &ChangeRebuild {
                        command_id: ids::v7(),
                        rebuild_id: id,
                        reason: Some(replay.reason.clone()),
                    },
                )
                .await?;
            }
            RebuildState::Done if rebuild.mode == ReplayMode::DryRun => {
                end_line();
                return compared(host, &rebuild)
                    .await
                    .and_then(|differ| match differ {
                        0 => Ok(()),
                        n => Err(Failed::Differs(format!(
                            "{n} rows differ. Nothing was swapped."
                        ))),
                    });
            }
            RebuildState::Done => {
                end_line();
                println!(
                    "Swapped: {} now shows generation {}. The one before is kept for a week.",
                    rebuild.projection, rebuild.generation
                );
                return Ok(());
            }
            RebuildState::Cancelled | RebuildState::Failed | RebuildState::RolledBack => {
                end_line();
                let by = rebuild.ended_by.unwrap_or_else(|| "nobody".to_owned());
                return Err(Failed::Run(format!(
                    "It was cancelled by {by}. {}",
                    rebuild.error.unwrap_or_default()
                )));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Starts one, or goes on with the one that is under way where that is what is asked for: another one must not be
/// swapped in by who meant a dry run or a stream.
async fn begun(host: &Host, replay: &Replay, from: ReplayFrom) -> Result<Uuid, Failed> {
    let mode = if replay.dry_run {
        ReplayMode::DryRun
    } else {
        ReplayMode::Rebuild
    };
    let board: Projections = ask(host, "list_projections", &Empty {}).await?;
    let mut open = board.rebuilds.iter();
    match open.find(|r| r.projection == replay.projection) {
        Some(open) if open.mode == mode && open.from == from => {
            println!(
                "Going on with the replay that {} started: “{}”",
                open.by, open.reason
            );
            return Ok(open.rebuild_id);
        }
        Some(open) => return Err(Failed::Run(under_way(open, mode, &from))),
        None => {}
    }
    let started: ReplayStarted = ask(
        host,
        "start_replay",
        &StartReplay {
            command_id: ids::v7(),
            projection: replay.projection.clone(),
            from,
            mode,
            speed: match replay.speed.as_str() {
                "gentle" => ReplaySpeed::Gentle,
                "all_cores" => ReplaySpeed::AllCores,
                _ => ReplaySpeed::Normal,
            },
            reason: replay.reason.clone(),
        },
    )
    .await?;
    Ok(started.rebuild_id)
}

/// Why nothing was started: what stands in the way, whose it is, and what to do.
fn under_way(open: &Rebuild, mode: ReplayMode, from: &ReplayFrom) -> String {
    let state = match open.state {
        RebuildState::WaitsForSwap => "waits for its swap",
        RebuildState::Paused => "is paused",
        _ => "runs",
    };
    format!(
        "{}: {} {state}. {} started it at {} (“{}”).\n\
         You asked for {}, so nothing was started or swapped. Wait until that one is over, or swap or cancel it in the \
         window, then run this again.",
        open.projection,
        kind(open.mode, &open.from),
        open.by,
        open.started.wall,
        open.reason,
        kind(mode, from),
    )
}

fn kind(mode: ReplayMode, from: &ReplayFrom) -> String {
    let mode = match mode {
        ReplayMode::DryRun => "a dry run",
        ReplayMode::Rebuild => "a rebuild",
    };
    match from {
        ReplayFrom::Start => format!("{mode} from the start"),
        ReplayFrom::Position { position } => format!("{mode} from position {position}"),
        ReplayFrom::Time { wall } => format!("{mode} from {wall}"),
        ReplayFrom::Stream { stream } => format!("{mode} from the stream {stream}"),
    }
}

fn from(words: &[String]) -> Result<ReplayFrom, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["zero" | "start"] => Ok(ReplayFrom::Start),
        ["position", position] => position
            .parse()
            .map(|position| ReplayFrom::Position { position })
            .map_err(|_| format!("`{position}` is no position: write a number, as in `--from position 1200`.")),
        ["time", wall] => Ok(ReplayFrom::Time { wall: wall.to_owned() }),
        ["stream", stream] => Ok(ReplayFrom::Stream { stream: stream.to_owned() }),
        _ => Err("Write `--from zero`, `--from position N`, `--from time 2026-11-01T00:00` or `--from stream ID`.".to_owned()),
    }
}

fn progress(rebuild: &Rebuild, shown: &mut Instant) {
    let phase = match rebuild.phase {
        RebuildPhase::Prepare => "makes the tables",
        RebuildPhase::Read => "reads the past",
        RebuildPhase::CatchUp => "catches up",
        RebuildPhase::Compare => "compares",
        RebuildPhase::Swap => "swaps",
    };
    let percent = (rebuild.events_done * 100)
        .checked_div(rebuild.events_total)
        .unwrap_or(0);
    let rate = rebuild
        .rate_per_s
        .map_or(String::new(), |r| format!(", {r:.0} events/s"));
    let left = rebuild
        .left_seconds
        .map_or(String::new(), |s| format!(", {s:.0} s left"));
    let line = format!(
        "{}: {phase}, {} of {} events ({percent} %){rate}{left}",
        rebuild.projection, rebuild.events_done, rebuild.events_total
    );
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[2K{line}");
        let _ = std::io::stdout().flush();
    } else if shown.elapsed() > Duration::from_secs(5) {
        *shown = Instant::now();
        println!("{line}");
    }
}

fn end_line() {
    if std::io::stdout().is_terminal() {
        println!();
    }
}

/// Prints what differs; gives the number of rows.
async fn compared(host: &Host, rebuild: &Rebuild) -> Result<i64, Failed> {
    for skipped in &rebuild.skipped {
        println!(
            "Event {} ({}) is passed by, as {} asked: {}",
            skipped.position,
            skipped.event_name.as_deref().unwrap_or("unknown"),
            skipped.by,
            skipped.reason
        );
    }
    let Some(compare) = &rebuild.compare else {
        return Ok(0);
    };
    let differ = compare.different + compare.only_live + compare.only_new;
    if differ == 0 {
        println!(
            "{} rows compared: the new ones are the live ones (hash {}).",
            compare.rows,
            compare.new_hash.as_deref().unwrap_or("-")
        );
        return Ok(0);
    }
    println!(
        "{} rows compared: {} differ, {} are live only, {} are new only.",
        compare.rows, compare.different, compare.only_live, compare.only_new
    );
    if !compare.same_position {
        println!(
            "The live rows were parked or paused: what they have not read yet is among these differences."
        );
    }
    for kind in [DiffKind::Different, DiffKind::OnlyLive, DiffKind::OnlyNew] {
        let page: DiffPage = ask(
            host,
            "list_diff",
            &ListDiff {
                rebuild_id: rebuild.rebuild_id,
                kind,
                after: None,
                limit: SHOWN,
            },
        )
        .await?;
        for row in page.rows {
            let name = row.subject.unwrap_or(row.key);
            match kind {
                DiffKind::Different => {
                    for cell in row.cells {
                        println!(
                            "  {name}  {}: live {}, new {}",
                            cell.column,
                            shown(cell.live),
                            shown(cell.new)
                        );
                    }
                }
                DiffKind::OnlyLive => println!("  {name}  only among the live rows"),
                DiffKind::OnlyNew => println!("  {name}  only among the new rows"),
            }
        }
        if page.next.is_some() {
            println!("  … and more: the window shows them all.");
        }
    }
    Ok(differ)
}

fn shown(value: Option<serde_json::Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |v| v.to_string())
}

fn agreed() -> Result<bool, Failed> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print!("Swap the new rows in? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|e| Failed::Run(format!("The answer could not be read: {e}.")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn get(host: &Host, rebuild_id: Uuid) -> Result<Rebuild, Failed> {
    ask(host, "get_rebuild", &GetRebuild { rebuild_id }).await
}

/// Through the same door as the window.
async fn ask<P: Serialize, R: DeserializeOwned>(
    host: &Host,
    command: &str,
    params: &P,
) -> Result<R, Failed> {
    let broken = |e: serde_json::Error| {
        Failed::Run(format!("`{command}` and this program do not fit: {e}."))
    };
    let params = to_raw_value(params).map_err(broken)?;
    let reply = dispatch(host, command, &params).await.map_err(failed)?;
    serde_json::from_str(&reply).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_begins_is_said_in_two_words() {
        let said =
            |words: &[&str]| from(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&["zero"]), Ok(ReplayFrom::Start));
        assert_eq!(
            said(&["position", "12"]),
            Ok(ReplayFrom::Position { position: 12 })
        );
        assert!(
            said(&["position", "x"])
                .unwrap_err()
                .contains("no position")
        );
        assert!(said(&["yesterday"]).is_err());
    }
}
