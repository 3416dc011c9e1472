//! What is written into a restored database before anybody opens it, besides the erasures.

use serde_json::json;
use sqlx::PgConnection;

use super::manifest::Manifest;

/// The log gets a new name, so that whoever remembers a position of the old one notices. Messages that were still owed
/// when the backup was taken may have gone out since: whether to send them is for a person to say.
pub async fn as_restored(conn: &mut PgConnection, manifest: &Manifest) -> sqlx::Result<()> {
    let has_identity: bool =
        sqlx::query_scalar("select to_regclass('core.log_identity') is not null")
            .fetch_one(&mut *conn)
            .await?;
    if has_identity {
        sqlx::query(
            "insert into core.log_identity (since_position, restored_from)
             select case when is_called then last_value else 0 end, $1 from core.position",
        )
        .bind(json!({ "backup_id": manifest.backup_id, "file": manifest.file, "taken_at": manifest.started_at,
                      "last_position": manifest.facts.last_position }))
        .execute(&mut *conn)
        .await?;
    }
    sqlx::query(
        "update delivery.deliveries
            set state = 'unclear', finished_at = now(), lease_owner = null, lease_expires_at = null,
                outcome = jsonb_build_object('result', 'unclear', 'problem', $1::text, 'response', null)
          where state in ('scheduled', 'sending')",
    )
    .bind(format!(
        "The database was restored from the backup of {}: it may have been sent since.",
        manifest.started_at.format("%Y-%m-%d %H:%M UTC")
    ))
    .execute(&mut *conn)
    .await?;
    // Those who worked then do not work here.
    sqlx::query("delete from saga.worker").execute(conn).await?;
    Ok(())
}
