//! What a provider sends to `/webhooks/stripe`, on its way to the inbox.

use super::Host;

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

impl Host {
    /// `body` is what arrived, byte for byte: the signature stands over it.
    pub async fn webhook(&self, _body: &[u8], _signature: Option<&str>) -> WebhookAnswer {
        WebhookAnswer::NotReady
    }
}
