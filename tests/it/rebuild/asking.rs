//! Who may ask for a rebuild, what may be asked of one that runs, and what none can do.

use bizing_engine::app::projections::{list_changes, preview};
use bizing_engine::app::wire::{ListProjectionChanges, PreviewReplay, ProjectionAct, ReplayFrom};

use super::*;

#[tokio::test]
async fn a_pause_stops_it_a_resume_goes_on_and_a_cancel_leaves_nothing() {
    let w = World::new().await;
    let id = w.whole("bookings", "rebuild").await;
    assert_eq!(w.change(id, "pause").await, "done");
    assert!(
        !w.rebuilder().round().await.unwrap(),
        "nobody carries on what is paused"
    );
    assert_eq!(w.change(id, "resume").await, "done");
    same(&w.work_until(id, "waits_for_swap").await);
    assert_eq!(w.schemas("bookings").await, 2);
    assert_eq!(w.change(id, "cancel").await, "done");
    wait_until("its tables are gone", Duration::from_secs(30), || async {
        let _ = w.rebuilder().round().await;
        w.schemas("bookings").await == 1
    })
    .await;
    assert_eq!(w.change(id, "resume").await, "over");
    // Another may begin.
    w.whole("bookings", "dry_run").await;
}

#[tokio::test]
async fn only_admins_ask_each_command_counts_once_and_a_reason_is_needed() {
    let w = World::new().await;
    let manager = w.s.db.pool("manager").await;
    let refused = sqlx::query("select api.start_replay(gen_random_uuid(), 'bookings', 1, '{}', 0, null, 'dry_run', 'normal', 'because I say so')").execute(&manager).await;
    assert_eq!(
        refused
            .unwrap_err()
            .as_database_error()
            .unwrap()
            .code()
            .unwrap(),
        "42501"
    );
    let ask = |id: Uuid, why: &'static str| {
        let people = w.s.people.clone();
        async move {
            sqlx::query_scalar::<_, String>("select api.start_replay($1, 'bookings', 1, '{\"from\":\"start\"}', 0, null, 'dry_run', 'normal', $2)")
                .bind(id)
                .bind(why)
                .fetch_one(&people)
                .await
                .unwrap()
        }
    };
    let id = Uuid::now_v7();
    assert_eq!(ask(id, "too short").await, "reason");
    assert_eq!(ask(id, WHY).await, "done");
    assert_eq!(ask(id, WHY).await, "repeated");
    assert_eq!(ask(Uuid::now_v7(), WHY).await, "running");
    let (by, action, reason): (String, String, String) =
        sqlx::query_as("select by, action, reason from read.projection_log where command_id = $1")
            .bind(id)
            .fetch_one(&w.s.people)
            .await
            .unwrap();
    assert!(by.starts_with("test_admin_"));
    assert_eq!((action.as_str(), reason.as_str()), ("dry_run", WHY));
}

/// Whoever waits for a stream is recorded when it begins to wait, and gets a later position than who did not.
#[tokio::test]
async fn a_replay_from_a_time_leaves_out_nothing_that_was_recorded_since() {
    let w = World::new().await;
    for _ in 0..3 {
        append_raw(
            &w.s.worker,
            &format!("booking-{}", Uuid::now_v7()),
            "NotificationFailed",
            json!({}),
        )
        .await;
    }
    let superuser = w.s.db.superuser_pool().await;
    let last: i64 = sqlx::query_scalar("select max(position) from core.events")
        .fetch_one(&superuser)
        .await
        .unwrap();
    // Of the three, the one in the middle was recorded after the time, those around it before.
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "set session_replication_role = replica;
         update core.events set recorded_at = timestamptz '2030-01-01 00:00Z' + case position when {last} - 1 then interval '1 s' else interval '-1 s' end
          where position > {last} - 3"
    )))
    .execute(&superuser)
    .await
    .unwrap();
    let desk = crate::reading::desk(&w.s, w.s.people.clone(), Group::Admin);
    let from = |wall: &str| {
        let asked = PreviewReplay {
            projection: "bookings".to_owned(),
            from: ReplayFrom::Time {
                wall: wall.to_owned(),
            },
        };
        async { preview(&desk, asked).await.unwrap() }
    };
    let shown = from("2030-01-01T00:00").await;
    assert_eq!((shown.from_position, shown.events.count), (last - 1, 2));
    // Nothing is that young, and everything is younger than this.
    assert_eq!(from("2031-01-01T00:00").await.events.count, 0);
    assert_eq!(from("2020-01-01T00:00").await.from_position, 1);
}

