//! Secrets of third parties, sealed at rest with a key that never comes into the database.
//!
//! Promises: what is sealed for one place cannot be opened as another's (the place is authenticated with it); a computer that
//! holds another key is told so by the key's id, and never guesses. A dump of the database alone gives nothing away.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::runtime::files;

/// In the data folder, for this account only.
const FILE: &str = "desk.sealing-key";
/// The same key on every computer that sends: 32 bytes in base64.
pub const VARIABLE: &str = "BIZING_SEALING_KEY";

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{VARIABLE} is no key: it is 32 bytes in base64")]
    BadVariable,
    #[error("the key file {0} is damaged")]
    BadFile(PathBuf),
    #[error("the key file {path} cannot be read or made")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("this computer holds no key for secrets; one that does has sealed them with key {0}")]
    NoKey(String),
    #[error("secrets are sealed with key {sealed}, and this computer holds key {ours}")]
    OtherKey { sealed: String, ours: String },
    #[error("a sealed secret is damaged, or belongs somewhere else")]
    Damaged,
}

/// What is sealed, and with which key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    pub key_id: String,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct Vault(Arc<Inner>);

#[derive(Default)]
struct Inner {
    place: Place,
    key: OnceLock<SealingKey>,
}

#[derive(Default)]
enum Place {
    /// For as long as the process lives: benches and tests.
    #[default]
    Memory,
    File(PathBuf),
    /// What the variable says.
    Given(String),
}

#[derive(Clone)]
struct SealingKey {
    cipher: XChaCha20Poly1305,
    id: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(***)")
    }
}

impl Vault {
    /// The variable decides; else the file in this folder, which is made when something is first sealed.
    pub fn of(data: &Path, variable: Option<&str>) -> Vault {
        let place = match variable {
            Some(text) => Place::Given(text.to_owned()),
            None => Place::File(data.join(FILE)),
        };
        Vault(Arc::new(Inner {
            place,
            key: OnceLock::new(),
        }))
    }

    /// `place`: what it belongs to, as in `secret:<id>`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<SealedSecret, VaultError> {
        let key = self.key(true)?;
        let mut nonce = [0u8; 24];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let text = key
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| VaultError::Damaged)?;
        Ok(SealedSecret {
            key_id: key.id.clone(),
            bytes: [nonce.as_slice(), &text].concat(),
        })
    }

    pub fn open(&self, place: &str, sealed: &SealedSecret) -> Result<Vec<u8>, VaultError> {
        let key = match self.key(false) {
            Err(VaultError::NoKey(_)) => return Err(VaultError::NoKey(sealed.key_id.clone())),
            other => other?,
        };
        if key.id != sealed.key_id {
            return Err(VaultError::OtherKey {
                sealed: sealed.key_id.clone(),
                ours: key.id.clone(),
            });
        }
        if sealed.bytes.len() < 24 {
            return Err(VaultError::Damaged);
        }
        let (nonce, text) = sealed.bytes.split_at(24);
        let payload = Payload {
            msg: text,
            aad: place.as_bytes(),
        };
        key.cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| VaultError::Damaged)
    }

    /// The id of this computer's key, which is made if `make`.
    pub fn key_id(&self, make: bool) -> Result<String, VaultError> {
        Ok(self.key(make)?.id.clone())
    }

    fn key(&self, make: bool) -> Result<&SealingKey, VaultError> {
        if let Some(key) = self.0.key.get() {
            return Ok(key);
        }
        let key = match &self.0.place {
            Place::Memory => SealingKey::new(random()),
            Place::Given(text) => SealingKey::new(decoded(text).ok_or(VaultError::BadVariable)?),
            Place::File(path) => from_file(path, make)?,
        };
        Ok(self.0.key.get_or_init(|| key))
    }
}

/// Whether the variable holds a key.
pub fn check_variable(text: &str) -> Result<(), String> {
    decoded(text).map(|_| ()).ok_or_else(|| {
        "it is no key: it is 32 random bytes in base64, as `openssl rand -base64 32` makes them"
            .to_owned()
    })
}

fn from_file(path: &Path, make: bool) -> Result<SealingKey, VaultError> {
    let failed = |source| VaultError::File {
        path: path.to_owned(),
        source,
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && make => {
            let made = STANDARD.encode(random());
            // Of two that make it at once, the first one's stays.
            files::create(path, made.as_bytes()).map_err(failed)?;
            std::fs::read_to_string(path).map_err(failed)?
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(VaultError::NoKey(String::new()));
        }
        Err(e) => return Err(failed(e)),
    };
    decoded(&text)
        .map(SealingKey::new)
        .ok_or_else(|| VaultError::BadFile(path.to_owned()))
}

fn random() -> [u8; 32] {
    let mut key = [0u8; 32];
    rand::rng().fill_bytes(&mut key);
    key
}

fn decoded(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

impl SealingKey {
    fn new(key: [u8; 32]) -> SealingKey {
        let id = Sha256::digest([b"bizing sealing key".as_slice(), &key].concat());
        SealingKey {
            cipher: XChaCha20Poly1305::new(Key::from_slice(&key)),
            id: id[..4].iter().map(|b| format!("{b:02x}")).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs_and_only_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::of(folder.path(), None);
        assert!(matches!(vault.key_id(false), Err(VaultError::NoKey(_))));
        let sealed = vault.seal("secret:1", b"whsec").unwrap();
        let again = Vault::of(folder.path(), None);
        assert_eq!(again.open("secret:1", &sealed).unwrap(), b"whsec");
        assert!(matches!(
            again.open("secret:2", &sealed),
            Err(VaultError::Damaged)
        ));
        let other = Vault::of(folder.path(), Some(&STANDARD.encode([7u8; 32])));
        assert!(matches!(
            other.open("secret:1", &sealed),
            Err(VaultError::OtherKey { .. })
        ));
        let mut broken = sealed.clone();
        broken.bytes[30] ^= 1;
        assert!(again.open("secret:1", &broken).is_err());
    }

    #[test]
    fn a_variable_that_is_no_key_is_said_to_be_none() {
        assert!(check_variable("short").is_err());
        assert!(check_variable(&STANDARD.encode([0u8; 32])).is_ok());
        let vault = Vault::of(Path::new("/nowhere"), Some("short"));
        assert!(matches!(vault.seal("x", b""), Err(VaultError::BadVariable)));
    }
}
