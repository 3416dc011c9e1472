//! What goes wrong outside, at the worst moment: keys that the provider has forgotten, requests that arrive after they were
//! given up, news that comes before the answer, a process that stands still in mid-capture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bizing_engine::app::bookings::create::create;
use bizing_engine::app::wire::{CreateBooking, PaymentMode};
use bizing_engine::runtime::crash::{CrashPoints, Promise};
use bizing_engine::saga::definition::Policy;
use bizing_engine::saga::store;
use bizing_sandbox::{Fault, Rule};
use tokio::sync::Notify;

use super::chaos::{self, Processes};
use super::crash::process;
use super::hands::{pay_page, press, saga_of, to_nobody};
use super::referee;
use crate::support::desk::{TestDesk, booking, quick_policy, slot};
use crate::support::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a key's life at the provider.
const MORE_THAN_A_DAY_S: u32 = 24 * 3_600 + 60;

/// Nothing is tried again by itself while this goes on.
fn slow_to_retry() -> Policy {
    Policy {
        backoff_base: Duration::from_secs(3600),
        backoff_cap: Duration::from_secs(3600),
        look_every: Duration::from_secs(60),
        ..quick_policy()
    }
}

/// Which booking meets this operation, and how it ends.
fn request(operation: &str) -> (CreateBooking, &'static str) {
    match operation {
        "refund" => (to_nobody(0), "compensated"),
        _ => (booking(&slot(0)), "completed"),
    }
}

/// Effects of a step as (generation, outcome, how it was settled, how often sent).
async fn effects(t: &TestDesk, operation: &str) -> Vec<(i16, String, Option<String>, i16)> {
    sqlx::query_as("select generation, outcome, resolved_via, sends from saga.effect where operation = $1 order by generation")
        .bind(operation)
        .fetch_all(&t.worker_pool)
        .await
        .unwrap()
}

/// A worker that dies before it hears the answer, and nobody who works for more than a day. Returns what the referee says in
/// the end.
async fn a_day_later(
    operation: &str,
    fault: Fault,
    points: CrashPoints,
) -> (Arc<TestDesk>, Vec<String>) {
    let t = Arc::new(TestDesk::new().await);
    t.sandbox.faults().add(Rule::nth(operation, 1, fault));
    let (request, end) = request(operation);
    let id = request.command_id;
    let (asked, died) = (t.sandbox.faults(), Arc::new(Notify::new()));
    let dies = died.clone();
    let deadly = CrashPoints::new(Arc::new(move |name| {
        let now = name == "after_call" && !asked.fired().is_empty();
        let dies = dies.clone();
        Box::pin(async move {
            if now {
                dies.notify_one();
                std::future::pending::<()>().await;
            }
        })
    }));
    let process = process(2);
    let own = t.clone();
    process.spawn(async move {
        let worker = own.work_without_news(deadly).await;
        let _ = create(&own.desk(Some(worker.worker.clone())), request).await;
        std::future::pending::<()>().await;
    });
    tokio::time::timeout(PATIENCE, died.notified())
        .await
        .expect("the provider is asked");
    process.shutdown_background();
    t.break_connections().await;

    t.sandbox.advance_clock(MORE_THAN_A_DAY_S);
    let owner = t.db.superuser_pool().await;
    for moved in [
        "update saga.effect set first_sent_at = first_sent_at - make_interval(secs => $1), last_sent_at = last_sent_at - make_interval(secs => $1) where resolved_at is null",
        // What waits is due since; the slot is held by the money.
        "update saga.instance set wake_at = wake_at - make_interval(secs => $1), lease_expires_at = lease_expires_at - make_interval(secs => $1) where finished_at is null",
    ] {
        sqlx::query(moved)
            .bind(f64::from(MORE_THAN_A_DAY_S))
            .execute(&owner)
            .await
            .unwrap();
    }
    let worker = t.work_without_news(points).await;
    t.wait_for_saga(id, end).await;
    let wrong = referee::violations(&t, saga_of(&t, id).await, id).await;
    worker.close().await;
    (t, wrong)
}

#[tokio::test]
async fn a_key_older_than_23_hours_is_not_sent_again_and_what_it_did_is_looked_up() {
    for operation in ["create_intent", "capture", "refund"] {
        let (t, wrong) =
            a_day_later(operation, Fault::LostAfterEffect, CrashPoints::default()).await;
        assert_eq!(wrong, Vec::<String>::new(), "{operation}");
        let told = effects(&t, operation).await;
        assert_eq!(
            told,
            [(0, "confirmed".to_owned(), Some("lookup".to_owned()), 1)],
            "{operation}"
        );
    }
}

