//! Webhooks as Stripe sends them: signed, at least once, in no promised order, a few tries.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{faults::Fault, shared::Shared, wire};

/// Waits before each further try; then the event stays pending, as at Stripe, and the list of events still has it.
const RETRIES: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];
const MOST_OWED: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTarget {
    pub url: String,
    pub secret: String,
}

#[derive(Default)]
pub struct Deliveries {
    owed: Mutex<VecDeque<Delivery>>,
    target: Mutex<Option<WebhookTarget>>,
    bell: Notify,
}

struct Delivery {
    event: String,
    tries: usize,
    due: Instant,
}

impl Deliveries {
    pub fn set_target(&self, target: Option<WebhookTarget>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
        self.bell.notify_one();
    }

    fn target(&self) -> Option<WebhookTarget> {
        self.target
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes the events of one change for delivery, with the faults that change has met.
    pub fn owe(&self, mut events: Vec<String>, faults: &[Fault]) {
        if events.is_empty() || self.target().is_none() {
            return;
        }
        if faults.contains(&Fault::ReorderedWebhooks) {
            events.reverse();
        }
        let copies = if faults.contains(&Fault::DuplicateWebhook) {
            2
        } else {
            1
        };
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            for _ in 0..copies {
                if owed.len() < MOST_OWED {
                    owed.push_back(Delivery {
                        event: event.clone(),
                        tries: 0,
                        due: Instant::now(),
                    });
                }
            }
        }
        drop(owed);
        self.bell.notify_one();
    }

    fn take_due(&self) -> Result<Delivery, Option<Instant>> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match owed.iter().position(|delivery| delivery.due <= now) {
            Some(index) => owed.remove(index).ok_or(None),
            None => Err(owed.iter().map(|delivery| delivery.due).min()),
        }
    }

    fn again(&self, delivery: Delivery) {
        if let Some(wait) = RETRIES.get(delivery.tries) {
            let again = Delivery {
                tries: delivery.tries + 1,
                due: Instant::now() + *wait,
                ..delivery
            };
            self.owed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(again);
        }
    }
}

/// Delivers one after the other, so that a test can rely on the order it asked for, until the sandbox stops.
pub async fn deliver(shared: Arc<Shared>, http: reqwest::Client, stop: CancellationToken) {
    loop {
        match shared.deliveries.take_due() {
            Ok(delivery) => {
                let sent = tokio::select! {
                    sent = attempt(&shared, &http, &delivery.event) => sent,
                    () = stop.cancelled() => return,
                };
                if !sent {
                    shared.deliveries.again(delivery);
                }
            }
            Err(next) => {
                let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
                tokio::select! {
                    () = shared.deliveries.bell.notified() => {}
                    () = tokio::time::sleep_until(next) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

/// `false`: try again.
async fn attempt(shared: &Shared, http: &reqwest::Client, event: &str) -> bool {
    let Some(target) = shared.deliveries.target() else {
        return true;
    };
    let Some(body) = shared
        .world()
        .events
        .get(event)
        .map(|event| wire::event(event).to_string())
    else {
        return true;
    };
    // The computer's clock, not the sandbox's: the receiver compares with its own.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let answer = http
        .post(&target.url)
        .header("content-type", "application/json; charset=utf-8")
        .header("stripe-signature", signature(&target.secret, now, &body))
        .header(
            "user-agent",
            "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        )
        .body(body)
        .send()
        .await;
    let taken = answer.is_ok_and(|answer| answer.status().is_success());
    if taken {
        let mut world = shared.world();
        if let Some(mut delivered) = world
            .events
            .get(event)
            .filter(|event| event.pending)
            .cloned()
        {
            delivered.pending = false;
            world.events.put(delivered);
            if let Err(error) = world.commit() {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the sandbox can't keep its journal"
                );
            }
        }
    }
    taken
}

/// The header as Stripe makes it, `t=…,v1=…`: HMAC-SHA256 over time, a dot and the body.
pub fn signature(secret: &str, now: u64, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{now}.{body}").as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={now},v1={digest}")
}
