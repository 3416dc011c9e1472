//! What a provider sends to `/webhooks/stripe`, on its way to the inbox: verified over its raw bytes, kept, acknowledged.
//! Processing comes later; an event only makes a saga look for itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bizing_stripe::Secret;
use bizing_stripe::webhook::{Genuine, Rejected, TOLERANCE_S, parse_event, verify};
use chrono::Utc;
use sqlx::PgPool;

use super::Host;
use crate::runtime::bell::Bell;
use crate::webhook::inbox::{self, Came, Refused, Sent, Verdict};
use crate::webhook::secrets::Added;

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

/// Secrets that were added are read again after so long, and sooner where none fits.
const KNOWN_FOR: Duration = Duration::from_secs(10);
const JUST_NOW: Duration = Duration::from_secs(1);

/// At most so many refused requests a minute are written down by one process; the database counts over all of them.
const WRITTEN_DOWN: u32 = 120;

/// How many were refused in the minute that runs.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Mutex<Option<(Instant, u32)>>>);

impl Refusals {
    fn one_more(&self) -> bool {
        let mut minute = self.0.lock().unwrap_or_else(|e| e.into_inner());
        match &mut *minute {
            Some((began, n)) if began.elapsed() < Duration::from_secs(60) => {
                *n += 1;
                *n <= WRITTEN_DOWN
            }
            other => {
                *other = Some((Instant::now(), 1));
                true
            }
        }
    }
}

/// Where events are kept, and what they must be signed with.
#[derive(Clone)]
pub(super) struct Letterbox {
    /// Logs in as the worker. Its own: who is answered within milliseconds does not queue behind the work.
    pub pool: PgPool,
    /// Those of this computer's environment.
    pub own: Vec<Secret>,
    /// Those that an admin added for every computer.
    pub added: Added,
    /// This computer's name.
    pub receiver: String,
    pub refusals: Refusals,
    pub bell: Bell,
    /// Whether others know that webhooks are taken here.
    pub said: Arc<AtomicBool>,
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
    /// Says that webhooks are taken here, for whoever wonders why none come.
    pub async fn open(&self) {
        if self.secrets(KNOWN_FOR).await.is_empty() {
            return;
        }
        let said = sqlx::query(
            "insert into delivery.poll_cursor (source, webhook_since) values ('stripe', now()) on conflict (source) do update set webhook_since = now()",
        )
        .execute(&self.pool)
        .await;
        match said {
            Ok(_) => self.said.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "it is not known to others that webhooks are taken here"
            ),
        }
    }

    /// Those that count. Without any, nothing can be told apart.
    pub async fn secrets(&self, at_most_old: Duration) -> Vec<Secret> {
        let added = self.added.live(at_most_old).await;
        self.own.iter().cloned().chain(added).collect()
    }

    async fn take(&self, body: &[u8], signature: &str) -> WebhookAnswer {
        let now = Utc::now().timestamp();
        let mut secrets = self.secrets(KNOWN_FOR).await;
        let mut checked = verify(body, signature, &secrets, TOLERANCE_S, now);
        if let Err(Rejected::Forged) = checked {
            // One that was added a moment ago may be what it is signed with.
            secrets = self.secrets(JUST_NOW).await;
            checked = verify(body, signature, &secrets, TOLERANCE_S, now);
        }
        if secrets.is_empty() {
            return WebhookAnswer::NotReady;
        }
        let sent = Sent::of(body, secrets.len(), self.receiver.clone());
        let error = match checked {
            Ok(genuine) => return self.keep(&sent, &genuine).await,
            Err(error) => error,
        };
        // Anybody may send us nonsense, so it is no warning; a wrong clock is ours to mend.
        if let Rejected::Skewed { .. } = error {
            tracing::warn!(%error, "a webhook of Stripe is refused; check this computer's clock");
        } else {
            tracing::info!(%error, "a webhook is refused");
        }
        self.write_down(&sent, body, &error).await;
        WebhookAnswer::Refused
    }

    async fn keep(&self, sent: &Sent, genuine: &Genuine) -> WebhookAnswer {
        match self.try_keep(sent, genuine).await {
            Ok(()) => {
                self.bell.arrived();
                // The first secret may have been added since.
                if !self.said.load(Ordering::Relaxed) {
                    self.open().await;
                }
                WebhookAnswer::Accepted
            }
            Err(error) => {
                tracing::warn!(event.id = %genuine.event.id, error = &error as &dyn std::error::Error, "a webhook could not be kept; Stripe sends it again");
                WebhookAnswer::NotReady
            }
        }
    }

    async fn try_keep(&self, sent: &Sent, genuine: &Genuine) -> sqlx::Result<()> {
        let mut conn = self.pool.acquire().await?;
        let event = std::slice::from_ref(&genuine.event);
        inbox::keep(&mut conn, event, Came::Webhook(sent, genuine.seal)).await?;
        Ok(())
    }

    /// So that a person sees why nothing comes; whether it succeeds changes nothing. A flood of nonsense stops here, and takes no
    /// connection from what is genuine.
    async fn write_down(&self, sent: &Sent, body: &[u8], error: &Rejected) {
        if !self.refusals.one_more() {
            return;
        }
        let claims = parse_event(body).ok();
        let (verdict, seal, skew_s) = match error {
            Rejected::Skewed { seconds, seal } if *seconds < 0 => {
                (Verdict::TooOld, Some(*seal), Some(-*seconds as f64))
            }
            Rejected::Skewed { seconds, seal } => {
                (Verdict::FromTheFuture, Some(*seal), Some(-*seconds as f64))
            }
            Rejected::Forged => (Verdict::Forged, None, None),
            Rejected::Malformed | Rejected::NotAnEvent { .. } => (Verdict::Malformed, None, None),
        };
        let refused = Refused {
            verdict,
            seal,
            skew_s,
            claims: claims.as_ref(),
            problem: error.to_string(),
        };
        let written = async {
            let mut conn = self.pool.acquire().await?;
            inbox::refuse(&mut conn, sent, &refused).await
        };
        match written.await {
            Ok(true) => self.bell.ring(),
            Ok(false) => {
                tracing::debug!("too many webhooks are refused; this one is not written down")
            }
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a refused webhook was not written down"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refused_requests_asks_the_database_for_a_minutes_worth() {
        let refusals = Refusals::default();
        let written = (0..10_000).filter(|_| refusals.clone().one_more()).count();
        assert_eq!(written, WRITTEN_DOWN as usize);
    }
}
