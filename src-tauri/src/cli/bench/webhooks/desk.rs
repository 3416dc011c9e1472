//! The side that sends: endpoints, events, what is owed, and the worker that ships.

use std::sync::Arc;
use std::time::Duration;

use bizing_engine::delivery::http::Names;
use bizing_engine::delivery::webhook::sign::SigningSecret;
use bizing_engine::delivery::webhook::{Connections, Parts, Webhooks, body, secret_place};
use bizing_engine::domain::event::Event;
use bizing_engine::domain::ids::{BookingId, CorrelationId, EventId, Reference, WorkerId};
use bizing_engine::runtime::bell::Bell;
use bizing_engine::runtime::crash::CrashPoints;
use bizing_engine::runtime::hints::Hints;
use bizing_engine::runtime::ids;
use bizing_engine::runtime::tasks::Tasks;
use bizing_engine::store::append::{Append, Context, Expected, append_in};
use bizing_engine::store::vault::Vault;
use chrono::Utc;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::super::BenchError;
use super::super::ground::Ground;

/// Events that what is owed in bulk points at.
const EVENTS: i64 = 1_000;

pub struct HookDesk {
    /// An admin's.
    pub people: PgPool,
    pub bell: Bell,
    appends: PgPool,
    superuser: PgConnectOptions,
    worker: PgConnectOptions,
    vault: Vault,
}

impl HookDesk {
    pub async fn open(ground: &Ground, vault: &Vault) -> Result<HookDesk, BenchError> {
        let desk = HookDesk {
            people: ground.pool("admin", 2).await?,
            bell: Bell::default(),
            appends: ground.pool("worker", 2).await?,
            superuser: ground.superuser(),
            worker: ground.login("worker"),
            vault: vault.clone(),
        };
        let version: i32 = sqlx::query_scalar("select max(version) from read.allow_list_v1")
            .fetch_one(&desk.people)
            .await?;
        sqlx::query(
            "select api.put_allow_list($1, array['127.0.0.1'], 'the receiver of the bench')",
        )
        .bind(version)
        .execute(&desk.people)
        .await?;
        let events: i64 = sqlx::query_scalar("select count(*) from read.log_v1")
            .fetch_one(&desk.people)
            .await?;
        for _ in events..EVENTS {
            desk.append(ids::v7()).await?;
        }
        Ok(desk)
    }

    pub async fn endpoint(
        &self,
        url: &str,
        places: i32,
        timeout_ms: i32,
    ) -> Result<Uuid, BenchError> {
        let (id, secret_id, secret) = (ids::v7(), ids::v7(), SigningSecret::random());
        let sealed = self
            .vault
            .seal(&secret_place(id, secret_id), secret.bytes())?;
        let done: serde_json::Value =
            sqlx::query_scalar("select api.put_endpoint($1, null, $2, null, null, $3, $4, $5, $6)")
                .bind(id)
                .bind(json!({ "name": id, "url": url, "events": ["BookingCreated"], "max_in_flight": places, "timeout_ms": timeout_ms }))
                .bind(&sealed.key_id)
                .bind(secret_id)
                .bind(&sealed.bytes)
                .bind(secret.hint())
                .fetch_one(&self.people)
                .await?;
        match done["status"] == "made" {
            true => Ok(id),
            false => Err(done.to_string().into()),
        }
    }

    /// The worker as it ships, in a process that does nothing else.
    pub fn work(&self) -> Tasks {
        let tasks = Tasks::default();
        let webhooks = Webhooks::new(Parts {
            connections: Connections::to(&self.worker),
            worker: WorkerId(ids::v7()),
            vault: self.vault.clone(),
            names: Arc::new(Names),
            bell: self.bell.clone(),
            hints: Hints::default(),
            crash: CrashPoints::default(),
        });
        let stop = tasks.stopping();
        tasks.forever("webhooks", move || {
            let (webhooks, stop) = (webhooks.clone(), stop.clone());
            async move { webhooks.run(stop).await }
        });
        tasks
    }

