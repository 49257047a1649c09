//! Sealing of secrets that the database must keep in a readable form: a webhook endpoint's signing secret, say.
//!
//! XChaCha20-Poly1305 with a random nonce of 24 bytes, so that any number of processes seal under one key without
//! talking to each other. Sealed bytes: one byte of format, the nonce, the ciphertext with its tag.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, KeyInit, Payload},
};
use secrecy::{ExposeSecret, SecretSlice};

use crate::config::SecretsConfig;

/// The only format so far; another key or cipher gets another number, so that both can be read for a while.
const FORMAT: u8 = 1;
const NONCE: usize = 24;
const KEY: usize = 32;

/// Why something was not sealed or opened. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key is not 32 bytes as Base64; the configuration refuses it, so this is a key made by hand.
    #[error("the encryption key is not 32 bytes as Base64")]
    Key,
    /// The operating system gave no random numbers, or the content is too long (256 GiB).
    #[error("sealing failed")]
    Seal,
    /// Sealed under another key or for another purpose, damaged, or of a format that this version does not know.
    #[error("the sealed bytes cannot be opened with this key")]
    Open,
}

/// Seals and opens under the deployment's key.
///
/// Every call names a purpose, which must be the same to open as it was to seal: `webhook_endpoint:<id>`. Sealed bytes
/// that are copied into another row therefore do not open there.
#[derive(Clone)]
pub struct Vault {
    cipher: XChaCha20Poly1305,
}

impl Vault {
    /// A vault with the key of the configuration.
    pub fn new(config: &SecretsConfig) -> Result<Self, VaultError> {
        let key = decode_key(config.encryption_key.expose_secret()).ok_or(VaultError::Key)?;
        let cipher = XChaCha20Poly1305::new_from_slice(key.expose_secret()).map_err(|_| VaultError::Key)?;
        Ok(Self { cipher })
    }

    /// Seals `secret` for `purpose`; 41 bytes longer than the secret, and different each time.
    pub fn seal(&self, secret: &[u8], purpose: &str) -> Result<Vec<u8>, VaultError> {
        let nonce = XNonce::try_generate().map_err(|_| VaultError::Seal)?;
        let payload = Payload { msg: secret, aad: purpose.as_bytes() };
        let ciphertext = self.cipher.encrypt(&nonce, payload).map_err(|_| VaultError::Seal)?;
        let mut sealed = Vec::with_capacity(1 + NONCE + ciphertext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// What was sealed for `purpose`, in memory that is wiped when dropped.
    pub fn open(&self, sealed: &[u8], purpose: &str) -> Result<SecretSlice<u8>, VaultError> {
        let rest = sealed.strip_prefix(&[FORMAT]).ok_or(VaultError::Open)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE).ok_or(VaultError::Open)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| VaultError::Open)?;
        let payload = Payload { msg: ciphertext, aad: purpose.as_bytes() };
        Ok(self.cipher.decrypt(&nonce, payload).map_err(|_| VaultError::Open)?.into())
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
        Vault::new(&SecretsConfig { encryption_key: key.into() }).unwrap()
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
    fn keys_come_in_both_alphabets_and_only_whole() {
        assert!(decode_key(KEY_A).is_some());
        assert!(decode_key(KEY_A.trim_end_matches('=')).is_some());
        assert!(decode_key("development-only-key-that-anybody-may-see-0").is_some());
        assert!(decode_key("c2hvcnQ=").is_none());
        assert!(decode_key("not base64 at all, but long enough to be!!!").is_none());
    }
}
