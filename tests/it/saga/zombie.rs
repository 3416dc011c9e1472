//! A worker that stands still while others go on, and then wakes with what it had decided before: what it writes is refused
//! by the fence. Without the fence the same run must cost the customer money.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bizing_engine::app::bookings::create::create;
use bizing_engine::app::wire::{CreateBooking, PaymentMode};
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::saga::definition::Policy;
use bizing_sandbox::{Fault, Rule};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::hands::{pay_page, press, saga_of};
use super::referee;
use crate::support::desk::{TestDesk, booking, quick_policy, slot};
use crate::support::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// Writes as if nobody could have taken the saga meanwhile: neither fence, owner nor version is asked for. Everything else
/// that the database refuses, it still refuses.
pub async fn take_the_fence_away(t: &TestDesk) {
    let owner = t.db.superuser_pool().await;
    let mut text: String = sqlx::query_scalar(
        "select pg_get_functiondef(p.oid) from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'saga' and p.proname = 'write'",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    for (guard, open) in [
        (" and i.fence = p_fence", ""),
        (" and i.version = p_version", ""),
        (" and i.version = version", ""),
        (" and i.lease_owner = p_worker", ""),
        ("by_fence = p_fence", "by_fence = i.fence"),
        (
            "p_worker, p_fence",
            "p_worker, (select x.fence from saga.instance x where x.saga_id = p_saga)",
        ),
    ] {
        assert!(text.contains(guard), "saga.write guards by {guard:?}");
        text = text.replace(guard, open);
    }
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(&owner)
        .await
        .unwrap();
}

/// Stands still at the first commit after a look, with its whole process: renewals too.
struct Ice {
    frozen: Arc<AtomicBool>,
    thaw: mpsc::Sender<()>,
    points: CrashPoints,
}

fn ice_after_a_look() -> Ice {
    let (thaw, thawed) = mpsc::channel();
    let (frozen, looked) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let (told, thawed) = (frozen.clone(), Mutex::new(thawed));
    let points = CrashPoints::new(Arc::new(move |name| {
        if name == "before_look" {
            looked.store(true, Ordering::SeqCst);
        } else if name == "before_commit"
            && looked.load(Ordering::SeqCst)
            && !told.swap(true, Ordering::SeqCst)
        {
            // With one thread, whatever blocks it stops everything in it.
            let _ = thawed.lock().unwrap().recv_timeout(PATIENCE);
        }
        Box::pin(async {})
    }));
    Ice {
        frozen,
        thaw,
        points,
    }
}

/// A page whose making took so long that it was looked for, not found, and given up; meanwhile it is made after all, another
/// worker finds it, and the customer pays on it.
async fn late_page(fenced: bool) -> Vec<String> {
    let policy = Policy {
        lease: Duration::from_secs(2),
        call_timeout: Duration::from_secs(1),
        // From here on it is looked for, as after 23 hours.
        key_max_age: Duration::from_millis(900),
        // What a stale worker would be stopped by even without a fence.
        send_guard: Duration::from_secs(60),
        ..quick_policy()
    };
    let t = Arc::new(TestDesk::with(policy).await);
    if !fenced {
        take_the_fence_away(&t).await;
    }
    t.sandbox
        .faults()
        .add(Rule::nth("create_checkout", 1, Fault::Late { ms: 4500 }));
    let request = CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(0))
    };
    let id = request.command_id;

    let ice = ice_after_a_look();
    let zombie = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (own, points) = (t.clone(), ice.points.clone());
    zombie.spawn(async move {
        let worker = own.work_with(points).await;
        let booked = create(&own.desk(Some(worker.worker.clone())), request).await;
        booked.expect("the booking is taken");
        std::future::pending::<()>().await;
    });
    wait_until("it gave the page up", PATIENCE, || async {
        ice.frozen.load(Ordering::SeqCst)
    })
    .await;
    assert_eq!(pages(&t, id).await, 0, "looked for, and not there yet");
    wait_until("the page is made after all", PATIENCE, || async {
        pages(&t, id).await == 1
    })
    .await;

    let other = t.work().await;
    let page = pay_page(&t, id).await;
    t.wait_for_saga(id, "waiting").await;
    ice.thaw.send(()).unwrap();
    // It wakes, and is given the time to do what it had in mind: without a fence, until that is done.
    let (to_act, to_confirm) = match fenced {
        true => (Duration::from_millis(1500), PATIENCE),
        false => (PATIENCE, Duration::from_secs(5)),
    };
    let acted = tokio::time::timeout(to_act, async {
        while pages(&t, id).await == 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let _ = acted.await;
    zombie.shutdown_background();
    t.break_connections().await;
    other.close().await;

    let last = t.work().await;
    let mut wrong = vec![];
    let made = pages(&t, id).await;
    if made != 1 {
        wrong.push(format!("the customer has {made} pages to pay on"));
    }
    press(&page, "pay").await;
    let confirmed = tokio::time::timeout(to_confirm, async {
        while t.saga_state(id).await != "completed" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if confirmed.await.is_err() {
        let held: i64 = t.sandbox.ledger().payments.iter().map(|p| p.held).sum();
        wrong.push(format!("paid, and not confirmed: {held} are held"));
    } else {
        wrong.extend(referee::violations(&t, saga_of(&t, id).await, id).await);
    }
    last.close().await;
    wrong
}

async fn pages(t: &TestDesk, booking: Uuid) -> usize {
    let found = reqwest::Client::new()
        .get(format!(
            "{}/v1/checkout/sessions?limit=100",
            t.sandbox.url()
        ))
        .bearer_auth("sk_test_sandbox")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let ours = |page: &&serde_json::Value| page["metadata"]["booking_id"] == booking.to_string();
    found["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(ours)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_that_gave_a_page_up_makes_no_second_one() {
    assert_eq!(late_page(true).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_fence_the_same_zombie_leaves_a_customer_who_paid_without_a_booking() {
    let wrong = late_page(false).await;
    assert_eq!(
        wrong,
        [
            "the customer has 2 pages to pay on",
            "paid, and not confirmed: 8000 are held"
        ]
    );
}
