//! What both have, and not alike: the walk along Stripe's lists holds the sums of the books beside Stripe's.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;

use super::hands::*;
use super::orphans::{cases, check, fresh, walk};
use crate::support::desk::{TestDesk, booking, slot};

/// The books, as after a fault that nobody has thought of: an event says another sum.
async fn miswritten(t: &TestDesk, event: &str, field: &str, minor: i64) {
    let mut conn = t.db.superuser_pool().await.acquire().await.unwrap();
    let sql = format!(
        "set session_replication_role = replica;
         update core.events e set data = jsonb_set(e.data, '{{{field},amount_minor}}', '{minor}')
           from core.event_types k where k.type_no = e.type_no and k.name = '{event}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut *conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_payment_of_which_the_books_have_another_sum_is_a_case_with_both() {
    let t = TestDesk::new().await;
    let desk = t.desk(None);
    let it = completed(&t).await;
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 0, "all fits");
    miswritten(&t, "PaymentReceived", "amount_received", 7_000).await;
    assert_eq!(walk(&t).round().await.unwrap(), 1);
    assert_eq!(walk(&t).round().await.unwrap(), 0, "told once");
    let case = cases(&desk).await.remove(0);
    let minor = |sum: &Option<Money>| sum.as_ref().map(|m| m.amount_minor);
    assert_eq!(
        (case.why.as_str(), case.what.as_str(), case.saga_id),
        ("differs", "intent", Some(it.saga))
    );
    assert_eq!(
        (minor(&case.amount), minor(&case.booked)),
        (Some(8_000), Some(7_000))
    );

    // What the books have is neither taken into them again nor given back past its saga.
    let worker = t.work().await;
    for deed in ["adopt", "give_back"] {
        let decide = DecideOrphan {
            ask_id: uuid::Uuid::now_v7(),
            case_id: case.case_id,
            deed: deed.to_owned(),
            reason: "they differ, as it seems".to_owned(),
        };
        let refused = sagas::decide_orphan(&desk, decide).await.unwrap_err();
        assert!(
            refused.message.contains("The books have it already"),
            "{deed}: {refused:?}"
        );
    }
    // Looked at again it stands, until both have the same.
    asked(&t, &desk, &case).await;
    assert_eq!(cases(&desk).await.len(), 1, "they differ still");
    sqlx::query(
        "update saga.attention set fact = fact || '{\"booked_minor\": 8000}' where case_id = $1",
    )
    .bind(case.case_id)
    .execute(&t.db.superuser_pool().await)
    .await
    .unwrap();
    asked(&t, &desk, &case).await;
    assert!(cases(&desk).await.is_empty(), "it closed by that look");
    worker.close().await;
}

/// Looked at again, by a worker that holds the key.
async fn asked(t: &TestDesk, desk: &bizing_engine::app::desk::Desk, case: &Orphan) {
    crate::support::wait_until(
        "a worker holds the key",
        std::time::Duration::from_secs(15),
        || async { cases(&t.desk(None)).await[0].check_refused.is_none() },
    )
    .await;
    assert_eq!(check(desk, case.case_id).await.unwrap().state, "answered");
}

#[tokio::test]
async fn a_refund_of_which_the_books_have_another_sum_is_a_case_with_both() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), to_nobody(0))
        .await;
    t.wait_for_saga(booked.booking_id, "compensated").await;
    worker.close().await;
    miswritten(&t, "PaymentRefunded", "amount", 8_100).await;
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 1);
    let case = cases(&t.desk(None)).await.remove(0);
    assert_eq!(
        (case.why.as_str(), case.what.as_str()),
        ("differs", "refund")
    );
    assert_eq!(case.amount.unwrap().amount_minor, 8_000);
    assert_eq!(case.booked.unwrap().amount_minor, 8_100);
}

#[tokio::test]
async fn a_refund_that_failed_and_of_which_nothing_is_told_is_found_by_the_walk() {
    let t = TestDesk::new().await;
    policy(&t, "compensate", 1_000_000, 3, 24).await;
    let worker = t.work_without_news(Default::default()).await;
    let request = CreateBooking {
        payment_method: Some("pm_card_refundReturns".to_owned()),
        ..to_nobody(0)
    };
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, "compensated").await;
    fresh(&t).await;
    assert_eq!(walk(&t).round().await.unwrap(), 0);
    let told = "select count(*) from saga.signal where signal_id like 'walk:re_%'";
    let signals = async || -> i64 {
        sqlx::query_scalar(told)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap()
    };
    assert_eq!(signals().await, 0, "the refund stands");

    t.sandbox.advance_clock(3 * 24 * 3600);
    for _ in 0..2 {
        fresh(&t).await;
        assert_eq!(
            walk(&t).round().await.unwrap(),
            0,
            "it is no orphan: its own saga is told"
        );
    }
    assert_eq!(signals().await, 1);
    t.wait_for_saga(booked.booking_id, "parked").await;
    assert_eq!(
        park_code(&t, booked.booking_id).await.as_deref(),
        Some("refund_returned")
    );
    let events = t.events(booked.booking_id).await;
    let returned = events.iter().filter(|e| *e == "RefundReturned").count();
    assert_eq!(returned, 1, "{events:?}");
    worker.close().await;
}

#[tokio::test]
async fn what_fits_is_told_of_nobody_however_often_it_is_walked() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let desk = t.desk(Some(worker.worker.clone()));
    let paid = t.book(&desk, booking(&slot(0))).await;
    t.wait_for_saga(paid.booking_id, "completed").await;
    let undone = t.book(&desk, to_nobody(1)).await;
    t.wait_for_saga(undone.booking_id, "compensated").await;
    worker.close().await;
    for _ in 0..3 {
        fresh(&t).await;
        assert_eq!(walk(&t).round().await.unwrap(), 0);
    }
    assert!(cases(&t.desk(None)).await.is_empty());
}
