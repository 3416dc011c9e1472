//! A provider that refuses everybody: one case, no tries used up, and everybody goes on when it answers again.

use std::time::Duration;

use bizing_engine::saga::gate::{self, Calls};
use bizing_sandbox::{Fault, Rule, When};
use futures_util::future::join_all;
use sqlx::PgPool;

use super::hands::far_slot;
use super::referee;
use crate::support::desk::{TestDesk, booking, slot};
use crate::support::wait_until;

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_refused_key_is_one_case_and_burns_no_try_and_all_go_on_at_the_providers_rate() {
    refused_key(40, 2).await;
}

/// Ten minutes of a saga sent ahead every half minute, without the waiting.
#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_minutes_of_a_refused_key_under_five_hundred_sagas_burn_no_try() {
    refused_key(500, 20).await;
}

async fn refused_key(sagas: u32, ahead: i64) {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    t.sandbox.faults().add(Rule {
        operation: "*".to_owned(),
        when: When::Nth {
            nth: 1,
            times: 1_000_000,
        },
        fault: Fault::Unauthorized,
    });
    let mut booked = vec![];
    // Many at once: without a worker each of them looks for a second whether the lists show it.
    let desk = t.desk(None);
    for n in (0..sagas).step_by(25) {
        let some = (n..sagas.min(n + 25)).map(|n| t.book(&desk, far_slot(n)));
        booked.extend(join_all(some).await.iter().map(|b| b.booking_id));
    }
    let worker = t.work().await;
    wait_until("the gate is shut", Duration::from_secs(20), || async {
        number(
            &owner,
            "select count(*) from saga.provider_gate where state <> 'closed'",
        )
        .await
            == 1
    })
    .await;
    // Everybody who could, looks: nothing more is asked.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(number(&owner, "select count(*) from saga.attention where kind = 'provider:stripe' and closed_at is null").await, 1);
    assert_eq!(
        number(
            &owner,
            "select coalesce(max(attempt), 0)::bigint from saga.instance"
        )
        .await,
        0,
        "no try is used up"
    );
    assert_eq!(
        number(
            &owner,
            "select count(*) from saga.instance where state = 'parked'"
        )
        .await,
        0
    );
    let asked = number(
        &owner,
        "select count(*) from saga.attempt where result = 'unauthorized'",
    )
    .await;
    assert!(
        asked <= 8,
        "only those that were under way had asked: {asked}"
    );

    // Still refused whenever one is sent ahead: shut again, one more question.
    for n in 1..=ahead {
        sqlx::query("update saga.provider_gate set open_until = now()")
            .execute(&owner)
            .await
            .unwrap();
        wait_until("one was sent ahead", Duration::from_secs(20), || async {
            number(
                &owner,
                "select count(*) from saga.attempt where result = 'unauthorized'",
            )
            .await
                == asked + n
                && number(
                    &owner,
                    "select count(*) from saga.provider_gate where state = 'open' and open_until > now()",
                )
                .await
                    == 1
        })
        .await;
    }
    assert_eq!(
        number(&owner, "select count(*) from saga.attention").await,
        1,
        "one case, however often it is refused"
    );
    assert_eq!(
        number(
            &owner,
            "select count(*) from saga.instance where attempt > 0 or state = 'parked'"
        )
        .await,
        0,
        "no try is used up"
    );

    // The key is mended.
    t.sandbox.faults().clear();
    sqlx::query("update saga.provider_gate set open_until = now()")
        .execute(&owner)
        .await
        .unwrap();
    wait_until("all are done", Duration::from_secs(120), || async {
        number(
            &owner,
            "select count(*) from saga.instance where state <> 'completed'",
        )
        .await
            == 0
    })
    .await;
    assert_eq!(
        number(
            &owner,
            "select count(*) from saga.attention where closed_at is null"
        )
        .await,
        0,
        "the case closed by itself"
    );
    for id in booked {
        referee::check(&t, id).await;
    }
    // 20 a second, as the gate says: forty do not come back as one.
    let spread: f64 = sqlx::query_scalar("select extract(epoch from max(at) - min(at))::float8 from (select min(started_at) as at from saga.attempt where result = 'done' and step = 'payment' group by saga_id) x").fetch_one(&owner).await.unwrap();
    let least = f64::from(sagas) / 20.0 / 2.0;
    assert!(spread > least, "they followed within {spread} s");
    worker.close().await;
}

/// Ten minutes of a provider that takes what it is asked and says nothing, without the waiting.
#[tokio::test]
async fn a_provider_that_does_not_answer_is_one_case_and_hardly_a_try_is_used_up() {
    let t = TestDesk::new().await;
    let owner = t.db.superuser_pool().await;
    t.sandbox.faults().add(Rule {
        operation: "*".to_owned(),
        when: When::Nth {
            nth: 1,
            times: 1_000_000,
        },
        // Longer than anybody waits for it.
        fault: Fault::Late { ms: 2_500 },
    });
    let desk = t.desk(None);
    let booked = join_all((0..25).map(|n| t.book(&desk, far_slot(n)))).await;
    let worker = t.work_without_news(Default::default()).await;
    let shut = async || {
        number(
            &owner,
            "select count(*) from saga.provider_gate where state = 'open' and open_until > now()",
        )
        .await
            == 1
    };
    wait_until("the gate is shut", Duration::from_secs(30), shut).await;
    for _ in 0..3 {
        sqlx::query("update saga.provider_gate set open_until = now()")
            .execute(&owner)
            .await
            .unwrap();
        wait_until("one was sent ahead in vain", Duration::from_secs(30), shut).await;
    }
    let tries = number(
        &owner,
        "select coalesce(sum(attempt), 0)::bigint from saga.instance",
    )
    .await;
    assert!(tries < 5, "before it was shut: {tries}");
    let parked = "select count(*) from saga.instance where state = 'parked'";
    assert_eq!(number(&owner, parked).await, 0);
    assert_eq!(
        number(&owner, "select count(*) from saga.attention").await,
        1,
        "one case"
    );

    t.sandbox.faults().clear();
    sqlx::query("update saga.provider_gate set open_until = now()")
        .execute(&owner)
        .await
        .unwrap();
    wait_until("all are done", Duration::from_secs(120), || async {
        number(
            &owner,
            "select count(*) from saga.instance where state <> 'completed'",
        )
        .await
            == 0
    })
    .await;
    let open = "select count(*) from saga.attention where closed_at is null";
    assert_eq!(number(&owner, open).await, 0, "the case closed by itself");
    for one in booked {
        referee::check(&t, one.booking_id).await;
    }
    worker.close().await;
}

#[tokio::test]
async fn an_answer_between_two_silences_begins_the_row_anew() {
    let t = TestDesk::new().await;
    let calls = Calls::default();
    let silent = async || {
        gate::away(&t.worker_pool, &calls, "no answer")
            .await
            .unwrap()
    };
    for _ in 0..4 {
        assert!(!silent().await);
    }
    calls.answered();
    // How long ago that was is told to the database, and the way there takes its time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..4 {
        assert!(!silent().await, "four in a row, whatever was before");
    }
    assert!(silent().await, "five");
}

#[tokio::test]
async fn a_booking_paid_at_the_venue_does_not_wait_for_stripe() {
    let t = TestDesk::new().await;
    sqlx::query("update saga.provider_gate set state = 'open', open_until = now() + interval '1 hour' where provider = 'stripe'")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    let worker = t.work().await;
    let mut request = booking(&slot(0));
    request.payment_mode = bizing_engine::app::wire::PaymentMode::Venue;
    request.payment_method = None;
    let booked = t.book(&t.desk(None), request).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
}
