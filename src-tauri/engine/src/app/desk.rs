//! An open desk: the person's pool, what the installation is, and the ways to wake and to be woken.
//!
//! `dispatch` sees only the person's pool. The worker's pool is in `worker::Worker`, which holds another login.

use std::future::Future;
use std::sync::Arc;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::error;
use super::wire::{AppError, Group, ProfileKind};
use crate::domain::ids::WorkerId;
use crate::runtime::bell::Bell;
use crate::runtime::hints::Hints;
use crate::saga::definition::Policy;
use crate::saga::world::World;
use crate::store::migrate::Installation;
use crate::store::vault::Vault;

#[derive(Clone)]
pub struct Desk(pub Arc<DeskParts>);

impl std::ops::Deref for Desk {
    type Target = DeskParts;

    fn deref(&self) -> &DeskParts {
        &self.0
    }
}

pub struct DeskParts {
    /// Logs in as the person.
    pub people: PgPool,
    pub installation: Installation,
    pub profile: ProfileKind,
    pub group: Group,
    /// Why nothing can be changed from here, and who must do what.
    pub read_only: Option<String>,
    pub bell: Bell,
    pub hints: Hints,
    /// The worker of this process, when it runs background work: a booking made here goes straight on there.
    pub works_here: Option<Arc<dyn GoOn>>,
    /// Where the local sandbox answers, when the installation is one.
    pub sandbox_url: Option<String>,
    /// Whether live Stripe and mail are set up, and how to mend it when not.
    pub connections: Connections,
    /// The backups, where this process may read the whole database.
    pub backups: Option<super::backups::Room>,
    /// What makes logins for people, where this process has it.
    pub maker: Option<super::people::Maker>,
    /// What this process lets the doctor look at.
    pub examiner: super::doctor::Examiner,
    /// Why the log is not the one that this computer followed before.
    pub log_change: Option<super::host::Changed>,
    /// Which log this is; `None`: the schema is older than that.
    pub log_id: Option<uuid::Uuid>,
    /// Seals the secrets of endpoints.
    pub vault: Vault,
    /// The same that the worker of this installation goes by.
    pub policy: Policy,
    /// Cancelled once the database has fallen silent: an answer over these connections may never come.
    pub silent: CancellationToken,
}

impl Desk {
    /// What the work says, unless the database falls silent first. Whether a command was carried out is then not known:
    /// its id makes it safe to send again.
    pub async fn answered<T>(
        &self,
        work: impl Future<Output = Result<T, AppError>>,
    ) -> Result<T, AppError> {
        tokio::select! {
            answer = work => answer,
            () = self.silent.cancelled() => Err(error::no_answer()),
        }
    }
}

/// Facts about what the worker needs; no key ever stands here.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    pub stripe_set: bool,
    pub mail_set: bool,
}

/// How a use case hands a saga that it has started, leased, to the worker of its own process.
pub trait GoOn: Send + Sync {
    fn worker_id(&self) -> WorkerId;
    /// The saga is committed, leased to this worker with fence 1, its first effect (if any) intended.
    /// `world`: what the start knows, if it began leased to this worker.
    fn go_on(&self, saga: crate::domain::ids::SagaId, world: Option<Box<World>>);
}