#[tokio::test]
async fn the_history_tells_who_did_what_and_why_a_page_at_a_time() {
    let w = World::new().await;
    for action in ["pause", "resume"] {
        assert_eq!(w.projection("customers", action, None).await, "done");
    }
    let id = w.whole("bookings", "rebuild").await;
    for action in ["gentle", "cancel"] {
        assert_eq!(w.change(id, action).await, "done");
    }
    let desk = crate::reading::desk(&w.s, w.s.db.pool("viewer").await, Group::Viewer);
    let list = async |projection: Option<&str>| {
        let (mut rows, mut after) = (vec![], None);
        loop {
            let page = ListProjectionChanges {
                projection: projection.map(str::to_owned),
                after,
                limit: 2,
            };
            let page = list_changes(&desk, page).await.unwrap();
            assert!(page.rows.len() <= 2);
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return rows;
            }
        }
    };
    use ProjectionAct::*;
    let all = list(None).await;
    let acts: Vec<_> = all
        .iter()
        .map(|c| (c.projection.as_str(), c.what))
        .collect();
    assert_eq!(
        acts,
        [
            ("bookings", CancelRebuild),
            ("bookings", Gentle),
            ("bookings", Rebuild),
            ("customers", Resume),
            ("customers", Pause)
        ]
    );
    assert!(
        all.iter()
            .all(|c| c.by.starts_with("test_admin_") && c.reason.as_deref() == Some(WHY))
    );
    assert_eq!(list(Some("customers")).await, all[3..]);
}

#[tokio::test]
async fn a_rebuild_has_no_way_to_cause_anything() {
    let w = World::new().await;
    let before: Vec<i64> = counts(&w).await;
    for name in names() {
        let id = w.whole(name, "dry_run").await;
        w.work_until(id, "done").await;
    }
    assert_eq!(counts(&w).await, before);
    for sql in [
        "insert into delivery.attempts default values",
        "insert into delivery.inbox default values",
        "update delivery.deliveries set state = state",
        "update saga.instance set state = state",
        "insert into saga.effect default values",
        "insert into saga.signal default values",
        "insert into core.events default values",
        "update core.streams set version = version",
        "select api.append(null, null, null, null, null, null, null, null, null, null, null, null, null)",
        "select api.subject_key(gen_random_uuid(), true)",
        "update booking.inventory_claim set released_at = now()",
    ] {
        let refused = sqlx::query(sql).execute(&w.projector).await.unwrap_err();
        assert_eq!(
            refused.as_database_error().unwrap().code().unwrap(),
            "42501",
            "{sql}"
        );
    }
    // Nor can it become more by itself: the role is the session's own.
    sqlx::query("reset role")
        .execute(&w.projector)
        .await
        .unwrap();
    let refused = sqlx::query("update saga.instance set state = state")
        .execute(&w.projector)
        .await;
    assert!(refused.is_err());
}

async fn counts(w: &World) -> Vec<i64> {
    sqlx::query_scalar(
        "select count(*) from core.events union all select count(*) from delivery.deliveries union all select count(*) from delivery.attempts
         union all select count(*) from saga.effect union all select count(*) from saga.signal union all select count(*) from saga.instance",
    )
    .fetch_all(&w.s.worker)
    .await
    .unwrap()
}