#[tokio::test]
async fn an_old_key_that_did_nothing_is_given_up_and_the_next_request_has_a_key_of_its_own() {
    for operation in ["create_intent", "capture", "refund"] {
        let (t, wrong) = a_day_later(operation, Fault::LostBefore, CrashPoints::default()).await;
        assert_eq!(wrong, Vec::<String>::new(), "{operation}");
        let told = effects(&t, operation).await;
        let outcomes: Vec<(i16, &str, i16)> =
            told.iter().map(|e| (e.0, e.1.as_str(), e.3)).collect();
        assert_eq!(
            outcomes,
            [(0, "not_executed", 1), (1, "confirmed", 1)],
            "{operation}"
        );
    }
}

#[tokio::test]
async fn without_the_look_up_an_old_key_costs_a_second_authorisation() {
    let points = CrashPoints::default().without(Promise::Lookup);
    let (_, wrong) = a_day_later("create_intent", Fault::LostAfterEffect, points).await;
    assert!(!wrong.is_empty(), "without the look-up nothing went wrong");
}

/// The request is on its way for `LATE_MS`; its caller hangs up after a second, and looks for it before it is there.
async fn late_request(operation: &str, quarantine: Duration) -> Vec<String> {
    const LATE_MS: u64 = 2_500;
    let t = TestDesk::with(Policy {
        lease: Duration::from_secs(3),
        // From here on it is looked for, as after 23 hours.
        key_max_age: Duration::from_millis(900),
        quarantine,
        ..quick_policy()
    })
    .await;
    t.sandbox
        .faults()
        .add(Rule::nth(operation, 1, Fault::Late { ms: LATE_MS }));
    let (request, end) = request(operation);
    let worker = t.work().await;
    let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
    t.wait_for_saga(booked.booking_id, end).await;
    // Whatever is still under way arrives.
    tokio::time::sleep(Duration::from_millis(LATE_MS)).await;
    let saga = saga_of(&t, booked.booking_id).await;
    let mut wrong = referee::violations(&t, saga, booked.booking_id).await;
    let intents = t.sandbox.ledger().payments.len();
    if intents != 1 {
        wrong.push(format!("{intents} payments at the provider"));
    }
    worker.close().await;
    wrong
}

#[tokio::test]
async fn a_request_that_arrives_after_it_was_looked_for_in_vain_is_found_before_another_is_sent() {
    for operation in ["create_intent", "capture", "refund"] {
        let wrong = late_request(operation, Duration::from_secs(5)).await;
        assert_eq!(wrong, Vec::<String>::new(), "{operation}");
    }
}

/// A request that was sent once more, long after the first time, and then met an error that the provider keeps.
#[tokio::test]
async fn how_long_an_absence_lasts_is_counted_from_the_last_sending() {
    const QUARANTINE_S: f64 = 2.0;
    let t = TestDesk::with(Policy {
        quarantine: Duration::from_secs_f64(QUARANTINE_S),
        ..slow_to_retry()
    })
    .await;
    let faults = t.sandbox.faults();
    faults.add(Rule::nth("create_intent", 1, Fault::LostBefore));
    let kept = Fault::Stored500 { effect: false };
    faults.add(Rule::nth("create_intent", 2, kept));
    let worker = t.work().await;
    let booked = t
        .book(&t.desk(Some(worker.worker.clone())), booking(&slot(0)))
        .await;
    let owner = t.db.superuser_pool().await;
    wait_until("the first sending failed", PATIENCE, async || {
        sqlx::query_scalar(
            "select exists (select from saga.instance where state = 'waiting' and attempt > 0)",
        )
        .fetch_one(&owner)
        .await
        .unwrap()
    })
    .await;
    for earlier in [
        "update saga.effect set first_sent_at = first_sent_at - interval '1 minute', last_sent_at = last_sent_at - interval '1 minute'",
        "update saga.instance set wake_at = now()",
    ] {
        sqlx::query(earlier).execute(&owner).await.unwrap();
    }
    t.wait_for_saga(booked.booking_id, "completed").await;
    let waited: f64 = sqlx::query_scalar(
        "select extract(epoch from next.first_sent_at - e.last_sent_at)::float8 from saga.effect e
           join saga.effect next on next.saga_id = e.saga_id and next.operation = e.operation and next.generation = 1
          where e.operation = 'create_intent' and e.generation = 0 and e.outcome = 'not_executed'",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert!(
        waited >= QUARANTINE_S,
        "another was sent after {waited} s already"
    );
    worker.close().await;
}

#[tokio::test]
async fn without_the_quarantine_a_late_request_is_a_second_authorisation() {
    let wrong = late_request("create_intent", Duration::ZERO).await;
    assert!(
        !wrong.is_empty(),
        "without the quarantine nothing went wrong"
    );
}

#[tokio::test]
async fn news_that_come_before_the_answer_wake_the_saga_and_do_nothing_twice() {
    for operation in ["create_intent", "capture", "refund"] {
        let t = TestDesk::with(slow_to_retry()).await;
        t.sandbox
            .faults()
            .add(Rule::nth(operation, 1, Fault::LostAfterEffect));
        let (request, end) = request(operation);
        let worker = t.work().await;
        let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
        // The answer never comes, and by itself nothing is tried for a minute: what is polled tells.
        t.wait_for_saga(booked.booking_id, end).await;
        referee::check(&t, booked.booking_id).await;
        worker.close().await;
    }
}

