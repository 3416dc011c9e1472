//! A command sent again: its first result, once.

use bizing_engine::domain::ids::CommandId;
use bizing_engine::store::append::{AppendError, Expected};
use uuid::Uuid;

use super::*;
use crate::support::db::TestDb;

#[tokio::test]
async fn the_same_command_twice_answers_with_its_first_result() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let (booking, command) = (new_booking(), CommandId(Uuid::now_v7()));
    let first = one(
        &pool,
        notes(booking, Expected::Version(0), &["a", "b"]).with_command(command),
    )
    .await
    .unwrap();
    one(&pool, notes(booking, Expected::Any, &["later"]))
        .await
        .unwrap();
    // Other event ids, another time, the same content.
    let again = one(
        &pool,
        notes(booking, Expected::Version(0), &["a", "b"]).with_command(command),
    )
    .await
    .unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!(
        (again.version, again.first_position, again.last_position),
        (first.version, first.first_position, first.last_position)
    );
    assert_eq!(texts(&pool, booking).await, ["a", "b", "later"]);
}

#[tokio::test]
async fn a_command_reused_for_other_content_names_the_command_and_its_first_stream() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let (booking, other, command) = (new_booking(), new_booking(), CommandId(Uuid::now_v7()));
    one(
        &pool,
        notes(booking, Expected::Version(0), &["a"]).with_command(command),
    )
    .await
    .unwrap();
    for reuse in [
        notes(booking, Expected::Any, &["b"]),
        notes(other, Expected::Any, &["a"]),
    ] {
        let refused = one(&pool, reuse.with_command(command)).await.unwrap_err();
        let AppendError::CommandReused {
            command: named,
            first,
        } = &refused
        else {
            panic!("{refused:?}")
        };
        assert_eq!(
            (*named, first.as_str()),
            (command.0, format!("booking-{booking}").as_str())
        );
        assert!(
            refused.to_string().contains(&command.to_string())
                && refused.to_string().contains(&booking.to_string()),
            "{refused}"
        );
    }
    assert_eq!(count(&pool, "core.events").await, 1);
}

#[tokio::test]
async fn the_same_command_from_two_windows_at_once_is_carried_out_once() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    for _ in 0..10 {
        let (booking, command) = (new_booking(), CommandId(Uuid::now_v7()));
        let send = || {
            one(
                &pool,
                notes(booking, Expected::Version(0), &["a"]).with_command(command),
            )
        };
        let (a, b) = tokio::join!(send(), send());
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(
            (a.repeated as u8 + b.repeated as u8, a.version, b.version),
            (1, 1, 1)
        );
        assert_eq!(texts(&pool, booking).await, ["a"]);
    }
}

/// Its 90 days are over: the same id may come again, and the events it made stay.
#[tokio::test]
async fn a_command_is_forgotten_after_its_days_and_not_before() {
    let db = TestDb::new().await;
    let pool = db.pool("worker").await;
    let (old, young) = (CommandId(Uuid::now_v7()), CommandId(Uuid::now_v7()));
    let booking = new_booking();
    for command in [old, young] {
        one(
            &pool,
            notes(booking, Expected::Any, &["a"]).with_command(command),
        )
        .await
        .unwrap();
    }
    let days = async |days: i32, command: CommandId| {
        sqlx::query("update core.commands set recorded_at = now() - make_interval(days => $1) where command_id = $2")
            .bind(days)
            .bind(command.0)
            .execute(&db.superuser_pool().await)
            .await
            .unwrap();
    };
    days(91, old).await;
    days(89, young).await;
    let forgotten: i32 = sqlx::query_scalar("select core.forget_commands(100)")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(forgotten, 1);
    let again = async |command| {
        let sent = notes(booking, Expected::Any, &["a"]).with_command(command);
        one(&pool, sent).await.unwrap().repeated
    };
    assert!(again(young).await && !again(old).await);
    assert_eq!(texts(&pool, booking).await, ["a", "a", "a"]);
}
