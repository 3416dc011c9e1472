//! Standard Webhooks v1: what is signed, with what, and how a receiver checks it.
//!
//! Promises: the signature stands over id, time and the exact bytes of the body; every secret that is live signs; a check
//! takes the same time whatever is wrong.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngCore as _;
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// How far a message's time may be from the receiver's clock, both ways.
pub const TOLERANCE_S: i64 = 300;

/// What an endpoint and the desk share.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(***)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("a secret is `whsec_` and base64")]
    Encoding,
    #[error("a secret has 24 to 64 bytes")]
    Length,
}

impl SigningSecret {
    /// 32 random bytes.
    pub fn random() -> SigningSecret {
        let mut bytes = vec![0; 32];
        rand::rng().fill_bytes(&mut bytes);
        SigningSecret(bytes)
    }

    /// As it is written down: `whsec_…`.
    pub fn parse(text: &str) -> Result<SigningSecret, BadSecret> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = STANDARD.decode(encoded).map_err(|_| BadSecret::Encoding)?;
        SigningSecret::from_bytes(bytes)
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Result<SigningSecret, BadSecret> {
        // The specification's bounds; an empty secret would let anybody sign.
        if (24..=64).contains(&bytes.len()) {
            Ok(SigningSecret(bytes))
        } else {
            Err(BadSecret::Length)
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// Enough to tell two apart: `whsec_…t4Qe`.
    pub fn hint(&self) -> String {
        let text = self.reveal();
        let tail = text.trim_end_matches('=');
        format!("{PREFIX}…{}", &tail[tail.len().saturating_sub(4)..])
    }

    fn mac(&self, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

/// The header `webhook-signature`: one signature for each secret.
pub fn header<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let mut out = String::with_capacity(48);
    for secret in secrets {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str("v1,");
        STANDARD.encode_string(
            secret.mac(id, timestamp, body).finalize().into_bytes(),
            &mut out,
        );
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header webhook-timestamp is no number of seconds")]
    Timestamp,
    #[error("the message is {0} s old")]
    TooOld(i64),
    #[error("the message is from {0} s in the future: one of the two clocks is wrong")]
    TooNew(i64),
    #[error("no signature fits")]
    Signature,
}

/// What a receiver does. `now` is its clock.
pub fn verify(
    secrets: &[SigningSecret],
    id: Option<&str>,
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: i64,
) -> Result<(), Rejected> {
    let present = |value: Option<&str>, name| {
        value
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
            .ok_or(Rejected::Missing(name))
    };
    let id = present(id, "webhook-id")?;
    let timestamp = present(timestamp, "webhook-timestamp")?;
    let signature = present(signature, "webhook-signature")?;
    let timestamp: i64 = timestamp.parse().map_err(|_| Rejected::Timestamp)?;
    let age = now.saturating_sub(timestamp);
    if age > TOLERANCE_S {
        return Err(Rejected::TooOld(age));
    }
    if age < -TOLERANCE_S {
        return Err(Rejected::TooNew(age.saturating_neg()));
    }
    let mut fits = false;
    for given in signatures(&signature) {
        for secret in secrets {
            // Constant in time, and no early end: which of several fits is nobody's business.
            fits |= secret
                .mac(&id, timestamp, body)
                .verify_slice(&given)
                .is_ok();
        }
    }
    if fits {
        Ok(())
    } else {
        Err(Rejected::Signature)
    }
}

/// The version 1 signatures in a header; other versions are for receivers that know them.
fn signatures(header: &str) -> impl Iterator<Item = Vec<u8>> {
    header.split(' ').filter_map(|part| {
        let (version, encoded) = part.split_once(',')?;
        if version != "v1" {
            return None;
        }
        STANDARD
            .decode(encoded)
            .ok()
            .filter(|bytes| bytes.len() == 32)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VECTORS: [(&str, &str, i64, &str, &str); 2] = [
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ];

    #[test]
    fn the_official_vectors_come_out() {
        for (secret, id, at, body, expected) in VECTORS {
            let secret = SigningSecret::parse(secret).unwrap();
            assert_eq!(header([&secret], id, at, body.as_bytes()), expected);
        }
    }

    fn check(id: Option<&str>, at: Option<&str>, signature: Option<&str>) -> Result<(), Rejected> {
        let (secret, _, now, body, _) = VECTORS[1];
        let secrets = [SigningSecret::parse(secret).unwrap()];
        verify(&secrets, id, at, signature, body.as_bytes(), now)
    }

    #[test]
    fn what_receivers_refuse_is_refused() {
        let (_, id, now, _, good) = VECTORS[1];
        let (id, at) = (Some(id), now.to_string());
        let at = Some(at.as_str());
        assert_eq!(check(id, at, Some(good)), Ok(()));
        let several = format!("v1,AAAA v2,xx v1,Zm9v {good} v1");
        assert_eq!(check(id, at, Some(&several)), Ok(()));
        assert_eq!(
            check(None, at, Some(good)),
            Err(Rejected::Missing("webhook-id"))
        );
        assert_eq!(
            check(Some(""), at, Some(good)),
            Err(Rejected::Missing("webhook-id"))
        );
        assert_eq!(
            check(id, None, Some(good)),
            Err(Rejected::Missing("webhook-timestamp"))
        );
        assert_eq!(
            check(id, at, None),
            Err(Rejected::Missing("webhook-signature"))
        );
        assert_eq!(
            check(id, Some("hello"), Some(good)),
            Err(Rejected::Timestamp)
        );
        for bad in [
            "v1,",
            "v1",
            ",",
            "v1,dGVzdA==",
            &good[..20],
            &good.replace("v1,", "v2,"),
            &good.replace("v1,", "v1a,"),
        ] {
            assert_eq!(check(id, at, Some(bad)), Err(Rejected::Signature), "{bad}");
        }
        for (off, bound) in [(300, true), (301, false), (-300, true), (-301, false)] {
            let (secret, id, _, body, _) = VECTORS[1];
            let secret = SigningSecret::parse(secret).unwrap();
            let signed = header([&secret], id, now - off, body.as_bytes());
            let checked = check(Some(id), Some(&(now - off).to_string()), Some(&signed));
            assert_eq!(checked.is_ok(), bound, "{off}");
        }
    }

    #[test]
    fn a_secret_that_anybody_could_guess_is_none() {
        assert_eq!(SigningSecret::parse("whsec_"), Err(BadSecret::Length));
        assert_eq!(SigningSecret::parse("whsec_AAAA"), Err(BadSecret::Length));
        assert_eq!(SigningSecret::parse("whsec_?"), Err(BadSecret::Encoding));
        let made = SigningSecret::random();
        assert_eq!(SigningSecret::parse(&made.reveal()), Ok(made.clone()));
        assert!(!format!("{made:?}").contains(&made.reveal()[6..12]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_header_whatever_stands_in_it_makes_a_check_panic_or_pass(
            id in "\\PC{0,20}", at in "(\\PC{0,24}|-?[0-9]{1,25})", signature in "(v1,|v1a,| |,|\\PC){0,80}", now in any::<i64>(),
        ) {
            let secrets = [SigningSecret::parse(VECTORS[0].0).unwrap()];
            let checked = verify(&secrets, Some(&id), Some(&at), Some(&signature), b"body", now);
            prop_assert!(checked.is_err());
        }

        #[test]
        fn one_changed_bit_anywhere_is_found(body in proptest::collection::vec(any::<u8>(), 1..200), at in 0usize..200, bit in 0u8..8) {
            let secret = SigningSecret::parse(VECTORS[0].0).unwrap();
            let signed = header([&secret], "msg_1", 1_000, &body);
            let mut other = body.clone();
            let at = at % other.len();
            other[at] ^= 1 << bit;
            let check = |body: &[u8]| verify(std::slice::from_ref(&secret), Some("msg_1"), Some("1000"), Some(&signed), body, 1_000);
            prop_assert_eq!(check(&body), Ok(()));
            prop_assert_eq!(check(&other), Err(Rejected::Signature));
        }
    }
}
