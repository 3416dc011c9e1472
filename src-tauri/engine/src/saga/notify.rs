//! The last step's result, written in the commit of the message that decides it.

use sqlx::PgConnection;
use uuid::Uuid;

use super::definition::KNOWN;

/// The message was accepted (or nobody had to be told): a saga that waits for just that is complete, in this
/// transaction. A saga that somebody works on right now finds out by looking. Call before any stream is locked.
pub async fn told(
    conn: &mut PgConnection,
    booking: Uuid,
    template: &str,
    worker: Uuid,
) -> sqlx::Result<bool> {
    let saga: Option<(Uuid, i64)> = sqlx::query_as(
        r#"update saga.instance
              set state = 'completed', "cursor" = "cursor" + 1, version = version + 1, fence = fence + 1, by_fence = fence + 1, outcome = 'completed', await_key = null,
                  finished_at = now(), updated_at = now(), error_class = null, error_message = null
            where booking_id = $1 and definition = any($2) and state = 'waiting' and direction = 'F' and step = 'notify' and lease_owner is null
              and cancel_requested_at is null and paused_at is null
            returning saga_id, fence"#,
    )
    .bind(booking)
    .bind(waiting_for(template))
    .fetch_optional(&mut *conn)
    .await?;
    let Some((saga, fence)) = saga else {
        return Ok(false);
    };
    sqlx::query(
        r#"insert into saga.attempt (saga_id, no, step, direction, worker_id, fence, started_at, ended_at, result)
           select $1, coalesce(max(no), 0) + 1, 'notify', 'F', $2, $3, now(), clock_timestamp(), 'done' from saga.attempt where saga_id = $1"#,
    )
    .bind(saga)
    .bind(worker)
    .bind(fence)
    .execute(conn)
    .await?;
    Ok(true)
}

/// The message is over, and not as it should be: the saga that waits for just this one looks. Another's pause before a call
/// goes on; a try that comes early is a try lost.
pub async fn wake(conn: &mut PgConnection, booking: Uuid, template: &str) -> sqlx::Result<()> {
    sqlx::query(
        "update saga.instance set wake_at = now()
          where booking_id = $1 and definition = any($2) and finished_at is null and state = 'waiting' and direction = 'F' and step = 'notify' and wake_at > now()",
    )
    .bind(booking)
    .bind(waiting_for(template))
    .execute(conn)
    .await
    .map(|_| ())
}

/// Definitions whose last step is this message.
fn waiting_for(template: &str) -> Vec<&'static str> {
    KNOWN
        .into_iter()
        .filter(|d| d.message == template)
        .map(|d| d.name)
        .collect()
}
