//! What leaves for others: an endpoint, a delivery with its request and answer, and the same sent again.

use super::hands::*;
use crate::hooks::sink::Sink;

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn an_admin_adds_an_endpoint_sees_a_delivery_and_sends_it_again() {
    let desk = desk().await;
    let window = &desk.window;
    let sink = Sink::start().await;

    click(window, "nav-deliveries").await;
    click(window, "tab-endpoints").await;
    click(window, "allow-list").await;
    write(window, "allow-entries", "127.0.0.1/32").await;
    write(window, "allow-reason", "A receiver on this computer").await;
    keys(window, GO).await;
    gone(window, "allow-dialog").await;
    click(window, "new-endpoint").await;
    write(window, "endpoint-url", &sink.url()).await;
    write(window, "endpoint-name", "Ledger").await;
    click(window, "type-BookingConfirmed").await;
    click(window, "endpoint-save").await;
    text_has(window, "secret", "whsec_").await;
    picture(window, "window-secret").await;
    click(window, "secret-done").await;
    text_has(window, "endpoint", "Ledger").await;

    click(window, "nav-bookings").await;
    fill_booking(window, "Webhook Window", "webhook@example.com").await;
    click(window, "pay-venue").await;
    click(window, "book").await;
    text_has(window, "headline", "Confirmed").await;
    let first = sink.wait_for(1).await.remove(0);

    text_has(window, "webhooks", "Delivered").await;
    click_one(window, "left", "Ledger").await;
    text_has(window, "delivery-state", "Delivered").await;
    text_has(window, "try", "200").await;
    picture(window, "window-delivery").await;
    keys(window, "r").await;
    write(window, "reason", "They restored last night's backup").await;
    keys(window, GO).await;
    gone(window, "again-dialog").await;
    let again = sink.wait_for(2).await.remove(1);
    assert_eq!(again.id(), first.id(), "the receiver knows it by its id");
    assert_eq!(again.body, first.body);
    text_has(window, "delivery-state", "Delivered").await;
    desk.window.close().await.unwrap();
}
