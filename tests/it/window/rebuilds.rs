//! An admin's calm replay.

use super::hands::*;

/// An admin's calm replay: start one with a reason, watch it, swap, and go back.
#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn an_admin_rebuilds_a_projection_in_the_window_sees_it_up_to_date_and_rolls_back() {
    let desk = desk().await;
    let window = &desk.window;

    click(window, "nav-projections").await;
    let row = "projection-row\"][data-name=\"bookings";
    has(window, row, "data-state", "up_to_date").await;
    click(window, "name-bookings").await;
    click(window, "replay").await;
    click(window, "mode-rebuild").await;
    write(window, "replay-reason", "For the journey in the window").await;
    picture(window, "window-replay").await;
    click(window, "replay-go").await;
    // However fast it is, it stands still before the swap: progress, and what would differ, are on the page by then.
    has(window, "rebuild", "data-state", "waits_for_swap").await;
    picture(window, "window-rebuild").await;
    click(window, "swap").await;
    text_has(window, "swap-dialog", "Nothing differs").await;
    decide(window, "swap-dialog", "Nothing differs, so swap").await;
    has(window, "history-row", "data-state", "done").await;
    has(window, row, "data-state", "up_to_date").await;

    click(window, "roll-back").await;
    decide(window, "roll-back-dialog", "Only to see that it works").await;
    has(window, row, "data-state", "up_to_date").await;
    has(window, "history-row", "data-state", "rolled_back").await;
    picture(window, "window-projections").await;
    click(window, "nav-bookings").await;
    wait(window, "booking-row").await;
    desk.window.close().await.unwrap();
}
