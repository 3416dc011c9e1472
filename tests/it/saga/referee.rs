//! What must hold whatever happened: the provider's book, the events and the inventory tell one story.

use uuid::Uuid;

use crate::support::desk::TestDesk;

pub async fn check(t: &TestDesk, booking: Uuid) {
    let (state, outcome): (String, Option<String>) =
        sqlx::query_as("select state, outcome from saga.instance where booking_id = $1")
            .bind(booking)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    let what = format!("saga {state} ({outcome:?})");
    let ledger = t.sandbox.ledger();
    ledger.check().expect("the sandbox's own arithmetic");
    let id = booking.to_string();
    let ours: Vec<_> = ledger.by_metadata("booking_id", &id).collect();
    let captured: i64 = ours.iter().map(|p| p.captured).sum();
    let refunded: i64 = ours.iter().map(|p| p.refunded).sum();
    let held: i64 = ours.iter().map(|p| p.held).sum();

    let events = t.events(booking).await;
    let count = |name: &str| events.iter().filter(|e| *e == name).count();
    let amounts = |name: &'static str, field: &'static str| async move {
        sqlx::query_scalar::<_, Option<i64>>("select sum((data->$3->>'amount_minor')::bigint)::bigint from api.read_stream($1, 0) where name = $2")
            .bind(format!("booking-{booking}"))
            .bind(name)
            .bind(field)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
            .unwrap_or(0)
    };
    assert_eq!(
        amounts("PaymentReceived", "amount_received").await,
        captured,
        "{what}: what we recorded is what was taken: {events:?}"
    );
    assert_eq!(
        amounts("PaymentRefunded", "amount").await,
        refunded,
        "{what}: what we recorded is what went back: {events:?}"
    );
    for once in [
        "BookingCreated",
        "InventoryHeld",
        "PaymentReceived",
        "BookingConfirmed",
        "BookingCancelled",
        "PaymentRefunded",
        "InventoryReleased",
    ] {
        assert!(count(once) <= 1, "{what}: {once} twice in {events:?}");
    }
    let claims = t.live_claims(booking).await;
    match state.as_str() {
        "completed" => {
            assert_eq!(count("BookingConfirmed"), 1, "{what}");
            assert!(claims > 0, "{what}: a confirmed booking holds its slot");
            assert_eq!((refunded, held), (0, 0), "{what}");
        }
        "compensated" => {
            assert_eq!(captured, refunded, "{what}: everything taken went back");
            assert_eq!((claims, held), (0, 0), "{what}: nothing is held any more");
        }
        other => panic!("{other}: not an end that a machine should leave here"),
    }
    let messages: i64 = sqlx::query_scalar("select count(*) from (select delivery_id from delivery.attempts where result = 'accepted' group by delivery_id having count(*) > 1) x").fetch_one(&t.worker_pool).await.unwrap();
    assert_eq!(messages, 0, "no message was accepted twice");
    let open: i64 =
        sqlx::query_scalar("select count(*) from saga.effect where resolved_at is null")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    assert_eq!(
        open, 0,
        "{what}: every effect's outcome is known at the end"
    );
}
