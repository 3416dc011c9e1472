//! How many decisions wait for a person, on the desktop's icon and in the window's title: also while the window is hidden, when
//! its page asks nothing. The same number as in the rail.

use std::time::Duration;

use bizing_engine::app::host::Host;
use bizing_engine::app::session;
use tauri::{AppHandle, Manager, WebviewWindow};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout_at};

/// Without any hint: what only time does, and hints that were lost.
const LOOK: Duration = Duration::from_secs(30);
/// Between two looks, however many changes are told.
const CALM: Duration = Duration::from_secs(1);
const TITLE: &str = "Bizing Desk";

pub async fn keep(app: AppHandle, host: Host) {
    let mut hints = host.hints();
    // What is shown; a start shows nothing.
    let mut shown = None;
    loop {
        let counted = count(&host).await;
        if counted != shown
            && let Some(window) = app.get_webview_window("main")
        {
            show(&window, counted);
            shown = counted;
        }
        sleep(CALM).await;
        let until = Instant::now() + LOOK;
        loop {
            match timeout_at(until, hints.recv()).await {
                Ok(Ok(hint)) if hint.topics.iter().any(|topic| tells(topic)) => break,
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Closed)) => return,
                Ok(Err(RecvError::Lagged(_))) | Err(_) => break,
            }
        }
    }
}

/// `None`: nobody waits, or it is not known: an old number would be a claim.
async fn count(host: &Host) -> Option<u32> {
    let desk = host.desk().ok()?;
    match session::decisions(&desk).await {
        Ok(waiting) => Some(waiting).filter(|n| *n > 0),
        Err(error) => {
            tracing::debug!(error = error.message, "the icon's number is not known");
            None
        }
    }
}

fn tells(topic: &str) -> bool {
    matches!(topic, "sagas" | "deliveries" | "status" | "host" | "*")
}

/// A desktop may show no number on icons; the title is in every list of windows.
fn show(window: &WebviewWindow, waiting: Option<u32>) {
    #[cfg(not(target_os = "windows"))]
    let badge = window.set_badge_count(waiting.map(i64::from));
    #[cfg(target_os = "windows")]
    let badge =
        window.set_overlay_icon(waiting.map(|_| tauri::image::Image::new_owned(dot(), SIDE, SIDE)));
    if let Err(error) = badge.and_then(|()| window.set_title(&title(waiting))) {
        tracing::debug!(%error, "the icon's number is not shown");
    }
}

fn title(waiting: Option<u32>) -> String {
    match waiting {
        Some(waiting) => format!("({waiting}) {TITLE}"),
        None => TITLE.to_owned(),
    }
}

/// Windows has a place for a picture and none for a number.
#[cfg(any(target_os = "windows", test))]
const SIDE: u32 = 16;

/// A disc in the colour that says "a person must decide", as the rail has it.
#[cfg(any(target_os = "windows", test))]
fn dot() -> Vec<u8> {
    let middle = (SIDE as i32 - 1) as f32 / 2.0;
    let cover = |x: u32, y: u32| {
        let away = ((x as f32 - middle).powi(2) + (y as f32 - middle).powi(2)).sqrt();
        ((middle + 0.5 - away).clamp(0.0, 1.0) * 255.0) as u8
    };
    (0..SIDE * SIDE)
        .flat_map(|n| [0xa6, 0x27, 0x80, cover(n % SIDE, n / SIDE)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_says_how_many_and_nothing_when_nobody_waits_or_it_is_not_known() {
        assert_eq!(title(Some(3)), "(3) Bizing Desk");
        assert_eq!(title(None), "Bizing Desk");
    }

    #[test]
    fn what_can_change_the_number_is_listened_to() {
        assert!(
            ["sagas", "deliveries", "status", "*"]
                .into_iter()
                .all(tells)
        );
        assert!(!["bookings", "booking:1", "events"].into_iter().any(tells));
    }

    #[test]
    fn the_dot_is_a_disc() {
        let dot = dot();
        assert_eq!(dot.len(), (SIDE * SIDE * 4) as usize);
        let alpha = |x: u32, y: u32| dot[((y * SIDE + x) * 4 + 3) as usize];
        assert_eq!((alpha(8, 8), alpha(0, 0), alpha(15, 15)), (255, 0, 0));
    }
}
