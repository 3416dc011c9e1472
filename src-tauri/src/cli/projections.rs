//! Projections without a window, through the functions that the window calls: what it asks a reason for, this does too.

use std::sync::Arc;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::projections;
use bizing_engine::app::wire::*;
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::ids;

use super::{failed, said, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

#[derive(clap::Subcommand)]
pub enum Projections {
    /// Each with its state, how far it is, and what is wrong with it.
    List {
        /// All that is known, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Its rows stay as they are until it is resumed.
    Pause {
        /// As the list names it: bookings, customers, …
        projection: String,
        /// Why, for whoever looks at it later.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Lets a paused one go on.
    Resume { projection: String },
    /// Tries the event that one is parked at once more.
    Retry { projection: String },
    /// Passes by the event that one is parked at, until the skip is withdrawn.
    Skip {
        projection: String,
        /// The event's position, as the list says it: another one is not skipped.
        #[arg(long)]
        position: i64,
        /// Why: 10 signs or more. It stands in the audit.
        #[arg(long)]
        reason: String,
    },
    /// Takes a skip back. The live rows lack the event until a rebuild is swapped in: `bizing-desk replay`.
    WithdrawSkip {
        projection: String,
        /// The skipped event's position, as the list says it.
        #[arg(long)]
        position: i64,
        /// Why: 10 signs or more. It stands in the audit.
        #[arg(long)]
        reason: String,
    },
    /// Ends the replay that is under way. Readers keep the rows that they have.
    Cancel {
        projection: String,
        /// Why: 10 signs or more. It stands in the audit.
        #[arg(long)]
        reason: String,
    },
    /// Shows the rows of before the last swap again.
    RollBack {
        projection: String,
        /// Why: 10 signs or more. It stands in the audit.
        #[arg(long)]
        reason: String,
    },
}

pub fn run(config: Config, what: Projections) -> Ended {
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| carry_out(desk, what).await,
    )
}

async fn carry_out(desk: &Desk, what: Projections) -> Ended {
    let ask = |projection: String, reason: Option<String>| ChangeProjection {
        command_id: ids::v7(),
        projection,
        reason,
    };
    let after = match what {
        Projections::List { json } => return list(desk, json).await,
        Projections::Cancel { projection, reason } => {
            return cancel(desk, &projection, reason).await;
        }
        Projections::Pause { projection, reason } => {
            projections::pause(desk, ask(projection, reason)).await
        }
        Projections::Resume { projection } => {
            projections::resume(desk, ask(projection, None)).await
        }
        Projections::Retry { projection } => {
            projections::retry_parked(desk, ask(projection, None)).await
        }
        Projections::RollBack { projection, reason } => {
            projections::roll_back(desk, ask(projection, Some(reason))).await
        }
        Projections::Skip {
            projection,
            position,
            reason,
        } => {
            let skip = SkipParked {
                command_id: ids::v7(),
                projection,
                position,
                reason,
            };
            projections::skip_parked(desk, skip).await
        }
        Projections::WithdrawSkip {
            projection,
            position,
            reason,
        } => {
            let withdraw = WithdrawSkip {
                command_id: ids::v7(),
                projection,
                position,
                reason,
            };
            projections::withdraw_skip(desk, withdraw).await
        }
    };
    tell(&after.map_err(failed)?);
    Ok(())
}

async fn list(desk: &Desk, json: bool) -> Ended {
    let board = projections::list(desk, Empty {}).await.map_err(failed)?;
    if json {
        let all = serde_json::to_string_pretty(&board).map_err(|e| Failed::Run(e.to_string()))?;
        println!("{all}");
        return Ok(());
    }
    for row in &board.rows {
        tell(row);
    }
    for rebuild in &board.rebuilds {
        let (state, phase) = (said(&rebuild.state), said(&rebuild.phase));
        println!(
            "replay of {}: {state}, {phase}, asked for by {} (“{}”)",
            rebuild.projection, rebuild.by, rebuild.reason
        );
    }
    if board.workers == 0 {
        println!("No process does background work: nothing goes on.");
    }
    Ok(())
}

async fn cancel(desk: &Desk, projection: &str, reason: String) -> Ended {
    let board = projections::list(desk, Empty {}).await.map_err(failed)?;
    let mut open = board.rebuilds.iter();
    let rebuild = open.find(|r| r.projection == projection).ok_or_else(|| {
        Failed::Run(format!(
            "No replay of {projection} is under way: `bizing-desk projections list` names those that are."
        ))
    })?;
    let change = ChangeRebuild {
        command_id: ids::v7(),
        rebuild_id: rebuild.rebuild_id,
        reason: Some(reason),
    };
    projections::cancel_rebuild(desk, change)
        .await
        .map_err(failed)?;
    println!("The replay of {projection} is cancelled. Its readers keep the rows that they have.");
    Ok(())
}

fn tell(row: &Projection) {
    println!("{}", line(row));
    for event in &row.skipped {
        println!(
            "    skips event {}, {}: by {} (“{}”)",
            event.position,
            event.event_name.as_deref().unwrap_or("?"),
            event.by,
            event.reason
        );
    }
    for position in &row.lacks {
        println!(
            "    lacks event {position}, whose skip was withdrawn, until a rebuild: `bizing-desk replay {}`",
            row.name
        );
    }
    if !row.newer_types.is_empty() {
        println!(
            "    folded by a newer build, with {}: this one leaves it alone",
            row.newer_types.join(", ")
        );
    }
    for passed in &row.folded_without {
        println!(
            "    rebuild recommended: an older build passed by {} up to event {}: `bizing-desk replay {}`",
            passed.event_name, passed.upto, row.name
        );
    }
}

fn line(row: &Projection) -> String {
    let why = match (&row.parked, &row.paused, &row.last_error) {
        (Some(parked), _, _) => format!(
            "  at event {}, {}: {}",
            parked.position, parked.event_name, parked.error
        ),
        (None, Some(paused), _) => {
            let reason = paused.reason.as_deref();
            let reason = reason.map_or_else(String::new, |reason| format!(" (“{reason}”)"));
            format!("  by {}{reason}", paused.by)
        }
        (None, None, Some(error)) => format!("  {error}"),
        (None, None, None) => String::new(),
    };
    format!(
        "{:<20} {:<11} at {:>9}, {:>7} behind, {:.0} s{why}",
        row.name,
        said(&row.state),
        row.position,
        row.lag_events,
        row.lag_seconds,
    )
}
