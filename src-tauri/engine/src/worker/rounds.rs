//! Work that is looked for again and again: at each ring of the bell, and without one now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::WorkerParts;
use crate::runtime::bell::Bell;

/// When rounds are done: at each ring, but not sooner after the last than `pause`, and after `idle` without one.
#[derive(Clone, Copy)]
pub struct Pulse {
    pub idle: Duration,
    pub pause: Duration,
}

/// Does rounds of `work` until the process ends.
pub fn keep<W, R, N, E>(
    parts: &WorkerParts,
    name: &'static str,
    what: &'static str,
    pulse: Pulse,
    work: W,
    round: impl Fn(Arc<W>) -> R + Clone + Send + Sync + 'static,
) where
    W: Send + Sync + 'static,
    R: Future<Output = Result<N, E>> + Send + 'static,
    N: Default + PartialEq + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let work = Arc::new(work);
    let (bell, stop) = (parts.bell.clone(), parts.tasks.stopping());
    parts.tasks.forever(name, move || {
        let (work, round) = (work.clone(), round.clone());
        rounds(
            move || round(work.clone()),
            pulse,
            what,
            bell.clone(),
            stop.clone(),
        )
    });
}

/// One round after the other; those that found something ring for others. `what` is said of one that failed.
async fn rounds<R, N, E>(
    round: impl Fn() -> R,
    pulse: Pulse,
    what: &'static str,
    bell: Bell,
    stop: CancellationToken,
) where
    R: Future<Output = Result<N, E>>,
    N: Default + PartialEq,
    E: std::error::Error + 'static,
{
    let mut rings = bell.listen();
    loop {
        rings.borrow_and_update();
        match round().await {
            Ok(found) if found == N::default() => {}
            Ok(_) => bell.ring(),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "{what}; trying again"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rings.changed() => {}
            () = tokio::time::sleep(pulse.idle) => {}
        }
        // One look serves all that rang meanwhile.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pulse.pause) => {}
        }
    }
}
