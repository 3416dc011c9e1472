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

impl World {
    /// `bizing-desk projections …` under a login of that group.
    async fn projections(&self, group: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let all = [&["projections"], arguments].concat();
        served::run(&self.s.db.login(group), &all).await
    }
}

#[tokio::test]
async fn projections_are_handled_without_a_window_under_the_windows_rules() {
    let w = World::new().await;
    let (code, said) = w.projections("viewer", &["pause", "ledger"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("This needs an admin."), "{said}");

    let pause = ["pause", "ledger", "--reason", "the disk is full"];
    let (code, said) = w.projections("admin", &pause).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = w.projections("viewer", &["list"]).await;
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|l| l.starts_with("ledger")).unwrap();
    assert!(
        line.contains("paused") && line.contains("(“the disk is full”)"),
        "{said}"
    );
    let (code, said) = w.projections("admin", &["resume", "ledger"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = w.projections("admin", &["resume", "ledger"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("It is not paused."), "{said}");
    let (code, said) = w.projections("admin", &["pause", "nothing"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("There are: bookings,"), "{said}");

    // Parked: another event is not skipped, and none without a reason.
    let park = || async {
        sqlx::query("update read.generations set parked = jsonb_build_object('position', 7, 'event_name', 'BookingCreated', 'error', 'unreadable') where name = 'ledger'")
            .execute(&w.projector)
            .await
            .unwrap();
    };
    park().await;
    let (_, said) = w.projections("admin", &["list"]).await;
    assert!(
        said.contains("at event 7, BookingCreated: unreadable"),
        "{said}"
    );
    let (code, said) = w
        .projections("admin", &["skip", "ledger", "--position", "7"])
        .await;
    assert_eq!(code, Some(2), "{said}");
    let skip = |position| ["skip", "ledger", "--position", position, "--reason", WHY];
    let (code, said) = w.projections("admin", &skip("8")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Nothing was skipped."), "{said}");
    let (code, said) = w.projections("admin", &["retry", "ledger"]).await;
    assert_eq!(code, Some(0), "{said}");
    park().await;
    let (code, said) = w.projections("admin", &skip("7")).await;
    assert_eq!(code, Some(0), "{said}");
    let skipped: Vec<i64> = sqlx::query_scalar("select position from read.projection_skips")
        .fetch_all(&w.s.people)
        .await
        .unwrap();
    assert_eq!(skipped, [7]);

    // A replay is cancelled with a reason only, and a swap taken back.
    let id = w.whole("bookings", "rebuild").await;
    let cancel = |why| ["cancel", "bookings", "--reason", why];
    let (code, said) = w.projections("admin", &cancel("no")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("at least 10 signs"), "{said}");
    let (code, said) = w.projections("admin", &cancel(WHY)).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(w.state(id).await.0, "cancelled");
    let (code, said) = w.projections("admin", &cancel(WHY)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("No replay of bookings is under way"),
        "{said}"
    );
    let back = ["roll-back", "bookings", "--reason", WHY];
    let (code, said) = w.projections("admin", &back).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no rows of before"), "{said}");

    let (code, said) = w.projections("viewer", &["list", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    let mut first = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let board = first.next().unwrap().unwrap();
    assert_eq!(board["rows"].as_array().unwrap().len(), names().len());
}
