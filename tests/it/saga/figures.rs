//! How long others take to notice: that an owner was killed, that a window was closed, that somebody decided; and what a window
//! costs that only shows. Printed, and held to what is promised: `make figures-sagas`.

use std::time::{Duration, Instant};

use bizing_engine::app::sagas;
use bizing_engine::app::wire::{CommandSaga, PreviewSaga, SagaParams};
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::tasks::Tasks;
use bizing_sandbox::{Fault, Rule, When};
use uuid::Uuid;

use super::chaos::{self, Processes};
use super::elsewhere::Window;
use super::hands::{ask, far_slot, policy, stuck};
use crate::support::desk::TestDesk;
use crate::support::proxy::Proxy;
use crate::support::wait_until;

/// As many as one worker has places for.
const AT_ONCE: u32 = 8;

fn percentile(times: &mut [Duration], p: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * p).round() as usize]
}

/// Sagas of which each will be asking a provider that takes its time, as soon as somebody works.
async fn about_to_ask(t: &TestDesk, round: u32) -> Vec<Uuid> {
    t.sandbox.faults().add(Rule {
        operation: "create_intent".to_owned(),
        when: When::Nth {
            nth: 1,
            times: 1_000,
        },
        fault: Fault::Late { ms: 3_000 },
    });
    let mut ids = vec![];
    for n in 0..AT_ONCE {
        let request = far_slot(round * AT_ONCE + n);
        ids.push(t.book(&t.desk(None), request).await.booking_id);
    }
    ids
}

/// Somebody holds all of them, in mid-call. Returns who.
async fn under_way(t: &TestDesk, ids: &[Uuid]) -> Uuid {
    let asked = || async {
        let leased: i64 = sqlx::query_scalar("select count(*) from saga.instance where booking_id = any($1) and lease_owner is not null")
            .bind(ids)
            .fetch_one(&t.worker_pool)
            .await
            .unwrap();
        leased == i64::from(AT_ONCE)
    };
    wait_until("all of them are worked on", Duration::from_secs(20), asked).await;
    t.sandbox.faults().clear();
    sqlx::query_scalar(
        "select lease_owner from saga.instance where booking_id = any($1) and lease_owner is not null limit 1",
    )
    .bind(ids)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}

