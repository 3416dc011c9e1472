//! Sealed fields: personal data encrypted with a key per customer. Erasing the key erases the person, and the
//! hash chain of the stream stays whole, because it hashes what is stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rand::RngCore;
use sqlx::PgConnection;

use crate::domain::customer::Personal;
use crate::domain::event::Sealed;
use crate::domain::ids::CustomerId;

const CIPHER: &str = "xchacha20poly1305";

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the sealed field is damaged or belongs to somebody else")]
    Damaged,
    #[error("this customer was erased: nothing about them is kept any more")]
    Erased,
    #[error("the key could not be read")]
    Database(#[from] sqlx::Error),
}

/// Seals with the customer's key, which is made on first use and never again.
pub async fn seal(
    conn: &mut PgConnection,
    customer: CustomerId,
    personal: &Personal,
) -> Result<Sealed, SealError> {
    let key: Option<Vec<u8>> = sqlx::query_scalar("select api.subject_key($1, true)")
        .bind(customer.0)
        .fetch_one(conn)
        .await?;
    let key = key.ok_or(SealError::Erased)?;
    let mut nonce = [0u8; 24];
    rand::rng().fill_bytes(&mut nonce);
    let plain = serde_json::to_vec(personal).map_err(|_| SealError::Damaged)?;
    let text = cipher(&key)?
        .encrypt(
            XNonce::from_slice(&nonce),
            Payload {
                msg: &plain,
                aad: customer.0.as_bytes(),
            },
        )
        .map_err(|_| SealError::Damaged)?;
    Ok(Sealed {
        cipher: CIPHER.to_owned(),
        nonce: STANDARD.encode(nonce),
        text: STANDARD.encode(text),
    })
}

/// `None` once the customer is erased.
pub async fn unseal(
    conn: &mut PgConnection,
    customer: CustomerId,
    sealed: &Sealed,
) -> Result<Option<Personal>, SealError> {
    let key: Option<Vec<u8>> = sqlx::query_scalar("select api.subject_key($1, false)")
        .bind(customer.0)
        .fetch_one(conn)
        .await?;
    key.map(|key| open(&key, customer, sealed)).transpose()
}

/// Unseals with a key that the caller has read, as a projection does for many customers at once.
pub fn open(key: &[u8], customer: CustomerId, sealed: &Sealed) -> Result<Personal, SealError> {
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| SealError::Damaged);
    let (nonce, text) = (decode(&sealed.nonce)?, decode(&sealed.text)?);
    if nonce.len() != 24 || sealed.cipher != CIPHER {
        return Err(SealError::Damaged);
    }
    let plain = cipher(key)?
        .decrypt(
            XNonce::from_slice(&nonce),
            Payload {
                msg: &text,
                aad: customer.0.as_bytes(),
            },
        )
        .map_err(|_| SealError::Damaged)?;
    let personal = serde_json::from_slice(&plain).map_err(|_| SealError::Damaged)?;
    Ok(storable(personal))
}

/// Postgres keeps no NUL in a text, but what is sealed it cannot see: whoever reads it must not stop there.
fn storable(personal: Personal) -> Personal {
    let mended = |text: String| text.replace('\0', "\u{fffd}");
    Personal {
        name: mended(personal.name),
        email: personal.email.map(mended),
        phone: personal.phone.map(mended),
    }
}

fn cipher(key: &[u8]) -> Result<XChaCha20Poly1305, SealError> {
    if key.len() != 32 {
        return Err(SealError::Damaged);
    }
    Ok(XChaCha20Poly1305::new(Key::from_slice(key)))
}
