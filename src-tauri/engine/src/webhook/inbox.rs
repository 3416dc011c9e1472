//! Keeping and processing what Stripe tells.
//!
//! An event is a doorbell: it wakes the saga that is concerned, and the saga asks Stripe for the object itself. Order,
//! duplicates and the payload's version then do not matter, and a forged event could at most cause a look.

use bizing_stripe::EventRecord;
use bizing_stripe::webhook::Seal;
use chrono::DateTime;
use sha2::{Digest, Sha256};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::poll::TYPES;

/// How events came.
#[derive(Debug, Clone, Copy)]
pub enum Came<'a> {
    /// We asked.
    Poll,
    /// They were sent, and their signature is right.
    Webhook(&'a Sent, Seal),
}

/// What is known of a request, whatever stands in it. The bytes themselves are not kept: they hold a secret with which the
/// payment could be finished, and who paid.
#[derive(Debug, Clone)]
pub struct Sent {
    pub bytes: usize,
    pub sha256: [u8; 32],
    /// Secrets that were tried.
    pub secrets: usize,
    /// This computer.
    pub receiver: String,
}

impl Sent {
    pub fn of(body: &[u8], secrets: usize, receiver: String) -> Sent {
        Sent {
            bytes: body.len(),
            sha256: Sha256::digest(body).into(),
            secrets,
            receiver,
        }
    }
}

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    TooOld,
    FromTheFuture,
    Forged,
    Malformed,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::TooOld => "too_old",
            Verdict::FromTheFuture => "from_the_future",
            Verdict::Forged => "forged",
            Verdict::Malformed => "malformed",
        }
    }
}

/// Something that is not taken, as far as it is written down.
#[derive(Debug, Clone)]
pub struct Refused<'a> {
    pub verdict: Verdict,
    pub seal: Option<Seal>,
    /// Our clock less theirs, in seconds.
    pub skew_s: Option<f64>,
    /// What it says to be. Only its names are written down.
    pub claims: Option<&'a EventRecord>,
    pub problem: String,
}

/// Keeps events and how they came; known ones are noted as such. Returns how many were new. One that the database cannot hold is
/// set aside, and its neighbours are kept.
pub async fn keep(
    conn: &mut PgConnection,
    events: &[EventRecord],
    came: Came<'_>,
) -> sqlx::Result<u64> {
    match keep_whole(conn, events, came).await {
        Err(error) if cannot_be_held(&error) => {}
        kept => return kept,
    }
    let mut new = 0;
    for event in events {
        let kept = keep_whole(conn, std::slice::from_ref(event), came).await;
        new += match kept {
            Err(error) if cannot_be_held(&error) => set_aside(conn, event, came, &error).await?,
            kept => kept?,
        };
    }
    Ok(new)
}

/// The database understood and refused, and will refuse again.
fn cannot_be_held(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|code| code.starts_with("22"))
}

async fn set_aside(
    conn: &mut PgConnection,
    event: &EventRecord,
    came: Came<'_>,
    why: &sqlx::Error,
) -> sqlx::Result<u64> {
    tracing::error!(
        event.id = event.id,
        error = why as &dyn std::error::Error,
        "an event cannot be kept as it is; it is set aside"
    );
    let via = match came {
        Came::Poll => "poll",
        Came::Webhook(..) => "webhook",
    };
    let new: bool =
        sqlx::query_scalar("select delivery.quarantine('stripe', $1, $2, $3, $4, $5, $6, $7)")
            .bind(via)
            .bind(&event.id)
            .bind(&event.kind)
            .bind(&event.object_id)
            .bind(&event.api_version)
            .bind(DateTime::from_timestamp(event.created, 0))
            .bind(format!("its text cannot be kept: {why}"))
            .fetch_one(conn)
            .await?;
    Ok(u64::from(new))
}

/// In one statement. A poll keeps within its own transaction, where what is refused must spoil nothing; a webhook's is a statement by
/// itself, and its sender waits.
async fn keep_whole(
    conn: &mut PgConnection,
    events: &[EventRecord],
    came: Came<'_>,
) -> sqlx::Result<u64> {
    if let Came::Webhook(..) = came {
        return take_in(conn, events, came).await;
    }
    let mut tx = conn.begin().await?;
    let new = take_in(&mut tx, events, came).await?;
    tx.commit().await?;
    Ok(new)
}

async fn take_in(
    conn: &mut PgConnection,
    events: &[EventRecord],
    came: Came<'_>,
) -> sqlx::Result<u64> {
    let column = |of: fn(&EventRecord) -> Option<&str>| events.iter().map(of).collect::<Vec<_>>();
    let (via, sent, seal) = match came {
        Came::Poll => ("poll", None, None),
        Came::Webhook(sent, seal) => ("webhook", Some(sent), Some(seal)),
    };
    let new: i32 = sqlx::query_scalar("select delivery.take_in('stripe', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, null, $13)")
        .bind(via)
        .bind(column(|e| Some(&e.id)))
        .bind(column(|e| Some(&e.kind)))
        .bind(column(|e| e.object_id.as_deref()))
        .bind(column(|e| e.api_version.as_deref()))
        .bind(events.iter().map(|e| &e.raw).collect::<Vec<_>>())
        .bind(events.iter().map(|e| DateTime::from_timestamp(e.created, 0)).collect::<Vec<_>>())
        .bind(sent.map(|s| whole(s.bytes)))
        .bind(sent.map(|s| s.sha256))
        .bind(seal.map(|s| small(s.secret_no)))
        .bind(sent.map(|s| small(s.secrets)))
        .bind(seal.and_then(|s| DateTime::from_timestamp(s.signed_at, 0)))
        .bind(sent.map(|s| &s.receiver))
        .fetch_one(conn)
        .await?;
    Ok(new.unsigned_abs().into())
}

/// Writes down what was not taken. `false`: there were too many of them in the last minute.
pub async fn refuse(
    conn: &mut PgConnection,
    sent: &Sent,
    refused: &Refused<'_>,
) -> sqlx::Result<bool> {
    let claims = refused.claims;
    sqlx::query_scalar(
        "select delivery.refuse('stripe', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(refused.verdict.word())
    .bind(claims.map(|e| &e.id))
    .bind(claims.map(|e| &e.kind))
    .bind(claims.and_then(|e| e.object_id.as_deref()))
    .bind(whole(sent.bytes))
    .bind(sent.sha256)
    .bind(refused.seal.map(|s| small(s.secret_no)))
    .bind(small(sent.secrets))
    .bind(
        refused
            .seal
            .and_then(|s| DateTime::from_timestamp(s.signed_at, 0)),
    )
    .bind(refused.skew_s)
    .bind(&sent.receiver)
    .bind(&refused.problem)
    .fetch_one(conn)
    .await
}

/// Hands what is due to the sagas concerned. Returns how many were looked at; less than `limit` means that nothing more is due.
pub async fn process(pool: &PgPool, limit: i32) -> sqlx::Result<i32> {
    sqlx::query_scalar("select delivery.process_inbox($1, $2)")
        .bind(limit)
        .bind(&TYPES[..])
        .fetch_one(pool)
        .await
}

/// Forgets what nobody looks at any more, some at a time. Returns how many.
pub async fn forget(pool: &PgPool, most: i32) -> sqlx::Result<i32> {
    sqlx::query_scalar("select delivery.forget_arrivals($1)")
        .bind(most)
        .fetch_one(pool)
        .await
}

fn whole(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn small(n: usize) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}
