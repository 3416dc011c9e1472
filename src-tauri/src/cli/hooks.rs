//! Webhooks without a window: endpoints, deliveries and what came in, through the functions that the window calls. Many are sent again
//! only after it was said how many, and only with `--yes`.

use std::sync::Arc;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::wire::*;
use bizing_engine::app::{deliveries, endpoints, inbox};
use bizing_engine::runtime::config::Config;
use bizing_engine::runtime::ids;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{failed, said, with_desk};
use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed};

#[derive(clap::Subcommand)]
pub enum Endpoints {
    /// Where things are sent, the worst first.
    List {
        /// All that is known, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// What happens from now on waits until it is let go on.
    Pause {
        /// Its name or its id.
        endpoint: String,
        /// Why, for whoever looks at it later.
        #[arg(long)]
        reason: String,
    },
    /// Lets a paused one go on.
    Resume { endpoint: String },
    /// Sends an example that says that it is a test.
    Test {
        endpoint: String,
        /// Of which type. Otherwise of the first that it takes.
        #[arg(long)]
        event: Option<String>,
    },
}

#[derive(clap::Subcommand)]
pub enum Deliveries {
    /// What left, or is to leave, the newest first.
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// All that is known, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sends again what these find. Without `--yes` it only says how many and to whom.
    Redeliver {
        #[command(flatten)]
        which: Which,
        /// At most so many a second.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        per_second: u32,
        /// Why, for whoever looks at it later.
        #[arg(long, required_unless_present = "dry_run")]
        reason: Option<String>,
        /// Only says what it would do.
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Does it.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args)]
pub struct Which {
    /// In this state: `gave_up`, `retrying`, `delivered`, … Several may be named.
    #[arg(long = "state", value_parser = word::<DeliveryState>)]
    states: Vec<DeliveryState>,
    /// Whose last try failed so: `name`, `connect`, `tls`, `timeout`, `broken`, `answer`, `blocked`, `too_large`. Several may be named.
    #[arg(long = "error", value_parser = word::<ErrorClass>)]
    errors: Vec<ErrorClass>,
    /// To this endpoint, by its name or its id.
    #[arg(long)]
    to: Option<String>,
    /// Of events since then: 2026-11-27T08:00:00Z.
    #[arg(long)]
    since: Option<DateTime<Utc>>,
    /// Of events before then.
    #[arg(long)]
    until: Option<DateTime<Utc>>,
}

#[derive(clap::Subcommand)]
pub enum Inbox {
    /// What came in, the newest first.
    List {
        /// With this result: `waiting`, `quarantined`, `done`, … Several may be named.
        #[arg(long = "result", value_parser = word::<InboxResult>)]
        results: Vec<InboxResult>,
        /// `evt_…`, `pi_…`, a booking's reference.
        #[arg(long)]
        search: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// All that is known, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Has arrivals processed once more: by the numbers that the list shows, or all that a result, a type or a search finds. Those
    /// are only counted without `--yes`.
    Reprocess(Again),
}

#[derive(clap::Args)]
pub struct Again {
    #[arg(required_unless_present_any = ["statuses", "kinds", "search"], conflicts_with_all = ["statuses", "kinds", "search"])]
    arrivals: Vec<i64>,
    /// All with this result: `quarantined`, `kept`, … Several may be named.
    #[arg(long = "status", value_parser = word::<InboxResult>)]
    statuses: Vec<InboxResult>,
    /// All of this type: `charge.captured`. Several may be named.
    #[arg(long = "kind")]
    kinds: Vec<String>,
    /// All that this finds: `evt_…`, `pi_…`, a booking's reference.
    #[arg(long)]
    search: Option<String>,
    /// At most so many a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    per_second: u32,
    /// Why, for whoever looks at it later.
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Only says what it would do.
    #[arg(long, conflicts_with_all = ["yes", "arrivals"])]
    dry_run: bool,
    /// Does it.
    #[arg(long)]
    yes: bool,
}

pub fn endpoints(config: Config, what: Endpoints) -> Ended {
    on_desk(config, async |desk| match what {
        Endpoints::List { json } => {
            let list = endpoints::list(desk, Empty {}).await.map_err(failed)?;
            show(&list.rows, json, |row| {
                let state = said(&row.state);
                format!("{state:<9} {:>6} owed  {}", row.owed, row.name)
            })
        }
        Endpoints::Pause { endpoint, reason } => {
            change(desk, &endpoint, EndpointAction::Pause, reason).await
        }
        Endpoints::Resume { endpoint } => {
            change(desk, &endpoint, EndpointAction::Resume, String::new()).await
        }
        Endpoints::Test { endpoint, event } => {
            let row = find(desk, &endpoint).await?;
            let first = || row.takes.first().cloned();
            let event_name = event.or_else(first).ok_or_else(|| {
                Failed::Run("It takes nothing: name a type with --event.".to_owned())
            })?;
            let test = SendTest {
                destination_id: row.destination_id,
                event_name,
            };
            let sent = endpoints::send_test(desk, test).await.map_err(failed)?;
            println!("The test is on its way: delivery {}.", sent.delivery_id);
            Ok(())
        }
    })
}

pub fn deliveries(config: Config, what: Deliveries) -> Ended {
    on_desk(config, async |desk| match what {
        Deliveries::List { which, limit, json } => {
            let request = ListDeliveries {
                filter: filter(desk, which).await?,
                after: None,
                limit,
            };
            let list = deliveries::list(desk, request).await.map_err(failed)?;
            show(&list.rows, json, |row| {
                let state = said(&row.state);
                let (at, to) = (row.created_at.format("%F %T"), &row.destination);
                format!(
                    "{state:<9} {at}  {}  {to}  {}",
                    row.event_name, row.delivery_id
                )
            })
        }
        Deliveries::Redeliver {
            which,
            per_second,
            reason,
            yes,
            ..
        } => {
            let filter = filter(desk, which).await?;
            redeliver(desk, filter, per_second, reason.filter(|_| yes)).await
        }
    })
}

pub fn inbox(config: Config, what: Inbox) -> Ended {
    on_desk(config, async |desk| match what {
        Inbox::List {
            results,
            search,
            limit,
            json,
        } => {
            let request = ListInbox {
                filter: InboxFilter {
                    results,
                    search,
                    ..Default::default()
                },
                after: None,
                limit,
            };
            let list = inbox::list(desk, request).await.map_err(failed)?;
            show(&list.rows, json, |row| {
                let (result, at) = (said(&row.result), row.received_at.format("%F %T"));
                let what = row.kind.as_deref().unwrap_or("?");
                format!("{:>8}  {result:<11} {at}  {what}", row.arrival_id)
            })
        }
        Inbox::Reprocess(again) if again.arrivals.is_empty() => reprocess_all(desk, again).await,
        Inbox::Reprocess(again) => {
            let request = Reprocess {
                arrival_ids: again.arrivals,
                reason: again.reason.unwrap_or_default(),
            };
            let done = inbox::reprocess(desk, request).await.map_err(failed)?;
            println!("{} are processed again.", done.count);
            Ok(())
        }
    })
}

fn on_desk(config: Config, run: impl AsyncFnOnce(&Desk) -> Ended) -> Ended {
    let sandbox = Arc::new(LocalSandbox::default());
    with_desk(
        || Host::with(config, HostKind::Command, false, Some(sandbox)),
        async |_, desk| run(desk).await,
    )
}

/// What would be done is said; with a reason it is done, as long as it is still that.
async fn redeliver(
    desk: &Desk,
    filter: DeliveryFilter,
    per_second: u32,
    reason: Option<String>,
) -> Ended {
    let action = BulkAction::Redeliver;
    let ask = PreviewRedelivery {
        action,
        filter: filter.clone(),
    };
    let plan = deliveries::preview(desk, ask).await.map_err(failed)?;
    for share in &plan.shares {
        let before = share.delivered_before;
        println!(
            "{:>7} to {}, {before} of them for the second time",
            share.count, share.destination
        );
    }
    for (why, n) in &plan.left_out {
        println!("{n:>7} stay out: {why}");
    }
    if let Some(why) = plan.refused {
        return Err(Failed::Run(why));
    }
    let Some(reason) = reason else {
        println!("Nothing is sent yet: say so with --reason and --yes.");
        return Ok(());
    };
    let start = StartRedelivery {
        bulk_id: ids::v7(),
        action,
        filter,
        hash: plan.hash,
        per_second,
        reason,
    };
    let begun = deliveries::start(desk, start).await.map_err(failed)?;
    println!(
        "{} are sent again by the workers: {}.",
        begun.count, begun.bulk_id
    );
    Ok(())
}

/// As [`redeliver`], of what came in.
async fn reprocess_all(desk: &Desk, again: Again) -> Ended {
    let filter = InboxFilter {
        results: again.statuses,
        kinds: again.kinds,
        search: again.search,
        ..Default::default()
    };
    let ask = PreviewReprocess {
        filter: filter.clone(),
    };
    let plan = inbox::preview(desk, ask).await.map_err(failed)?;
    for (result, n) in &plan.shares {
        println!("{n:>7} {}", said(result));
    }
    for (why, n) in &plan.left_out {
        println!("{n:>7} stay out: {why}");
    }
    if let Some(why) = plan.refused {
        return Err(Failed::Run(why));
    }
    let Some(reason) = again.reason.filter(|_| again.yes) else {
        println!("Nothing is processed yet: say so with --reason and --yes.");
        return Ok(());
    };
    let start = StartReprocess {
        bulk_id: ids::v7(),
        filter,
        hash: plan.hash,
        per_second: again.per_second,
        reason,
    };
    let begun = inbox::start(desk, start).await.map_err(failed)?;
    println!(
        "{} are processed again by the workers: {}.",
        begun.count, begun.bulk_id
    );
    Ok(())
}

async fn change(desk: &Desk, named: &str, action: EndpointAction, reason: String) -> Ended {
    let row = find(desk, named).await?;
    let change = ChangeEndpoint {
        destination_id: row.destination_id,
        version: row.version,
        action,
        recover_since: None,
        reason,
    };
    let after = endpoints::change(desk, change).await.map_err(failed)?;
    println!("{}: {}.", after.row.name, said(&after.row.state));
    Ok(())
}

async fn filter(desk: &Desk, which: Which) -> Result<DeliveryFilter, Failed> {
    let to = match &which.to {
        Some(named) => vec![find(desk, named).await?.destination_id],
        None => vec![],
    };
    Ok(DeliveryFilter {
        states: which.states,
        errors: which.errors,
        destination_ids: to,
        since: which.since,
        until: which.until,
        ..Default::default()
    })
}

async fn find(desk: &Desk, named: &str) -> Result<EndpointRow, Failed> {
    let list = endpoints::list(desk, Empty {}).await.map_err(failed)?;
    let mut rows = list.rows.into_iter();
    rows.find(|row| row.name == named || row.destination_id.to_string() == named)
        .ok_or_else(|| {
            Failed::Run(format!(
                "No endpoint is called {named}: `bizing-desk endpoints list` names them."
            ))
        })
}

fn show<T: Serialize>(rows: &[T], json: bool, line: impl Fn(&T) -> String) -> Ended {
    if json {
        let all = serde_json::to_string_pretty(rows).map_err(|e| Failed::Run(e.to_string()))?;
        println!("{all}");
        return Ok(());
    }
    for row in rows {
        println!("{}", line(row));
    }
    Ok(())
}

fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|e| e.to_string())
}
