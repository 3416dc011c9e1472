//! Hands of a person at the real window: they look for what is on screen, click, write and press keys.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A window on an example of its own.
pub struct Desk {
    pub window: Client,
    data: TempDir,
    driver: Driver,
}

pub async fn desk() -> Desk {
    let desk = on(&[]).await;
    click(&desk.window, "start-go").await;
    wait(&desk.window, "booking-row").await;
    desk
}

/// A window of somebody else, on the database at `url`, with their own login.
pub async fn colleague(url: &str) -> Desk {
    colleague_with(url, &[]).await
}

/// The same, with more of its environment.
pub async fn colleague_with(url: &str, more: &[(&str, &str)]) -> Desk {
    let environment = [&[("DATABASE_URL", url)], more].concat();
    let desk = on(&environment).await;
    wait(&desk.window, "booking-row").await;
    desk
}

async fn on(environment: &[(&str, &str)]) -> Desk {
    let data = tempfile::Builder::new()
        .prefix("bizing-window-")
        .tempdir()
        .unwrap();
    world_can_enter(data.path());
    let driver = driver(data.path(), environment);
    let window = open(&driver).await;
    Desk {
        window,
        data,
        driver,
    }
}

struct Driver {
    process: Child,
    address: String,
}

impl Desk {
    /// The process that drives the window, and started it.
    pub fn driven_by(&self) -> u32 {
        self.driver.process.id()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn driver(data: &Path, environment: &[(&str, &str)]) -> Driver {
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
        .envs(environment.iter().copied())
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

/// Looks for it anew at each try: a hint may draw it again between the look and the click. A button that is off, because what it
/// would do is being counted, is waited for, as a person does.
pub async fn click(window: &Client, id: &str) {
    let begun = Instant::now();
    loop {
        let there = wait(window, id).await;
        let tried = match there.attr("aria-disabled").await {
            Ok(Some(off)) if off == "true" => Err("it is off".to_owned()),
            Err(error) => Err(error.to_string()),
            Ok(_) => there.click().await.map_err(|e| format!("{e:?}")),
        };
        let Err(error) = tried else { return };
        if begun.elapsed() >= PATIENCE {
            picture(window, "window-failed").await;
            panic!("`{id}` cannot be clicked (see artefacts/window-failed.png): {error}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Presses until it is gone: a dialog that grows while its lines come in moves its buttons away under the pointer.
pub async fn leave(window: &Client, id: &str) {
    let begun = Instant::now();
    click(window, id).await;
    while let Ok(there) = window.find(Locator::Css(&test_id(id))).await {
        if begun.elapsed() >= PATIENCE {
            picture(window, "window-failed").await;
            panic!("`{id}` stays (see artefacts/window-failed.png)");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        // It may be gone by now.
        let _ = there.click().await;
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

/// What stands in a field.
pub async fn value(window: &Client, id: &str) -> String {
    let found = wait(window, id).await.prop("value").await.unwrap();
    found.unwrap_or_default()
}

/// The choice of an open list that begins so.
pub async fn choose(window: &Client, begins: &str) {
    click_at(
        window,
        &format!("//*[@role='option'][starts-with(normalize-space(.), '{begins}')]"),
    )
    .await;
}

/// Of several the one that says this.
pub async fn click_one(window: &Client, id: &str, says: &str) {
    click_at(
        window,
        &format!("//*[@data-testid='{id}'][contains(., '{says}')]"),
    )
    .await;
}

/// Until it stands: while a menu glides in, a click there meets what is below.
async fn click_at(window: &Client, path: &str) {
    let begun = Instant::now();
    loop {
        if let Ok(found) = window.find(Locator::XPath(path)).await
            && found.click().await.is_ok()
        {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "`{path}` cannot be clicked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A booking on a card whose confirmation reaches nobody; its reference.
pub async fn stuck(window: &Client, name: &str) -> String {
    click(window, "nav-bookings").await;
    fill_booking(window, name, "bounce@example.com").await;
    click(window, "pay-card_on_file").await;
    click(window, "card-pm_card_visa").await;
    click(window, "book").await;
    text(window, "reference").await.trim().to_owned()
}

/// Its row among those that need a person.
pub fn row(reference: &str) -> String {
    format!("saga-row\"][data-reference=\"{reference}")
}

/// The address with which a desk makes logins of its own and works in the background.
pub fn owner(desk: &Desk) -> String {
    let folder = desk.data.path().join("postgres");
    let password = std::fs::read_to_string(folder.join("password")).unwrap();
    let socket = folder.join("run");
    format!(
        "postgres://bizing:{}@localhost/bizing_demo?host={}",
        password.trim(),
        socket.display()
    )
}

/// The example decides as these figures of the policies say. In the window they are a page of the settings.
pub async fn policy(desk: &Desk, figures: serde_json::Value) {
    let mut conn = PgConnection::connect(&owner(desk)).await.unwrap();
    sqlx::query(
        "insert into saga.policy (version, value, reason)
         select version + 1, value || $1, 'for this journey' from saga.policy order by version desc limit 1",
    )
    .bind(figures)
    .execute(&mut conn)
    .await
    .unwrap();
}

/// An admin makes the login in the window, as people get theirs; the address to open the database with.
pub async fn login(window: &Client, name: &str) -> String {
    click(window, "nav-settings").await;
    click(window, "settings-people").await;
    click(window, "person-new").await;
    write(window, "person-name", name).await;
    click(window, "person-may").await;
    choose(window, "Admin").await;
    click(window, "person-make").await;
    let password = value(window, "made-password").await;
    let address = value(window, "made-address").await;
    keys(window, "\u{e00c}").await;
    address.replace('…', &password)
}

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

const CHOSEN: &str = "[data-testid=slot][aria-checked=true]";

/// Late in the day nothing is free any more: the form offers the next day. What it offers is drawn anew while one looks.
async fn pick_first_time(window: &Client) {
    let begun = Instant::now();
    loop {
        if let Ok(slot) = window.find(Locator::Css("[data-testid=slot]")).await {
            let _ = slot.click().await;
        }
        // What it knew from the booking before may be gone a moment later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if window.find(Locator::Css(CHOSEN)).await.is_ok() {
            return;
        }
        if let Ok(next) = window.find(Locator::Css("[data-testid=next-free]")).await {
            let _ = next.click().await;
        }
        assert!(begun.elapsed() < PATIENCE, "no free time is offered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
