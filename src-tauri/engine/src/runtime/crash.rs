//! Crash points: named places where a test lets this worker die, and the promises that a test may take away to see that
//! something notices. In production every point is a no-op and every promise is kept: nothing outside of a test can make
//! another value than the default one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Hook = Arc<dyn Fn(&'static str) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What keeps money whole when workers die. A test that leaves one out must fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The same request goes out under the same key.
    Key,
    /// An outcome that the key cannot tell is looked up.
    Lookup,
}

#[derive(Clone, Default)]
pub struct CrashPoints {
    hook: Option<Hook>,
    broken: Option<Promise>,
}

impl CrashPoints {
    /// `hook` never returns from the point at which the worker is to die; the test then drops the task.
    pub fn new(hook: Hook) -> CrashPoints {
        CrashPoints {
            hook: Some(hook),
            broken: None,
        }
    }

    /// The negative control of a test.
    pub fn without(self, promise: Promise) -> CrashPoints {
        CrashPoints {
            broken: Some(promise),
            ..self
        }
    }

    pub async fn point(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hook(name).await;
        }
    }

    /// Whether a test has taken this promise away.
    pub fn breaks(&self, promise: Promise) -> bool {
        self.broken == Some(promise)
    }
}

impl std::fmt::Debug for CrashPoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.hook.is_some() {
            "CrashPoints(armed)"
        } else {
            "CrashPoints"
        })
    }
}
