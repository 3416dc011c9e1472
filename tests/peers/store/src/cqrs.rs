//! postgres-es: one table for all aggregates, as its own `db/init.sql` makes it.

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use std::sync::Arc;
use uuid::Uuid;

use crate::{Failure, Peer, Sent};

#[derive(Clone)]
pub struct PostgresEs(Arc<PostgresEventRepository>);

#[derive(Default, Serialize, Deserialize)]
pub struct Booking;

#[derive(Debug, thiserror::Error)]
#[error("never")]
pub struct Never;

impl DomainEvent for Sent {
    fn event_type(&self) -> String {
        "NotificationSent".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Booking {
    const TYPE: &'static str = "booking";
    type Command = ();
    type Event = Sent;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Never> {
        Ok(())
    }

    fn apply(&mut self, _: Sent) {}
}

impl PostgresEs {
    pub async fn open(pool: PgPool) -> Result<PostgresEs, Failure> {
        sqlx::raw_sql(
            "create table events (
               aggregate_type text not null, aggregate_id text not null, sequence bigint check (sequence >= 0) not null,
               event_type text not null, event_version text not null, payload json not null, metadata json not null,
               primary key (aggregate_type, aggregate_id, sequence))",
        )
        .execute(&pool)
        .await?;
        Ok(PostgresEs(Arc::new(PostgresEventRepository::new(pool))))
    }
}

impl Peer for PostgresEs {
    const NAME: &'static str = "postgres-es 0.5";
    type Stream = (Uuid, usize);

    fn begin(&self) -> (Uuid, usize) {
        (Uuid::now_v7(), 0)
    }

    fn id(stream: &(Uuid, usize)) -> Uuid {
        stream.0
    }

    async fn append(&self, (id, sequence): &mut (Uuid, usize)) -> Result<(), Failure> {
        *sequence += 1;
        let sent = Sent::new();
        let event = SerializedEvent::new(
            id.to_string(),
            *sequence,
            Booking::TYPE.to_owned(),
            sent.event_type(),
            sent.event_version(),
            serde_json::to_value(&sent)?,
            json!({ "correlation_id": Uuid::now_v7() }),
        );
        self.0.persist::<Booking>(&[event], None).await?;
        Ok(())
    }

    async fn load(&self, id: Uuid) -> Result<usize, Failure> {
        let events = self.0.get_events::<Booking>(&id.to_string()).await?;
        // As its event store does with what the repository gives.
        let sent: Result<Vec<Sent>, _> = events
            .into_iter()
            .map(|event| serde_json::from_value(event.payload))
            .collect();
        Ok(sent?.len())
    }
}
