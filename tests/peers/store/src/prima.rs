//! esrs: an aggregate's events in a table of its own; a unique index guards the sequence.

use esrs::store::EventStore;
use esrs::store::postgres::{PgStore, PgStoreBuilder};
use esrs::{Aggregate, AggregateState};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Failure, Peer, Sent};

#[derive(Clone)]
pub struct Esrs(PgStore<Booking>);

pub struct Booking;

#[derive(Debug, thiserror::Error)]
#[error("never")]
pub struct Never;

impl Aggregate for Booking {
    const NAME: &'static str = "booking";
    type State = ();
    type Command = ();
    type Event = Sent;
    type Error = Never;

    fn handle_command((): &(), (): ()) -> Result<Vec<Sent>, Never> {
        Ok(vec![Sent::new()])
    }

    fn apply_event((): (), _: Sent) {}
}

impl Esrs {
    pub async fn open(pool: PgPool) -> Result<Esrs, Failure> {
        Ok(Esrs(PgStoreBuilder::new(pool).try_build().await?))
    }
}

impl Peer for Esrs {
    const NAME: &'static str = "esrs 0.18";
    type Stream = AggregateState<()>;

    fn begin(&self) -> AggregateState<()> {
        AggregateState::with_id(Uuid::now_v7())
    }

    fn id(stream: &AggregateState<()>) -> Uuid {
        *stream.id()
    }

    async fn append(&self, stream: &mut AggregateState<()>) -> Result<(), Failure> {
        self.0.persist(stream, vec![Sent::new()]).await?;
        Ok(())
    }

    async fn load(&self, id: Uuid) -> Result<usize, Failure> {
        Ok(self.0.by_aggregate_id(id).await?.len())
    }
}
