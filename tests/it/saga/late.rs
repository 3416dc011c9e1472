//! A refund that had succeeded and comes back days later: the ledger says so, and a person decides.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;

use super::hands::*;
use crate::support::desk::TestDesk;

#[tokio::test]
async fn a_refund_that_comes_back_opens_the_saga_again_once_and_the_ledger_tells() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 3, 24).await;
    let worker = t.work().await;
    // A second worker hears the same news.
    let other = t.work().await;
    let desk = t.desk(None);
    let request = CreateBooking {
        payment_method: Some("pm_card_refundReturns".to_owned()),
        ..to_nobody(0)
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "parked").await;
    let saga = saga_of(&t, booked.booking_id).await;
    let plan = look(&desk, saga, "compensate").await;
    sagas::command(&desk, ask(saga, "compensate", &plan))
        .await
        .unwrap();
    t.wait_for_saga(booked.booking_id, "compensated").await;
    assert_eq!(look(&desk, saga, "note").await.kept.amount_minor, 0);

    t.sandbox.advance_clock(3 * 24 * 3600);
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("refund_returned")
    );
    let events = t.events(booked.booking_id).await;
    let count = |name: &str| events.iter().filter(|e| *e == name).count();
    assert_eq!(count("RefundReturned"), 1, "{events:?}");
    assert_eq!(look(&desk, saga, "note").await.kept.amount_minor, 8000);
    caught_up(&t).await;
    assert_eq!(page(&desk, saga).await.money.kept.amount_minor, 8000);
    assert_eq!(at_provider(&t, booked.booking_id).await, 8000);
    let open: i64 = sqlx::query_scalar(
        "select count(*) from saga.attention where saga_id = $1 and closed_at is null",
    )
    .bind(saga)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap();
    assert_eq!(open, 1, "one case");

    // It went back another way, and that is said with evidence.
    let params = SagaParams {
        outcome: Some("done".to_owned()),
        ..SagaParams::default()
    };
    let plan = sagas::preview(
        &desk,
        PreviewSaga {
            saga_id: saga,
            action: "resolve_step".to_owned(),
            params: params.clone(),
        },
    )
    .await
    .unwrap();
    assert_eq!(plan.refused, None);
    let request = CommandSaga {
        params: SagaParams {
            evidence: Some("paid out in cash, receipt 12".to_owned()),
            ..params
        },
        ..ask(saga, "resolve_step", &plan)
    };
    sagas::command(&desk, request).await.unwrap();
    t.wait_for_saga(booked.booking_id, "compensated").await;
    caught_up(&t).await;
    assert_eq!(page(&desk, saga).await.money.kept.amount_minor, 0);
    worker.close().await;
    other.close().await;
}

/// What lies at the provider, as the ledger tells.
async fn at_provider(t: &TestDesk, booking: uuid::Uuid) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(case when debit = 'provider_clearing' then amount_minor when credit = 'provider_clearing' then -amount_minor end), 0)::bigint
           from read.ledger_transfers_v1 where booking_id = $1",
    )
    .bind(booking)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}
