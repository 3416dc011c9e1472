//! One box finds a saga by whatever somebody has in hand.

use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use sqlx::Row;
use uuid::Uuid;

use crate::projection::Seeded;
use crate::reading::viewer;
use crate::support::desk::{TestDesk, booking, slot};

async fn found(desk: &bizing_engine::app::desk::Desk, text: &str) -> Vec<Uuid> {
    let filter = SagaFilter {
        search: Some(text.to_owned()),
        ..SagaTab::Done.into()
    };
    let list = sagas::list(desk, ListSagas::first(filter, 500))
        .await
        .unwrap();
    list.rows.iter().map(|r| r.booking.booking_id).collect()
}

/// A booking whose customer has others, with what belongs to it.
async fn one(s: &Seeded) -> (Uuid, String, String, String, Vec<Uuid>) {
    let row = sqlx::query(
        "select b.booking_id, b.reference, f.provider_object, c.email,
                array(select o.booking_id from read.bookings_v1 o where o.customer_id = b.customer_id) as theirs
           from read.bookings_v1 b join read.customers_v1 c using (customer_id)
           join read.sagas_v2 s using (booking_id) join read.effects_v1 f using (saga_id)
          where f.provider_object is not null and c.email is not null
            and (select count(*) from read.bookings_v1 o where o.customer_id = b.customer_id) between 2 and 20 limit 1",
    )
    .fetch_one(&s.people)
    .await
    .unwrap();
    (
        row.get("booking_id"),
        row.get("reference"),
        row.get("provider_object"),
        row.get("email"),
        row.get("theirs"),
    )
}

#[tokio::test]
async fn a_saga_is_found_by_reference_customer_or_what_stripe_calls_it() {
    let (s, desk) = viewer().await;
    let (booking, reference, object, email, mut theirs) = one(&s).await;

    assert_eq!(found(&desk, &reference).await, [booking]);
    assert_eq!(found(&desk, &reference.to_lowercase()).await, [booking]);
    assert_eq!(found(&desk, &object).await, [booking]);
    let mut of_customer = found(&desk, &email).await;
    of_customer.sort();
    theirs.sort();
    assert_eq!(of_customer, theirs);
    // All words must fit, in any order.
    assert_eq!(
        found(&desk, &format!("{email} {reference}")).await,
        [booking]
    );
    assert!(found(&desk, "nobody-is-called-this").await.is_empty());
    // Quotes and wild cards are signs like others.
    for odd in ["%", "_", "'", "\\", "bk-%", "a & b | !c:*", "'' or true --"] {
        assert!(found(&desk, odd).await.is_empty(), "{odd}");
    }
    // Whoever has typed no more than what every reference begins with has said nothing yet.
    let all = found(&desk, "bk-").await;
    assert!(all.len() > 300, "{}", all.len());
}

#[tokio::test]
async fn a_saga_is_found_by_its_reference_while_the_list_of_bookings_stands_still() {
    let t = TestDesk::new().await;
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    let desk = t.desk(None);
    let listed: i64 = sqlx::query_scalar("select count(*) from read.bookings_v1")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(listed, 0, "nothing has been projected");
    let reference = &booked.reference;
    assert_eq!(found(&desk, reference).await, [booked.booking_id]);
    assert_eq!(
        found(&desk, &reference.to_lowercase()).await,
        [booked.booking_id]
    );
    assert!(found(&desk, "BK-000000").await.is_empty());
}
