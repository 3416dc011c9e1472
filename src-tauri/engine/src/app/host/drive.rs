//! The driver: makes what is wanted so, one thing after the other, and shows how far it is.

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::choice::{Choice, Saved};
use super::{Host, Wanted, What, line, open, starting};
use crate::app::wire::{AppError, Code, Phase, ProfileKind, StartStep};

/// Shows the steps of one start. A start that has been superseded shows nothing any more.
pub(super) struct Progress {
    host: Host,
    number: u64,
    since: DateTime<Utc>,
    /// The window stays where it is meanwhile.
    quiet: bool,
}

impl Progress {
    pub fn step(&self, step: StartStep) {
        tracing::info!(?step, "opening the desk");
        if !self.quiet {
            self.show(starting(step, self.since));
        }
    }

    fn show(&self, phase: Phase) {
        let mut shown = self.host.shown();
        if shown.number == self.number {
            shown.phase = phase;
            drop(shown);
            self.host.0.hints.changed("host");
        }
    }

    fn profile(&self, profile: ProfileKind) {
        let mut shown = self.host.shown();
        if shown.number == self.number {
            shown.profile = Some(profile);
        }
    }
}

/// Runs until the process stops. What is open then is closed by [`Host::shut_down`].
pub(super) async fn drive(host: Host, stop: CancellationToken) {
    let mut decisions = host.0.wanted.subscribe();
    loop {
        let wanted = decisions.borrow_and_update().clone();
        close(&host).await;
        follow(&host, &wanted).await;
        tokio::select! {
            () = stop.cancelled() => return,
            // The sender lives in the host, so this cannot fail; if it did, there would be nothing left to follow.
            changed = decisions.changed() => if changed.is_err() { return },
            () = keep(&host, &wanted) => {}
        }
    }
}

/// Keeps the open desk open, whatever happens to the line. Never returns.
async fn keep(host: &Host, wanted: &Wanted) {
    loop {
        let silent = match line::lost(host).await {
            line::Lost::Silent(desk) => {
                tracing::warn!("the database does not answer any more; waiting for it");
                desk.silent.cancel();
                host.0.hints.changed("status");
                Some(desk)
            }
            // The work stops first: it was begun for another log.
            line::Lost::OtherLog => {
                tracing::error!("the database holds another log now; the desk is opened anew");
                close(host).await;
                None
            }
        };
        loop {
            if let Some(desk) = &silent {
                line::answers_again(desk).await;
            }
            match reopen(host, wanted).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(code = ?error.code, "the desk did not open again: {}", error.message);
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                }
            }
        }
        tracing::warn!("the desk is open again");
        host.0.hints.changed("*");
    }
}

/// Puts a desk over new connections in the place of the silent one.
async fn reopen(host: &Host, wanted: &Wanted) -> Result<(), AppError> {
    let progress = progress(host, wanted, true);
    let choice = choice(host, &wanted.what)?
        .ok_or_else(|| AppError::new(Code::DatabaseNotChosen, "No database is chosen any more."))?;
    let opened = Box::pin(open::open(host, &choice, &progress)).await?;
    let (desk, pool) = (opened.desk.clone(), opened.pool.clone());
    let before = host.0.open.lock().await.replace(opened);
    let mut shown = host.shown();
    if shown.number == wanted.number {
        shown.desk = Some(desk);
    }
    drop(shown);
    if let Some(before) = before {
        host.0.tasks.once(before.abandon(pool));
    }
    Ok(())
}

fn progress(host: &Host, wanted: &Wanted, quiet: bool) -> Progress {
    Progress {
        host: host.clone(),
        number: wanted.number,
        since: Utc::now(),
        quiet,
    }
}

fn choice(host: &Host, what: &What) -> Result<Option<Choice>, AppError> {
    match what {
        What::Nothing => Ok(None),
        What::Saved => Saved::of(&host.0.config).read(),
        What::This(choice) => Ok(Some(choice.clone())),
    }
}

async fn follow(host: &Host, wanted: &Wanted) {
    let progress = progress(host, wanted, false);
    let opened = match choice(host, &wanted.what) {
        Ok(None) => return progress.show(Phase::Choose),
        Ok(Some(choice)) => {
            progress.profile(choice.profile());
            // Boxed: it holds a migration, a server's start and a seeding, and waits in a task beside many small ones.
            Box::pin(open::open(host, &choice, &progress)).await
        }
        Err(error) => Err(error),
    };
    match opened {
        Ok(opened) => {
            let desk = opened.desk.clone();
            *host.0.open.lock().await = Some(opened);
            let mut shown = host.shown();
            if shown.number == progress.number {
                shown.desk = Some(desk);
                drop(shown);
                progress.show(Phase::Ready);
                tracing::info!("the desk is open");
            }
        }
        Err(error) => {
            tracing::error!(correlation_id = %error.correlation_id, code = ?error.code, "the desk did not open: {}", error.message);
            progress.show(Phase::Failed {
                error,
                since: Utc::now(),
            });
        }
    }
}

/// Stops the work of the open desk, then its connections.
pub(super) async fn close(host: &Host) {
    let opened = host.0.open.lock().await.take();
    if let Some(opened) = opened {
        host.shown().desk = None;
        opened.close().await;
    }
}
