//! Workers of different builds on one database: none passes by events that another one folds, and what was passed by is said.

use bizing_engine::app::wire::FoldedWithout;
use sqlx::types::Json;

use super::*;
use crate::served;

impl World {
    /// As if another build had moved the bookings last. `sql` says what it folds, out of `folded_with`.
    async fn folded_by_another(&self, sql: &'static str) {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "update read.generations set folded_with = {sql} where name = 'bookings' and role = 'live'"
        )))
        .execute(&self.projector)
        .await
        .unwrap();
    }

    /// A customer asks for nothing more: one event of a booking.
    async fn append_one(&self) -> i64 {
        let booking: Uuid = sqlx::query_scalar(
            "select booking_id from read.bookings_v1 where state = 'confirmed' limit 1",
        )
        .fetch_one(&self.s.people)
        .await
        .unwrap();
        let stream = format!("booking-{booking}");
        let expired = json!({ "expired_at": "2026-11-25T10:00:00Z" });
        append_raw(&self.s.worker, &stream, "BookingExpired", expired).await;
        sqlx::query_scalar("select max(position) from core.events")
            .fetch_one(&self.s.worker)
            .await
            .unwrap()
    }

    async fn listed(&self) -> String {
        let login = self.s.db.login("admin");
        let (code, said) = served::run(&login, &["projections", "list"]).await;
        assert_eq!(code, Some(0), "{said}");
        said
    }
}

const NEWER: &str = "folded_with || '{\"BookingTeleported\": 1, \"BookingCancelled\": 3}'";
const NEWER_TYPES: [&str; 2] = ["BookingCancelled v3", "BookingTeleported v1"];

#[tokio::test]
async fn an_older_build_leaves_the_rows_of_a_newer_one_alone_and_says_so() {
    let w = World::new().await;
    w.folded_by_another(NEWER).await;
    let before = w.board().await;
    assert_eq!(before.newer_types, NEWER_TYPES);
    let position = w.append_one().await;
    w.s.follow().await;
    let board = w.board().await;
    assert_eq!(board.position, before.position);
    assert_eq!(board.folded_without, []);
    let others: Vec<i64> =
        sqlx::query_scalar("select position from read.checkpoints where name <> 'bookings'")
            .fetch_all(&w.s.people)
            .await
            .unwrap();
    assert!(others.iter().all(|at| *at == position), "{others:?}");
    let said = w.listed().await;
    assert!(
        said.contains("folded by a newer build, with BookingCancelled v3, BookingTeleported v1"),
        "{said}"
    );

    // Rows that it takes over would still be the newer build's.
    let from = json!({ "from": "position", "position": 5 });
    let partly = w.ask("bookings", from, 5, None, "rebuild").await;
    w.work_until(partly, "paused").await;
    let error = w.state(partly).await.2.unwrap();
    assert!(error.contains("BookingTeleported v1"), "{error}");
    assert_eq!(w.change(partly, "cancel").await, "done");

    // Those that it makes itself are its own.
    w.swapped(json!({ "from": "start" }), 0).await;
    w.s.follow().await;
    let board = w.board().await;
    assert_eq!((board.position, board.newer_types), (position, vec![]));
}

#[tokio::test]
async fn a_newer_build_goes_on_with_the_rows_and_names_what_they_lack_until_a_rebuild() {
    let w = World::new().await;
    let nowhere: String = sqlx::query_scalar(
        "select name from core.event_types t where schema_version = 1
            and not exists (select from core.events e join core.event_types x using (type_no) where x.name = t.name) limit 1",
    )
    .fetch_one(&w.s.worker)
    .await
    .unwrap();
    sqlx::query("update read.generations set folded_with = folded_with - array['BookingCancelled', $1] where name = 'bookings'")
        .bind(&nowhere)
        .execute(&w.projector)
        .await
        .unwrap();
    let upto = w.board().await.position;
    let position = w.append_one().await;
    w.s.follow().await;
    let board = w.board().await;
    let lacks = [FoldedWithout {
        event_name: "BookingCancelled".to_owned(),
        upto,
    }];
    assert_eq!(board.position, position, "it goes on");
    assert_eq!(board.folded_without, lacks, "{nowhere} is not in the log");
    let said = w.listed().await;
    assert!(
        said.contains(&format!("BookingCancelled up to event {upto}"))
            && said.contains("bizing-desk replay bookings"),
        "{said}"
    );

    let from = json!({ "from": "position", "position": upto });
    w.swapped(from, upto).await;
    assert_eq!(
        w.board().await.folded_without,
        lacks,
        "rows that are taken over lack it as before"
    );
    w.swapped(json!({ "from": "start" }), 0).await;
    assert_eq!(w.board().await.folded_without, []);
}

#[tokio::test]
async fn a_batch_that_was_read_before_a_newer_build_came_is_not_written_after_it() {
    let w = World::new().await;
    let before = w.board().await.position;
    w.append_one().await;
    let superuser = w.s.db.superuser_pool().await;
    let mut held = superuser.begin().await.unwrap();
    sqlx::query("lock table core.events in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();
    let tail = w.s.tail();
    let meanwhile = async {
        wait_until("it reads the log", Duration::from_secs(10), || async {
            sqlx::query_scalar("select exists (select from pg_locks where not granted and relation = 'core.events'::regclass)")
                .fetch_one(&superuser)
                .await
                .unwrap()
        })
        .await;
        w.folded_by_another(NEWER).await;
        held.commit().await.unwrap();
    };
    let (round, ()) = tokio::join!(tail.round(), meanwhile);
    round.unwrap();
    assert_eq!(w.board().await.position, before);
}

#[tokio::test]
async fn rows_are_stamped_by_whoever_moves_them() {
    let w = World::new().await;
    let unsaid: Vec<String> =
        sqlx::query_scalar("select name from read.generations where folded_with is null")
            .fetch_all(&w.s.people)
            .await
            .unwrap();
    assert_eq!(unsaid, [""; 0]);
    for projection in projection::ALL {
        let Json(folded): Json<projection::Folded> =
            sqlx::query_scalar("select folded_with from read.generations where name = $1")
                .bind(projection.name)
                .fetch_one(&w.s.people)
                .await
                .unwrap();
        assert_eq!(folded, projection.folds(), "{}", projection.name);
    }
}
