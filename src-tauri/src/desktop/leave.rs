//! Closing the window. At once when nothing of this process is with the payment provider; else the page says what is, and asks.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bizing_engine::app::host::Host;
use bizing_engine::app::session;
use bizing_engine::app::wire::{Empty, Hint};
use tauri::{AppHandle, CloseRequestApi, Manager, WebviewWindow};
use tokio::time::timeout;

use super::commands::Listening;

/// Longer than this nobody waits for an answer before the window goes.
const LOOK: Duration = Duration::from_millis(700);
/// Who asks again this soon is not answered by the page, or means it.
const AGAIN: Duration = Duration::from_secs(3);

pub struct Leave {
    host: Host,
    asked: Mutex<Option<Instant>>,
}

impl Leave {
    pub fn of(host: Host) -> Leave {
        Leave {
            host,
            asked: Mutex::default(),
        }
    }

    pub fn requested(&self, app: &AppHandle, api: &CloseRequestApi) {
        let mut asked = self.asked.lock().unwrap_or_else(|e| e.into_inner());
        let Some(window) = app.get_webview_window("main") else {
            return;
        };
        if asked.is_some_and(|at| at.elapsed() < AGAIN) {
            return;
        }
        *asked = Some(Instant::now());
        api.prevent_close();
        let (host, app) = (self.host.clone(), app.clone());
        tauri::async_runtime::spawn(async move {
            if !(busy(&host).await && asks(&app, &window)) {
                close(&window);
            }
        });
    }
}

async fn busy(host: &Host) -> bool {
    let Ok(desk) = host.desk() else {
        return false;
    };
    let looked = timeout(LOOK, session::leaving(&desk, Empty {})).await;
    matches!(looked, Ok(Ok(leaving)) if leaving.with_provider > 0)
}

/// Whether there is a page that could ask.
fn asks(app: &AppHandle, window: &WebviewWindow) -> bool {
    let told = app.state::<Listening>().tell(Hint {
        topics: vec!["leaving".to_owned()],
    });
    // The question may be asked of a window that lies minimised.
    told && window
        .unminimize()
        .and_then(|()| window.set_focus())
        .is_ok()
}

pub fn close(window: &WebviewWindow) {
    if let Err(error) = window.destroy() {
        tracing::error!(%error, "the window cannot be closed");
    }
}
