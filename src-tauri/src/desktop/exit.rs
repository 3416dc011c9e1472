//! The end of the window: leases are given back and the private server is stopped before the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bizing_engine::app::host::Host;
use tauri::{AppHandle, ExitRequestApi};

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

pub struct Exit {
    host: Host,
    how_far: Arc<AtomicU8>,
}

impl Exit {
    pub fn of(host: Host) -> Exit {
        Exit {
            host,
            how_far: Arc::new(AtomicU8::new(OPEN)),
        }
    }

    /// The last window is closed, or somebody asked the process to end. The first request begins the closing, later ones
    /// wait for it.
    pub fn requested(&self, app: &AppHandle, api: &ExitRequestApi) {
        if self.how_far.load(Ordering::Acquire) == CLOSED {
            return;
        }
        api.prevent_exit();
        let first =
            self.how_far
                .compare_exchange(OPEN, CLOSING, Ordering::AcqRel, Ordering::Acquire);
        if first.is_err() {
            return;
        }
        let (host, how_far, app) = (self.host.clone(), self.how_far.clone(), app.clone());
        tauri::async_runtime::spawn(async move {
            host.shut_down().await;
            how_far.store(CLOSED, Ordering::Release);
            app.exit(0);
        });
    }
}
