//! The worker dies at every point there is, one run per point, on each definition's way forward and back; another goes on.
//! In pairs two die one after the other. Frozen for two leases instead, it wakes up as a zombie. The referee is the
//! sandbox's own book. Without the key, the look-up or the fence the same runs must go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bizing_engine::app::sagas;
use bizing_engine::app::wire::{CreateBooking, ForCustomer, PaymentMode};
use bizing_engine::runtime::crash::{CrashPoints, Promise};
use bizing_sandbox::{Fault, Rule};
use futures_util::StreamExt;
use tokio::sync::Notify;
use uuid::Uuid;

use super::hands::{ask, look, policy, saga_of, stuck};
use super::part::give_part;
use super::referee;
use super::zombie::take_the_fence_away;
use crate::support::desk::{TestDesk, booking, quick_policy, slot};

const LEASE: Duration = Duration::from_millis(1_500);

/// One way of one definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Book,
    BookToNobody,
    BookFree,
    BookFreeToNobody,
    GiveUp,
    /// A cancellation that is called off before it began.
    CallOff,
    /// A person decided that a part goes back: before the refund of an undoing, and after that of a cancellation was refused.
    UndoPart,
    GiveUpPart,
}

impl Way {
    const ALL: [Way; 8] = [
        Way::Book,
        Way::BookToNobody,
        Way::BookFree,
        Way::BookFreeToNobody,
        Way::GiveUp,
        Way::CallOff,
        Way::UndoPart,
        Way::GiveUpPart,
    ];

    fn request(self) -> CreateBooking {
        let mut request = booking(&slot(0));
        if matches!(self, Way::BookFree | Way::BookFreeToNobody) {
            request.payment_mode = PaymentMode::Venue;
            request.payment_method = None;
        }
        if matches!(self, Way::BookToNobody | Way::BookFreeToNobody) {
            request.customer = ForCustomer::New {
                name: "Bo".to_owned(),
                email: Some("bounce@example.com".to_owned()),
                phone: None,
            };
        }
        request
    }

    /// A try that was cut off while the message went out is unclear: nobody repeats it blindly, and the booking stands.
    fn ends(self) -> &'static [&'static str] {
        match self {
            Way::Book | Way::BookFree | Way::GiveUp | Way::GiveUpPart => &["completed"],
            Way::BookToNobody | Way::BookFreeToNobody => &["compensated", "completed"],
            Way::CallOff | Way::UndoPart => &["compensated"],
        }
    }
}

/// What befalls the worker at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Dies,
    /// The whole process stands still for two leases, its renewals too, and then goes on as if nothing had been.
    Freezes,
}

/// What is taken away to see that something notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Key,
    Lookup,
    Fence,
}

impl Without {
    fn promise(self) -> Option<Promise> {
        match self {
            Without::Key => Some(Promise::Key),
            Without::Lookup => Some(Promise::Lookup),
            Without::Fence => None,
        }
    }
}

/// Counts the points and lets fate strike at the chosen one.
#[derive(Clone)]
struct Watch {
    seen: Arc<AtomicUsize>,
    at: Option<usize>,
    fate: Fate,
    reached: Arc<Notify>,
    woken: Arc<Notify>,
    name: Arc<std::sync::Mutex<String>>,
}

impl Watch {
    fn new(at: Option<usize>, fate: Fate) -> Watch {
        Watch {
            seen: Arc::default(),
            at,
            fate,
            reached: Arc::default(),
            woken: Arc::default(),
            name: Arc::default(),
        }
    }

    fn points(&self) -> CrashPoints {
        let this = self.clone();
        CrashPoints::new(Arc::new(move |name| {
            let this = this.clone();
            Box::pin(async move {
                if Some(this.seen.fetch_add(1, Ordering::SeqCst)) == this.at {
                    *this.name.lock().unwrap() = name.to_owned();
                    this.reached.notify_one();
                    match this.fate {
                        Fate::Dies => std::future::pending::<()>().await,
                        Fate::Freezes => {
                            std::thread::sleep(LEASE * 2);
                            this.woken.notify_one();
                        }
                    }
                }
            })
        }))
    }

