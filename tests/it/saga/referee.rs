//! What must hold whatever happened: the provider's book, the events and the inventory tell one story.

use uuid::Uuid;

use crate::support::desk::TestDesk;

pub async fn check(t: &TestDesk, booking: Uuid) {
    check_of(t, super::hands::saga_of(t, booking).await, booking).await;
}

/// Of one of several sagas of a booking.
pub async fn check_of(t: &TestDesk, saga: Uuid, booking: Uuid) {
    let wrong = violations(t, saga, booking).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Everything that does not hold; nothing, if all is well.
pub async fn violations(t: &TestDesk, saga: Uuid, booking: Uuid) -> Vec<String> {
    let (state, outcome, definition): (String, Option<String>, String) =
        sqlx::query_as("select state, coalesce(outcome, park_code || ': ' || park_reason), definition from saga.instance where saga_id = $1")
            .bind(saga)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
    let mut wrong = vec![];
    let mut holds = |what: &str, fact: bool| {
        if !fact {
            wrong.push(format!("{definition} {state} ({outcome:?}): {what}"));
        }
    };
    let ledger = t.sandbox.ledger();
    holds("the sandbox's own arithmetic", ledger.check().is_ok());
    let id = booking.to_string();
    let ours: Vec<_> = ledger.by_metadata("booking_id", &id).collect();
    let captured: i64 = ours.iter().map(|p| p.captured).sum();
    let refunded: i64 = ours.iter().map(|p| p.refunded).sum();
    let held: i64 = ours.iter().map(|p| p.held).sum();

    let events = t.events(booking).await;
    let count = |name: &str| events.iter().filter(|e| *e == name).count();
    holds(
        &format!("what we recorded is what was taken: {captured}, {events:?}"),
        recorded(t, booking, "PaymentReceived", "amount_received").await == captured,
    );
    holds(
        &format!("what we recorded is what went back: {refunded}, {events:?}"),
        recorded(t, booking, "PaymentRefunded", "amount").await == refunded,
    );
    for once in [
        "BookingCreated",
        "InventoryHeld",
        "PaymentReceived",
        "BookingConfirmed",
        "BookingCancelled",
        "PaymentRefunded",
        "RemainderKept",
        "InventoryReleased",
    ] {
        holds(&format!("{once} twice in {events:?}"), count(once) <= 1);
    }
    let decided = scalar(t, "select coalesce((context#>>'{refund_part,kept_minor}')::bigint, 0) from saga.instance where saga_id = $1", saga).await;
    holds(
        &format!("what was decided to stay is told: {decided}, {events:?}"),
        recorded(t, booking, "RemainderKept", "amount").await == decided,
    );
    let claims = t.live_claims(booking).await;
    match (definition.as_str(), state.as_str()) {
        ("cancellation", "completed") => {
            let agreed: i64 = scalar(t, "select (context#>>'{terms,refund_minor}')::bigint from saga.instance where saga_id = $1", saga).await;
            holds("it is cancelled", count("BookingCancelled") == 1);
            holds(
                "what the terms and a decision give back went back",
                refunded == agreed - decided,
            );
            holds("the slot is free", claims == 0);
        }
        ("cancellation", "compensated") => {
            holds(
                "nothing happened",
                count("BookingCancelled") == 0 && refunded == 0 && claims > 0,
            );
        }
        (_, "completed") => {
            holds("it is confirmed", count("BookingConfirmed") == 1);
            holds("a confirmed booking holds its slot", claims > 0);
            holds(
                &format!("nothing went back, nothing is held: {refunded}, {held}"),
                (refunded, held) == (0, 0),
            );
        }
        (_, "compensated") => {
            holds(
                &format!(
                    "everything taken went back but what was decided to stay: {captured}, {refunded}, {decided}"
                ),
                captured - refunded == decided,
            );
            holds(
                &format!("nothing is held any more: {claims} claims, {held} authorised"),
                (claims, held) == (0, 0),
            );
        }
        _ => holds("not an end that a machine should leave here", false),
    }
    let messages: i64 = scalar(t, "select count(*) from (select delivery_id from delivery.attempts where result = 'accepted' and $1::uuid is not null group by delivery_id having count(*) > 1) x", saga).await;
    holds("no message was accepted twice", messages == 0);
    let open: i64 = scalar(
        t,
        "select count(*) from saga.effect where resolved_at is null and $1::uuid is not null",
        saga,
    )
    .await;
    holds("every effect's outcome is known at the end", open == 0);
    let twice: i64 = scalar(t, "select count(*) from (select 1 from saga.attempt where saga_id = $1 and kind in ('auto', 'reconcile') and result in ('done', 'undone') group by step, direction, effect_id having count(*) > 1) x", saga).await;
    holds("no step was done twice", twice == 0);
    wrong
}

async fn recorded(t: &TestDesk, booking: Uuid, name: &str, field: &str) -> i64 {
    sqlx::query_scalar::<_, Option<i64>>("select sum((data->$3->>'amount_minor')::bigint)::bigint from api.read_stream($1, 0) where name = $2")
        .bind(format!("booking-{booking}"))
        .bind(name)
        .bind(field)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
        .unwrap_or(0)
}

async fn scalar(t: &TestDesk, sql: &'static str, saga: Uuid) -> i64 {
    sqlx::query_scalar(sql)
        .bind(saga)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}
