//! What a provider sends to `/webhooks/stripe`, on its way to the inbox: verified over its raw bytes, kept, acknowledged.
//! Processing comes later; an event only makes a saga look for itself.

use bizing_stripe::Secret;
use bizing_stripe::webhook::{Rejected, TOLERANCE_S, verify};
use chrono::Utc;
use sqlx::PgPool;

use super::Host;
use crate::runtime::bell::Bell;
use crate::webhook::inbox::{self, Via};

/// What the provider is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// Stored; the provider need not send it again.
    Accepted,
    /// The signature does not fit: sending it again is of no use.
    Refused,
    /// Not now: the provider sends it again.
    NotReady,
}

/// Where events are kept, and what they must be signed with.
#[derive(Clone)]
pub(super) struct Letterbox {
    /// Logs in as the worker.
    pub pool: PgPool,
    pub secrets: Vec<Secret>,
    pub bell: Bell,
}

impl Host {
    /// `body` is what arrived, byte for byte: the signature stands over it.
    pub async fn webhook(&self, body: &[u8], signature: Option<&str>) -> WebhookAnswer {
        let open = self.0.open.lock().await;
        let letterbox = open.as_ref().and_then(|open| open.letterbox.clone());
        drop(open);
        match letterbox {
            Some(letterbox) => letterbox.take(body, signature.unwrap_or_default()).await,
            None => WebhookAnswer::NotReady,
        }
    }
}

impl Letterbox {
    async fn take(&self, body: &[u8], signature: &str) -> WebhookAnswer {
        let now = Utc::now().timestamp();
        let event = match verify(body, signature, &self.secrets, TOLERANCE_S, now) {
            Ok(event) => event,
            // Anybody may send us nonsense, so it is no warning; a wrong clock is ours to mend.
            Err(error @ Rejected::Skewed { .. }) => {
                tracing::warn!(%error, "a webhook of Stripe is refused; check this computer's clock");
                return WebhookAnswer::Refused;
            }
            Err(error) => {
                tracing::info!(%error, "a webhook is refused");
                return WebhookAnswer::Refused;
            }
        };
        match self.keep(&event).await {
            Ok(()) => {
                self.bell.ring();
                WebhookAnswer::Accepted
            }
            Err(error) => {
                tracing::warn!(event.id = %event.id, error = &error as &dyn std::error::Error, "a webhook could not be kept; Stripe sends it again");
                WebhookAnswer::NotReady
            }
        }
    }

    async fn keep(&self, event: &bizing_stripe::EventRecord) -> sqlx::Result<()> {
        let mut conn = self.pool.acquire().await?;
        inbox::keep(&mut conn, std::slice::from_ref(event), Via::Webhook).await?;
        Ok(())
    }
}