    fn name(&self) -> String {
        self.name.lock().unwrap().clone()
    }
}

/// What a run came to.
struct Outcome {
    points: usize,
    state: String,
    died: Vec<String>,
    wrong: Vec<String>,
}

async fn test_desk() -> Arc<TestDesk> {
    let policy = bizing_engine::saga::definition::Policy {
        lease: LEASE,
        call_timeout: Duration::from_millis(800),
        ..quick_policy()
    };
    Arc::new(TestDesk::with(policy).await)
}

/// A process of its own, as far as a worker can tell: dropping the runtime is its death. No lease is given back. With one
/// thread, whatever blocks it stops everything in it.
pub fn process(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap()
}

/// Goes one way with a worker that meets its fate at `deaths[0]`, then one at `deaths[1]`, and so on; the last one ends it.
async fn run(way: Way, deaths: &[usize], fate: Fate, without: Option<Without>) -> Outcome {
    let t = test_desk().await;
    let broken = |points: CrashPoints| match without.and_then(Without::promise) {
        Some(promise) => points.without(promise),
        None => points,
    };
    if without == Some(Without::Fence) {
        take_the_fence_away(&t).await;
    }
    if without == Some(Without::Lookup) {
        let stored = Fault::Stored500 { effect: true };
        t.sandbox
            .faults()
            .add(Rule::nth("create_intent", 1, stored));
    }
    let saga = prepare(&t, way).await;
    let first = Watch::new(deaths.first().copied(), fate);
    let request = way.request();
    let booking = match saga {
        Some((_, booking)) => booking,
        None => request.command_id,
    };
    let (own, points) = (t.clone(), broken(first.points()));
    let books = saga.is_none();
    let runtime = process(if fate == Fate::Freezes { 1 } else { 2 });
    let started = runtime.spawn(async move {
        let worker = match fate {
            Fate::Dies => own.work_with(points).await,
            // Without a message the saga does not end before the zombie wakes.
            Fate::Freezes => own.work_without_mail(points).await,
        };
        if books {
            let desk = own.desk(Some(worker.worker.clone()));
            // A dead one answers nobody.
            let _ = bizing_engine::app::bookings::create::create(&desk, request).await;
        }
        worker
    });
    let mut died = vec![];
    if let Some((_, later)) = deaths.split_first() {
        let reached = tokio::select! {
            () = first.reached.notified() => true,
            // This run passes fewer points than the dry one did: it had to ask the provider once less.
            () = over(&t, booking) => false,
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{way:?}: neither over nor at point {deaths:?}"),
        };
        let mut runtime = Some(runtime);
        if fate == Fate::Dies || !reached {
            runtime.take().unwrap().shutdown_background();
            t.break_connections().await;
        }
        died.push(first.name());
        for at in later {
            let watch = Watch::new(Some(*at), fate);
            let (own, points) = (t.clone(), broken(watch.points()));
            let process = process(2);
            process.spawn(async move { own.work_with(points).await });
            // The rest may be shorter than that.
            let reached = tokio::time::timeout(Duration::from_secs(4), watch.reached.notified());
            if reached.await.is_ok() {
                died.push(watch.name());
            }
            process.shutdown_background();
            t.break_connections().await;
        }
        if let Some(frozen) = runtime {
            let other = t.work_without_mail(broken(CrashPoints::default())).await;
            // It wakes, and is given the time to do what it had in mind.
            first.woken.notified().await;
            tokio::time::sleep(LEASE).await;
            other.close().await;
            frozen.shutdown_background();
            t.break_connections().await;
        }
        let last = t.work_with(broken(CrashPoints::default())).await;
        finished(&t, way, booking, &died).await;
        last.close().await;
    } else {
        let worker = started.await.unwrap();
        finished(&t, way, booking, &died).await;
        drop(worker);
        runtime.shutdown_background();
    }
    let saga = newest(&t, booking).await;
    Outcome {
        points: first.seen.load(Ordering::SeqCst),
        state: state_of(&t, saga).await,
        wrong: referee::violations(&t, saga, booking).await,
        died,
    }
}

