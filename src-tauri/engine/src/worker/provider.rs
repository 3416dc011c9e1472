//! What only a worker with the provider's key can do: it asks for news, and looks at what was told or asked.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bizing_stripe::Stripe;

use super::rounds::{Pulse, keep};
use super::{BATCH_PAUSE, WorkerParts};
use crate::domain::ids::WorkerId;
use crate::runtime::bell::Bell;
use crate::saga::adopt::Deeds;
use crate::saga::ask::Asks;
use crate::saga::disputes::Disputes;
use crate::saga::fees::Fees;
use crate::saga::late::Late;
use crate::saga::orphans::{self, Sweep};
use crate::saga::store;
use crate::webhook::poll::Poller;

const ASKED_EVERY: Duration = Duration::from_millis(250);
const SWEEP_LOOKED_EVERY: Duration = Duration::from_secs(60);
/// A person may want a walk now; a busy desk rings often.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

/// Nothing without a key.
pub fn start(parts: &WorkerParts, worker: WorkerId) {
    let Some(stripe) = &parts.stripe else {
        return;
    };
    disputes(parts, stripe.clone());
    fees(parts, stripe.clone());
    late_refunds(parts, stripe.clone());
    asks(parts, stripe.clone(), worker);
    sweep(parts, stripe.clone(), worker);
    if parts.pace.polls {
        poll(parts, stripe.clone());
    }
}

/// Looks at disputes of which something was told.
fn disputes(parts: &WorkerParts, stripe: Arc<Stripe>) {
    let disputes = Disputes {
        pool: parts.pool.clone(),
        stripe,
        crash: parts.crash.clone(),
    };
    let what = "disputes could not be looked at";
    let pulse = parts.pulse(BATCH_PAUSE);
    keep(parts, "disputes", what, pulse, disputes, |d| async move {
        d.round().await
    });
}

/// Asks what the provider kept of each payment.
fn fees(parts: &WorkerParts, stripe: Arc<Stripe>) {
    let fees = Arc::new(Fees {
        pool: parts.pool.clone(),
        stripe,
        crash: parts.crash.clone(),
    });
    let stop = parts.tasks.stopping();
    parts.tasks.forever("fees", move || {
        let (fees, stop) = (fees.clone(), stop.clone());
        async move { fees.run(stop).await }
    });
}

/// Looks at refunds of which something was told after their sagas were over.
fn late_refunds(parts: &WorkerParts, stripe: Arc<Stripe>) {
    let late = Late {
        pool: parts.pool.clone(),
        stripe,
        installation: parts.installation.clone(),
        crash: parts.crash.clone(),
    };
    let what = "news of refunds could not be looked at";
    let pulse = parts.pulse(BATCH_PAUSE);
    keep(parts, "late refunds", what, pulse, late, |l| async move {
        l.round().await
    });
}

/// Answers what people ask of a provider whose key stands here.
fn asks(parts: &WorkerParts, stripe: Arc<Stripe>, worker: WorkerId) {
    let deeds = Deeds {
        pool: parts.pool.clone(),
        worker,
        stripe: stripe.clone(),
        installation: parts.installation.clone(),
        crash: parts.crash.clone(),
    };
    let asks = Asks {
        pool: parts.pool.clone(),
        worker,
        stripe,
        installation: parts.installation.clone(),
    };
    let what = "what is asked of Stripe could not be looked at";
    let pulse = parts.pulse(ASKED_EVERY);
    keep(
        parts,
        "asks",
        what,
        pulse,
        (asks, deeds),
        |both| async move { Ok::<u64, store::SagaError>(both.0.round().await? + both.1.round().await?) },
    );
}

/// Walks along Stripe's lists for what does not fit the ledger.
fn sweep(parts: &WorkerParts, stripe: Arc<Stripe>, worker: WorkerId) {
    let sweep = Sweep {
        pool: parts.pool.clone(),
        worker,
        stripe,
        installation: parts.installation.clone(),
        pace: orphans::Pace::default(),
    };
    let pulse = Pulse {
        idle: SWEEP_LOOKED_EVERY,
        pause: SWEEP_PAUSE,
    };
    let what = "Stripe's lists could not be walked";
    keep(parts, "orphans", what, pulse, sweep, |s| async move {
        s.round().await
    });
}

/// Asks for the provider's events: behind a router it cannot reach us.
fn poll(parts: &WorkerParts, stripe: Arc<Stripe>) {
    let (pool, bell, hints, pace, stop) = (
        parts.pool.clone(),
        parts.bell.clone(),
        parts.hints.clone(),
        parts.pace,
        parts.tasks.stopping(),
    );
    parts.tasks.forever("stripe poll", move || {
        let poller = Poller {
            pool: pool.clone(),
            stripe: stripe.clone(),
            failures: AtomicU32::new(0),
        };
        let (bell, hints, stop) = (bell.clone(), hints.clone(), stop.clone());
        async move {
            loop {
                let alone = !hints.heard();
                let quiet = if alone {
                    pace.poll_alone
                } else {
                    pace.poll_quiet
                };
                let round = poller.round(pace.poll_awaited, quiet).await;
                let pause = round.unwrap_or_else(|error| {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "what Stripe told could not be kept; asking again"
                    );
                    pace.poll_quiet
                });
                bell.ring();
                let opened = async {
                    // Whoever opens a window sees what is new soon.
                    tokio::time::sleep(pace.poll_quiet).await;
                    while !hints.heard() {
                        tokio::time::sleep(pace.poll_awaited).await;
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = wait_for_more_work(&bell, &poller, pause, pace.poll_awaited) => {}
                    () = opened, if alone && !poller.fails() => {}
                }
            }
        }
    });
}

/// A quiet poll is cut short when something was committed: a payment may just have begun to be awaited, or a person asks. The
/// second is answered at once, the first not before the shortest pause is over.
async fn wait_for_more_work(bell: &Bell, poller: &Poller, pause: Duration, soonest: Duration) {
    let began = tokio::time::Instant::now();
    let mut until = began + pause;
    let mut rings = bell.listen();
    loop {
        rings.borrow_and_update();
        if poller.asked().await.unwrap_or(false) {
            return;
        }
        tokio::select! {
            _ = rings.changed() => until = until.min(began + soonest),
            () = tokio::time::sleep_until(until) => return,
        }
        // A busy desk rings often.
        tokio::time::sleep_until(until.min(tokio::time::Instant::now() + ASKED_EVERY)).await;
    }
}
