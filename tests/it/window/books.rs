//! The front desk: a booking, from the first letter of a name to the customer's e-mail.

use super::hands::*;

#[tokio::test]
#[ignore = "needs a display and the window's binary: make test-window"]
async fn a_person_opens_the_example_books_and_sees_the_booking_confirmed() {
    let desk = desk().await;
    let window = &desk.window;
    picture(window, "window-bookings").await;

    fill_booking(window, "Marta Window", "marta@example.com").await;
    click(window, "pay-card_on_file").await;
    click(window, "card-pm_card_visa").await;
    picture(window, "window-new-booking").await;
    click(window, "book").await;

    text_has(window, "headline", "Confirmed").await;
    text_has(window, "timeline", "BookingConfirmed").await;
    text_has(window, "timeline", "NotificationSent").await;
    picture(window, "window-booking").await;

    click(window, "nav-messages").await;
    click(window, "message").await;
    text_has(window, "message-text", "Marta Window").await;
    picture(window, "window-messages").await;
    desk.window.close().await.unwrap();
}
