//! An endpoint as it is sent to: address, secrets, headers and limits, read when its version rises.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::card::Shape;
use super::headers::check_custom;
use super::sign::SigningSecret;
use crate::delivery::http::{AllowList, Blocked, Guard, Target};
use crate::store::vault::{SealedSecret, Vault, VaultError};

/// What a sealed secret belongs to, and cannot be opened without.
pub fn secret_place(destination: Uuid, secret: Uuid) -> String {
    format!("endpoint:{destination}:secret:{secret}")
}

pub fn headers_place(destination: Uuid) -> String {
    format!("endpoint:{destination}:headers")
}

pub struct Endpoint {
    pub version: i32,
    pub url: String,
    pub shape: Shape,
    /// Or why it may not be sent to; then every try says so.
    pub target: Result<Target, Blocked>,
    pub guard: Arc<Guard>,
    pub timeout: Duration,
    pub schedule: Vec<i32>,
    pub rate_per_s: Option<i32>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    secrets: Vec<(SigningSecret, Option<DateTime<Utc>>)>,
}

/// Why an endpoint cannot be sent to for a reason that is ours: no try is used up.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("its secrets cannot be opened")]
    Vault(#[from] VaultError),
    #[error("it has no secret that is live")]
    NoSecret,
    #[error("what was sealed is no secret of a webhook")]
    NotASecret,
}

impl Endpoint {
    /// Everything that signs now.
    pub fn secrets(&self, now: DateTime<Utc>) -> impl Iterator<Item = &SigningSecret> {
        self.secrets
            .iter()
            .filter(move |(_, until)| until.is_none_or(|u| u > now))
            .map(|(secret, _)| secret)
    }
}

pub type Endpoints = HashMap<Uuid, Result<Arc<Endpoint>, Unusable>>;

/// What may be sent to now.
pub async fn guard(pool: &PgPool, database_ports: &[u16]) -> sqlx::Result<Guard> {
    let allowed: Vec<String> =
        sqlx::query_scalar("select entries from delivery.allow_list order by version desc limit 1")
            .fetch_one(pool)
            .await?;
    // An entry that an older version let through and this one does not understand allows nothing.
    let allow = AllowList::parse(allowed.iter().map(String::as_str)).unwrap_or_default();
    Ok(Guard::new(allow, database_ports.to_vec()))
}

/// Reads these endpoints and the list of what is allowed.
pub async fn load(
    pool: &PgPool,
    vault: &Vault,
    database_ports: &[u16],
    ids: &[Uuid],
) -> sqlx::Result<Endpoints> {
    let guard = Arc::new(guard(pool, database_ports).await?);
    let rows = sqlx::query(
        "select t.destination_id, t.version, t.url, t.shape, t.timeout_ms, t.schedule_s, t.rate_per_s, t.headers, t.headers_key,
                array(select s.secret_id from delivery.secrets s where s.destination_id = t.destination_id order by s.created_at desc, s.secret_id) as ids,
                array(select s.sealed from delivery.secrets s where s.destination_id = t.destination_id order by s.created_at desc, s.secret_id) as sealed,
                array(select s.key_id from delivery.secrets s where s.destination_id = t.destination_id order by s.created_at desc, s.secret_id) as keys,
                array(select coalesce(s.expires_at, 'infinity') = 'infinity' from delivery.secrets s where s.destination_id = t.destination_id order by s.created_at desc, s.secret_id) as for_good,
                array(select coalesce(nullif(s.expires_at, 'infinity'), now()) from delivery.secrets s where s.destination_id = t.destination_id order by s.created_at desc, s.secret_id) as until
           from delivery.destinations t where t.destination_id = any($1)",
    )
    .bind(ids)
    .fetch_all(pool)
    .await?;
    let mut endpoints = HashMap::new();
    for row in &rows {
        let id: Uuid = row.try_get("destination_id")?;
        endpoints.insert(id, read(row, id, vault, &guard)?.map(Arc::new));
    }
    Ok(endpoints)
}

fn read(
    row: &sqlx::postgres::PgRow,
    id: Uuid,
    vault: &Vault,
    guard: &Arc<Guard>,
) -> sqlx::Result<Result<Endpoint, Unusable>> {
    let sealed = SealedSecrets {
        ids: row.try_get("ids")?,
        sealed: row.try_get("sealed")?,
        keys: row.try_get("keys")?,
        for_good: row.try_get("for_good")?,
        until: row.try_get("until")?,
    };
    let headers: Option<Vec<u8>> = row.try_get("headers")?;
    let headers_key: Option<String> = row.try_get("headers_key")?;
    let opened = sealed
        .open(id, vault)
        .and_then(|secrets| Ok((secrets, opened_headers(id, headers, headers_key, vault)?)));
    let (secrets, headers) = match opened {
        Ok(opened) => opened,
        Err(why) => return Ok(Err(why)),
    };
    let url: String = row.try_get("url")?;
    let timeout_ms: i32 = row.try_get("timeout_ms")?;
    Ok(Ok(Endpoint {
        version: row.try_get("version")?,
        target: guard.url(&url),
        url,
        shape: Shape::of(row.try_get("shape")?),
        guard: guard.clone(),
        timeout: Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(15_000)),
        schedule: row.try_get("schedule_s")?,
        rate_per_s: row.try_get("rate_per_s")?,
        headers,
        secrets,
    }))
}

struct SealedSecrets {
    ids: Vec<Uuid>,
    sealed: Vec<Vec<u8>>,
    keys: Vec<String>,
    for_good: Vec<bool>,
    until: Vec<DateTime<Utc>>,
}

impl SealedSecrets {
    #[allow(clippy::type_complexity, reason = "a list of secrets with their ends")]
    fn open(
        self,
        id: Uuid,
        vault: &Vault,
    ) -> Result<Vec<(SigningSecret, Option<DateTime<Utc>>)>, Unusable> {
        let mut opened = vec![];
        let times = self.for_good.into_iter().zip(self.until);
        let sealed = self.ids.into_iter().zip(self.sealed).zip(self.keys);
        for (((secret_id, bytes), key_id), (for_good, until)) in sealed.zip(times) {
            let until = (!for_good).then_some(until);
            if until.is_some_and(|u| u <= Utc::now()) {
                continue;
            }
            let plain = vault.open(
                &secret_place(id, secret_id),
                &SealedSecret { key_id, bytes },
            )?;
            let secret = SigningSecret::from_bytes(plain).map_err(|_| Unusable::NotASecret)?;
            opened.push((secret, until));
        }
        if opened.is_empty() {
            return Err(Unusable::NoSecret);
        }
        Ok(opened)
    }
}

fn opened_headers(
    id: Uuid,
    bytes: Option<Vec<u8>>,
    key_id: Option<String>,
    vault: &Vault,
) -> Result<Vec<(HeaderName, HeaderValue)>, Unusable> {
    let (Some(bytes), Some(key_id)) = (bytes, key_id) else {
        return Ok(vec![]);
    };
    let plain = vault.open(&headers_place(id), &SealedSecret { key_id, bytes })?;
    let given: HashMap<String, String> =
        serde_json::from_slice(&plain).map_err(|_| Unusable::NotASecret)?;
    check_custom(given.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        .map_err(|_| Unusable::NotASecret)
}
