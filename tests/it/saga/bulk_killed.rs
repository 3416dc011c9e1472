//! One decision for many, whose workers are killed in the middle of it: it goes on where it was, each saga has its one result, and
//! what went back is what the preview said less what was left out.

use std::time::Duration;

use bizing_engine::app::desk::Desk;
use bizing_engine::app::sagas;
use bizing_engine::app::wire::*;
use sqlx::PgPool;
use uuid::Uuid;

use super::adopting::no_change_without_a_command;
use super::chaos::{self, Processes};
use super::hands::*;
use super::referee;
use crate::support::desk::TestDesk;
use crate::support::wait_until;

const WORKERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_for_many_survives_its_workers_deaths_and_adds_up() {
    killed(24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "200 bookings, some minutes: make test-long"]
async fn a_decision_for_two_hundred_survives_its_workers_deaths_and_adds_up() {
    killed(200).await;
}

async fn killed(count: usize) {
    let t = TestDesk::with(chaos::policy()).await;
    policy(&t, "park", 100_000_000, 1000, 24).await;
    let all = many_stuck(&t, count).await;
    let desk = t.desk(None);
    let request = PreviewBatch {
        action: "compensate".to_owned(),
        saga_ids: all.iter().map(|it| it.saga).collect(),
        filter: None,
    };
    let plan = sagas::preview_batch(&desk, request).await.unwrap();
    assert_eq!((plan.members.len(), plan.refused.len()), (count, 0));
    assert_eq!(plan.refunds[0].amount_minor, 8000 * count as i64);

    // Between looking and pressing three are settled otherwise: the first, one in the middle, the last.
    let changed = [0, count / 2, count - 1];
    for n in changed {
        let seen = look(&desk, all[n].saga, "skip").await;
        sagas::command(&desk, ask(all[n].saga, "skip", &seen))
            .await
            .unwrap();
    }
    let start = StartBatch {
        batch_id: Uuid::now_v7(),
        action: "compensate".to_owned(),
        typed: Some(count as u32),
        members: plan.members,
        to: None,
        reason: "the mail server was down, all were called".to_owned(),
    };
    let batch = sagas::start_batch(&desk, start).await.unwrap().batch_id;

    let owner = t.db.superuser_pool().await;
    let mut processes = Processes::of(&t);
    for part in 1..=3 {
        while processes.running.len() < WORKERS {
            processes.start();
        }
        let (done, left) =
            killed_after(&owner, batch, (count * part / 4) as i64, &mut processes).await;
        assert!(done > 0 && left > 0, "in the middle of it: {done}, {left}");
        assert!(processes.running.is_empty());
    }
    processes.start();
    processes.start();
    wait_until("the rest is done", Duration::from_secs(600), || async {
        let batch = sagas::get_batch(&desk, GetBatch { batch_id: batch }).await;
        batch.is_ok_and(|page| page.batch.state == "done")
    })
    .await;
    for (n, it) in all.iter().enumerate() {
        let end = match changed.contains(&n) {
            true => "completed",
            false => "compensated",
        };
        t.wait_for_saga(it.booking, end).await;
        referee::check(&t, it.booking).await;
    }
    adds_up(&t, &desk, batch, count, &all, &changed).await;
    no_change_without_a_command(&owner).await;
}

async fn adds_up(
    t: &TestDesk,
    desk: &Desk,
    batch: Uuid,
    count: usize,
    all: &[Made],
    changed: &[usize],
) {
    let page = sagas::get_batch(desk, GetBatch { batch_id: batch })
        .await
        .unwrap();
    assert_eq!(
        (page.batch.applied as usize, page.batch.left),
        (count - 3, 0)
    );
    let refused: Vec<(Uuid, &str)> = page
        .batch
        .refused
        .iter()
        .map(|r| (r.saga_id, r.reason.as_str()))
        .collect();
    let expected: Vec<(Uuid, &str)> = changed
        .iter()
        .map(|n| (all[*n].saga, "It changed while you looked."))
        .collect();
    assert_eq!(refused, expected, "each by name, with its reason");
    assert_eq!(page.items.len(), count);
    assert_eq!(page.refunded[0].amount_minor, 8000 * (count as i64 - 3));
    let payments = t.sandbox.ledger().payments;
    assert!(
        payments
            .iter()
            .all(|p| p.refunded == 0 || p.refunded == 8000)
    );
    let at_provider: i64 = payments.iter().map(|p| p.refunded).sum();
    assert_eq!(
        at_provider,
        8000 * (count as i64 - 3),
        "the preview less what was left out"
    );
    let audit: (i64, i64) = sqlx::query_as(
        "select count(*), count(distinct saga_id) from saga.command where batch_id = $1 and status = 'applied'",
    )
    .bind(batch)
    .fetch_one(&t.db.superuser_pool().await)
    .await
    .unwrap();
    assert_eq!(
        audit,
        (count as i64 - 3, count as i64 - 3),
        "each has one line in the audit"
    );
}

/// Kills all workers once so many sagas had their turn, while the batch cannot go on: whoever works at it holds its row. Returns how
/// many had it, and how many had not.
async fn killed_after(
    owner: &PgPool,
    batch: Uuid,
    least: i64,
    processes: &mut Processes,
) -> (i64, i64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
    loop {
        let mut hold = bizing_engine::store::begin(owner).await.unwrap();
        sqlx::query("select from saga.batch where batch_id = $1 for update")
            .bind(batch)
            .execute(&mut *hold)
            .await
            .unwrap();
        let (done, left): (i64, i64) = sqlx::query_as(
            "select count(*) filter (where status <> 'pending'), count(*) filter (where status = 'pending') from saga.batch_item where batch_id = $1",
        )
        .bind(batch)
        .fetch_one(&mut *hold)
        .await
        .unwrap();
        if done >= least {
            while !processes.running.is_empty() {
                processes.kill(0);
            }
            hold.rollback().await.unwrap();
            return (done, left);
        }
        hold.rollback().await.unwrap();
        assert!(
            tokio::time::Instant::now() < deadline,
            "{done} of {least} had their turn"
        );
        // Whoever works at it has its chance between two looks.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Paid and confirmed, and nobody could be told: each waits for a person, and nobody works.
async fn many_stuck(t: &TestDesk, count: usize) -> Vec<Made> {
    let worker = t.work().await;
    let mut all = vec![];
    for n in 0..count as u32 {
        let request = CreateBooking {
            customer: to_nobody(n).customer,
            ..far_slot(n)
        };
        let booked = t.book(&t.desk(Some(worker.worker.clone())), request).await;
        all.push(booked.booking_id);
    }
    wait_until(
        "all wait for a person",
        Duration::from_secs(600),
        || async {
            let parked: i64 =
                sqlx::query_scalar("select count(*) from saga.instance where state = 'parked'")
                    .fetch_one(&t.worker_pool)
                    .await
                    .unwrap();
            parked == count as i64
        },
    )
    .await;
    worker.close().await;
    let mut made = vec![];
    for booking in all {
        made.push(Made {
            saga: saga_of(t, booking).await,
            booking,
        });
    }
    made
}
