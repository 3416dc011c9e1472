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
