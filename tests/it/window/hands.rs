//! Hands of a person at the real window: they look for what is on screen, click, write and press keys.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A window on an example of its own.
pub struct Desk {
    pub window: Client,
    pub data: TempDir,
    _driver: Driver,
}

pub async fn desk() -> Desk {
    let data = tempfile::Builder::new()
        .prefix("bizing-window-")
        .tempdir()
        .unwrap();
    world_can_enter(data.path());
    let driver = driver(data.path());
    let window = open(&driver).await;
    click(&window, "start-go").await;
    wait(&window, "booking-row").await;
    Desk {
        window,
        data,
        _driver: driver,
    }
}

struct Driver {
    process: Child,
    address: String,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn driver(data: &Path) -> Driver {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let process = Command::new("WebKitWebDriver")
        .arg(format!("--port={port}"))
        // The driver starts the app, and the app inherits this.
        .env("TAURI_WEBVIEW_AUTOMATION", "true")
        .env("BIZING_DATA", data)
        .env("BIZING_NO_OPEN", "1")
        .env_remove("DATABASE_URL")
        .stdout(Stdio::null())
        .spawn()
        .expect("WebKitWebDriver is installed (package webkit2gtk-driver)");
    Driver {
        process,
        address: format!("http://127.0.0.1:{port}"),
    }
}

async fn open(driver: &Driver) -> Client {
    let capabilities = json!({ "webkitgtk:browserOptions": { "binary": env!("CARGO_BIN_EXE_bizing-desk"), "args": [] } });
    let begun = Instant::now();
    loop {
        let tried = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&driver.address)
            .await;
        match tried {
            Ok(client) => return client,
            // The driver needs a moment before it listens.
            Err(error) if begun.elapsed() > PATIENCE => panic!("the window does not open: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

pub fn test_id(id: &str) -> String {
    format!("[data-testid=\"{id}\"]")
}

pub async fn wait(window: &Client, id: &str) -> fantoccini::elements::Element {
    match window
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::Css(&test_id(id)))
        .await
    {
        Ok(element) => element,
        Err(error) => {
            picture(window, "window-failed").await;
            panic!("`{id}` does not appear (see artefacts/window-failed.png): {error}");
        }
    }
}

/// Looks for it anew at each try: a hint may draw it again between the look and the click.
pub async fn click(window: &Client, id: &str) {
    let begun = Instant::now();
    while let Err(error) = wait(window, id).await.click().await {
        assert!(
            begun.elapsed() < PATIENCE,
            "`{id}` cannot be clicked: {error}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn text(window: &Client, id: &str) -> String {
    wait(window, id).await.text().await.unwrap_or_default()
}

pub async fn text_has(window: &Client, id: &str, part: &str) {
    let begun = Instant::now();
    loop {
        let now = text(window, id).await;
        if now.contains(part) {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "`{id}` says {now:?}, not {part:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kept for the README and for whoever looks at a failed run. WebDriver calls can hang on some graphics stacks: bounded.
pub async fn picture(window: &Client, name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artefacts");
    std::fs::create_dir_all(&folder).unwrap();
    window.execute_async("const done = arguments[0]; document.fonts.ready.then(() => requestAnimationFrame(() => done(true)))", vec![]).await.expect("the fonts are loaded");
    let png = tokio::time::timeout(Duration::from_secs(20), window.screenshot())
        .await
        .expect("the picture is taken in time")
        .expect("a picture");
    assert!(
        png.len() > 20_000,
        "the window is blank: {} bytes",
        png.len()
    );
    std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
}

/// As a person types it, wherever the cursor stands.
pub async fn keys(window: &Client, typed: &str) {
    window
        .active_element()
        .await
        .unwrap()
        .send_keys(typed)
        .await
        .unwrap();
}

/// Ctrl and Enter, as WebDriver spells them: carries out what a form asks.
pub const GO: &str = "\u{e009}\u{e007}";

/// A new booking up to the question how it is paid.
pub async fn fill_booking(window: &Client, name: &str, email: &str) {
    click(window, "new-booking").await;
    write(window, "customer-search", name).await;
    click(window, "customer-new").await;
    write(window, "customer-email", email).await;
    pick_first_service(window).await;
    pick_first_time(window).await;
}

/// Waits until it is no longer on the page.
pub async fn gone(window: &Client, id: &str) {
    let begun = Instant::now();
    while window.find(Locator::Css(&test_id(id))).await.is_ok() {
        if begun.elapsed() > PATIENCE {
            picture(window, "window-failed").await;
            panic!("`{id}` stays (see artefacts/window-failed.png)");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn write(window: &Client, id: &str, words: &str) {
    wait(window, id).await.send_keys(words).await.unwrap();
}

/// Gives the reason and presses until the dialog is gone: while it glides in, a press there meets what is below.
pub async fn decide(window: &Client, dialog: &str, reason: &str) {
    write(window, "reason", reason).await;
    let begun = Instant::now();
    let there = test_id(dialog);
    while let Ok(found) = window.find_all(Locator::Css(&there)).await {
        if found.is_empty() {
            return;
        }
        if let Ok(go) = window.find(Locator::Css(&test_id("reason-go"))).await {
            let _ = go.click().await;
        }
        if begun.elapsed() > PATIENCE {
            picture(window, "window-failed").await;
            panic!("`{dialog}` stays (see artefacts/window-failed.png)");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub async fn has(window: &Client, id: &str, attribute: &str, value: &str) {
    let begun = Instant::now();
    loop {
        let now = wait(window, id)
            .await
            .attr(attribute)
            .await
            .unwrap_or_default();
        if now.as_deref() == Some(value) {
            return;
        }
        assert!(
            begun.elapsed() < 2 * PATIENCE,
            "`{id}` has {attribute} {now:?}, not {value:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Postgres gives up root's rights and must still get to its folder.
pub fn world_can_enter(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn pick_first_service(window: &Client) {
    click(window, "service").await;
    let begun = Instant::now();
    loop {
        let option = window
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css("[role=option]"))
            .await
            .expect("services to choose from");
        // The menu glides in: until it stands, a click there meets what is below.
        match option.click().await {
            Ok(()) => return,
            Err(error) => assert!(
                begun.elapsed() < PATIENCE,
                "the first service cannot be chosen: {error}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Late in the day nothing is free any more: the form offers the next day.
async fn pick_first_time(window: &Client) {
    let offer = window
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::Css("[data-testid=slot], [data-testid=next-free]"))
        .await
        .expect("free times");
    if offer.attr("data-testid").await.unwrap().as_deref() == Some("next-free") {
        offer.click().await.unwrap();
    }
    click(window, "slot").await;
}
