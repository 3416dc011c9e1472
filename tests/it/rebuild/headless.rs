//! `bizing-desk replay`: what it joins, what it swaps, and how it ends.

use bizing_engine::runtime::bell::Bell;

use super::*;
use crate::served;

impl World {
    /// `bizing-desk replay bookings …` under an admin's login, with a worker elsewhere that carries out what is asked.
    async fn replay(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let stop = CancellationToken::new();
        let elsewhere = tokio::spawn(self.rebuilder().run(Bell::default(), stop.clone()));
        let login = self.s.db.login("admin");
        let ended = served::run(&login, &[&["replay", "bookings"], arguments].concat()).await;
        stop.cancel();
        elsewhere.await.unwrap();
        ended
    }
}

#[tokio::test]
async fn the_rebuild_of_a_colleague_is_swapped_by_nobody_who_asked_for_something_else() {
    let w = World::new().await;
    let id = w.whole("bookings", "rebuild").await;
    w.work_until(id, "waits_for_swap").await;
    let stream: String = sqlx::query_scalar(
        "select stream_id from read.events_v1 where stream_id like 'booking-%' limit 1",
    )
    .fetch_one(&w.s.people)
    .await
    .unwrap();

    for other in [
        &["--dry-run", "--yes"][..],
        &["--from", "stream", &stream, "--yes"],
        &["--from", "position", "3", "--yes"],
    ] {
        let (code, said) = w.replay(other).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("a rebuild from the start waits for its swap")
                && said.contains("test_admin_")
                && said.contains(WHY)
                && said.contains("swap or cancel it in the window"),
            "{said}"
        );
        assert_eq!(w.state(id).await.0, "waits_for_swap");
    }
    assert_eq!(w.generation("bookings").await, 1);

    // The very same is gone on with, and swapped by who says so.
    let (code, said) = w.replay(&["--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Going on with the replay"), "{said}");
    assert_eq!(w.state(id).await.0, "done");
    assert_eq!(w.generation("bookings").await, 2);
}

#[tokio::test]
async fn a_dry_run_ends_with_0_where_nothing_differs_with_3_where_rows_do_and_swaps_never() {
    let w = World::new().await;
    let (code, said) = w.replay(&["--dry-run", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the new ones are the live ones"), "{said}");

    sqlx::query("update p_bookings_g1.bookings set reference = 'BK-FALSCH' where booking_id = (select min(booking_id::text)::uuid from p_bookings_g1.bookings)")
        .execute(&w.projector)
        .await
        .unwrap();
    let (code, said) = w.replay(&["--dry-run", "--yes"]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("1 differ, 0 are live only") && said.contains("Nothing was swapped"),
        "{said}"
    );
    assert_eq!(w.generation("bookings").await, 1);

    let (code, said) = w.replay(&["--from", "yesterday"]).await;
    assert_eq!(code, Some(2), "{said}");
    // Nobody at a terminal agrees to anything.
    let (code, said) = w.replay(&[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Nothing is swapped"), "{said}");
    assert_eq!(w.generation("bookings").await, 1);
}

#[tokio::test]
async fn what_paused_rows_have_not_read_yet_is_told_apart_from_what_is_wrong_with_them() {
    let w = World::new().await;
    assert_eq!(w.projection("bookings", "pause", None).await, "done");
    let open: Uuid = sqlx::query_scalar(
        "select booking_id from read.bookings_v1 where state = 'confirmed' limit 1",
    )
    .fetch_one(&w.s.people)
    .await
    .unwrap();
    append_raw(
        &w.s.worker,
        &format!("booking-{open}"),
        "BookingCancelled",
        json!({ "cancelled_by": "customer", "reason_code": "not_told", "reason": null, "refund_due": { "amount_minor": 0, "currency": "EUR" }, "sequence": 1 }),
    )
    .await;
    let (code, said) = w.replay(&["--dry-run"]).await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("1 rows differ") && said.contains("The live rows were parked or paused"),
        "{said}"
    );
}
