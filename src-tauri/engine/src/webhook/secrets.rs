//! Secrets that an admin added for what comes in, as the computers that take webhooks hold them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bizing_stripe::Secret;
use sqlx::PgPool;
use uuid::Uuid;

use crate::store::vault::{SealedSecret, Vault};

/// What a secret is sealed for.
pub fn place(id: Uuid) -> String {
    format!("incoming:{id}")
}

/// Read again now and then, by one request at a time, which holds up none of those that can do with what is known.
#[derive(Clone)]
pub struct Added(Arc<Inner>);

struct Inner {
    pool: PgPool,
    vault: Vault,
    known: Mutex<Option<Known>>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Known {
    read_at: Instant,
    secrets: Vec<Secret>,
}

impl Added {
    pub fn new(pool: PgPool, vault: Vault) -> Added {
        Added(Arc::new(Inner {
            pool,
            vault,
            known: Mutex::default(),
            reading: Default::default(),
        }))
    }

    /// Those that count, as they were at most so long ago. While they are being read, or cannot be, those that were known last.
    pub async fn live(&self, at_most_old: Duration) -> Vec<Secret> {
        let _turn = match (self.known(), self.0.reading.try_lock()) {
            (Some(known), _) if known.read_at.elapsed() < at_most_old => return known.secrets,
            (_, Ok(turn)) => turn,
            (Some(known), Err(_)) => return known.secrets,
            (None, Err(_)) => self.0.reading.lock().await,
        };
        // Another may have read them while this one waited.
        let before = self.known();
        if let Some(known) = &before
            && known.read_at.elapsed() < at_most_old
        {
            return known.secrets.clone();
        }
        let secrets = self.read().await.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the secrets of incoming webhooks cannot be read; those that were known count"
            );
            before.map(|known| known.secrets).unwrap_or_default()
        });
        let known = Known {
            read_at: Instant::now(),
            secrets: secrets.clone(),
        };
        *self.0.known.lock().unwrap_or_else(|e| e.into_inner()) = Some(known);
        secrets
    }

    fn known(&self) -> Option<Known> {
        let known = self.0.known.lock().unwrap_or_else(|e| e.into_inner());
        known.clone()
    }

    async fn read(&self) -> sqlx::Result<Vec<Secret>> {
        let rows: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as(
            "select secret_id, key_id, sealed from delivery.incoming_secrets where source = 'stripe' and expires_at > now() order by added_at desc",
        )
        .fetch_all(&self.0.pool)
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(id, key_id, bytes)| self.opened(id, SealedSecret { key_id, bytes }))
            .collect())
    }

    fn opened(&self, id: Uuid, sealed: SealedSecret) -> Option<Secret> {
        let plain = self.0.vault.open(&place(id), &sealed);
        match plain.map(String::from_utf8) {
            Ok(Ok(text)) => Some(Secret::new(text)),
            Ok(Err(_)) => None,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what is signed with a secret of incoming webhooks is refused here: the secret cannot be opened"
                );
                None
            }
        }
    }
}
