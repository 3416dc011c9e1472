//! Stripe's signature over a webhook, checked by ourselves: async-stripe's check loses the whole event when one field
//! of its object is missing, and calls a wrong clock a bad signature.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::{EventRecord, Secret, object::View};

/// What Stripe's own libraries allow.
pub const TOLERANCE_S: i64 = 300;

/// A header is `t=…,v1=…,v1=…`. Stripe signs once per live secret; more than this is somebody making us work.
const MOST_SIGNATURES: usize = 16;

/// An event that is Stripe's, and how that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Genuine {
    pub event: EventRecord,
    pub seal: Seal,
}

/// What a right signature tells beside the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Which of our secrets made it, from 1. While one is rolled both do, and the first counts.
    pub secret_no: usize,
    /// Unix seconds.
    pub signed_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the Stripe-Signature header is not of the form t=…,v1=…")]
    Malformed,
    #[error("no signature in the header is made with one of our secrets")]
    Forged,
    /// Signed with our secret, but at another time than our clock shows: an old message sent again, or a wrong clock.
    /// Positive when the message is from our future.
    #[error(
        "the signature is right, but its time differs from this computer's clock by {seconds} s"
    )]
    Skewed { seconds: i64, seal: Seal },
    #[error("the signature is right, but the body is not an event: {cause}")]
    NotAnEvent { cause: String },
}

/// Checks the raw bytes against every secret that is live, so that a secret can be rolled without losing an event.
/// `now` in Unix seconds.
pub fn verify(
    payload: &[u8],
    header: &str,
    secrets: &[Secret],
    tolerance_s: i64,
    now: i64,
) -> Result<Genuine, Rejected> {
    let (signed_at, signatures) = parse_header(header)?;
    let mut made_by = None;
    for (secret, no) in secrets.iter().zip(1..) {
        if secret.expose().is_empty() {
            continue;
        }
        let expected = sign(payload, signed_at, secret);
        // Every pair is compared, and each in constant time: how long it takes tells nothing about how close a guess was.
        let mut genuine = Choice::from(0);
        for signature in &signatures {
            genuine |= expected.as_slice().ct_eq(signature.as_slice());
        }
        if bool::from(genuine) {
            made_by.get_or_insert(no);
        }
    }
    let secret_no = made_by.ok_or(Rejected::Forged)?;
    let seal = Seal {
        secret_no,
        signed_at,
    };
    let seconds = signed_at.saturating_sub(now);
    if seconds.unsigned_abs() > tolerance_s.unsigned_abs() {
        return Err(Rejected::Skewed { seconds, seal });
    }
    match parse_event(payload) {
        Ok(event) => Ok(Genuine { event, seal }),
        Err(cause) => Err(Rejected::NotAnEvent { cause }),
    }
}

/// An event's envelope, whatever its type or object: an unknown one is kept, not refused.
pub fn parse_event(payload: &[u8]) -> Result<EventRecord, String> {
    let raw: Value = serde_json::from_slice(payload).map_err(|error| {
        format!(
            "not JSON at line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    EventRecord::view(&raw)
}

fn sign(payload: &[u8], signed_at: i64, secret: &Secret) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(signed_at.to_string().as_bytes());
    mac.update(b".");
    mac.update(payload);
    mac.finalize().into_bytes().to_vec()
}

fn parse_header(header: &str) -> Result<(i64, Vec<Vec<u8>>), Rejected> {
    let mut signed_at = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) if signed_at.is_none() => signed_at = text.parse().ok(),
            // A second time would leave open which one was signed.
            Some(("t", _)) => return Err(Rejected::Malformed),
            Some(("v1", text)) if signatures.len() < MOST_SIGNATURES => {
                signatures.extend(hex(text))
            }
            // Other schemes (`v0` is for test clients) are not ours to check.
            _ => {}
        }
    }
    match signed_at {
        Some(at) if !signatures.is_empty() => Ok((at, signatures)),
        _ => Err(Rejected::Malformed),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .bytes()
        .map(|b| char::from(b).to_digit(16))
        .collect::<Option<Vec<u32>>>()?;
    (digits.len() == 64).then(|| {
        digits
            .chunks(2)
            .map(|pair| (pair[0] * 16 + pair[1]) as u8)
            .collect()
    })
}
