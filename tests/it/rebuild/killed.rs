//! Workers that race for a rebuild, and workers that die over one.

use super::*;

#[tokio::test]
async fn a_worker_killed_inside_the_swap_leaves_what_was_read_and_the_next_one_swaps() {
    let w = World::new().await;
    let right = w.rows("bookings").await;
    let id = w.whole("bookings", "rebuild").await;
    w.work_until(id, "waits_for_swap").await;
    let before = w.generation("bookings").await;
    assert_eq!(w.change(id, "swap").await, "done");

    // Somebody reads the list for a while: the swap waits for them in the middle of its transaction, and dies there.
    let superuser = w.s.db.superuser_pool().await;
    let mut reader = w.s.people.begin().await.unwrap();
    sqlx::query("select count(*) from read.bookings_v1")
        .execute(&mut *reader)
        .await
        .unwrap();
    let killed = wait_until("a swap", Duration::from_secs(60), || async {
        let killed: Option<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and query like 'select core.swap_rebuild%' and wait_event_type = 'Lock'",
        )
        .fetch_optional(&superuser)
        .await
        .unwrap();
        killed == Some(true)
    });
    let rebuilder = w.rebuilder();
    let (ended, ()) = tokio::join!(rebuilder.round(), killed);
    assert!(ended.is_err(), "its connection was cut: {ended:?}");
    assert_eq!(w.generation("bookings").await, before);
    assert_eq!(w.state(id).await.0, "running");
    reader.rollback().await.unwrap();
    assert_eq!(w.rows("bookings").await, right);

    w.work_until(id, "done").await;
    assert!(w.generation("bookings").await > before);
    assert_eq!(w.rows("bookings").await, right);
}

#[tokio::test]
async fn two_workers_race_for_one_rebuild_and_one_has_it() {
    let w = World::new().await;
    let id = w.whole("timeline", "dry_run").await;
    let (a, b) = (w.rebuilder(), w.rebuilder());
    let (x, y) = tokio::join!(a.round(), b.round());
    assert!(x.unwrap() ^ y.unwrap(), "exactly one of them claims it");
    let (state, compare, _) = w.state(id).await;
    assert_eq!(state, "done");
    same(&compare.unwrap());
}

/// Twenty workers die at random points of one rebuild, their server processes with them, while the log grows and a
/// window reads. Nothing may be missing or counted twice, and the window must not notice, the swap included.
#[tokio::test]
async fn workers_killed_at_random_points_while_the_log_grows_lose_and_double_nothing() {
    let w = World::new().await;
    let ids: Vec<Uuid> = sqlx::query_scalar("select booking_id from read.bookings_v1")
        .fetch_all(&w.s.people)
        .await
        .unwrap();
    let rows = ids.len() as i64;

    let stop = CancellationToken::new();
    let mut others = JoinSet::new();
    let (worker, done) = (w.s.worker.clone(), stop.clone());
    others.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        // On a busy machine the log is not to grow faster than its readers can follow.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for (n, id) in ids.iter().cycle().enumerate() {
            if done.is_cancelled() {
                return;
            }
            pace.tick().await;
            let sent = json!({ "delivery_id": Uuid::now_v7(), "template": "booking_confirmed", "channel": "email",
                               "provider_message_id": format!("<{n}@halcyon.example>"), "attempt": 1 });
            append_raw(&worker, &format!("booking-{id}"), "NotificationSent", sent).await;
        }
    });
    let (tail, done) = (w.s.tail(), stop.clone());
    others.spawn(async move {
        while !done.is_cancelled() {
            if !tail.round().await.unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let (window, done) = (w.s.people.clone(), stop.clone());
    others.spawn(async move {
        while !done.is_cancelled() {
            let seen: i64 = sqlx::query_scalar("select count(*) from read.bookings_v1")
                .fetch_one(&window)
                .await
                .expect("no read fails");
            assert_eq!(seen, rows, "no reader sees half a table");
        }
    });

    let superuser = w.s.db.superuser_pool().await;
    let mut id = w.whole("bookings", "rebuild").await;
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let mut dice: u64 = seed.unwrap_or_else(|| Uuid::now_v7().as_u128() as u64 | 1);
    println!("SEED={dice}");
    let mut lives = 0;
    let mut died_in = BTreeMap::<String, u32>::new();
    while lives < 20 {
        if w.state(id).await.0 == "waits_for_swap" {
            assert_eq!(w.change(id, "cancel").await, "done");
            w.work_until(id, "cancelled").await;
            id = w.whole("bookings", "rebuild").await;
        }
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let pool = projection::pool(&w.s.worker, 4).await.unwrap();
        let doomed = Rebuilder::new(pool, Hints::default());
        let life = tokio::spawn(async move { while let Ok(true) = doomed.round().await {} });
        tokio::time::sleep(Duration::from_millis(10 + dice % 800)).await;
        life.abort();
        // The server's side of that worker: what it had open is rolled back, as after kill -9.
        sqlx::query(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity a
              where datname = current_database() and application_name = 'bizing-desk projections'
                and pid <> all($1)",
        )
        .bind(backends(&w.projector).await)
        .execute(&superuser)
        .await
        .unwrap();
        let phase: String =
            sqlx::query_scalar("select phase from read.rebuilds where rebuild_id = $1")
                .bind(id)
                .fetch_one(&w.s.people)
                .await
                .unwrap();
        *died_in.entry(phase).or_default() += 1;
        sqlx::query("update read.rebuilds set lease_until = null")
            .execute(&w.projector)
            .await
            .unwrap();
        lives += 1;
    }
    println!("{lives} workers died: {died_in:?}");
    assert!(
        lives >= 3,
        "a rebuild that nobody could disturb proves nothing"
    );
    w.work_until(id, "waits_for_swap").await;
    assert_eq!(w.change(id, "swap").await, "done");
    w.work_until(id, "done").await;
    stop.cancel();
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }

    // At rest, a rebuild from nothing says what is right.
    w.s.follow().await;
    let id = w.whole("bookings", "dry_run").await;
    same(&w.work_until(id, "done").await);
}

/// Server processes of a pool that is to live.
async fn backends(pool: &PgPool) -> Vec<i32> {
    let mut held = vec![];
    let mut pids = vec![];
    for _ in 0..pool.size().max(1) {
        let mut conn = pool.acquire().await.unwrap();
        pids.push(
            sqlx::query_scalar("select pg_backend_pid()")
                .fetch_one(&mut *conn)
                .await
                .unwrap(),
        );
        held.push(conn);
    }
    pids
}
