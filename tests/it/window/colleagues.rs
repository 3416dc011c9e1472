//! Two people, each in a window of their own on one database: what one does the other sees, and nobody says yes to themselves.

use serde_json::json;

use super::hands::*;

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn a_second_admin_says_yes_to_a_refund_and_the_slower_of_two_is_refused() {
    let desk = desk().await;
    let window = &desk.window;
    policy(
        &desk,
        json!({ "notify_on_exhausted": "park", "approval_minor": { "*": 100, "EUR": 100 } }),
    )
    .await;
    let large = stuck(window, "Bounce Large").await;
    let mia = colleague(&login(window, "Mia Lund").await).await;

    click(window, "nav-sagas").await;
    click(window, &row(&large)).await;
    wait(window, "saga-lead").await;
    keys(window, "c").await;
    text_has(window, "decide-go", "Ask a second person for").await;
    write(window, "decide-reason", "Called her: other plans").await;
    keys(window, GO).await;
    gone(window, "decide-dialog").await;
    click(window, "nav-sagas").await;
    click(window, "approval-look").await;
    has(window, "approve-yes", "aria-disabled", "true").await;
    picture(window, "window-own-request").await;
    click(window, "approve-dialog-keep").await;

    click(&mia.window, "nav-sagas").await;
    text_has(&mia.window, "approval", "Called her: other plans").await;
    click(&mia.window, "approval-look").await;
    text_has(&mia.window, "approve-dialog", "goes back to the customer").await;
    picture(&mia.window, "window-approval").await;
    click(&mia.window, "approve-yes").await;
    gone(&mia.window, "approve-dialog").await;
    // Here it goes without a look of one's own.
    gone(window, "approval").await;

    policy(
        &desk,
        json!({ "approval_minor": { "*": 10_000_000, "EUR": 10_000_000 } }),
    )
    .await;
    let race = row(&stuck(window, "Bounce Race").await);
    for window in [window, &mia.window] {
        click(window, "nav-sagas").await;
        click(window, &race).await;
        wait(window, "saga-lead").await;
        keys(window, "c").await;
        text_has(window, "decide-dialog", "goes back to the customer").await;
        write(window, "decide-reason", "She called and cannot come").await;
    }
    keys(&mia.window, GO).await;
    gone(&mia.window, "decide-dialog").await;
    keys(window, GO).await;
    text_has(window, "decide-error", "Nothing was done by you").await;
    picture(window, "window-slower").await;
    click(window, "decide-dialog-keep").await;
    text_has(window, "saga-state", "Undone").await;
    mia.window.close().await.unwrap();
    desk.window.close().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn many_are_undone_together_after_their_sum_was_seen_and_a_group_is_decided_once() {
    let desk = desk().await;
    let window = &desk.window;
    policy(&desk, json!({ "notify_on_exhausted": "park", "approval_minor": { "*": 10_000_000, "EUR": 10_000_000 } })).await;
    let mut all = vec![];
    for name in ["Bounce One", "Bounce Two", "Bounce Three", "Bounce Four"] {
        all.push(stuck(window, name).await);
    }
    click(window, "nav-sagas").await;
    for reference in &all[..2] {
        click(window, &format!("choose\"][aria-label*=\"{reference}")).await;
    }
    text_has(window, "bulk-bar", "2 selected").await;
    click(window, "decide-chosen").await;
    text_has(window, "bulk-sums", "2").await;
    write(window, "bulk-reason", "The mail server was down").await;
    write(window, "bulk-typed", "2").await;
    picture(window, "window-bulk").await;
    click(window, "bulk-go").await;
    text_has(window, "batch-counts", "2").await;
    picture(window, "window-bulk-result").await;
    leave(window, "batch-dialog-keep").await;
    has(window, "batch", "data-state", "done").await;
    gone(window, &row(&all[0])).await;

    click(window, "saga-group\"][data-key=\"notify:F:refused").await;
    click(window, "decide-group").await;
    click(window, "bulk-skip").await;
    write(window, "bulk-reason", "Called by hand").await;
    click(window, "bulk-go").await;
    leave(window, "batch-dialog-keep").await;
    for reference in &all[2..] {
        gone(window, &row(reference)).await;
    }
    desk.window.close().await.unwrap();
}