/// When each of them was taken by somebody else than its owner.
async fn taken_over(t: &TestDesk, ids: &[Uuid], owner: Uuid, since: Instant) -> Vec<Duration> {
    let mut open: std::collections::BTreeSet<Uuid> = ids.iter().copied().collect();
    let mut times = vec![];
    while !open.is_empty() {
        assert!(since.elapsed() < Duration::from_secs(20), "{open:?}");
        let taken: Vec<Uuid> = sqlx::query_scalar(
            "select booking_id from saga.instance i where booking_id = any($1)
                and (lease_owner <> $2 or finished_at is not null or exists (select from saga.attempt a where a.saga_id = i.saga_id and a.worker_id <> $2))",
        )
        .bind(ids)
        .bind(owner)
        .fetch_all(&t.worker_pool)
        .await
        .unwrap();
        for id in taken {
            if open.remove(&id) {
                times.push(since.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: make figures-sagas"]
async fn a_killed_owners_sagas_go_on_elsewhere_within_the_lease_and_a_second() {
    let t = TestDesk::with(chaos::policy()).await;
    let (lease, mut times) = (chaos::policy().lease, vec![]);
    for round in 0..6 {
        let ids = about_to_ask(&t, round).await;
        let mut owner = Processes::of(&t);
        owner.start();
        let held_by = under_way(&t, &ids).await;
        let other = t.work_without_news(CrashPoints::default()).await;
        owner.kill(0);
        times.extend(taken_over(&t, &ids, held_by, Instant::now()).await);
        for id in ids {
            t.wait_for_saga(id, "completed").await;
        }
        other.close().await;
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!(
        "take-over after kill -9, lease {lease:?}: p50 {p50:?}, p99 {p99:?} of {}",
        times.len()
    );
    assert!(p99 <= lease + Duration::from_secs(1), "{p99:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: make figures-sagas"]
async fn a_closed_windows_sagas_go_on_elsewhere_within_a_second() {
    let t = TestDesk::with(chaos::policy()).await;
    let mut times = vec![];
    for round in 0..6 {
        let ids = about_to_ask(&t, round).await;
        let owner = t.work_without_news(CrashPoints::default()).await;
        let held_by = under_way(&t, &ids).await;
        let other = t.work_without_news(CrashPoints::default()).await;
        let closed = Instant::now();
        let (_, taken) = tokio::join!(owner.close(), taken_over(&t, &ids, held_by, closed));
        times.extend(taken);
        for id in ids {
            t.wait_for_saga(id, "completed").await;
        }
        other.close().await;
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!(
        "take-over after a window was closed in mid-call: p50 {p50:?}, p99 {p99:?} of {}",
        times.len()
    );
    // The call that is under way may end: here it has a second and a half.
    assert!(
        p99 <= chaos::policy().call_timeout + Duration::from_secs(1),
        "{p99:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: make figures-sagas"]
async fn what_somebody_decides_is_seen_in_another_window_within_300_ms() {
    let t = TestDesk::new().await;
    policy(&t, "park", 1_000_000, 1000, 24).await;
    let worker = t.work().await;
    let it = stuck(&t, &worker, 0).await;
    worker.close().await;
    let here = t.desk(None);
    let out = Tasks::default();
    out.once(t.bell.clone().ring_out(t.people.clone()));
    let mut there = Window::open(&t, None).await;
    there.list().await;
    let mut times = vec![];
    for n in 0..60 {
        // At any moment of the watcher's own second.
        tokio::time::sleep(Duration::from_millis(100 + 37 * (n % 23))).await;
        while there.hints.try_recv().is_ok() {}
        let who = format!("bea {n}");
        let params = SagaParams {
            to: Some(who.clone()),
            ..SagaParams::default()
        };
        let looked = PreviewSaga {
            saga_id: it.saga,
            action: "assign".to_owned(),
            params: params.clone(),
        };
        let plan = sagas::preview(&here, looked).await.unwrap();
        let form = CommandSaga {
            params,
            ..ask(it.saga, "assign", &plan)
        };
        let pressed = Instant::now();
        sagas::command(&here, form).await.unwrap();
        loop {
            let hint = tokio::time::timeout(Duration::from_secs(5), there.hints.recv());
            let topics = hint.await.expect("a hint").unwrap().topics;
            if !topics.iter().any(|topic| topic == "sagas" || topic == "*") {
                continue;
            }
            let shown = there.list().await;
            if shown
                .rows
                .iter()
                .any(|r| r.assigned_to.as_deref() == Some(&who))
            {
                break;
            }
        }
        times.push(pressed.elapsed());
    }
    let (p50, p95) = (percentile(&mut times, 0.5), percentile(&mut times, 0.95));
    println!("from the press to another window's list: p50 {p50:?}, p95 {p95:?} of 60");
    assert!(p95 <= Duration::from_millis(300), "{p95:?}");
    there.tasks.shut_down().await;
    out.shut_down().await;
}

/// The list of sagas is open, as `Sagas.svelte` fetches it when nobody rings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure: make figures-sagas"]
async fn a_window_that_only_shows_asks_the_database_at_most_twice_a_second() {
    const LASTING: Duration = Duration::from_secs(40);
    let t = TestDesk::new().await;
    let proxy = Proxy::to_database(&t.db.login("viewer")).await;
    let window = Window::open(&t, Some(&proxy)).await;
    window.list().await;
    // What is asked only once, of each connection and each statement.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, began) = (proxy.executed(), Instant::now());
    let mut next = Instant::now();
    while began.elapsed() < LASTING {
        if Instant::now() >= next {
            window.list().await;
            next += REFRESH;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = (proxy.executed() - before) as f64 / began.elapsed().as_secs_f64();
    println!("an idle window, on the list of sagas: {asked:.2} queries a second");
    assert!(asked <= 2.0, "{asked}");
    window.tasks.shut_down().await;
}

/// `CALM_MS` there.
const REFRESH: Duration = Duration::from_secs(20);
