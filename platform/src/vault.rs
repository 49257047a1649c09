//! Sealing of secrets that the database must keep in a readable form: a webhook endpoint's signing secret, say.
//!
//! XChaCha20-Poly1305 with a random nonce of 24 bytes, so that any number of processes seal under one key without
//! talking to each other. Sealed bytes: one byte of format, in format 2 four bytes that name the key, the nonce, the ciphertext
//! with its tag.
//!
//! A key is changed by a ring: what is sealed from now on is sealed under the first key, and opened under whichever it was
//! sealed with.

use std::sync::Arc;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, KeyInit, Payload},
};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest as _, Sha256};

use crate::config::SecretsConfig;

/// Under the only key there is.
const PLAIN: u8 = 1;
/// Under one of several keys, which is named.
const NAMED: u8 = 2;
const NONCE: usize = 24;
const KEY: usize = 32;
const ID: usize = 4;

/// Why something was not sealed or opened. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// A key is not 32 bytes as Base64; the configuration refuses it, so this is a key made by hand.
    #[error("an encryption key is not 32 bytes as Base64")]
    Key,
    /// The operating system gave no random numbers, or the content is too long (256 GiB).
    #[error("sealing failed")]
    Seal,
    /// Sealed under a key that is not on this process's ring. Another process may have it.
    #[error("sealed under a key that this process does not have")]
    UnknownKey,
    /// Sealed under another key or for another purpose, damaged, or of a format that this version does not know.
    #[error("the sealed bytes cannot be opened with this key")]
    Open,
}

struct Key {
    id: [u8; ID],
    cipher: XChaCha20Poly1305,
}

/// Seals and opens under the deployment's keys.
///
/// Every call names a purpose, which must be the same to open as it was to seal: `webhook_endpoint:<id>`. Sealed bytes
/// that are copied into another row therefore do not open there.
#[derive(Clone)]
pub struct Vault {
    /// The first one seals.
    keys: Arc<[Key]>,
}

impl Vault {
    /// A vault with the keys of the configuration.
    pub fn new(config: &SecretsConfig) -> Result<Self, VaultError> {
        let keys = config.all().map(|key| {
            let key = decode_key(key).ok_or(VaultError::Key)?;
            let cipher =
                XChaCha20Poly1305::new_from_slice(key.expose_secret()).map_err(|_| VaultError::Key)?;
            // Four bytes of a hash tell nothing of a key of 32.
            let digest =
                Sha256::new_with_prefix("waybill.vault").chain_update(key.expose_secret()).finalize();
            let mut id = [0; ID];
            id.copy_from_slice(&digest[..ID]);
            Ok(Key { id, cipher })
        });
        Ok(Self { keys: keys.collect::<Result<_, VaultError>>()? })
    }

    /// Seals `secret` for `purpose`; 41 bytes longer than the secret, with several keys 45, and different each time.
    ///
    /// With one key it is not named: nobody needs it, and releases that know of no names go on reading while both run.
    pub fn seal(&self, secret: &[u8], purpose: &str) -> Result<Vec<u8>, VaultError> {
        let key = self.keys.first().ok_or(VaultError::Key)?;
        let nonce = XNonce::try_generate().map_err(|_| VaultError::Seal)?;
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        let ciphertext = key.cipher.encrypt(&nonce, payload).map_err(|_| VaultError::Seal)?;
        let mut sealed = Vec::with_capacity(1 + ID + NONCE + ciphertext.len());
        if self.keys.len() == 1 {
            sealed.push(PLAIN);
        } else {
            sealed.push(NAMED);
            sealed.extend_from_slice(&key.id);
        }
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// What was sealed for `purpose`, in memory that is wiped when dropped.
    pub fn open(&self, sealed: &[u8], purpose: &str) -> Result<SecretSlice<u8>, VaultError> {
        let (format, rest) = sealed.split_first().ok_or(VaultError::Open)?;
        match *format {
            PLAIN => {
                let opened = self.keys.iter().find_map(|key| open_with(key, rest, purpose).ok());
                opened.ok_or(VaultError::Open)
            }
            NAMED => {
                let (id, rest) = rest.split_at_checked(ID).ok_or(VaultError::Open)?;
                let key = self.keys.iter().find(|key| key.id == id).ok_or(VaultError::UnknownKey)?;
                open_with(key, rest, purpose)
            }
            _ => Err(VaultError::Open),
        }
    }

    /// The same secret under the newest key, if it is sealed under an older one; nothing if there is nothing to do.
    pub fn reseal(&self, sealed: &[u8], purpose: &str) -> Result<Option<Vec<u8>>, VaultError> {
        let newest = self.keys.first().ok_or(VaultError::Key)?;
        let (format, rest) = sealed.split_first().ok_or(VaultError::Open)?;
        let is_newest = match *format {
            PLAIN => open_with(newest, rest, purpose).is_ok(),
            _ => rest.starts_with(&newest.id),
        };
        if is_newest {
            return Ok(None);
        }
        self.seal(self.open(sealed, purpose)?.expose_secret(), purpose).map(Some)
    }

    /// [`seal`](Self::seal) and [`open`](Self::open) for who knows nothing of vaults, as what seals the arguments of jobs.
    pub fn into_functions(self) -> (impl Function, impl Function) {
        let (seals, opens) = (self.clone(), self);
        (
            move |plain: &[u8], purpose: &str| seals.seal(plain, purpose).map_err(|error| error.to_string()),
            move |sealed: &[u8], purpose: &str| {
                let plain = opens.open(sealed, purpose).map_err(|error| error.to_string())?;
                Ok(plain.expose_secret().to_vec())
            },
        )
    }
}

fn open_with(key: &Key, sealed: &[u8], purpose: &str) -> Result<SecretSlice<u8>, VaultError> {
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE).ok_or(VaultError::Open)?;
    let nonce = XNonce::try_from(nonce).map_err(|_| VaultError::Open)?;
    let payload = Payload { msg: ciphertext, aad: purpose.as_bytes() };
    Ok(key.cipher.decrypt(&nonce, payload).map_err(|_| VaultError::Open)?.into())
}

