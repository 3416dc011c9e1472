//! The window. It starts hidden and shows itself when its page is there; closing it stops the process in order.

mod badge;
mod commands;
mod environment;
mod exit;
mod instance;
mod leave;

use std::path::PathBuf;
use std::sync::Arc;

use bizing_engine::app::host::{Host, HostKind};
use bizing_engine::app::wire::{AppError, Code, Retry};
use bizing_engine::runtime::config::{BadConfig, Config};
use tauri::webview::PageLoadEvent;
use tauri::{App, RunEvent, WebviewUrl, WebviewWindowBuilder, WindowEvent};

use crate::local_sandbox::LocalSandbox;
use crate::{Ended, Failed, http, runtime, signals, telemetry};

pub use environment::no_display;

pub fn run(config: Result<Config, BadConfig>) -> Ended {
    // First of all: nothing else may run yet while the environment changes.
    environment::prepare();
    let data = config.as_ref().ok().map(|config| config.data.clone());
    let listen = config
        .as_ref()
        .ok()
        .and_then(|config| config.webhook_listen);
    let (host, _instance) = match config {
        Ok(config) => {
            telemetry::start(&config);
            let Some(instance) = instance::Instance::claim(&config)? else {
                eprintln!(
                    "Bizing Desk is already open for the data in {}.",
                    config.data.display()
                );
                return Ok(());
            };
            let sandbox = Arc::new(LocalSandbox::default());
            let host = Host::with(config, HostKind::Window, true, Some(sandbox));
            (Opening::Saved(host), Some(instance))
        }
        Err(bad) => {
            telemetry::to_stderr();
            (Opening::Unusable(bad), None)
        }
    };
    let runtime = runtime()?;
    tauri::async_runtime::set(runtime.handle().clone());
    let _inside = runtime.enter();
    let host = host.start();
    if let Some(at) = listen {
        take_webhooks(&host, at);
    }

    let app = build(&host, data)?;
    let handle = app.handle().clone();
    host.in_background(async move {
        signals::asked_to_stop().await;
        handle.exit(0);
    });
    host.in_background(badge::keep(app.handle().clone(), host.clone()));
    let leave = leave::Leave::of(host.clone());
    let exit = exit::Exit::of(host);
    app.run(move |app, event| match event {
        RunEvent::WindowEvent {
            event: WindowEvent::CloseRequested { api, .. },
            ..
        } => leave.requested(app, &api),
        RunEvent::ExitRequested { api, .. } => exit.requested(app, &api),
        _ => {}
    });
    Ok(())
}

/// The window opens all the same where that is not possible: the provider's list brings what does not come.
fn take_webhooks(host: &Host, at: std::net::SocketAddr) {
    let of = host.clone();
    host.in_background(async move {
        match http::letterbox::listen(of, at).await {
            Ok((address, serving)) => {
                tracing::info!(%address, "webhooks are taken at /webhooks/stripe");
                serving.await;
            }
            Err(why) => tracing::error!(why, "webhooks are not taken here"),
        }
    });
}

/// A window has to come up even when the configuration cannot be used: it is where the person reads why.
enum Opening {
    Saved(Host),
    Unusable(BadConfig),
}

impl Opening {
    fn start(self) -> Host {
        match self {
            Opening::Saved(host) => {
                host.start();
                host
            }
            Opening::Unusable(bad) => {
                let host = Host::new(Config::in_folder(PathBuf::new()), HostKind::Window);
                let error = AppError::new(Code::Invalid, bad.to_string())
                    .hint("Correct or remove it, then start the app again.")
                    .retry(Retry::NeedsPerson);
                host.start_failed(error);
                host
            }
        }
    }
}

fn build(host: &Host, data: Option<PathBuf>) -> Result<App, Failed> {
    let built = tauri::Builder::default()
        .manage(host.clone())
        .manage(commands::Listening::default())
        .invoke_handler(tauri::generate_handler![
            commands::rpc,
            commands::hints,
            commands::leave,
            commands::open_link
        ])
        .setup(|app| Ok(open(app, data)?))
        .build(tauri::generate_context!());
    built.map_err(|error| {
        Failed::Run(format!(
            "The window cannot be opened: {error}. `bizing-desk serve` shows the same desk in a browser."
        ))
    })
}

fn open(app: &App, data: Option<PathBuf>) -> tauri::Result<()> {
    let mut window = WebviewWindowBuilder::new(app, "main", WebviewUrl::default())
        .title("Bizing Desk")
        .inner_size(1440.0, 900.0)
        .min_inner_size(960.0, 640.0)
        .center()
        .visible(false)
        // The schedule drags by itself; the system's own handler would swallow it.
        .disable_drag_drop_handler()
        .on_navigation(is_ours)
        .on_page_load(|window, load| {
            if load.event() == PageLoadEvent::Finished
                && let Err(error) = window.show()
            {
                tracing::error!(%error, "the window cannot be shown");
            }
        });
    if let Some(data) = data {
        // What the page remembers belongs to this desk, not to every desk of the account.
        window = window.data_directory(data.join("webview"));
    }
    window.build()?;
    Ok(())
}

/// The window shows its own pages only; everything else opens outside, through `open_link`.
fn is_ours(url: &tauri::Url) -> bool {
    let local = matches!(url.host_str(), Some("tauri.localhost" | "localhost"));
    match url.scheme() {
        "tauri" => local,
        "http" | "https" if url.host_str() == Some("tauri.localhost") => true,
        // The development server.
        "http" => cfg!(dev) && url.host_str() == Some("127.0.0.1") && url.port() == Some(5173),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_window_stays_on_its_own_pages() {
        let ours = |url: &str| super::is_ours(&url.parse().unwrap());
        assert!(ours("tauri://localhost/index.html"));
        assert!(ours("http://tauri.localhost/"));
        for url in [
            "https://example.com/",
            "http://127.0.0.1:9999/",
            "file:///etc/passwd",
            "https://tauri.localhost.example.com/",
            "tauri://elsewhere/",
        ] {
            assert!(!ours(url), "{url}");
        }
    }
}