#[tokio::test]
async fn a_customer_who_pays_between_our_look_and_our_rest_is_not_kept_waiting_for_the_next_look() {
    let t = Arc::new(TestDesk::with(slow_to_retry()).await);
    let request = CreateBooking {
        payment_mode: PaymentMode::Link,
        payment_method: None,
        ..booking(&slot(0))
    };
    let id = request.command_id;
    // The page is known, it was looked at, and the worker is about to write that it waits.
    let (looked, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at_the_point, released) = (reached.clone(), go_on.clone());
    let points = CrashPoints::new(Arc::new(move |name| {
        if name == "before_look" {
            looked.store(true, Ordering::SeqCst);
        }
        let stops = name == "before_commit"
            && looked.load(Ordering::SeqCst)
            && !done.swap(true, Ordering::SeqCst);
        let (at_the_point, released) = (at_the_point.clone(), released.clone());
        Box::pin(async move {
            if stops {
                at_the_point.notify_one();
                released.notified().await;
            }
        })
    }));
    let worker = t.work_with(points).await;
    create(&t.desk(Some(worker.worker.clone())), request)
        .await
        .unwrap();
    // The first rest is before anything was looked at; somebody asks for news.
    t.wait_for_saga(id, "waiting").await;
    sqlx::query("update saga.instance set wake_at = now()")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    reached.notified().await;
    press(&pay_page(&t, id).await, "pay").await;
    wait_until("what Stripe tells of it is here", PATIENCE, || async {
        let told: i64 = sqlx::query_scalar("select count(*) from saga.signal where saga_id is not null and type = 'checkout.session.completed'")
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
        told > 0
    })
    .await;
    go_on.notify_one();
    t.wait_for_saga(id, "completed").await;
    referee::check(&t, id).await;
    worker.close().await;
}

#[tokio::test]
async fn a_computer_that_is_shut_in_mid_capture_writes_nothing_when_it_is_opened_again() {
    let t = TestDesk::with(chaos::policy()).await;
    t.sandbox
        .faults()
        .add(Rule::nth("capture", 1, Fault::Late { ms: 1200 }));
    // A process of its own, which can be made to stand still with everything in it.
    let mut shut = Processes::of(&t);
    shut.start();
    let signal = |name: &str| {
        let pid = shut.running[0].id().to_string();
        let sent = std::process::Command::new("kill")
            .args([name, &pid])
            .status();
        assert!(sent.unwrap().success(), "{name}");
    };
    let id = t.book(&t.desk(None), booking(&slot(0))).await.booking_id;
    wait_until("it asks for the money", PATIENCE, || async {
        t.sandbox
            .faults()
            .fired()
            .iter()
            .any(|f| f.operation == "capture")
    })
    .await;
    signal("-STOP");

    // Two leases later somebody else has finished.
    let other = t.work().await;
    t.wait_for_saga(id, "completed").await;
    tokio::time::sleep(chaos::policy().lease).await;
    signal("-CONT");
    // It is given the time to do what it had in mind, and works on: the next booking is its own.
    other.close().await;
    let next = t.book(&t.desk(None), booking(&slot(1))).await.booking_id;
    t.wait_for_saga(next, "completed").await;

    referee::check(&t, id).await;
    referee::check(&t, next).await;
    let captures = effects(&t, "capture").await;
    assert_eq!(
        captures.iter().map(|e| e.0).collect::<Vec<_>>(),
        [0, 0],
        "one each"
    );
    assert_eq!(t.sandbox.ledger().payments.len(), 2);
    let late: i64 = sqlx::query_scalar("select count(*) from saga.attempt a join saga.attempt b using (saga_id) where a.no > b.no and a.fence < b.fence")
        .fetch_one(&t.worker_pool)
        .await
        .unwrap();
    assert_eq!(late, 0, "nothing was written under an old fence");
}

#[tokio::test]
async fn a_lease_that_has_ended_is_not_renewed_by_its_owner_who_slept() {
    let t = TestDesk::new().await;
    let booked = t.book(&t.desk(None), booking(&slot(0))).await;
    let saga = saga_of(&t, booked.booking_id).await;
    let worker = bizing_engine::domain::ids::WorkerId(uuid::Uuid::now_v7());
    let lease = Duration::from_secs(30);
    let claimed = store::claim(&t.worker_pool, worker, 8, lease)
        .await
        .unwrap();
    assert_eq!(claimed, [saga]);
    let renew = || store::renew(&t.worker_pool, worker, &claimed, lease);
    assert_eq!(renew().await.unwrap(), [saga]);
    sqlx::query("update saga.instance set lease_expires_at = now() - interval '1 second'")
        .execute(&t.db.superuser_pool().await)
        .await
        .unwrap();
    assert_eq!(renew().await.unwrap(), Vec::<uuid::Uuid>::new());
}
