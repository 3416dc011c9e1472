//! What Stripe says: of one saga's money, and of what does not fit. A worker that holds the key looks.

use std::time::{Duration, Instant};

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::runtime::ids;
use uuid::Uuid;

use super::super::failed;
use super::{find, say};
use crate::{Ended, Failed};

/// A worker answers within seconds, and gives up after 20.
const PATIENCE: Duration = Duration::from_secs(40);
/// A walk looks at a hundred objects with each call.
const WALK: Duration = Duration::from_secs(300);

#[derive(clap::Subcommand)]
pub enum Asked {
    /// Asks Stripe about a saga's money and waits for the answer. It changes nothing.
    Ask {
        /// A booking's reference or the saga's id.
        saga: String,
    },
    /// Walks along Stripe's lists for what does not fit the ledger, waits for the end, and lists the cases.
    Sweep,
    /// What Stripe and the ledger do not agree about.
    Orphans,
    /// Looks at one case's object again. What holds no money any more is closed by it.
    Check {
        /// As `sagas orphans` names it.
        case: Uuid,
    },
    /// Takes what a case is about into the books: a payment of a booking that has none, or a refund made at Stripe's pages.
    Adopt(Decided),
    /// Gives a payment that the books do not know back to the customer, once.
    GiveBack(Decided),
    /// Closes a case with what it was. No money moves.
    Close {
        case: Uuid,
        /// What it was, and what was done about it: 10 signs or more.
        #[arg(long)]
        reason: String,
        /// By what it can be seen: re_…, a bank's reference, a note.
        #[arg(long)]
        evidence: String,
    },
}

#[derive(clap::Args)]
pub struct Decided {
    /// As `sagas orphans` names it.
    case: Uuid,
    /// Why, for the audit: 10 signs or more.
    #[arg(long, default_value = "")]
    reason: String,
    /// Does it. Without this what would be done is only said.
    #[arg(long)]
    yes: bool,
}

pub async fn run(desk: &Desk, what: Asked) -> Ended {
    match what {
        Asked::Ask { saga } => ask(desk, &saga).await,
        Asked::Sweep => sweep(desk).await,
        Asked::Orphans => orphans(desk).await,
        Asked::Check { case } => check(desk, case).await,
        Asked::Adopt(decided) => decide(desk, decided, "adopt").await,
        Asked::GiveBack(decided) => decide(desk, decided, "give_back").await,
        Asked::Close {
            case,
            reason,
            evidence,
        } => {
            let request = CloseOrphan {
                case_id: case,
                reason,
                evidence,
            };
            sagas::close_orphan(desk, request).await.map_err(failed)?;
            println!("Closed, with your words.");
            Ok(())
        }
    }
}

async fn ask(desk: &Desk, named: &str) -> Ended {
    let page = find(desk, named).await?;
    let request = AskStripe {
        ask_id: ids::v7(),
        saga_id: page.row.saga_id,
    };
    let asked = sagas::ask(desk, request).await.map_err(failed)?;
    let told = answer(desk, asked.ask_id).await?;
    let Some(answer) = told.answer else {
        return Err(unanswered(told.problem));
    };
    for (what, sum) in [
        ("authorised", &answer.authorised),
        ("captured", &answer.captured),
        ("given back", &answer.refunded),
    ] {
        println!(
            "{what:<11} Stripe {:>14}   the ledger {:>14}",
            say::money(&sum.stripe),
            say::money(&sum.ledger)
        );
    }
    for refund in answer.refunds.iter().filter(|r| !r.known) {
        println!(
            "No call of ours asked for {}: {} {}",
            refund.id,
            say::money(&refund.amount),
            refund.status
        );
    }
    for call in &answer.calls {
        println!("{}: {}", call.operation.replace('_', " "), call.found);
    }
    if let Some(absent) = &answer.absent {
        return Err(Failed::Differs(match absent.example {
            true => format!(
                "Stripe does not know {}: it is of the example's past, which was written and never paid. Nothing is lost.",
                absent.id
            ),
            false => format!(
                "Stripe does not know {}, though the ledger names it. The key is of another account, or of the other mode (test, live), or the payment was made with a key that is gone. No money can be moved from here until the right key is set. Nothing was changed.",
                absent.id
            ),
        }));
    }
    if answer.agrees {
        return Ok(());
    }
    Err(Failed::Differs(
        "Stripe and the ledger differ. Nothing was changed; a person decides.".to_owned(),
    ))
}

