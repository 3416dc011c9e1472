//! Keeping and processing what Stripe tells.
//!
//! An event is a doorbell: it wakes the saga that is concerned, and the saga asks Stripe for the object itself. Order,
//! duplicates and the payload's version then do not matter, and a forged event could at most cause a look.

use bizing_stripe::EventRecord;
use chrono::DateTime;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Webhook,
    Poll,
}

impl Via {
    fn word(self) -> &'static str {
        match self {
            Via::Webhook => "webhook",
            Via::Poll => "poll",
        }
    }
}

/// Keeps events; known ones are ignored. Returns how many were new.
pub async fn keep(conn: &mut PgConnection, events: &[EventRecord], via: Via) -> sqlx::Result<u64> {
    let column = |of: fn(&EventRecord) -> Option<&str>| events.iter().map(of).collect::<Vec<_>>();
    let done = sqlx::query(
        "insert into delivery.inbox (source, external_id, kind, object_id, api_version, payload, created_at, via)
         select 'stripe', x.id, x.kind, x.object, x.version, x.payload, x.created, $7
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[]) as x(id, kind, object, version, payload, created)
         on conflict (source, external_id) do nothing",
    )
    .bind(column(|e| Some(&e.id)))
    .bind(column(|e| Some(&e.kind)))
    .bind(column(|e| e.object_id.as_deref()))
    .bind(column(|e| e.api_version.as_deref()))
    .bind(events.iter().map(|e| &e.raw).collect::<Vec<_>>())
    .bind(events.iter().map(|e| DateTime::from_timestamp(e.created, 0)).collect::<Vec<_>>())
    .bind(via.word())
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Hands what is kept to the sagas concerned, in order of arrival. Returns how many were processed; less than `limit`
/// means that the inbox is empty.
pub async fn process(pool: &PgPool, limit: i64) -> sqlx::Result<u64> {
    let mut tx = pool.begin().await?;
    let rows = sqlx::query(
        "select inbox_id, external_id, kind, object_id, payload from delivery.inbox where processed_at is null
          order by inbox_id limit $1 for update skip locked",
    )
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    for row in &rows {
        let id: i64 = row.try_get("inbox_id")?;
        let external: String = row.try_get("external_id")?;
        let kind: String = row.try_get("kind")?;
        let object: Option<String> = row.try_get("object_id")?;
        let payload: Value = row.try_get("payload")?;
        let concerned = saga_of(&mut tx, &payload["data"]["object"], object.as_deref()).await?;
        let result = match concerned {
            Some(saga) => {
                signal(
                    &mut tx,
                    &external,
                    &kind,
                    saga,
                    object.as_deref().unwrap_or(""),
                )
                .await?;
                "handed to its saga"
            }
            None => "not ours",
        };
        sqlx::query(
            "update delivery.inbox set processed_at = now(), result = $2 where inbox_id = $1",
        )
        .bind(id)
        .bind(result)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(rows.len() as u64)
}

/// By what we wrote into the object when we asked for it; else by the objects that our effects know.
async fn saga_of(
    conn: &mut PgConnection,
    object: &Value,
    object_id: Option<&str>,
) -> sqlx::Result<Option<Uuid>> {
    let named: Option<Uuid> = object["metadata"]["saga_id"]
        .as_str()
        .and_then(|s| s.parse().ok());
    let related: Vec<&str> = [
        object_id,
        object["payment_intent"].as_str(),
        object["id"].as_str(),
    ]
    .into_iter()
    .flatten()
    .collect();
    sqlx::query_scalar(
        "select saga_id from saga.instance where saga_id = $1
         union all (select saga_id from saga.effect where provider_object = any($2) limit 1) limit 1",
    )
    .bind(named)
    .bind(related)
    .fetch_optional(conn)
    .await
}

/// Kept until the saga consumes it, so an early arrival is not lost; a waiting saga is woken.
async fn signal(
    conn: &mut PgConnection,
    id: &str,
    kind: &str,
    saga: Uuid,
    object: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into saga.signal (signal_id, correlation_key, type, payload, saga_id) values ($1, $2, $3, '{}', $4) on conflict do nothing",
    )
    .bind(id)
    .bind(format!("stripe:{object}"))
    .bind(kind)
    .bind(saga)
    .execute(&mut *conn)
    .await?;
    sqlx::query("update saga.instance set wake_at = now() where saga_id = $1 and state = 'waiting' and \"cursor\" < 4 and wake_at > now()")
        .bind(saga)
        .execute(conn)
        .await
        .map(|_| ())
}
