//! What a person does about one saga: said first, done with `--yes`, under the plan that was said.

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use bizing_engine::runtime::ids;
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use super::super::failed;
use super::{find, say};
use crate::{Ended, Failed};

/// Which saga, why, and whether it is meant.
#[derive(clap::Args)]
pub struct About {
    /// A booking's reference or the saga's id.
    saga: String,
    /// Why: 10 signs or more. It stands in the audit, so it names no customer.
    #[arg(long, default_value = "")]
    reason: String,
    /// Does it. Without, it only says what it would do.
    #[arg(long)]
    yes: bool,
}

#[derive(clap::Subcommand)]
pub enum Act {
    /// Tries the step that failed once more.
    Retry(About),
    /// Corrects the customer's address, or the card, and tries once more.
    Correct {
        #[command(flatten)]
        about: About,
        /// The right address. It goes sealed into the customer's history, never into the audit.
        #[arg(long, required_unless_present = "card", conflicts_with = "card")]
        email: Option<String>,
        /// Another saved card: pm_….
        #[arg(long)]
        card: Option<String>,
    },
    /// Undoes everything that was done: refund, booking, slot.
    Compensate(About),
    /// Goes on with an undoing that waits for a person, from a step that is chosen.
    UndoFrom {
        #[command(flatten)]
        about: About,
        /// notify, confirm, capture, payment or hold. Left out: where money goes back, if some is here, else where it stands.
        #[arg(long)]
        step: Option<String>,
    },
    /// Gives back less than the whole, and keeps the rest: an undoing, or a cancellation whose refund waits for a person.
    RefundPart {
        #[command(flatten)]
        about: About,
        /// What goes back, in minor units of the payment's currency: 4500 are 45.00 EUR. Left out, it says what could.
        #[arg(long)]
        minor: Option<i64>,
    },
    /// Cancels a confirmed booking under its terms.
    Cancel {
        #[command(flatten)]
        about: About,
        /// Lets the fee go.
        #[arg(long)]
        waive_fee: bool,
    },
    /// The customer was told by hand: the booking stands, with a warning.
    Skip(About),
    /// Says what became of a call whose outcome is open.
    ResolveStep {
        #[command(flatten)]
        about: About,
        #[arg(long, value_enum)]
        outcome: Outcome,
        /// By what it can be seen: re_…, a bank's reference, a note.
        #[arg(long)]
        evidence: String,
    },
    /// Ends it: nothing more happens by itself.
    Resolve {
        #[command(flatten)]
        about: About,
        /// What you looked at: money,booking,slot. All three.
        #[arg(long, value_delimiter = ',')]
        checked: Vec<String>,
        /// By what it can be seen: re_…, a bank's reference, a note.
        #[arg(long)]
        evidence: String,
    },
    /// Opens one that is over, for a decision.
    Reopen(About),
    /// Begins nothing more. Holds and the provider's clocks go on.
    Pause(About),
    /// Lets a paused one go on.
    Resume(About),
    /// Holds the slot longer.
    ExtendHold {
        #[command(flatten)]
        about: About,
        /// 5 to 1,440.
        #[arg(long)]
        minutes: u32,
    },
    /// Gives it to somebody to look after; without --to to nobody.
    Assign {
        #[command(flatten)]
        about: About,
        #[arg(long, default_value = "")]
        to: String,
    },
    /// Hides it from the inbox for some hours.
    Snooze {
        #[command(flatten)]
        about: About,
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=720))]
        hours: u32,
    },
    /// Writes the reason beside it, and changes nothing else.
    Note(About),
    /// Takes it from a worker that is silent.
    ReleaseLease(About),
    /// Goes over to another version of its definition.
    Migrate {
        #[command(flatten)]
        about: About,
        /// The newest when left out.
        #[arg(long)]
        to_version: Option<i32>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Outcome {
    Done,
    NotDone,
}

/// What is the same of all of them.
struct Wanted {
    action: &'static str,
    about: About,
    params: SagaParams,
    email: Option<String>,
}

impl Act {
    fn wanted(self) -> Wanted {
        let of = |action, about, params| Wanted {
            action,
            about,
            params,
            email: None,
        };
        let none = SagaParams::default;
        match self {
            Act::Retry(about) => of("retry", about, none()),
            Act::Correct { about, email, card } => Wanted {
                email: email.clone(),
                ..of(
                    "correct",
                    about,
                    SagaParams {
                        field: Some(
                            if email.is_some() {
                                "email"
                            } else {
                                "payment_method"
                            }
                            .to_owned(),
                        ),
                        payment_method: card,
                        ..none()
                    },
                )
            },
            Act::Compensate(about) => of("compensate", about, none()),
            Act::UndoFrom { about, step } => of("undo_from", about, SagaParams { step, ..none() }),
            Act::RefundPart { about, minor } => of(
                "refund_part",
                about,
                SagaParams {
                    refund_minor: minor,
                    ..none()
                },
            ),
            Act::Cancel { about, waive_fee } => of(
                "cancel",
                about,
                SagaParams {
                    waive_fee: waive_fee.then_some(true),
                    ..none()
                },
            ),
            Act::Skip(about) => of("skip", about, none()),
            Act::ResolveStep {
                about,
                outcome,
                evidence,
            } => of(
                "resolve_step",
                about,
                SagaParams {
                    outcome: Some(match outcome {
                        Outcome::Done => "done".to_owned(),
                        Outcome::NotDone => "not_done".to_owned(),
                    }),
                    evidence: Some(evidence),
                    ..none()
                },
            ),
            Act::Resolve {
                about,
                checked,
                evidence,
            } => of(
                "resolve",
                about,
                SagaParams {
                    evidence: Some(evidence),
                    checked: Some(checked),
                    ..none()
                },
            ),
            Act::Reopen(about) => of("reopen", about, none()),
            Act::Pause(about) => of("pause", about, none()),
            Act::Resume(about) => of("resume", about, none()),
            Act::ExtendHold { about, minutes } => of(
                "extend_hold",
                about,
                SagaParams {
                    minutes: Some(minutes),
                    ..none()
                },
            ),
            Act::Assign { about, to } => of(
                "assign",
                about,
                SagaParams {
                    to: Some(to),
                    ..none()
                },
            ),
            Act::Snooze { about, hours } => of(
                "snooze",
                about,
                SagaParams {
                    until: Some(Utc::now() + TimeDelta::hours(hours.into())),
                    ..none()
                },
            ),
            Act::Note(about) => of("note", about, none()),
            Act::ReleaseLease(about) => of("release_lease", about, none()),
            Act::Migrate { about, to_version } => of(
                "migrate",
                about,
                SagaParams {
                    to_version,
                    ..none()
                },
            ),
        }
    }
}

pub async fn run(desk: &Desk, act: Act) -> Ended {
    let Wanted {
        action,
        about,
        params,
        email,
    } = act.wanted();
    let page = find(desk, &about.saga).await?;
    let saga_id = page.row.saga_id;
    // The plan rests on everything but the evidence, as in the window.
    let seen = SagaParams {
        evidence: None,
        ..params.clone()
    };
    let plan = sagas::preview(
        desk,
        PreviewSaga {
            saga_id,
            action: action.to_owned(),
            params: seen,
        },
    )
    .await
    .map_err(failed)?;
    println!(
        "{}: {}",
        page.row.booking.reference,
        action.replace('_', " ")
    );
    say::plan(&plan);
    if let Some(why) = plan.refused {
        return Err(Failed::Run(format!(
            "{why}\n`bizing-desk sagas show {}` says what can be done.",
            page.row.booking.reference
        )));
    }
    if !about.yes {
        println!("Nothing is done yet. Add --yes to do it.");
        return Ok(());
    }
    let told = sagas::command(
        desk,
        CommandSaga {
            command_id: ids::v7(),
            saga_id,
            action: action.to_owned(),
            version: plan.version,
            plan_hash: Some(plan.hash),
            params,
            reason: about.reason,
            email,
        },
    )
    .await
    .map_err(failed)?;
    if told.awaits_approval {
        println!(
            "Asked for. Another manager says yes: bizing-desk sagas approve {} --yes",
            told.command_id
        );
    } else {
        println!(
            "Asked for. `bizing-desk sagas show {}` tells what came of it.",
            page.row.booking.reference
        );
    }
    Ok(())
}

// ---- the second person -----------------------------------------------------------------------------------------------

pub async fn approvals(desk: &Desk) -> Ended {
    let request = ListSagas::first(SagaTab::NeedsPerson, 1);
    for command in &sagas::list(desk, request).await.map_err(failed)?.approvals {
        println!("{}", say::command(command));
    }
    Ok(())
}

pub async fn approve(desk: &Desk, command_id: Uuid, yes: bool) -> Ended {
    let seen = sagas::approval(desk, GetApproval { command_id })
        .await
        .map_err(failed)?;
    println!("{}", say::command(&seen.command));
    say::plan(&seen.plan);
    if seen.changed {
        return Err(Failed::Run(
            "It changed since it was asked for, so it can only be refused: `bizing-desk sagas reject`.".to_owned(),
        ));
    }
    if !yes {
        println!("Nothing is done yet. Add --yes to say yes.");
        return Ok(());
    }
    decide(desk, command_id, true, seen.plan.hash, String::new()).await
}

pub async fn reject(desk: &Desk, command_id: Uuid, reason: String) -> Ended {
    let seen = sagas::approval(desk, GetApproval { command_id })
        .await
        .map_err(failed)?;
    decide(desk, command_id, false, seen.plan.hash, reason).await
}

async fn decide(
    desk: &Desk,
    command_id: Uuid,
    approve: bool,
    plan_hash: String,
    reason: String,
) -> Ended {
    let command = sagas::decide(
        desk,
        DecideCommand {
            command_id,
            approve,
            plan_hash,
            reason,
        },
    )
    .await
    .map_err(failed)?;
    println!(
        "{} {}",
        command.status.replace('_', " "),
        say::command(&command)
    );
    Ok(())
}
