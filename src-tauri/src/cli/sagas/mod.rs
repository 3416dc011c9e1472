//! Sagas without a window: looked at, decided, asked about. Nothing is decided without `--yes`; what would be done is said first,
//! and is what is done: a plan that changed meanwhile is refused.

mod act;
mod export;
mod filter;
mod say;
mod stripe;

use std::path::PathBuf;
use std::sync::Arc;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::sagas;
use bizing_engine::app::wire::{GetSaga, GetSagaFigures, ListSagas, SagaFilter, SagaPage, SagaTab};
use bizing_engine::runtime::config::Config;
use uuid::Uuid;

use super::{failed, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};
pub use act::Act;
pub use filter::Filter;
pub use say::money;

#[derive(clap::Subcommand)]
pub enum Sagas {
    /// Whose turn it is: a line each.
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// One saga: where it stands, its money, what can be done about it and what cannot, and why.
    Show {
        /// A booking's reference or the saga's id.
        saga: String,
    },
    #[command(flatten)]
    Act(Act),
    #[command(flatten)]
    Stripe(stripe::Asked),
    /// What waits for a second person.
    Approvals,
    /// Says yes, as the second person, to what somebody else asked for.
    Approve {
        /// As `sagas approvals` names it.
        command: Uuid,
        /// Does it. Without, it only says what it would do.
        #[arg(long)]
        yes: bool,
    },
    /// Says no to what somebody asked for.
    Reject {
        command: Uuid,
        /// Why not, for whoever asked: 10 signs or more.
        #[arg(long)]
        reason: String,
    },
    /// How sagas went: what came of them, how long they took, what failed, what people decided.
    Figures {
        /// Of so many days.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// Writes the list as comma-separated values. Names and addresses of customers are not in it.
    Export {
        /// The file, which must not be there yet. `-` is the standard output.
        #[arg(default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        filter: Filter,
    },
}

pub fn run(config: Config, what: Sagas) -> Ended {
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| carry_out(desk, what).await,
    )
}

async fn carry_out(desk: &Desk, what: Sagas) -> Ended {
    match what {
        Sagas::List { filter, limit } => list(desk, ListSagas::first(filter.asked()?, limit)).await,
        Sagas::Show { saga } => {
            say::page(&find(desk, &saga).await?);
            Ok(())
        }
        Sagas::Act(act) => act::run(desk, act).await,
        Sagas::Stripe(what) => stripe::run(desk, what).await,
        Sagas::Approvals => act::approvals(desk).await,
        Sagas::Approve { command, yes } => act::approve(desk, command, yes).await,
        Sagas::Reject { command, reason } => act::reject(desk, command, reason).await,
        Sagas::Figures { days } => {
            let told = sagas::figures(desk, GetSagaFigures { days })
                .await
                .map_err(failed)?;
            say::figures(&told);
            Ok(())
        }
        Sagas::Export { file, filter } => {
            export::write(desk, &file, ListSagas::first(filter.asked()?, 500)).await
        }
    }
}

async fn list(desk: &Desk, request: ListSagas) -> Ended {
    let list = sagas::list(desk, request).await.map_err(failed)?;
    for row in &list.rows {
        println!("{}", say::row(row));
    }
    if list.next.is_some() {
        eprintln!("There are more: --limit, or `bizing-desk sagas export`.");
    }
    Ok(())
}

/// By the saga's id or its booking's reference: the newest one that is not a cancellation of it, unless only that is there.
async fn find(desk: &Desk, named: &str) -> Result<SagaPage, Failed> {
    let id = match named.parse::<Uuid>() {
        Ok(id) => id,
        Err(_) => {
            let filter = SagaFilter {
                search: Some(named.to_owned()),
                ..SagaTab::NeedsPerson.into()
            };
            let list = sagas::list(desk, ListSagas::first(filter, 20))
                .await
                .map_err(failed)?;
            let mut its = list
                .rows
                .iter()
                .filter(|row| row.booking.reference.eq_ignore_ascii_case(named));
            // The newest stands first: what is still at work decides, else the last that was.
            let first = its.clone().next();
            let row = its
                .find(|row| row.step.is_some())
                .or(first)
                .ok_or_else(|| {
                    Failed::Run(format!(
                        "No saga of {named} is here. Write a booking's reference, BK-…, or a saga's id; `bizing-desk sagas list --search` looks for more."
                    ))
                })?;
            row.saga_id
        }
    };
    sagas::page(desk, GetSaga { saga_id: id })
        .await
        .map_err(failed)
}
