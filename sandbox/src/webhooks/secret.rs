//! Signatures by the Standard Webhooks scheme (<https://www.standardwebhooks.com>).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of a key; Standard Webhooks recommends 24 to 64.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// The text is not a webhook secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and the base64 of 16 to 128 bytes, or a plain text of that length")]
pub struct SecretError;

/// The key that webhooks are signed with: `whsec_` and base64, or any other text, which is then the key itself. It never
/// prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// The value of `webhook-signature` for a message: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    /// `timestamp` is in Unix seconds.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            // HMAC takes keys of any length.
            return String::new();
        };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl FromStr for WebhookSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let key = match text.strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| SecretError)?,
            None => text.as_bytes().to_vec(),
        };
        KEY_BYTES.contains(&key.len()).then_some(Self(key)).ok_or(SecretError)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the Standard Webhooks reference implementation.
    #[test]
    fn signs_as_the_standard_does() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn takes_a_plain_text_as_the_key_itself() {
        let plain: WebhookSecret = "sixteen or more!".parse().unwrap();
        let encoded: WebhookSecret = "whsec_c2l4dGVlbiBvciBtb3JlIQ==".parse().unwrap();
        assert!(plain == encoded);
    }

    #[test]
    fn refuses_what_is_no_secret_and_never_prints_one() {
        for text in ["", "whsec_", "whsec_AAAA", "too short", "whsec_not base64 at all!"] {
            assert_eq!(text.parse::<WebhookSecret>(), Err(SecretError), "{text:?}");
        }
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
    }
}
