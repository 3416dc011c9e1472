//! The window's door: one command that asks, one that listens, one that opens a link outside. Who may do what is decided
//! in `dispatch`, for this door and for HTTP alike.

use std::sync::Mutex;

use bizing_engine::app::dispatch::dispatch;
use bizing_engine::app::error;
use bizing_engine::app::host::Host;
use bizing_engine::app::wire::{AppError, Code, Hint};
use serde_json::value::RawValue;
use tauri::ipc::{Channel, Response};
use tauri::{State, Url, WebviewWindow};
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;

/// The reply is serialised once, by `dispatch`, and handed over as text.
#[tauri::command]
pub async fn rpc(
    host: State<'_, Host>,
    command: String,
    params: serde_json::Value,
) -> Result<Response, AppError> {
    let params =
        RawValue::from_string(params.to_string()).map_err(|e| error::bad_request(&command, &e))?;
    let reply = dispatch(&host, &command, &params).await?;
    Ok(Response::new(reply))
}

/// Ends the feed of the page that listened before. A page that was loaded anew cannot say that it is gone, and sending to
/// nobody is not an error.
#[derive(Default)]
pub struct Listening(Mutex<Option<Page>>);

/// The page that listens now.
struct Page {
    replaced: CancellationToken,
    channel: Channel<Hint>,
}

impl Listening {
    fn anew(&self, channel: Channel<Hint>) -> CancellationToken {
        let replaced = CancellationToken::new();
        let page = Page {
            replaced: replaced.clone(),
            channel,
        };
        let mut now = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(before) = now.replace(page) {
            before.replaced.cancel();
        }
        replaced
    }

    /// Past the feed. `false`: no page listens.
    pub fn tell(&self, hint: Hint) -> bool {
        let now = self.0.lock().unwrap_or_else(|e| e.into_inner());
        now.as_ref()
            .is_some_and(|page| page.channel.send(hint).is_ok())
    }
}

/// Pushes hints until the window listens anew or the process stops; its answer then says so.
#[tauri::command]
pub async fn hints(
    host: State<'_, Host>,
    listening: State<'_, Listening>,
    channel: Channel<Hint>,
) -> Result<(), AppError> {
    let replaced = listening.anew(channel.clone());
    let mut feed = Feed::of(&host);
    loop {
        let hint = tokio::select! {
            () = replaced.cancelled() => None,
            hint = feed.next() => hint,
        };
        let sent = hint.map(|hint| channel.send(hint));
        if !matches!(sent, Some(Ok(()))) {
            return Err(AppError::new(Code::Internal, "No more hints come here."));
        }
    }
}

/// The person has read what is under way, and closes all the same.
#[tauri::command]
pub fn leave(window: WebviewWindow) {
    super::leave::close(&window);
}

/// Opens a web address with the system's browser.
#[tauri::command]
pub async fn open_link(host: State<'_, Host>, url: String) -> Result<(), AppError> {
    let sandbox = host.desk().ok().and_then(|desk| desk.sandbox_url.clone());
    let url = allowed(&url, sandbox.as_deref())
        .ok_or_else(|| AppError::invalid("url", "Only web addresses (https://) can be opened."))?;
    // Tests look at what was asked, not at a browser.
    if std::env::var_os("BIZING_NO_OPEN").is_some_and(|v| v == "1") {
        return Ok(());
    }
    open::that_detached(url.as_str()).map_err(|e| {
        tracing::warn!(error = %e, "the browser did not open");
        AppError::new(Code::Internal, "The browser did not open.")
            .hint("Copy the link and open it yourself.")
    })
}

/// Anything else could start a program or show a file. The sandbox's pages are the one exception to https.
fn allowed(url: &str, sandbox: Option<&str>) -> Option<Url> {
    let url: Url = url.parse().ok()?;
    let is_sandbox = || {
        let sandbox: Url = sandbox?.parse().ok()?;
        (url.origin() == sandbox.origin()).then_some(())
    };
    let fine = match url.scheme() {
        "https" => url.host_str().is_some(),
        "http" => is_sandbox().is_some(),
        _ => false,
    };
    fine.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn only_the_web_and_our_own_sandbox_are_opened() {
        let sandbox = Some("http://127.0.0.1:4242");
        assert!(allowed("https://checkout.stripe.com/c/pay/cs_1", None).is_some());
        assert!(allowed("http://127.0.0.1:4242/pay/cs_1", sandbox).is_some());
        for url in [
            "http://127.0.0.1:4242/pay/cs_1",
            "http://example.com/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "ssh://host",
            "pay",
        ] {
            assert!(allowed(url, None).is_none(), "{url}");
        }
        assert!(allowed("http://127.0.0.1:4243/", sandbox).is_none());
    }
}
