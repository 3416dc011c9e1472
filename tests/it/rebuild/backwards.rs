//! A log that went backwards beneath live rows, as after a restore: rebuilding is the remedy, and reads all that follows.

use super::*;

#[tokio::test]
async fn new_rows_never_stand_above_the_log_and_miss_nothing_that_is_written_there() {
    let w = World::new().await;
    let end: i64 = sqlx::query_scalar("select api.safe_position()")
        .fetch_one(&w.s.people)
        .await
        .unwrap();
    sqlx::query("update read.generations set position = $1 where name = 'timeline'")
        .bind(end + 5_000)
        .execute(&w.projector)
        .await
        .unwrap();

    let id = w.whole("timeline", "rebuild").await;
    w.work_until(id, "waits_for_swap").await;
    assert_eq!(w.change(id, "swap").await, "done");
    w.work_until(id, "done").await;
    let (generation, position): (i32, i64) =
        sqlx::query_as("select generation, position from read.checkpoints where name = 'timeline'")
            .fetch_one(&w.s.people)
            .await
            .unwrap();
    assert_eq!((generation, position), (2, end));

    append_raw(
        &w.s.worker,
        &format!("booking-{}", Uuid::now_v7()),
        "NotificationFailed",
        json!({}),
    )
    .await;
    w.s.follow().await;
    let read: i64 = sqlx::query_scalar("select count(*) from read.timeline_v1 where position > $1")
        .bind(end)
        .fetch_one(&w.s.people)
        .await
        .unwrap();
    assert_eq!(read, 1);
}
