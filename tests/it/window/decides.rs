//! What no rule can decide: a booking that is paid, and whose message reaches nobody.

use serde_json::json;

use super::hands::*;

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn an_admin_takes_a_stuck_booking_back_by_hand_and_the_money_goes_back() {
    let desk = desk().await;
    let window = &desk.window;
    policy(&desk, json!({ "notify_on_exhausted": "park" })).await;
    let row = row(&stuck(window, "Bounce Window").await);

    // The rail says that somebody is needed; the list says why.
    wait(window, "need-person-count").await;
    click(window, "nav-sagas").await;
    text_has(window, &row, "no message reached the customer").await;
    picture(window, "window-sagas").await;
    click(window, &row).await;
    text_has(window, "why", "No message reached the customer").await;

    keys(window, "c").await;
    text_has(window, "decide-dialog", "goes back to the customer").await;
    write(window, "decide-reason", "Called: she cannot come").await;
    picture(window, "window-decide").await;
    keys(window, GO).await;
    gone(window, "decide-dialog").await;
    text_has(window, "saga-state", "Undone").await;
    text_has(window, "money-kept", "0.00").await;
    click(window, "saga-tab-commands").await;
    picture(window, "window-saga").await;
    // The driver leaves out what a cell clips.
    let audit = wait(window, "audit")
        .await
        .prop("textContent")
        .await
        .unwrap();
    assert!(
        audit
            .unwrap_or_default()
            .contains("Called: she cannot come")
    );

    click(window, "to-booking").await;
    text_has(window, "headline", "Cancelled").await;
    desk.window.close().await.unwrap();
}
