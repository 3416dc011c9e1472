//! Crash points: named places where a test lets this worker die. In production every point is a no-op.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Hook = Arc<dyn Fn(&'static str) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

#[derive(Clone, Default)]
pub struct CrashPoints(Option<Hook>);

impl CrashPoints {
    /// `hook` never returns from the point at which the worker is to die; the test then drops the task.
    pub fn new(hook: Hook) -> CrashPoints {
        CrashPoints(Some(hook))
    }

    pub async fn point(&self, name: &'static str) {
        if let Some(hook) = &self.0 {
            hook(name).await;
        }
    }
}

impl std::fmt::Debug for CrashPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "CrashPoints(armed)"
        } else {
            "CrashPoints"
        })
    }
}
