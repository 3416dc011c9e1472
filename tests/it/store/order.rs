//! No event is skipped, none comes twice, none out of order: writers that hold their transactions, roll back and are
//! killed; committers whose backends are killed; two runners that fight for one checkpoint; a foreign transaction left open.
//! A short run is part of every test run, the long one is `make stress-order`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::Expected;
use bizing_engine::store::committer::{Committer, Settings};
use bizing_engine::store::read;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinSet;

use super::subscribe::{Dice, Follower};
use super::*;
use crate::support::db::TestDb;

struct Stress {
    seed: u64,
    /// Every fourth of them appends through the committers.
    writers: u64,
    lasting: Duration,
    /// How long an append may be held open. One in twelve is held long.
    held_ms: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_live_reader_sees_every_event_once_and_in_order_among_held_rolled_back_and_killed_writers()
 {
    Stress {
        seed: seed(20_261),
        writers: 16,
        lasting: Duration::from_secs(3),
        held_ms: 150,
    }
    .run()
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes: make stress-order"]
async fn stress_order() {
    let lasting = std::env::var("SECONDS_LONG")
        .ok()
        .and_then(|s| s.parse().ok());
    Stress {
        seed: seed(u64::from(std::process::id())),
        writers: 64,
        lasting: Duration::from_secs(lasting.unwrap_or(60)),
        held_ms: 2_000,
    }
    .run()
    .await;
}

fn seed(usual: u64) -> u64 {
    let given = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or(usual)
}

#[derive(Default)]
struct Wrote {
    acknowledged: Vec<String>,
    rolled_back: usize,
    killed: usize,
}

impl Stress {
    async fn run(self) {
        let seed = self.seed;
        println!("SEED={seed}");
        let db = Arc::new(TestDb::new().await);
        let superuser = db.superuser_pool().await;
        sqlx::raw_sql(
            "create table public.seen (n bigserial primary key, position bigint not null, text text not null);
             create table public.stands (position bigint not null);
             insert into public.stands values (0);
             grant all on all tables in schema public to public; grant all on all sequences in schema public to public;",
        )
        .execute(&superuser)
        .await
        .unwrap();
        // It holds back what is cleaned up on the whole server, and no reader of this log.
        let elsewhere = TestDb::new().await;
        let mut foreign = PgConnection::connect_with(&elsewhere.superuser())
            .await
            .unwrap();
        sqlx::raw_sql("begin; create table left_open ()")
            .execute(&mut foreign)
            .await
            .unwrap();

        let finished = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        readers.spawn(follow(db.clone(), finished.clone()));
        let mut runners = JoinSet::new();
        for r in 0..2 {
            runners.spawn(apply(db.clone(), finished.clone(), Dice(seed + 1_000 + r)));
        }

        let tasks = Tasks::default();
        let committer = Committer::start(
            db.login("worker"),
            &tasks,
            Bell::default(),
            Settings {
                // Sessions die faster than a busy machine makes new ones; nobody is to give up over that.
                connect: Duration::from_secs(300),
                lookup: Duration::from_secs(300),
                ..Settings::default()
            },
        );
        let began = Instant::now();
        let mut writers = JoinSet::new();
        for w in 0..self.writers {
            let dice = Dice(seed + w);
            if w % 4 == 3 {
                let (committer, lasting) = (committer.clone(), self.lasting);
                writers.spawn(async move { by_committer(committer, w, began, lasting).await });
            } else {
                let (db, superuser) = (db.clone(), superuser.clone());
                let (lasting, held) = (self.lasting, self.held_ms);
                writers.spawn(async move {
                    by_transaction(&db, &superuser, w, dice, began, lasting, held).await
                });
            }
        }
        let mut dice = Dice(seed + 5_000);
        while began.elapsed() < self.lasting {
            tokio::time::sleep(Duration::from_millis(100 + dice.roll(400))).await;
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'bizing-desk committer'
                  order by pid limit 1",
            )
            .execute(&superuser)
            .await
            .unwrap();
        }
        let mut all = Wrote::default();
        for wrote in writers.join_all().await {
            all.acknowledged.extend(wrote.acknowledged);
            all.rolled_back += wrote.rolled_back;
            all.killed += wrote.killed;
        }
        tasks.shut_down().await;
        finished.store(true, Ordering::SeqCst);
        let seen = readers.join_next().await.unwrap().unwrap();
        runners.join_all().await;

        println!(
            "{} events acknowledged, {} appends rolled back, {} writers killed",
            all.acknowledged.len(),
            all.rolled_back,
            all.killed
        );
        assert!(
            all.killed > 0 && all.rolled_back > 0 && all.acknowledged.len() > 100,
            "seed {seed}"
        );
        all.acknowledged.sort();
        verify(seed, "a follower", seen, &all.acknowledged);
        let applied: Vec<(i64, String)> =
            sqlx::query_as("select position, text from public.seen order by n")
                .fetch_all(&superuser)
                .await
                .unwrap();
        verify(seed, "two runners", applied, &all.acknowledged);
        foreign.close().await.unwrap();
    }
}

/// `seen` in the order in which it was seen.
fn verify(seed: u64, who: &str, seen: Vec<(i64, String)>, acknowledged: &[String]) {
    assert!(
        seen.windows(2).all(|w| w[0].0 < w[1].0),
        "seed {seed}: {who} saw events out of order or twice"
    );
    let mut texts: Vec<String> = seen.into_iter().map(|(_, text)| text).collect();
    texts.sort();
    let missed = acknowledged
        .iter()
        .filter(|t| texts.binary_search(t).is_err())
        .count();
    assert_eq!(missed, 0, "seed {seed}: {who} missed events");
    assert_eq!(
        texts, acknowledged,
        "seed {seed}: {who} saw what was never acknowledged"
    );
}

async fn by_committer(committer: Committer, w: u64, began: Instant, lasting: Duration) -> Wrote {
    let mut wrote = Wrote::default();
    for n in 0.. {
        if began.elapsed() >= lasting {
            break;
        }
        let text = format!("{w}.{n}");
        committer
            .append(&context(), notes(new_booking(), Expected::Any, &[&text]))
            .await
            .unwrap();
        wrote.acknowledged.push(text);
        // A pace that leaves the others some of the machine.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wrote
}

async fn by_transaction(
    db: &TestDb,
    superuser: &PgPool,
    w: u64,
    mut dice: Dice,
    began: Instant,
    lasting: Duration,
    held_ms: u64,
) -> Wrote {
    let connect = async || {
        PgConnection::connect_with(&db.login("worker"))
            .await
            .unwrap()
    };
    let (mut conn, mut wrote) = (connect().await, Wrote::default());
    for n in 0.. {
        if began.elapsed() >= lasting {
            break;
        }
        let texts = [format!("{w}.{n}"), format!("{w}.{n}b")];
        let mut tx = conn.begin().await.unwrap();
        let appends = texts
            .iter()
            .map(|t| notes(new_booking(), Expected::Any, &[t]));
        append_in(&mut tx, &context(), appends.collect())
            .await
            .unwrap();
        // Held open while others draw later positions and commit before us.
        let held = match dice.roll(12) {
            0 => dice.roll(held_ms),
            _ => dice.roll(held_ms / 20 + 1),
        };
        sqlx::query("select pg_sleep($1)")
            .bind(held as f64 / 1000.0)
            .execute(&mut *tx)
            .await
            .unwrap();
        match dice.roll(100) {
            0..9 => {
                tx.rollback().await.unwrap();
                wrote.rolled_back += 1;
            }
            9..13 => {
                let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
                sqlx::query("select pg_terminate_backend($1)")
                    .bind(pid)
                    .execute(superuser)
                    .await
                    .unwrap();
                assert!(
                    tx.commit().await.is_err(),
                    "a killed writer commits nothing"
                );
                conn = connect().await;
                wrote.killed += 1;
            }
            _ => {
                tx.commit().await.unwrap();
                wrote.acknowledged.extend(texts);
            }
        }
    }
    wrote
}

/// Follows the log by itself until nothing can come any more.
async fn follow(db: Arc<TestDb>, finished: Arc<AtomicBool>) -> Vec<(i64, String)> {
    let mut conn = PgConnection::connect_with(&db.login("worker"))
        .await
        .unwrap();
    let mut follower = Follower::new();
    loop {
        let last_look = finished.load(Ordering::SeqCst);
        follower.step(&mut conn, 7).await;
        if last_look && !behind(&mut conn, follower.checkpoint).await {
            return follower.seen;
        }
    }
}

/// One of two that move the same checkpoint, rows and checkpoint in one transaction, and now and then lose it all.
async fn apply(db: Arc<TestDb>, finished: Arc<AtomicBool>, mut dice: Dice) {
    let mut conn = PgConnection::connect_with(&db.login("worker"))
        .await
        .unwrap();
    loop {
        let last_look = finished.load(Ordering::SeqCst);
        let safe = read::safe_position(&mut conn).await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let stands: Option<i64> =
            sqlx::query_scalar("select position from public.stands for update skip locked")
                .fetch_optional(&mut *tx)
                .await
                .unwrap();
        let Some(from) = stands else {
            drop(tx);
            tokio::task::yield_now().await;
            continue;
        };
        let page = read::log(&mut tx, from, safe, 50).await.unwrap();
        let upto = match page.last() {
            Some(last) if page.len() == 50 => last.position,
            _ => safe.max(from),
        };
        sqlx::query("insert into public.seen (position, text) select p, t from unnest($1::bigint[], $2::text[]) with ordinality u(p, t, o) order by o")
            .bind(page.iter().map(|r| r.position).collect::<Vec<_>>())
            .bind(page.iter().map(|r| r.data.value()["provider_message_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query("update public.stands set position = $1")
            .bind(upto)
            .execute(&mut *tx)
            .await
            .unwrap();
        if dice.roll(10) == 0 && !last_look {
            tx.rollback().await.unwrap();
            continue;
        }
        tx.commit().await.unwrap();
        if last_look && !behind(&mut conn, upto).await {
            return;
        }
    }
}

async fn behind(conn: &mut PgConnection, checkpoint: i64) -> bool {
    sqlx::query_scalar("select coalesce(max(position), 0) > $1 from core.events")
        .bind(checkpoint)
        .fetch_one(conn)
        .await
        .unwrap()
}
