//! Secrets that an admin added for what comes in, as the computers that take webhooks hold them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bizing_stripe::Secret;
use sqlx::PgPool;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::store::vault::{SealedSecret, Vault};

/// What a secret is sealed for.
pub fn place(id: Uuid) -> String {
    format!("incoming:{id}")
}

/// Read again now and then, and never by more than one request at a time.
#[derive(Clone)]
pub struct Added(Arc<Inner>);

struct Inner {
    pool: PgPool,
    vault: Vault,
    known: Mutex<Option<(Instant, Vec<Secret>)>>,
}

impl Added {
    pub fn new(pool: PgPool, vault: Vault) -> Added {
        Added(Arc::new(Inner {
            pool,
            vault,
            known: Mutex::default(),
        }))
    }

    /// Those that count, as they were at most so long ago. While they cannot be read, those that were known last.
    pub async fn live(&self, at_most_old: Duration) -> Vec<Secret> {
        let mut known = self.0.known.lock().await;
        if let Some((read, secrets)) = &*known
            && read.elapsed() < at_most_old
        {
            return secrets.clone();
        }
        let before = known.take().map(|(_, secrets)| secrets);
        let secrets = match self.read().await {
            Ok(secrets) => secrets,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the secrets of incoming webhooks cannot be read; those that were known count"
                );
                before.unwrap_or_default()
            }
        };
        *known = Some((Instant::now(), secrets.clone()));
        secrets
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