/// What stands before a cancellation: a booking that is confirmed and told, and somebody's word. Nobody works yet.
async fn prepare(t: &TestDesk, way: Way) -> Option<(Uuid, Uuid)> {
    match way {
        Way::GiveUp | Way::CallOff | Way::GiveUpPart => {}
        Way::UndoPart => return Some(prepare_part(t).await),
        _ => return None,
    }
    let worker = t.work().await;
    let booked = t.book(&t.desk(None), way.request()).await;
    t.wait_for_saga(booked.booking_id, "completed").await;
    worker.close().await;
    let desk = t.desk(None);
    let saga = saga_of(t, booked.booking_id).await;
    let plan = look(&desk, saga, "cancel").await;
    let given_up = ask(saga, "cancel", &plan);
    let cancellation = given_up.command_id;
    sagas::command(&desk, given_up).await.unwrap();
    if way == Way::CallOff {
        let plan = look(&desk, cancellation, "compensate").await;
        sagas::command(&desk, ask(cancellation, "compensate", &plan))
            .await
            .unwrap();
    }
    if way == Way::GiveUpPart {
        // Always: of the first refusal alone the answer may come too late on a busy machine.
        t.sandbox
            .faults()
            .add(Rule::rate("refund", 1.0, 1, Fault::Refused));
        let worker = t.work().await;
        over(t, booked.booking_id).await;
        worker.close().await;
        t.sandbox.faults().clear();
        give_part(&desk, cancellation, 5000).await;
    }
    Some((cancellation, booked.booking_id))
}

/// A booking that nobody could be told of, and somebody's word that a part of its money goes back.
async fn prepare_part(t: &TestDesk) -> (Uuid, Uuid) {
    policy(t, "park", 1_000_000, 3, 24).await;
    let worker = t.work().await;
    let it = stuck(t, &worker, 0).await;
    worker.close().await;
    give_part(&t.desk(None), it.saga, 5000).await;
    (it.saga, it.booking)
}

async fn newest(t: &TestDesk, booking: Uuid) -> Uuid {
    sqlx::query_scalar(
        "select saga_id from saga.instance where booking_id = $1 order by created_at desc limit 1",
    )
    .bind(booking)
    .fetch_one(&t.worker_pool)
    .await
    .unwrap()
}

async fn state_of(t: &TestDesk, saga: Uuid) -> String {
    sqlx::query_scalar("select state from saga.instance where saga_id = $1")
        .bind(saga)
        .fetch_one(&t.worker_pool)
        .await
        .unwrap()
}