/// What came of a question, once it is over.
async fn answer(desk: &Desk, ask_id: Uuid) -> Result<StripeAsk, Failed> {
    let begun = Instant::now();
    loop {
        let told = sagas::get_ask(desk, GetAsk { ask_id })
            .await
            .map_err(failed)?;
        if told.state != "open" || begun.elapsed() > PATIENCE {
            return Ok(told);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn unanswered(problem: Option<String>) -> Failed {
    Failed::Run(problem.unwrap_or_else(|| {
        "No worker answered. Is one running that holds Stripe's key?".to_owned()
    }))
}

async fn all(desk: &Desk) -> Result<SagaList, Failed> {
    let request = ListSagas::first(SagaTab::NeedsPerson, 1);
    sagas::list(desk, request).await.map_err(failed)
}

async fn sweep(desk: &Desk) -> Ended {
    let before = all(desk).await?.sweep.ended_at;
    sagas::ask_sweep(desk, Empty {}).await.map_err(failed)?;
    let begun = Instant::now();
    loop {
        let now = all(desk).await?.sweep;
        if let Some(problem) = now.problem {
            return Err(Failed::Run(format!(
                "Stripe could not be read: {problem}. A worker tries again in a minute."
            )));
        }
        if !now.running && now.ended_at != before {
            eprintln!("{} objects looked at.", now.looked);
            return orphans(desk).await;
        }
        if begun.elapsed() > WALK {
            return Err(Failed::Run(
                "The walk is not over yet; it goes on. `bizing-desk sagas orphans` lists what it found.".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn orphans(desk: &Desk) -> Ended {
    let found = all(desk).await?.orphans;
    for orphan in &found {
        let mut sum = orphan.amount.as_ref().map(say::money).unwrap_or_default();
        if let Some(booked) = &orphan.booked {
            sum += &format!(" at Stripe, {} in the books", say::money(booked));
        }
        println!(
            "{}  {} {} {} {sum}  {}",
            orphan.case_id,
            orphan.why,
            orphan.object,
            orphan.status.as_deref().unwrap_or("?"),
            orphan.reference.as_deref().unwrap_or("of no saga here"),
        );
        for (act, refused) in [
            ("adopt", &orphan.adopt_refused),
            ("give-back", &orphan.give_back_refused),
        ] {
            match refused {
                Some(why) => println!("  - {act:<10} {why}"),
                None if act == "give-back" && orphan.give_back_waits => {
                    println!("  + {act:<10} a second person says yes first")
                }
                None => println!("  + {act}"),
            }
        }
    }
    match found.len() {
        0 => Ok(()),
        n => Err(Failed::Differs(format!(
            "{n} do not fit. Decide each with `bizing-desk sagas adopt` or `give-back`, or settle it at Stripe or from its saga, then `check` or `close`."
        ))),
    }
}

async fn decide(desk: &Desk, decided: Decided, deed: &str) -> Ended {
    let found = all(desk).await?.orphans;
    let Some(orphan) = found.iter().find(|o| o.case_id == decided.case) else {
        return Err(Failed::Run(
            "There is no such open case. `bizing-desk sagas orphans` lists them.".to_owned(),
        ));
    };
    let sum = orphan.amount.as_ref().map(say::money).unwrap_or_default();
    let gives = deed == "give_back";
    let of = orphan.reference.as_deref().unwrap_or("no saga here");
    match (gives, orphan.what.as_str()) {
        (true, _) => println!(
            "What has not gone back of {sum} goes back to the customer of {}; the books stay as they are.",
            orphan.object
        ),
        (false, "refund") => println!(
            "{sum} stand in the books of {of} as given back by {}.",
            orphan.object
        ),
        (false, _) => println!(
            "{sum} stand in the books of {of} as paid by {}.",
            orphan.object
        ),
    }
    let refused = match gives {
        true => &orphan.give_back_refused,
        false => &orphan.adopt_refused,
    };
    if let Some(why) = refused {
        return Err(Failed::Run(why.clone()));
    }
    if gives && orphan.give_back_waits {
        println!("A second person has to say yes first.");
    }
    if !decided.yes {
        println!("Nothing is done yet. Add --yes to do it.");
        return Ok(());
    }
    let request = DecideOrphan {
        ask_id: ids::v7(),
        case_id: decided.case,
        deed: deed.to_owned(),
        reason: decided.reason,
    };
    let asked = sagas::decide_orphan(desk, request).await.map_err(failed)?;
    if asked.state == "awaiting_approval" {
        println!(
            "Asked for. Another manager says yes: bizing-desk sagas approve {} --yes",
            asked.ask_id
        );
        return Ok(());
    }
    let told = answer(desk, asked.ask_id).await?;
    if told.state != "answered" {
        return Err(unanswered(told.problem));
    }
    println!(
        "{}",
        if gives {
            "It is on its way back."
        } else {
            "It is in the books."
        }
    );
    Ok(())
}

async fn check(desk: &Desk, case_id: Uuid) -> Ended {
    let request = CheckOrphan {
        ask_id: ids::v7(),
        case_id,
    };
    let asked = sagas::check_orphan(desk, request).await.map_err(failed)?;
    let told = answer(desk, asked.ask_id).await?;
    if told.state != "answered" {
        return Err(unanswered(told.problem));
    }
    match all(desk)
        .await?
        .orphans
        .iter()
        .find(|o| o.case_id == case_id)
    {
        None => println!("It fits now: the case is closed."),
        Some(orphan) => println!(
            "{} is {}. The case stays open.",
            orphan.object,
            orphan
                .status
                .as_deref()
                .unwrap_or("not to be found at Stripe")
        ),
    }
    Ok(())
}
