//! What no rule can decide: a booking that is paid, and whose message reaches nobody.

use std::path::Path;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::hands::*;

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn an_admin_takes_a_stuck_booking_back_by_hand_and_the_money_goes_back() {
    let desk = desk().await;
    let window = &desk.window;
    wait_for_a_person(desk.data.path()).await;
    fill_booking(window, "Bounce Window", "bounce@example.com").await;
    click(window, "pay-card_on_file").await;
    click(window, "card-pm_card_visa").await;
    click(window, "book").await;
    let reference = text(window, "reference").await;
    let row = format!("saga-row\"][data-reference=\"{}", reference.trim());

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

/// The policy that a message which reaches nobody is for a person to decide. In the window it is a page of the settings.
async fn wait_for_a_person(data: &Path) {
    let folder = data.join("postgres");
    let password = std::fs::read_to_string(folder.join("password")).unwrap();
    let options = PgConnectOptions::new()
        .socket(folder.join("run"))
        .username("bizing")
        .password(password.trim())
        .database("bizing_demo");
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    sqlx::query(
        r#"insert into saga.policy (version, value, reason)
           select version + 1, value || '{"notify_on_exhausted": "park"}', 'for this journey' from saga.policy order by version desc limit 1"#,
    )
    .execute(&mut conn)
    .await
    .unwrap();
}
