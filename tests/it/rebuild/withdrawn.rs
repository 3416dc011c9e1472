//! A skip that is withdrawn: who may, what is said meanwhile, and that a rebuild reads the event.

use bizing_engine::app::projections::list_changes;
use bizing_engine::app::wire::{ListProjectionChanges, ProjectionAct};

use super::*;
use crate::served;

impl World {
    async fn reported(&self, id: Uuid) -> Vec<i64> {
        let desk = crate::reading::desk(&self.s, self.s.people.clone(), Group::Admin);
        let report = get_rebuild(&desk, GetRebuild { rebuild_id: id }).await;
        let skipped = report.unwrap().skipped;
        skipped.iter().map(|s| s.position).collect()
    }

    /// Skips an event that can be read, as after an upgrade that taught the code to. Returns its booking and position.
    async fn skipped(&self) -> (Uuid, i64) {
        let booking: Uuid = sqlx::query_scalar(
            "select booking_id from read.bookings_v1 where state = 'confirmed' limit 1",
        )
        .fetch_one(&self.s.people)
        .await
        .unwrap();
        let stream = format!("booking-{booking}");
        let expired = json!({ "expired_at": "2026-11-25T10:00:00Z" });
        append_raw(&self.s.worker, &stream, "BookingExpired", expired).await;
        let position: i64 =
            sqlx::query_scalar("select max(position) from read.events_v1 where stream_id = $1")
                .bind(&stream)
                .fetch_one(&self.s.people)
                .await
                .unwrap();
        sqlx::query("update read.generations set parked = jsonb_build_object('position', $1::bigint, 'error', 'unreadable') where name = 'bookings'")
            .bind(position)
            .execute(&self.projector)
            .await
            .unwrap();
        let skip = self.projection("bookings", "skip", Some(position)).await;
        assert_eq!(skip, "done");
        (booking, position)
    }
}

#[tokio::test]
async fn a_withdrawn_skip_is_folded_by_the_next_rebuild_and_lacking_until_then() {
    let w = World::new().await;
    let (booking, position) = w.skipped().await;
    let withdraw = |at| w.projection("bookings", "withdraw_skip", Some(at));
    // Who fills the rows is about to pass it by, or has looked already.
    assert_eq!(withdraw(position).await, "not_passed");
    w.s.follow().await;
    assert_eq!(withdraw(position - 1).await, "not_skipped");
    let passed_by = w.swapped(json!({ "from": "start" }), 0).await;
    let state = || async {
        sqlx::query_scalar::<_, String>("select state from read.bookings_v1 where booking_id = $1")
            .bind(booking)
            .fetch_one(&w.s.people)
            .await
            .unwrap()
    };
    assert_eq!(state().await, "confirmed");
    assert_eq!(w.reported(passed_by).await, [position]);

    let dry = w.whole("bookings", "dry_run").await;
    assert_eq!(withdraw(position).await, "running");
    assert_eq!(w.change(dry, "cancel").await, "done");

    let at = position.to_string();
    let cli = |group: &'static str, why: &'static str| {
        let (login, at) = (w.s.db.login(group), at.clone());
        async move {
            let flags = ["--position", &at, "--reason", why];
            let command = ["projections", "withdraw-skip", "bookings"];
            served::run(&login, &[&command[..], &flags[..]].concat()).await
        }
    };
    let (code, said) = cli("manager", WHY).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("This needs an admin."), "{said}");
    let (code, said) = cli("admin", "no").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("at least 10 signs"), "{said}");
    assert_eq!(w.board().await.skipped.len(), 1);
    let (code, said) = cli("admin", WHY).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("lacks event {position}")) && said.contains("bizing-desk replay"),
        "{said}"
    );

    // The live rows are as they were, and so is what the earlier rebuild reported.
    w.s.follow().await;
    assert_eq!(state().await, "confirmed");
    let board = w.board().await;
    assert_eq!((board.skipped, board.lacks), (vec![], vec![position]));
    assert_eq!(w.reported(passed_by).await, [position]);
    let desk = crate::reading::desk(&w.s, w.s.people.clone(), Group::Admin);
    let page = ListProjectionChanges {
        projection: Some("bookings".to_owned()),
        after: None,
        limit: 1,
    };
    let last = list_changes(&desk, page).await.unwrap().rows.remove(0);
    assert_eq!(
        (last.what, last.position, last.reason.as_deref()),
        (ProjectionAct::WithdrawSkip, Some(position), Some(WHY))
    );

    // A rebuild from after the event takes the row over as it is; one from before it folds it.
    let after = json!({ "from": "position", "position": position });
    w.swapped(after, position).await;
    assert_eq!(w.board().await.lacks, [position]);
    let id = w.swapped(json!({ "from": "start" }), 0).await;
    assert_eq!(state().await, "expired");
    assert_eq!(w.board().await.lacks, [0i64; 0]);
    assert_eq!(w.reported(id).await, [0i64; 0]);
}
