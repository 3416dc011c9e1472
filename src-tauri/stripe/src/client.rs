use std::time::Duration;

use serde_json::Value;

use crate::{
    Answer, Checkout, Dispute, Encoded, EventRecord, Failure, Fee, Intent, Marked, Object, Refund,
    Secret, encode,
    object::{Carried, View, without_client_secrets},
    transport::{Reply, attempt},
};

/// A list that is longer than this is not walked to its end: "not found" would be a guess.
const MOST_PAGES: usize = 200;

#[derive(Clone, Debug)]
pub struct Config {
    /// `https://api.stripe.com`, or a sandbox's address.
    pub base_url: String,
    pub secret_key: Secret,
    /// For one attempt, answer included. Shorter than a saga's lease.
    pub timeout: Duration,
}

impl Config {
    pub fn live(secret_key: Secret) -> Config {
        Config {
            base_url: "https://api.stripe.com".to_owned(),
            secret_key,
            timeout: Duration::from_secs(20),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Stripe {
    http: reqwest::Client,
    config: Config,
}

impl Stripe {
    /// `http` is the app's shared client, with redirects off: a redirected POST would carry our key elsewhere.
    pub fn new(http: reqwest::Client, config: Config) -> Stripe {
        Stripe { http, config }
    }

    /// Exactly one attempt. The saga has stored `request` and `idempotency_key` before it calls this, and decides from
    /// the [`Failure`] whether the same pair is sent again.
    pub async fn send(&self, request: &Encoded, idempotency_key: &str) -> Result<Answer, Failure> {
        let reply = attempt(&self.http, &self.config, request, Some(idempotency_key)).await?;
        let (object, raw) = read::<Object>(&reply, true)?;
        Ok(Answer {
            object,
            request_id: reply.request_id,
            replayed: reply.replayed,
            raw: without_client_secrets(raw),
        })
    }

    pub async fn intent(&self, id: &str) -> Result<Intent, Failure> {
        self.get(&encode::intent(id)).await
    }

    /// What Stripe kept of a captured payment. `None`: not booked yet, which takes it moments to days.
    pub async fn fee(&self, intent: &str) -> Result<Option<Fee>, Failure> {
        let Carried(fee) = self.get(&encode::fee(intent)).await?;
        Ok(fee)
    }

    pub async fn checkout(&self, id: &str) -> Result<Checkout, Failure> {
        self.get(&encode::checkout(id)).await
    }

    pub async fn dispute(&self, id: &str) -> Result<Dispute, Failure> {
        self.get(&encode::dispute(id)).await
    }

    pub async fn refund(&self, id: &str) -> Result<Refund, Failure> {
        self.get(&encode::refund(id)).await
    }

    /// All refunds of an intent, newest first, the failed and pending ones too.
    pub async fn refunds_of(&self, payment_intent: &str) -> Result<Vec<Refund>, Failure> {
        let mut all = Vec::new();
        self.walk(
            |after| encode::refunds_of(payment_intent, after),
            |refund: Refund| {
                all.push(refund);
                None::<()>
            },
        )
        .await?;
        Ok(all)
    }

    /// The newest intent created since then whose metadata holds this pair. It lists and compares: Stripe's Search is
    /// up to an hour behind its own writes, and `None` must mean that there is none.
    pub async fn find_intent_by_metadata(
        &self,
        key: &str,
        value: &str,
        created_since: i64,
    ) -> Result<Option<Intent>, Failure> {
        let matches = |intent: Intent| {
            (intent.metadata.get(key).is_some_and(|v| v == value)).then_some(intent)
        };
        self.walk(|after| encode::intents_since(created_since, after), matches)
            .await
    }

    /// The same for Checkout sessions.
    pub async fn find_checkout_by_metadata(
        &self,
        key: &str,
        value: &str,
        created_since: i64,
    ) -> Result<Option<Checkout>, Failure> {
        let matches = |session: Checkout| {
            (session.metadata.get(key).is_some_and(|v| v == value)).then_some(session)
        };
        self.walk(
            |after| encode::checkouts_since(created_since, after),
            matches,
        )
        .await
    }

    /// A page of the payments made since then, newest first, from `after` on back, and whether there are more.
    pub async fn intents_page(
        &self,
        created_since: i64,
        after: Option<&str>,
    ) -> Result<(Vec<Marked>, bool), Failure> {
        self.page(&encode::intents_since(created_since, after))
            .await
    }

    /// The same for refunds.
    pub async fn refunds_page(
        &self,
        created_since: i64,
        after: Option<&str>,
    ) -> Result<(Vec<Marked>, bool), Failure> {
        self.page(&encode::refunds_since(created_since, after))
            .await
    }

    /// Up to `limit` events just after `cursor`, oldest first, so that the last one is the next cursor; without a
    /// cursor the newest page. `types` takes at most 20; empty means all. An unknown or pruned cursor is
    /// [`Failure::Refused`] with `resource_missing`: begin again with [`Stripe::events_since`].
    pub async fn events_after(
        &self,
        cursor: Option<&str>,
        types: &[&str],
        limit: u8,
    ) -> Result<EventPage, Failure> {
        let mut page = self
            .events(&encode::events_before(cursor, types, limit))
            .await?;
        page.events.reverse();
        Ok(page)
    }

    /// A page of what was created since then, newest first, from `after` on back: the overlap against events that become
    /// visible late, and the way back after a lost cursor. Stripe keeps 30 days.
    pub async fn events_since(
        &self,
        created_since: i64,
        types: &[&str],
        after: Option<&str>,
    ) -> Result<EventPage, Failure> {
        self.events(&encode::events_since(created_since, types, after))
            .await
    }

    async fn events(&self, request: &Encoded) -> Result<EventPage, Failure> {
        let reply = attempt(&self.http, &self.config, request, None).await?;
        let page: Page<EventRecord> = read(&reply, false)?.0;
        Ok(EventPage {
            events: page.items,
            has_more: page.has_more,
            answered_at: reply.answered_at,
        })
    }

    async fn get<T: View>(&self, request: &Encoded) -> Result<T, Failure> {
        let reply = attempt(&self.http, &self.config, request, None).await?;
        read(&reply, false).map(|(view, _)| view)
    }

    async fn page<T: View>(&self, request: &Encoded) -> Result<(Vec<T>, bool), Failure> {
        let reply = attempt(&self.http, &self.config, request, None).await?;
        let page: Page<T> = read(&reply, false)?.0;
        Ok((page.items, page.has_more))
    }

    /// Goes through a list, newest first, until `pick` finds what it wants or the list ends.
    async fn walk<T: View + Listed, P>(
        &self,
        page_after: impl Fn(Option<&str>) -> Encoded,
        mut pick: impl FnMut(T) -> Option<P>,
    ) -> Result<Option<P>, Failure> {
        let mut after: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let (items, has_more) = self.page::<T>(&page_after(after.as_deref())).await?;
            after = items.last().map(|item| item.id().to_owned());
            if let Some(found) = items.into_iter().find_map(&mut pick) {
                return Ok(Some(found));
            }
            if !has_more || after.is_none() {
                return Ok(None);
            }
        }
        Err(Failure::Unknown {
            cause: format!(
                "the list is longer than {} entries; ask for a shorter time",
                MOST_PAGES * 100
            ),
            status: None,
            request_id: None,
            stored: false,
        })
    }
}

/// A page of Stripe's event log.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    pub events: Vec<EventRecord>,
    pub has_more: bool,
    /// Stripe's clock when it answered, in Unix seconds.
    pub answered_at: Option<i64>,
}

struct Page<T> {
    items: Vec<T>,
    has_more: bool,
}

impl<T: View> View for Page<T> {
    fn view(raw: &Value) -> Result<Page<T>, String> {
        let items = raw["data"].as_array().ok_or("a list without `data`")?;
        let items = items
            .iter()
            .map(T::view)
            .collect::<Result<Vec<T>, String>>()?;
        Ok(Page {
            items,
            has_more: raw["has_more"].as_bool().unwrap_or(false),
        })
    }
}

trait Listed {
    fn id(&self) -> &str;
}

macro_rules! listed { ($($view:ty),+) => { $(impl Listed for $view { fn id(&self) -> &str { &self.id } })+ } }
listed!(Intent, Checkout, Refund);

/// A reply as a view of its object. A 2xx that can't be read is an unknown outcome: it happened, and what it left
/// behind has to be looked up. Only the first wrong field is named; the body stays unsaid.
fn read<T: View>(reply: &Reply, writes: bool) -> Result<(T, Value), Failure> {
    if !(200..300).contains(&reply.status) {
        return Err(Failure::of(reply, writes));
    }
    let unreadable = |cause: String| Failure::Unknown {
        cause: format!("Stripe's answer can't be read: {cause}"),
        status: Some(reply.status),
        request_id: reply.request_id.clone(),
        stored: writes,
    };
    let raw: Value = serde_json::from_slice(&reply.body).map_err(|error| {
        unreadable(format!(
            "not JSON at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    let view = T::view(&raw).map_err(unreadable)?;
    Ok((view, raw))
}
