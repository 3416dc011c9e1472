//! Going home: the window is closed by its cross while a payment is under way.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use fantoccini::Locator;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt as _, EventMask, Window,
};
use x11rb::rust_connection::RustConnection;

use super::hands::*;

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn whoever_closes_the_window_in_mid_payment_is_told_and_loses_nothing() {
    let desk = desk().await;
    let silent = Silent::provider();
    let provider = [
        ("BIZING_STRIPE_KEY", "sk_test_silent"),
        ("BIZING_STRIPE_URL", silent.url.as_str()),
    ];
    let other = colleague_with(&owner(&desk), &provider).await;
    fill_booking(&other.window, "Leaving Lena", "lena@example.com").await;
    click(&other.window, "pay-card_on_file").await;
    click(&other.window, "card-pm_card_visa").await;
    click(&other.window, "book").await;
    let reference = text(&other.window, "reference").await.trim().to_owned();

    cross(&other);
    text_has(&other.window, "leaving", "A payment is under way").await;
    text_has(
        &other.window,
        "leaving",
        "Another desk works for this database",
    )
    .await;
    closes_at(&other, "leaving-now").await;

    // The other desk looks what became of it, and the customer has what was booked.
    click(&desk.window, "nav-bookings").await;
    click_one(&desk.window, "booking-row", &reference).await;
    keys(&desk.window, ENTER).await;
    text_has(&desk.window, "headline", "Confirmed").await;
    // Nothing is under way here: the cross closes at once.
    cross(&desk);
    closes(&desk).await;
}

/// Clicks what closes the window. The driver's answer says nothing: the window may be gone before it is given.
async fn closes_at(desk: &Desk, id: &str) {
    wait(&desk.window, id).await;
    let clicks = async {
        loop {
            if let Ok(there) = desk.window.find(Locator::Css(&test_id(id))).await {
                let _ = there.click().await;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::select! {
        () = closes(desk) => {}
        () = clicks => unreachable!(),
    }
}

async fn closes(desk: &Desk) {
    let begun = Instant::now();
    while windows_of(desk).next().is_some() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the window stays"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const ENTER: &str = "\u{e007}";

/// Takes every request and answers none.
struct Silent {
    url: String,
}

impl Silent {
    fn provider() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let held: Vec<_> = listener.incoming().collect();
            drop(held);
        });
        Silent { url }
    }
}

/// What a desktop sends when somebody clicks the cross of a window.
fn cross(desk: &Desk) {
    let (conn, _) = x11rb::connect(None).unwrap();
    let atom = |name: &[u8]| {
        let asked = conn.intern_atom(false, name).unwrap();
        asked.reply().unwrap().atom
    };
    let window = windows_of(desk).next().expect("it has a window");
    let message = ClientMessageEvent::new(
        32,
        window,
        atom(b"WM_PROTOCOLS"),
        [atom(b"WM_DELETE_WINDOW"), x11rb::CURRENT_TIME, 0, 0, 0],
    );
    conn.send_event(false, window, EventMask::NO_EVENT, message)
        .unwrap();
    // An answer: it was taken before this line is cut.
    conn.get_input_focus().unwrap().reply().unwrap();
}

/// The windows on screen of the process that this driver started.
fn windows_of(desk: &Desk) -> impl Iterator<Item = Window> {
    let driver = desk.driven_by();
    let (conn, screen) = x11rb::connect(None).unwrap();
    let root = conn.setup().roots[screen].root;
    let all = conn.query_tree(root).unwrap().reply().unwrap().children;
    all.into_iter()
        .filter(move |window| pid_of(&conn, *window).is_some_and(|pid| parent(pid) == Some(driver)))
}

/// Of a window that is shown and has a title.
fn pid_of(conn: &RustConnection, window: Window) -> Option<u32> {
    let named = conn
        .get_property(false, window, AtomEnum::WM_NAME, AtomEnum::ANY, 0, 64)
        .ok()?
        .reply()
        .ok()?;
    let shown = conn.get_window_attributes(window).ok()?.reply().ok()?;
    if named.value.is_empty() || shown.map_state != x11rb::protocol::xproto::MapState::VIEWABLE {
        return None;
    }
    let atom = conn.intern_atom(false, b"_NET_WM_PID").ok()?.reply().ok()?;
    let property = conn
        .get_property(false, window, atom.atom, AtomEnum::CARDINAL, 0, 1)
        .ok()?
        .reply()
        .ok()?;
    property.value32()?.next()
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}
