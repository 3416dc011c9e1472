//! The local sandbox of payments and mail, as the engine sees it. The shell brings the real one, so that nothing here
//! can come to depend on how a stand-in works inside.

use std::path::Path;

use bizing_stripe::Secret;
use futures_util::future::BoxFuture;

/// Where the sandbox answers.
#[derive(Debug, Clone)]
pub struct SandboxAddr {
    /// `http://127.0.0.1:…`
    pub url: String,
    /// `127.0.0.1:…`
    pub smtp: String,
    pub secret_key: Secret,
    /// Signs what it sends to `/webhooks/stripe`.
    pub webhook_secret: Secret,
}

pub trait SandboxStarter: Send + Sync {
    /// Finds the sandbox of this data folder, or starts it. The addresses stay the same while the folder is in use.
    fn start<'a>(&'a self, data: &'a Path) -> BoxFuture<'a, Result<SandboxAddr, String>>;

    /// Stops it if this process runs it.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
