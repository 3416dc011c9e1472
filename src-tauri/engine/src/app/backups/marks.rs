//! What is written into a restored database before anybody opens it, besides the erasures.

use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

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
    let why = format!(
        "The database was restored from the backup of {}: it may have been sent since.",
        manifest.started_at.format("%Y-%m-%d %H:%M UTC")
    );
    owed_are_unclear(conn, &why).await?;
    // Those who worked then do not work here.
    sqlx::query("delete from saga.worker").execute(conn).await?;
    Ok(())
}

/// The same for a log that went backwards and says nothing of a restore: another tool brought it back. The login must own
/// the tables or may become their owner. `false`: somebody else has said it already.
pub async fn as_restored_by_another_tool(conn: &mut PgConnection, log: Uuid) -> sqlx::Result<bool> {
    let mut tx = conn.begin().await?;
    sqlx::query("select set_config('role', (select tableowner::text from pg_tables where schemaname = 'core' and tablename = 'log_identity'), true)")
        .execute(&mut *tx)
        .await?;
    // Of several computers that find it out at once, one says it.
    sqlx::query("lock table core.log_identity in share row exclusive mode")
        .execute(&mut *tx)
        .await?;
    let newest: Uuid =
        sqlx::query_scalar("select log_id from core.log_identity order by no desc limit 1")
            .fetch_one(&mut *tx)
            .await?;
    if newest != log {
        return Ok(false);
    }
    sqlx::query(
        "insert into core.log_identity (since_position, restored_from)
         select case when is_called then last_value else 0 end, jsonb_build_object('by', 'another tool') from core.position",
    )
    .execute(&mut *tx)
    .await?;
    owed_are_unclear(
        &mut tx,
        "The database was brought back to an earlier state: it may have been sent since.",
    )
    .await?;
    tx.commit().await?;
    Ok(true)
}

async fn owed_are_unclear(conn: &mut PgConnection, why: &str) -> sqlx::Result<()> {
    sqlx::query(
        // A receiver of webhooks knows what it has by its id: those wait for a person's word, and are not over.
        "update delivery.deliveries d
            set state = case when k.kind = 'webhook' then 'held' else 'unclear' end, finished_at = case when k.kind <> 'webhook' then now() end,
                lease_owner = null, lease_expires_at = null, fence = d.fence + 1,
                outcome = jsonb_build_object('result', 'unclear', 'problem', $1::text, 'response', null)
           from delivery.destinations k
          where k.destination_id = d.destination_id and d.state in ('scheduled', 'sending')",
    )
    .bind(why)
    .execute(&mut *conn)
    .await?;
    // Whoever held them works elsewhere, if at all.
    sqlx::query("delete from delivery.leases")
        .execute(conn)
        .await?;
    Ok(())
}
