//! What the sandbox's mail catch-all kept.

use std::time::Duration;

use serde::Deserialize;

use super::desk::Desk;
use super::wire::*;

/// As the sandbox writes it; it may know more than we show.
#[derive(Deserialize)]
struct Kept {
    id: String,
    at: chrono::DateTime<chrono::Utc>,
    from: String,
    to: Vec<String>,
    #[serde(default)]
    subject: String,
    text: Option<String>,
    ics: Option<String>,
}

/// Newest first. Empty where money is real: nothing is caught there.
pub async fn caught(desk: &Desk, _: Empty) -> Result<Vec<CaughtMessage>, AppError> {
    let Some(base) = &desk.sandbox_url else {
        return Ok(vec![]);
    };
    let url = format!("{}/_sandbox/messages", base.trim_end_matches('/'));
    let kept: Vec<Kept> = ask(&url).await.map_err(|error| {
        tracing::debug!(error = &error as &dyn std::error::Error, "the sandbox did not answer");
        AppError::new(Code::SandboxUnreachable, "The sandbox does not answer, so its messages cannot be shown.")
            .hint("It runs inside the desk that does the background work. Start that desk again if this stays.")
            .retry(Retry::After { seconds: 2 })
    })?;
    Ok(kept
        .into_iter()
        .map(|m| CaughtMessage {
            id: m.id,
            at: m.at,
            from: m.from,
            to: m.to,
            subject: m.subject,
            text: m.text.unwrap_or_default(),
            ics: m.ics,
        })
        .collect())
}

/// Forgets all that was caught for an address. Nothing to do where nothing is caught.
pub(super) async fn forget(desk: &Desk, address: &str) -> reqwest::Result<()> {
    let Some(base) = &desk.sandbox_url else {
        return Ok(());
    };
    let url = format!("{}/_sandbox/messages", base.trim_end_matches('/'));
    let asked = client()?.delete(url).query(&[("to", address)]).send();
    asked.await?.error_for_status()?;
    Ok(())
}

async fn ask(url: &str) -> reqwest::Result<Vec<Kept>> {
    let asked = client()?.get(url).send();
    asked.await?.error_for_status()?.json().await
}

/// A client of its own: this is asked when somebody opens a page, and goes to this computer only.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(3))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}
