//! The door for pure appends: shared commits, order on each stream, faults that hit one request only, answers that are true.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bizing_engine::domain::ids::CommandId;
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::{AppendError, Expected};
use bizing_engine::store::committer::{Committer, Settings};
use futures_util::future::join_all;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::*;
use crate::support::db::TestDb;
use crate::support::proxy::{Cut, Proxy};
use crate::support::wait_until;

struct Door {
    committer: Committer,
    tasks: Tasks,
}

impl Door {
    fn new(login: PgConnectOptions, settings: Settings) -> Door {
        let tasks = Tasks::default();
        let committer = Committer::start(login, &tasks, Bell::default(), settings);
        Door { committer, tasks }
    }

    fn of(db: &TestDb) -> Door {
        Door::new(db.login("worker"), Settings::default())
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.committer.append(&context(), append).await
    }
}

/// One committer: what is asked for while it works waits together.
fn single() -> Settings {
    Settings {
        committers: 1,
        ..Settings::default()
    }
}

#[tokio::test]
async fn requests_that_wait_together_share_a_commit_and_each_gets_its_own_answer() {
    let db = TestDb::new().await;
    let door = Door::new(db.login("worker"), single());
    let bookings: Vec<_> = (0..100).map(|_| new_booking()).collect();
    let answers = join_all(
        bookings
            .iter()
            .map(|b| door.append(notes(*b, Expected::Version(0), &["a", "b"]))),
    )
    .await;
    let pool = db.pool("worker").await;
    for (booking, answer) in bookings.iter().zip(answers) {
        let answer = answer.unwrap();
        assert_eq!(answer.version, 2);
        let stored: (i64, i64) = sqlx::query_as(
            "select first_position, last_position from core.streams where stream_id = $1",
        )
        .bind(format!("booking-{booking}"))
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(
            (answer.first_position, answer.last_position),
            (Some(stored.0), Some(stored.1))
        );
    }
    let commits = count(
        &pool,
        "(select distinct xmin::text from core.events) as commits",
    )
    .await;
    assert!(
        commits < 10,
        "100 requests in {commits} commits, with one committer"
    );
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn requests_of_one_stream_are_carried_out_in_the_order_in_which_they_were_asked_for() {
    let db = TestDb::new().await;
    let door = Door::of(&db);
    let (booking, other) = (new_booking(), new_booking());
    let answers = join_all((0..100).map(|n| {
        // Each expects the one before, so any other order is a conflict.
        let append = notes(booking, Expected::Version(n), &[&n.to_string()]);
        async { door.append(append).await }
    }));
    let others = join_all((0..20).map(|_| door.append(notes(other, Expected::Any, &["x"]))));
    let (answers, others) = tokio::join!(answers, others);
    let versions: Vec<i64> = answers.into_iter().map(|a| a.unwrap().version).collect();
    assert_eq!(versions, (1..=100).collect::<Vec<_>>());
    assert!(others.into_iter().all(|a| a.is_ok()));
    let pool = db.pool("worker").await;
    assert_eq!(
        texts(&pool, booking).await,
        (0..100).map(|n: i64| n.to_string()).collect::<Vec<_>>()
    );
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn a_request_that_the_database_cannot_take_fails_alone() {
    let db = TestDb::new().await;
    let door = Door::new(db.login("worker"), single());
    let first = notes(new_booking(), Expected::Any, &["first"]);
    let taken_id = first.events[0].id;
    door.append(first).await.unwrap();

    let bookings: Vec<_> = (0..30).map(|_| new_booking()).collect();
    let answers = join_all(bookings.iter().enumerate().map(|(n, b)| {
        let mut append = notes(*b, Expected::Version(0), &["x"]);
        if n == 17 {
            append.events[0].id = taken_id;
        }
        async { door.append(append).await }
    }))
    .await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(a) => assert!(n != 17 && a.version == 1, "{n}"),
            Err(AppendError::DuplicateEvent { event }) => {
                assert_eq!((n, *event), (17, taken_id.0));
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    let pool = db.pool("worker").await;
    assert_eq!(count(&pool, "core.events").await, 30);
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn conflicts_are_statuses_so_the_neighbours_of_one_are_committed_with_it() {
    let db = TestDb::new().await;
    let door = Door::new(db.login("worker"), single());
    let booking = new_booking();
    let (a, b, c) = tokio::join!(
        door.append(notes(booking, Expected::Version(0), &["a"])),
        door.append(notes(booking, Expected::Version(0), &["b"])),
        door.append(notes(booking, Expected::Version(1), &["c"])),
    );
    assert_eq!((a.unwrap().version, c.unwrap().version), (1, 2));
    assert!(
        matches!(b, Err(AppendError::Conflict { actual: 1, .. })),
        "{b:?}"
    );
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn a_stream_that_somebody_holds_keeps_only_its_own_requests_waiting_and_in_order() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let door = Door::new(db.login("worker"), single());
    let (held, free) = (new_booking(), new_booking());
    one(&pool, notes(held, Expected::Any, &["0"]))
        .await
        .unwrap();

    let mut tx = pool.begin().await.unwrap();
    append_in(
        &mut tx,
        &context(),
        vec![notes(held, Expected::Any, &["by the use case"])],
    )
    .await
    .unwrap();
    let waiting = tokio::spawn({
        let committer = door.committer.clone();
        async move {
            let context = context();
            join_all(
                ["1", "2", "3"]
                    .map(|t| committer.append(&context, notes(held, Expected::Any, &[t]))),
            )
            .await
        }
    });
    for n in 0..20 {
        let done = tokio::time::timeout(
            Duration::from_secs(5),
            door.append(notes(free, Expected::Version(n), &["free"])),
        );
        done.await
            .expect("not kept waiting by somebody else's stream")
            .unwrap();
    }
    assert!(!waiting.is_finished());
    tx.commit().await.unwrap();
    assert!(waiting.await.unwrap().into_iter().all(|a| a.is_ok()));
    assert_eq!(
        texts(&pool, held).await,
        ["0", "by the use case", "1", "2", "3"]
    );
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn after_its_patience_a_request_says_that_the_stream_is_held_and_wrote_nothing() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let settings = Settings {
        patience: Duration::from_millis(200),
        ..Settings::default()
    };
    let door = Door::new(db.login("worker"), settings);
    let (there, new) = (new_booking(), new_booking());
    one(&pool, notes(there, Expected::Any, &["0"]))
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    let open = vec![
        notes(there, Expected::Any, &["open"]),
        notes(new, Expected::Version(0), &["open"]),
    ];
    append_in(&mut tx, &context(), open).await.unwrap();
    for booking in [there, new] {
        let refused = door.append(notes(booking, Expected::Any, &["late"])).await;
        assert!(
            matches!(&refused, Err(AppendError::Busy { stream }) if *stream == format!("booking-{booking}")),
            "{refused:?}"
        );
    }
    tx.commit().await.unwrap();
    assert_eq!(texts(&pool, there).await, ["0", "open"]);
    door.append(notes(there, Expected::Version(2), &["now"]))
        .await
        .unwrap();
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn a_connection_cut_during_the_commit_leaves_one_event_and_a_true_answer() {
    let db = TestDb::new().await;
    let proxy = Proxy::to_database(&db.login("worker")).await;
    let login = db.login_through("worker", &proxy);
    let pool = db.pool("worker").await;
    for (n, cut) in [
        Cut::BeforeTheAnswer,
        Cut::BeforeTheServer,
        Cut::BeforeTheAnswer,
    ]
    .into_iter()
    .enumerate()
    {
        let door = Door::new(login.clone(), single());
        let booking = new_booking();
        // Without a command and without an expected version nothing but the events' ids can tell.
        door.append(notes(booking, Expected::Any, &["before"]))
            .await
            .unwrap();
        proxy.cut_at("", cut);
        let answer = door
            .append(notes(booking, Expected::Any, &["cut"]))
            .await
            .unwrap();
        assert_eq!(proxy.cuts(), n as u64 + 1, "the connection was cut");
        assert_eq!((answer.version, answer.repeated), (2, false), "{cut:?}");
        assert_eq!(texts(&pool, booking).await, ["before", "cut"], "{cut:?}");
        let after = door
            .append(notes(booking, Expected::Version(2), &["after"]))
            .await
            .unwrap();
        assert_eq!(
            after.first_position,
            answer.last_position.map(|p| p + 1),
            "{cut:?}"
        );
        door.tasks.shut_down().await;
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_half_way_leaves_its_append_whole_and_the_next_one_behind_it() {
    let db = TestDb::new().await;
    let door = Door::of(&db);
    let booking = new_booking();
    for n in 0..20 {
        let mut gone = Box::pin(door.append(notes(booking, Expected::Version(n * 2), &["gone"])));
        // At rest it carries out its own append. It has begun, and is dropped wherever it is by now.
        let _ = futures_util::poll!(&mut gone);
        drop(gone);
        let next = door
            .append(notes(booking, Expected::Version(n * 2 + 1), &["next"]))
            .await
            .unwrap();
        assert_eq!(next.version, n * 2 + 2);
    }
    assert_eq!(
        count(&db.pool("worker").await, "core.events").await,
        40,
        "each once"
    );
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn a_database_that_stays_away_during_a_commit_is_not_guessed_about() {
    let db = TestDb::new().await;
    let proxy = Proxy::to_database(&db.login("worker")).await;
    let login = db.login_through("worker", &proxy);
    let settings = Settings {
        lookup: Duration::from_millis(700),
        ..single()
    };
    let door = Door::new(login, settings);
    let booking = new_booking();
    // The statement of an append with a command is prepared by now, so its one answer is that of the commit.
    let first = CommandId(Uuid::now_v7());
    door.append(notes(booking, Expected::Any, &["before"]).with_command(first))
        .await
        .unwrap();
    let command = CommandId(Uuid::now_v7());
    let send = || door.append(notes(booking, Expected::Any, &["cut"]).with_command(command));
    proxy.cut_at("", Cut::BeforeTheAnswer);
    proxy.set(crate::support::proxy::Line::Refuse);
    let unknown = send().await;
    assert!(
        matches!(unknown, Err(AppendError::Unknown(_))),
        "{unknown:?}"
    );
    // The command makes asking again safe.
    proxy.set(crate::support::proxy::Line::Pass);
    let again = send().await.unwrap();
    assert_eq!((again.version, again.repeated), (2, true));
    door.tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backends_that_are_killed_lose_and_double_nothing() {
    let db = TestDb::new().await;
    let superuser = db.superuser_pool().await;
    let settings = Settings {
        connect: Duration::from_secs(300),
        lookup: Duration::from_secs(300),
        ..Settings::default()
    };
    let door = Door::new(db.login("worker"), settings);
    // They write until enough backends were killed, however fast this computer is.
    let (writers, enough_kills) = (12, 5);
    let killed = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for w in 0..writers {
        let committer = door.committer.clone();
        let killed = killed.clone();
        tasks.spawn(async move {
            let booking = new_booking();
            let mut n: i64 = 0;
            while killed.load(Ordering::Relaxed) < enough_kills || n < 40 {
                let append = notes(booking, Expected::Version(n), &[&format!("{w}.{n}")]);
                let done = committer.append(&context(), append).await.unwrap();
                n += 1;
                assert_eq!(done.version, n);
            }
            n
        });
    }
    while killed.load(Ordering::Relaxed) < enough_kills {
        let found = sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'bizing-desk committer'
                                order by random() limit 1")
            .execute(&superuser)
            .await
            .unwrap()
            .rows_affected();
        killed.fetch_add(found, Ordering::Relaxed);
        // Often enough to hit commits, and not so often that nobody lives long enough to log in on a busy computer.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let written: i64 = tasks.join_all().await.into_iter().sum();
    assert_eq!(count(&superuser, "core.events").await, written);
    door.tasks.shut_down().await;
}

#[tokio::test]
async fn at_the_end_what_waits_is_carried_out_and_nothing_new_is_taken() {
    let db = TestDb::new().await;
    let door = Door::new(db.login("worker"), single());
    let context = context();
    let asked = join_all((0..100).map(|_| {
        door.committer
            .append(&context, notes(new_booking(), Expected::Any, &["x"]))
    }));
    let stopped = async {
        // Only once something waits.
        wait_until("requests wait", Duration::from_secs(5), || async {
            door.committer.pending() > 0
        })
        .await;
        door.tasks.shut_down().await;
    };
    let (answers, ()) = tokio::join!(asked, stopped);
    assert!(answers.into_iter().all(|a| a.is_ok()));
    assert_eq!(door.committer.pending(), 0);
    let late = door
        .append(notes(new_booking(), Expected::Any, &["late"]))
        .await;
    assert!(matches!(late, Err(AppendError::Closing)), "{late:?}");
    assert_eq!(count(&db.pool("worker").await, "core.events").await, 100);
}

#[tokio::test]
async fn whoever_asks_faster_than_the_database_writes_waits_for_room() {
    let db = TestDb::new().await;
    let settings = Settings {
        // Room for eight small requests.
        waiting_bytes: 8 * 1024,
        ..single()
    };
    let door = Door::new(db.login("worker"), settings);
    let answers =
        join_all((0..100).map(|_| door.append(notes(new_booking(), Expected::Any, &["x"]))));
    let watch = async {
        let mut most = 0;
        while door.committer.pending() == 0 {
            tokio::task::yield_now().await;
        }
        while door.committer.pending() > 0 {
            most = most.max(door.committer.pending());
            tokio::task::yield_now().await;
        }
        most
    };
    let (answers, most) = tokio::join!(answers, watch);
    assert!(answers.into_iter().all(|a| a.is_ok()));
    assert!(most <= 8, "{most} waited");
    door.tasks.shut_down().await;
}