    /// One event, through the function that writes what is owed for it.
    pub async fn append(&self, id: Uuid) -> Result<(), BenchError> {
        let booking = BookingId(ids::v7());
        let fixture = include_str!("../../../../engine/src/domain/fixtures/BookingCreated.v1.json");
        let mut created: Event = serde_json::from_str(fixture)?;
        if let Event::BookingCreated(created) = &mut created {
            created.booking_id = booking;
            created.reference = Reference::from_bits(ids::reference_bits());
        }
        let mut append = Append::new(booking, Expected::Version(0), vec![created], Utc::now());
        append.events[0].id = EventId(id);
        let context = Context {
            correlation: CorrelationId(ids::v7()),
            causation: None,
            on_behalf_of: None,
        };
        let mut tx = bizing_engine::store::begin(&self.appends).await?;
        append_in(&mut tx, &context, vec![append]).await?;
        tx.commit().await?;
        self.bell.ring();
        Ok(())
    }

    /// What a receiver gets of such an event.
    pub async fn body(&self) -> Result<String, BenchError> {
        body::render_example("BookingCreated", ids::v7(), Utc::now())
            .ok_or("no such example".into())
    }

    /// So many deliveries in all, to every endpoint the same, due at once when the bell rings.
    pub async fn owe(&self, n: i64) -> Result<(), BenchError> {
        let endpoints: Vec<Uuid> = sqlx::query_scalar(
            "select destination_id from read.destinations_v1 where kind = 'webhook' order by 1",
        )
        .fetch_all(&self.people)
        .await?;
        let each = (n + endpoints.len() as i64 - 1) / endpoints.len() as i64;
        let mut left = n;
        for id in endpoints {
            self.insert(id, each.min(left)).await?;
            left -= each.min(left);
        }
        Ok(())
    }

    pub async fn owe_to(&self, endpoint: Uuid, n: i64) -> Result<(), BenchError> {
        self.insert(endpoint, n).await
    }

    /// In one transaction with everything else that a worker would see only when it is whole.
    async fn insert(&self, endpoint: Uuid, n: i64) -> Result<(), BenchError> {
        let mut conn = PgConnection::connect_with(&self.superuser).await?;
        sqlx::query(
            "with e as (select row_number() over (order by position) - 1 as o, event_id, position, stream_no, correlation_id from core.events order by position limit $3),
                  first as (select coalesce(max(replay_no), 0) + 1 as no from delivery.deliveries where destination_id = $1)
             insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, replay_no, give_up_at)
             select $1, 'BookingCreated', e.event_id, e.position, s.stream_id, e.correlation_id, first.no + n / $3, 'infinity'
               from generate_series(0, $2 - 1) n join e on e.o = n % $3 join core.streams s on s.stream_no = e.stream_no cross join first",
        )
        .bind(endpoint)
        .bind(n)
        .bind(EVENTS)
        .execute(&mut conn)
        .await?;
        Ok(conn.close().await?)
    }

    /// Until nothing is owed any more and all of it is recorded.
    pub async fn until_delivered(&self) -> Result<(), BenchError> {
        loop {
            let open: bool = sqlx::query_scalar(
                "select exists (select from read.deliveries_v2 where state = 'scheduled') or exists (select from read.deliveries_v2 where state = 'sending')",
            )
            .fetch_one(&self.people)
            .await?;
            if !open {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Leaves nothing for the next case.
    pub async fn close(self) {
        let cleared = async {
            let mut conn = PgConnection::connect_with(&self.superuser).await?;
            sqlx::raw_sql(
                "update delivery.destinations set state = 'disabled', active = false, deleted_at = now() where kind = 'webhook' and deleted_at is null;
                 delete from delivery.subscriptions b using delivery.destinations d where d.destination_id = b.destination_id and d.kind = 'webhook';
                 truncate delivery.deliveries, delivery.attempts",
            )
            .execute(&mut conn)
            .await?;
            conn.close().await
        };
        let cleared: sqlx::Result<()> = cleared.await;
        if let Err(error) = cleared {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what a case left is still there"
            );
        }
        self.people.close().await;
        self.appends.close().await;
    }
}