/// Turns bytes into others for a purpose, or says why not.
pub trait Function: Fn(&[u8], &str) -> Result<Vec<u8>, String> + Send + Sync + 'static {}

impl<F: Fn(&[u8], &str) -> Result<Vec<u8>, String> + Send + Sync + 'static> Function for F {}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// Reads a key in the standard or the URL-safe alphabet, padded or not: tools differ.
pub(crate) fn decode_key(text: &str) -> Option<SecretSlice<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet =
        if text.contains(['-', '_']) { &base64::alphabet::URL_SAFE } else { &base64::alphabet::STANDARD };
    let key = GeneralPurpose::new(alphabet, lenient).decode(text).ok()?;
    (key.len() == KEY).then(|| key.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn vault(key: &str) -> Vault {
        ring(key, "")
    }

    fn ring(key: &str, old: &str) -> Vault {
        let config = SecretsConfig { encryption_key: key.into(), encryption_keys_old: old.into() };
        Vault::new(&config).unwrap()
    }

    const KEY_A: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const KEY_B: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWc";

    #[test]
    fn what_is_sealed_opens_and_looks_different_each_time() {
        let vault = vault(KEY_A);
        let (one, two) = (vault.seal(b"secret", "a:1").unwrap(), vault.seal(b"secret", "a:1").unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 6 + 41);
        assert!(!one.windows(6).any(|window| window == b"secret"));
        assert_eq!(vault.open(&one, "a:1").unwrap().expose_secret(), b"secret");
        assert_eq!(vault.open(&two, "a:1").unwrap().expose_secret(), b"secret");
    }

    #[test]
    fn another_key_another_purpose_and_damage_do_not_open() {
        let sealed = vault(KEY_A).seal(b"secret", "a:1").unwrap();
        assert_eq!(vault(KEY_B).open(&sealed, "a:1").unwrap_err(), VaultError::Open);
        assert_eq!(vault(KEY_A).open(&sealed, "a:2").unwrap_err(), VaultError::Open);
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert_eq!(vault(KEY_A).open(&damaged, "a:1").unwrap_err(), VaultError::Open, "byte {place}");
        }
        for length in 0..sealed.len() {
            assert!(vault(KEY_A).open(&sealed[..length], "a:1").is_err());
        }
    }

    #[test]
    fn a_key_is_changed_while_some_have_the_old_one_and_some_the_new_one() {
        let before = vault(KEY_A).seal(b"secret", "a:1").unwrap();
        // First everybody can open what the new key seals, then it seals, then the old one goes.
        let (ready, changed, after) = (ring(KEY_A, KEY_B), ring(KEY_B, KEY_A), vault(KEY_B));
        let meanwhile = ready.seal(b"secret", "a:1").unwrap();
        let new = changed.seal(b"secret", "a:1").unwrap();
        assert_eq!(new.len(), 6 + 45);
        for sealed in [&before, &meanwhile, &new] {
            for vault in [&ready, &changed] {
                assert_eq!(vault.open(sealed, "a:1").unwrap().expose_secret(), b"secret");
                assert_eq!(vault.open(sealed, "a:2").unwrap_err(), VaultError::Open);
            }
        }
        assert_eq!(after.open(&meanwhile, "a:1").unwrap_err(), VaultError::UnknownKey);
        assert_eq!(vault(KEY_A).open(&new, "a:1").unwrap_err(), VaultError::UnknownKey);
        for old in [&before, &meanwhile] {
            let resealed = changed.reseal(old, "a:1").unwrap().unwrap();
            assert_eq!(after.open(&resealed, "a:1").unwrap().expose_secret(), b"secret");
            assert_eq!(changed.reseal(&resealed, "a:1").unwrap(), None);
        }
        let last = after.seal(b"secret", "a:1").unwrap();
        assert_eq!(changed.reseal(&last, "a:1").unwrap(), None);
        for place in 0..new.len() {
            let mut damaged = new.clone();
            damaged[place] ^= 4;
            assert!(changed.open(&damaged, "a:1").is_err(), "byte {place}");
        }
    }

    #[test]
    fn keys_come_in_both_alphabets_and_only_whole() {
        assert!(decode_key(KEY_A).is_some());
        assert!(decode_key(KEY_A.trim_end_matches('=')).is_some());
        assert!(decode_key("development-only-key-that-anybody-may-see-0").is_some());
        assert!(decode_key("c2hvcnQ=").is_none());
        assert!(decode_key("not base64 at all, but long enough to be!!!").is_none());
    }
}