/// No saga of the booking goes on by itself any more.
async fn over(t: &TestDesk, booking: Uuid) {
    loop {
        let states: Vec<String> =
            sqlx::query_scalar("select state from saga.instance where booking_id = $1")
                .bind(booking)
                .fetch_all(&t.worker_pool)
                .await
                .unwrap();
        let over = |s: &String| ["completed", "compensated", "parked"].contains(&s.as_str());
        if !states.is_empty() && states.iter().all(over) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn finished(t: &TestDesk, way: Way, booking: Uuid, died: &[String]) {
    let settled = tokio::time::timeout(Duration::from_secs(25), over(t, booking));
    if settled.await.is_err() {
        let rows: Vec<String> = sqlx::query_scalar(
            "select row_to_json(i)::text from saga.instance i where booking_id = $1
             union all select row_to_json(d)::text from delivery.deliveries d",
        )
        .bind(booking)
        .fetch_all(&t.worker_pool)
        .await
        .unwrap();
        panic!("{way:?} died at {died:?}: the saga does not end: {rows:#?}");
    }
}

/// Every one of these runs, a few at a time. Returns what went wrong, by where the worker died.
async fn each(
    way: Way,
    all: Vec<Vec<usize>>,
    fate: Fate,
    without: Option<Without>,
) -> Vec<(Vec<String>, Vec<String>)> {
    let runs = all.iter().map(|deaths| run(way, deaths, fate, without));
    futures_util::stream::iter(runs)
        .buffer_unordered(4)
        .map(|mut done| {
            if !way.ends().contains(&done.state.as_str()) {
                done.wrong.push(format!("it is {}", done.state));
            }
            (done.died, done.wrong)
        })
        .filter(|(_, wrong)| std::future::ready(!wrong.is_empty()))
        .collect()
        .await
}

async fn points_of(way: Way) -> usize {
    let dry = run(way, &[], Fate::Dies, None).await;
    assert_eq!(dry.state, way.ends()[0], "{way:?}");
    assert_eq!(dry.wrong, Vec::<String>::new(), "{way:?}");
    // Later runs may pass fewer points before they settle; the last ones are of the message.
    dry.points
}

async fn dies_everywhere(way: Way, least: usize) {
    let points = points_of(way).await;
    assert!(points >= least, "{way:?}: only {points} points were passed");
    let all = (0..points).map(|at| vec![at]).collect();
    let wrong = each(way, all, Fate::Dies, None).await;
    assert!(wrong.is_empty(), "{way:?}: {wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_anywhere_on_the_happy_path_costs_nothing() {
    dies_everywhere(Way::Book, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_anywhere_while_undoing_gives_everything_back_once() {
    dies_everywhere(Way::BookToNobody, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_anywhere_in_a_free_booking_costs_nothing() {
    dies_everywhere(Way::BookFree, 3).await;
    dies_everywhere(Way::BookFreeToNobody, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_anywhere_in_a_cancellation_refunds_what_was_agreed_once() {
    dies_everywhere(Way::GiveUp, 5).await;
    dies_everywhere(Way::CallOff, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_anywhere_while_a_part_goes_back_gives_that_part_once_and_no_more() {
    dies_everywhere(Way::UndoPart, 5).await;
    dies_everywhere(Way::GiveUpPart, 4).await;
}

/// Each third point of the first worker with each fourth of the second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn two_workers_that_die_one_after_the_other_cost_nothing() {
    for way in Way::ALL {
        let points = points_of(way).await;
        let pairs = (0..points)
            .step_by(3)
            .flat_map(|a| (0..points).step_by(4).map(move |b| vec![a, b]))
            .collect();
        let wrong = each(way, pairs, Fate::Dies, None).await;
        assert!(wrong.is_empty(), "{way:?}: {wrong:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_worker_frozen_for_two_leases_anywhere_writes_nothing_when_it_wakes() {
    for way in [Way::Book, Way::GiveUp] {
        let points = points_of(way).await;
        let all = (0..points).map(|at| vec![at]).collect();
        let wrong = each(way, all, Fate::Freezes, None).await;
        assert!(wrong.is_empty(), "{way:?}: {wrong:#?}");
    }
}

/// The same suite, one promise taken away: it must notice.
async fn is_noticed(way: Way, fate: Fate, without: Without) {
    let points = points_of(way).await;
    let all = (0..points).map(|at| vec![at]).collect();
    let wrong = each(way, all, fate, Some(without)).await;
    assert!(!wrong.is_empty(), "without {without:?} nothing went wrong");
    println!("without {without:?}: {wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_key_the_same_deaths_cost_money() {
    is_noticed(Way::Book, Fate::Dies, Without::Key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_the_provider_keeps_is_looked_up_and_without_the_look_it_costs_money() {
    let kept = |without| run(Way::Book, &[], Fate::Dies, without);
    let whole = {
        let t = test_desk().await;
        let stored = Fault::Stored500 { effect: true };
        t.sandbox
            .faults()
            .add(Rule::nth("create_intent", 1, stored));
        let worker = t.work().await;
        let booked = t
            .book(&t.desk(Some(worker.worker.clone())), Way::Book.request())
            .await;
        t.wait_for_saga(booked.booking_id, "completed").await;
        let saga = saga_of(&t, booked.booking_id).await;
        let wrong = referee::violations(&t, saga, booked.booking_id).await;
        worker.close().await;
        wrong
    };
    assert_eq!(whole, Vec::<String>::new());
    let broken = kept(Some(Without::Lookup)).await;
    assert!(
        !broken.wrong.is_empty(),
        "without the look-up nothing went wrong"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn without_the_fence_a_frozen_worker_rewrites_what_another_has_done() {
    is_noticed(Way::Book, Fate::Freezes, Without::Fence).await;
}
