//! Webhooks that leave: real receivers, a real worker, the real database.

mod basics;
mod breaker;
mod by_hand;
mod cards;
mod certificates;
mod dying;
mod headless;
mod history;
mod kept;
mod memory;
mod peers;
mod plans;
mod proxied;
mod recovery;
mod recovery_killed;
mod renamed;
pub mod sink;
mod ssrf;
mod stress;
mod treachery;
mod turned_off;
mod turns;
mod waiting;
mod window;

use std::time::Duration;

use bizing_engine::delivery::webhook::secret_place;
use bizing_engine::delivery::webhook::sign::SigningSecret;
use bizing_engine::domain::event::Event;
use bizing_engine::domain::ids::{BookingId, CorrelationId};
use bizing_engine::store::append::{Append, Context, Expected, append_in};
use chrono::Utc;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::support::desk::TestDesk;
use crate::support::wait_until;

/// How long anything here may take: what a lease that was lost costs on a machine that is full, twice. Nothing is slept for.
pub const SOON: Duration = Duration::from_secs(240);

pub struct Hooks {
    pub desk: TestDesk,
}

pub struct Made {
    pub id: Uuid,
    pub secret: SigningSecret,
}

impl Hooks {
    pub async fn new() -> Hooks {
        let hooks = Hooks {
            desk: TestDesk::new().await,
        };
        hooks.allow(&["127.0.0.0/8", "::1"]).await;
        hooks
    }

    pub async fn allow(&self, entries: &[&str]) {
        let version: i32 = sqlx::query_scalar("select max(version) from read.allow_list_v1")
            .fetch_one(&self.desk.people)
            .await
            .unwrap();
        let done: String = sqlx::query_scalar("select api.put_allow_list($1, $2, 'a test')")
            .bind(version)
            .bind(entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
            .fetch_one(&self.desk.people)
            .await
            .unwrap();
        assert_eq!(done, "changed");
    }

    /// An endpoint for `CalendarSynced` at this address; `more` says what else it is.
    pub async fn endpoint(&self, url: &str, more: Value) -> Made {
        let (id, secret_id, secret) = (Uuid::now_v7(), Uuid::now_v7(), SigningSecret::random());
        let sealed = self
            .desk
            .vault
            .seal(&secret_place(id, secret_id), secret.bytes())
            .unwrap();
        let mut value =
            json!({ "name": format!("Endpoint {id}"), "url": url, "events": ["CalendarSynced"] });
        for (k, v) in more.as_object().unwrap() {
            value[k] = v.clone();
        }
        let done: Value =
            sqlx::query_scalar("select api.put_endpoint($1, null, $2, null, null, $3, $4, $5, $6)")
                .bind(id)
                .bind(value)
                .bind(&sealed.key_id)
                .bind(secret_id)
                .bind(&sealed.bytes)
                .bind(secret.hint())
                .fetch_one(&self.desk.people)
                .await
                .unwrap();
        assert_eq!(done["status"], "made", "{done}");
        Made { id, secret }
    }

    /// Appends so many events to one booking's stream, and returns their ids.
    pub async fn append(&self, booking: Uuid, n: usize) -> Vec<Uuid> {
        let ids = append(&self.desk.worker_pool, booking, n).await;
        self.desk.bell.ring();
        ids
    }

    pub async fn states(&self, destination: Uuid) -> Vec<(String, i64)> {
        sqlx::query_as("select case when l.delivery_id is null then d.state else 'sending' end, count(*) from read.deliveries_v2 d left join read.delivery_leases_v1 l using (delivery_id)
              where d.destination_id = $1 group by 1 order by 1")
            .bind(destination)
            .fetch_all(&self.desk.people)
            .await
            .unwrap()
    }

    pub async fn wait_for_states(&self, destination: Uuid, wanted: &[(&str, i64)]) {
        let mut last = vec![];
        let what = format!("deliveries are {wanted:?}");
        let waited = tokio::time::timeout(SOON, async {
            loop {
                last = self.states(destination).await;
                if last
                    .iter()
                    .map(|(s, n)| (s.as_str(), *n))
                    .eq(wanted.iter().copied())
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}, not {last:?}");
    }

    /// Of the only or newest delivery to this endpoint: number, result, class, code, late.
    pub async fn tries(&self, destination: Uuid) -> Vec<Try> {
        sqlx::query_as(
            "select t.no, t.result, t.error_class, t.status, t.error, t.late, length(t.body) as kept, t.body_cut, t.total_ms
               from read.delivery_tries_v1 t join read.deliveries_v2 d using (delivery_id)
              where d.destination_id = $1 order by d.delivery_id, t.no, t.started_at",
        )
        .bind(destination)
        .fetch_all(&self.desk.people)
        .await
        .unwrap()
    }

    pub async fn health(&self, destination: Uuid) -> Value {
        sqlx::query_scalar(
            "select to_jsonb(d) from read.destinations_v1 d where destination_id = $1",
        )
        .bind(destination)
        .fetch_one(&self.desk.people)
        .await
        .unwrap()
    }

    pub async fn change(&self, destination: Uuid, action: &str) -> Value {
        let done: Value = sqlx::query_scalar(
            "select api.change_endpoint($1, (select version from read.destinations_v1 where destination_id = $1), $2, null, 'a test')",
        )
        .bind(destination)
        .bind(action)
        .fetch_one(&self.desk.people)
        .await
        .unwrap();
        self.desk.bell.ring();
        done
    }

    /// Makes due what waits for later.
    pub async fn hurry(&self, destination: Uuid) {
        sqlx::query("update delivery.deliveries set next_at = now() where destination_id = $1 and state = 'scheduled'")
            .bind(destination)
            .execute(&self.desk.worker_pool)
            .await
            .unwrap();
        self.desk.bell.ring();
    }
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Try {
    pub no: i32,
    pub result: Option<String>,
    pub error_class: Option<String>,
    pub status: Option<i16>,
    pub error: Option<String>,
    pub late: bool,
    pub kept: Option<i32>,
    pub body_cut: bool,
    pub total_ms: Option<f32>,
}

pub async fn append(pool: &PgPool, booking: Uuid, n: usize) -> Vec<Uuid> {
    let mut tx = pool.begin().await.unwrap();
    let ids = append_to(&mut tx, booking, n).await;
    tx.commit().await.unwrap();
    ids
}

/// In a transaction that is not over.
pub async fn append_to(tx: &mut PgConnection, booking: Uuid, n: usize) -> Vec<Uuid> {
    let fixture =
        include_str!("../../../src-tauri/engine/src/domain/fixtures/CalendarSynced.v1.json");
    let event: Event = serde_json::from_str(fixture).unwrap();
    let context = Context {
        correlation: CorrelationId(Uuid::now_v7()),
        causation: None,
        on_behalf_of: None,
    };
    let append = Append::new(
        BookingId(booking),
        Expected::Any,
        vec![event; n],
        Utc::now(),
    );
    let ids = append.events.iter().map(|e| e.id.0).collect();
    append_in(tx, &context, vec![append]).await.unwrap();
    ids
}

/// As receivers see it.
pub fn message_id(event: Uuid) -> String {
    format!("msg_{}", event.simple())
}
