//! How sagas went, as a person is shown it.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;

use super::hands::*;
use crate::support::desk::{TestDesk, booking, slot};

#[tokio::test]
async fn the_figures_say_what_came_of_sagas_what_failed_what_went_back_and_who_decided() {
    let t = TestDesk::new().await;
    policy(&t, "park", 50_000, 3, 24).await;
    let worker = t.work().await;
    let desk = t.desk(None);
    // One goes through; of two whose message reaches nobody one is undone, the other told by hand; a third waits on.
    let good = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(good.booking_id, "completed").await;
    let (undone, told, _open) = (
        stuck(&t, &worker, 1).await,
        stuck(&t, &worker, 2).await,
        stuck(&t, &worker, 3).await,
    );
    let plan = look(&desk, undone.saga, "compensate").await;
    sagas::command(&desk, ask(undone.saga, "compensate", &plan))
        .await
        .unwrap();
    t.wait_for_saga(undone.booking, "compensated").await;
    let mut skip = ask(told.saga, "skip", &look(&desk, told.saga, "skip").await);
    skip.version -= 1;
    sagas::command(&desk, skip).await.unwrap_err();
    let plan = look(&desk, told.saga, "skip").await;
    sagas::command(&desk, ask(told.saga, "skip", &plan))
        .await
        .unwrap();
    worker.close().await;
    caught_up(&t).await;

    let shown = sagas::figures(&desk, GetSagaFigures { days: 1 })
        .await
        .unwrap();
    let kind = &shown.kinds[0];
    assert_eq!(
        (
            kind.definition.as_str(),
            kind.over,
            kind.completed,
            kind.warned,
            kind.compensated,
            kind.resolved
        ),
        ("booking", 3, 1, 1, 1, 0)
    );
    let (p50, p95) = (kind.p50_s.unwrap(), kind.p95_s.unwrap());
    assert!(p50 > 0.0 && p50 <= p95, "{p50} {p95}");
    assert_eq!(shown.given_back[0].amount_minor, 8000);
    assert_eq!((shown.parked.decided, shown.parked.open), (2, 1));
    assert!(shown.parked.oldest_at.is_some());
    let acts: Vec<(&str, i64, i64)> = shown
        .acts
        .iter()
        .map(|a| (a.action.as_str(), a.applied, a.refused))
        .collect();
    assert_eq!(acts, [("skip", 1, 1), ("compensate", 1, 0)]);

    let bad = sagas::figures(&desk, GetSagaFigures { days: 0 }).await;
    assert_eq!(bad.unwrap_err().field.as_deref(), Some("days"));
    let viewer = desk_of(&t, "viewer").await;
    sagas::figures(&viewer, GetSagaFigures { days: 1 })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_wait_for_a_customer_is_no_part_of_how_long_it_took() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let request = CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(0))
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    let page = pay_page(&t, booked.booking_id).await;
    press(&page, "pay").await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    // As if the customer had thought about it for a day.
    let owner = t.db.superuser_pool().await;
    sqlx::query(
        "update saga.instance set created_at = created_at - interval '1 day' where booking_id = $1",
    )
    .bind(booked.booking_id)
    .execute(&owner)
    .await
    .unwrap();
    let shown = sagas::figures(&t.desk(None), GetSagaFigures { days: 7 })
        .await
        .unwrap();
    let p95 = shown.kinds[0].p95_s.unwrap();
    assert!(p95 < 80_000.0, "{p95}");
}
