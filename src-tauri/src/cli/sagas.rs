//! Sagas without a window: the list for a spreadsheet.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::sagas;
use bizing_engine::app::wire::{AppError, Code, ListSagas, SagaTab};
use bizing_engine::runtime::config::Config;

use super::{failed, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

#[derive(clap::Subcommand)]
pub enum Sagas {
    /// Writes the list as comma-separated values. Names and addresses of customers are not in it.
    Export {
        /// The file, which must not be there yet. `-` is the standard output.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Whose turn it is.
        #[arg(long, value_enum, default_value = "needs-person")]
        tab: Tab,
        /// Only what this finds, whoever's turn it is: a reference, an e-mail, pi_…, evt_….
        #[arg(long)]
        search: Option<String>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Tab {
    NeedsPerson,
    AtRisk,
    WaitingForCustomer,
    WaitingForProvider,
    Running,
    Done,
}

impl Tab {
    fn tab(self) -> SagaTab {
        match self {
            Tab::NeedsPerson => SagaTab::NeedsPerson,
            Tab::AtRisk => SagaTab::AtRisk,
            Tab::WaitingForCustomer => SagaTab::WaitingForCustomer,
            Tab::WaitingForProvider => SagaTab::WaitingForProvider,
            Tab::Running => SagaTab::Running,
            Tab::Done => SagaTab::Done,
        }
    }
}

pub fn run(config: Config, what: Sagas) -> Ended {
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| carry_out(desk, what).await,
    )
}

async fn carry_out(desk: &Desk, what: Sagas) -> Ended {
    let Sagas::Export { file, tab, search } = what;
    let mut out = target(&file)?;
    let request = ListSagas {
        tab: tab.tab(),
        group: None,
        who: None,
        search,
        after: None,
        limit: 500,
    };
    let written = sagas::export(desk, request, |text| {
        out.write_all(text.as_bytes())
            .map_err(|e| AppError::new(Code::Internal, format!("It could not be written: {e}.")))
    })
    .await
    .map_err(failed)?;
    out.flush()
        .map_err(|e| Failed::Run(format!("It could not be written: {e}.")))?;
    eprintln!("{written} sagas.");
    Ok(())
}

fn target(file: &Path) -> Result<Box<dyn Write + Send>, Failed> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::BufWriter::new(std::io::stdout())));
    }
    let new = std::fs::File::create_new(file).map_err(|e| {
        Failed::Usage(format!(
            "{} cannot be written: {e}. Name a file that is not there yet.",
            file.display()
        ))
    })?;
    Ok(Box::new(std::io::BufWriter::new(new)))
}
