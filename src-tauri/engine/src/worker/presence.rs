//! Who works: a row per process with a heartbeat, and the leases of those that died here.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use super::Kind;
use crate::domain::ids::WorkerId;
use crate::saga::definition::KNOWN;
use crate::saga::gate::{self, Calls};

/// `asks`: the providers whose key it holds.
pub async fn register(pool: &PgPool, id: WorkerId, kind: Kind, asks: &[&str]) -> sqlx::Result<()> {
    let host = machine();
    free_the_dead(pool, &host).await?;
    sqlx::query("insert into saga.worker (worker_id, host, os_user, app_version, supports, kind, pid, asks) values ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(id.0)
        .bind(&host)
        .bind(std::env::var("USER").unwrap_or_default())
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(serde_json::Value::from_iter(KNOWN.map(|d| serde_json::json!({ "definition": d.name, "version": d.version }))))
        .bind(match kind {
            Kind::Desktop => "desktop",
            Kind::Headless => "headless",
        })
        .bind(std::process::id() as i32)
        .bind(asks)
        .execute(pool)
        .await
        .map(|_| ())
}

/// A process of this very machine that is gone cannot write any more: what it held goes on at once, not when its lease
/// ends. On any doubt (another machine, another boot, the pid is in use) the lease decides.
async fn free_the_dead(pool: &PgPool, host: &str) -> sqlx::Result<()> {
    if host.is_empty() {
        return Ok(());
    }
    let known: Vec<(Uuid, i32)> =
        sqlx::query_as("select worker_id, pid from saga.worker where host = $1")
            .bind(host)
            .fetch_all(pool)
            .await?;
    for (worker, pid) in known {
        if pid == std::process::id() as i32
            || std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            continue;
        }
        let mut tx = crate::store::begin(pool).await?;
        sqlx::query("update saga.instance set lease_owner = null, lease_expires_at = null, fence = fence + 1, take_overs = least(take_overs + 1, 1000) where lease_owner = $1 and finished_at is null")
            .bind(worker)
            .execute(&mut *tx)
            .await?;
        // What it was sending keeps its state: the take-over finds the interrupted try.
        sqlx::query("update delivery.deliveries set lease_expires_at = now() - interval '1 second' where lease_owner = $1").bind(worker).execute(&mut *tx).await?;
        sqlx::query(
            "update delivery.leases set expires_at = now() - interval '1 second' where owner = $1",
        )
        .bind(worker)
        .execute(&mut *tx)
        .await?;
        sqlx::query("delete from saga.worker where worker_id = $1")
            .bind(worker)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        tracing::info!(worker.id = %worker, pid, "a worker of this machine had died; its work goes on here");
    }
    Ok(())
}

/// Machine, boot and process namespace: within them a pid is one process. Empty where that cannot be known.
fn machine() -> String {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map(|t| t.trim().to_owned())
            .ok()
    };
    let namespace = std::fs::read_link("/proc/self/ns/pid")
        .ok()
        .map(|p| p.display().to_string());
    match (
        read("/proc/sys/kernel/hostname"),
        read("/proc/sys/kernel/random/boot_id"),
        namespace,
    ) {
        (Some(name), Some(boot), Some(namespace)) => format!("{name} {boot} {namespace}"),
        _ => String::new(),
    }
}

/// The sign of life, which brings back this worker's share of the calls at once that people allow.
pub async fn beat(pool: PgPool, id: WorkerId, every: Duration, calls: Calls) {
    loop {
        if let Ok(Some(share)) = beat_once(&pool, id).await {
            calls.bound(share);
        }
        tokio::time::sleep(every).await;
    }
}

/// Workers that ask the provider share what it bears. What does not divide goes to those that came first; more workers than
/// calls have one each. Until the next beat of everybody a newcomer's share is above the sum.
pub async fn beat_once(pool: &PgPool, id: WorkerId) -> sqlx::Result<Option<u32>> {
    let share: Option<Option<i32>> = sqlx::query_scalar(
        "with here as (update saga.worker set heartbeat_at = now() where worker_id = $1 returning worker_id, started_at, asks),
              others as (select w.worker_id, w.started_at from saga.worker w
                          where w.worker_id <> $1 and w.heartbeat_at > now() - interval '60 seconds' and not w.draining and $2 = any(w.asks))
         select (select greatest(1, (g.max_in_flight + o.all_of_them - o.before) / (o.all_of_them + 1)) from saga.provider_gate g where g.provider = $2)
           from here h cross join lateral (
             select count(*)::int as all_of_them, count(*) filter (where (x.started_at, x.worker_id) < (h.started_at, h.worker_id))::int as before from others x) o",
    )
    .bind(id.0)
    .bind(gate::STRIPE)
    .fetch_optional(pool)
    .await?;
    Ok(share.flatten().map(i32::unsigned_abs))
}

pub async fn leave(pool: &PgPool, id: WorkerId) {
    let _ = sqlx::query("delete from saga.worker where worker_id = $1")
        .bind(id.0)
        .execute(pool)
        .await;
}
