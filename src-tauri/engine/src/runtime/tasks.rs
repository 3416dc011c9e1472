//! Background tasks with a name: restarted when they fail, stopped together.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a task may take to end by itself once it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Lets something end that its caller no longer waits for, so that what it holds is put right. Nothing waits for it.
pub fn see_through<Fut>(fut: Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    // Without a runtime everything that it holds is gone.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(fut);
    }
}

/// Runs where it is awaited, and goes on by itself when whoever awaits it is dropped: for what must not stop half-way.
pub fn to_its_end<Fut>(fut: Fut) -> ToItsEnd<Fut::Output>
where
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    ToItsEnd(Some(Box::pin(fut)))
}

pub struct ToItsEnd<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what panics is not tried again.
        let Some(mut fut) = self.0.take() else {
            return Poll::Pending;
        };
        let polled = fut.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(fut);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        if let Some(fut) = self.0.take() {
            see_through(async move { drop(fut.await) });
        }
    }
}

#[derive(Clone, Default)]
pub struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Is cancelled when the process should stop. Loops that hold work look at it between two pieces.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs until the end of the process. A panic is contained, logged, and the task starts again after a second.
    pub fn forever<F, Fut>(&self, name: &'static str, mut run: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        #[allow(clippy::disallowed_methods, reason = "this is the one place that spawns")]
        self.tracker.spawn(async move {
            loop {
                let mut task = tokio::task::spawn(run());
                tokio::select! {
                    () = stop.cancelled() => {
                        // A loop that watches the token ends by itself and gives back its leases; others are cut.
                        if tokio::time::timeout(GRACE, &mut task).await.is_err() {
                            task.abort();
                        }
                        return;
                    }
                    ended = &mut task => {
                        if stop.is_cancelled() { return; }
                        match ended {
                            Ok(()) => tracing::warn!(task = name, "task ended and is started again"),
                            Err(error) => tracing::error!(task = name, %error, "task failed and is started again"),
                        }
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// Runs once, to its end or until it is cut.
    pub fn once<Fut>(&self, fut: Fut)
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let fut = async move {
            let cut = async {
                stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            tokio::select! {
                () = fut => {}
                // It waits for an answer that does not come.
                () = cut => {}
            }
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the one place that spawns"
        )]
        self.tracker.spawn(fut);
    }

    /// Stops every task: asks first, cuts after five seconds.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
