//! The private server: started at most once per process, started again when it is lost.

use std::time::Duration;

use bizing_postgres::{Cluster, Options, StartError};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::runtime::config::Config;

const LOOK: Duration = Duration::from_secs(2);

pub(super) struct PrivateServer {
    options: Options,
    slot: Mutex<Slot>,
}

enum Slot {
    /// Nobody has asked for it yet.
    Off,
    Running(Box<Cluster>),
    /// It was there and is gone: the keeper tries again.
    Lost,
}

pub(super) fn private_options(config: &Config) -> Options {
    let mut options = Options::new(config.data.join("postgres"));
    options.bin = config.pg_bin.clone();
    options.no_sync = config.no_sync;
    options
}

impl PrivateServer {
    pub fn new(config: &Config) -> PrivateServer {
        PrivateServer {
            options: private_options(config),
            slot: Mutex::new(Slot::Off),
        }
    }

    /// How the superuser connects. Starts or joins the server if this process has not yet done so.
    pub async fn options(&self, database: &str) -> Result<PgConnectOptions, StartError> {
        let mut slot = self.slot.lock().await;
        if let Slot::Running(cluster) = &*slot
            && cluster.is_alive().await
        {
            return Ok(cluster.connect_options(database));
        }
        let cluster = self.renew(&mut slot).await?;
        Ok(cluster.connect_options(database))
    }

    /// Watches over the server. The socket, port and password of a new one are those of the old, so every pool recovers.
    pub async fn keep(&self, stop: CancellationToken) {
        let mut told = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let mut slot = self.slot.lock().await;
            let lost = match &*slot {
                Slot::Off => false,
                Slot::Running(cluster) => !cluster.is_alive().await,
                Slot::Lost => true,
            };
            if !lost {
                continue;
            }
            match self.renew(&mut slot).await {
                Ok(_) => {
                    tracing::warn!("the private database was gone and is started again");
                    told = false;
                }
                Err(error) if !told => {
                    tracing::error!(%error, "the private database is gone and does not start; trying on");
                    told = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Stops it if this process is its owner; a joiner only lets go.
    pub async fn stop(&self) {
        let slot = std::mem::replace(&mut *self.slot.lock().await, Slot::Off);
        if let Slot::Running(cluster) = slot
            && let Err(error) = cluster.stop().await
        {
            tracing::error!(%error, "the private database did not stop");
        }
    }

    async fn renew<'a>(&self, slot: &'a mut Slot) -> Result<&'a Cluster, StartError> {
        let before = std::mem::replace(slot, Slot::Off);
        let was_there = !matches!(before, Slot::Off);
        // The old handle goes first: it holds the ownership that the new one needs.
        if let Slot::Running(old) = before
            && let Err(error) = old.stop().await
        {
            tracing::warn!(%error, "what is left of the private database did not stop");
        }
        match Cluster::start(self.options.clone()).await {
            Ok(cluster) => {
                *slot = Slot::Running(Box::new(cluster));
                match slot {
                    Slot::Running(cluster) => Ok(cluster),
                    Slot::Off | Slot::Lost => unreachable!("it was put there a line above"),
                }
            }
            Err(error) => {
                // What never ran is not the keeper's: the person sees why, and asks again.
                *slot = if was_there { Slot::Lost } else { Slot::Off };
                Err(error)
            }
        }
    }
}
