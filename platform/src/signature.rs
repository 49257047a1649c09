//! Webhook signatures by the Standard Webhooks scheme (<https://www.standardwebhooks.com>): what we send is signed with
//! it, and what payment gateways send us is checked with it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// How far a sender's clock may be from ours, either way; older messages may be replays.
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// The header with the message's id: the same for every attempt to deliver it.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the moment of the attempt, in Unix seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, separated by blanks.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// How a secret begins when it is shown to people.
const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// A key to sign with. It never prints itself.
#[derive(Debug, Clone)]
pub struct SigningKey(SecretSlice<u8>);

/// The text is not a usable secret. Says nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ followed by Base64, or a plain text that is not empty")]
pub struct SecretError;

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The timestamp is no number of seconds.
    #[error("webhook-timestamp is not a number of seconds")]
    Timestamp,
    /// The message is too old, or from the future: [`TOLERANCE`].
    #[error("webhook-timestamp is {0} s off")]
    Stale(i64),
    /// No signature fits the message.
    #[error("no signature fits")]
    Mismatch,
}

impl SigningKey {
    /// A key of these bytes.
    pub fn from_bytes(key: Vec<u8>) -> Self {
        Self(key.into())
    }

    /// Reads `whsec_` and Base64; any other text is the key itself, as some senders have it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| SecretError)?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err(SecretError) } else { Ok(Self::from_bytes(key)) }
    }

    /// The secret as people are shown it: `whsec_` and Base64.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0.expose_secret()))
    }

    /// The value of [`SIGNATURE_HEADER`]: `v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        match self.mac(id, &timestamp.to_string(), body) {
            Some(mac) => format!("{VERSION}{}", STANDARD.encode(mac.finalize().into_bytes())),
            None => String::new(),
        }
    }

    /// Believes the message if one of `signatures` fits and `timestamp` is near `now` (both in Unix seconds). The
    /// comparison takes the same time whatever the difference is.
    pub fn verify(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: i64,
    ) -> Result<(), SignatureError> {
        let sent: i64 = timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
        let off = now.saturating_sub(sent);
        if off.unsigned_abs() > TOLERANCE.as_secs() {
            return Err(SignatureError::Stale(off));
        }
        // While a secret is being replaced a sender signs with the old and the new one.
        let fits = |given: Vec<u8>| {
            self.mac(id, timestamp, body).is_some_and(|mac| mac.verify_slice(&given).is_ok())
        };
        signatures
            .split_ascii_whitespace()
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix(VERSION)?).ok())
            .any(fits)
            .then_some(())
            .ok_or(SignatureError::Mismatch)
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
        // HMAC takes keys of any length, so this is always Some.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        Some(mac)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key() -> SigningKey {
        SigningKey::parse(SECRET).unwrap()
    }

    #[test]
    fn signs_and_believes_as_the_standard_does() {
        assert_eq!(key().sign(ID, AT, BODY), SIGNATURE);
        let at = AT.to_string();
        for signatures in [SIGNATURE.to_owned(), format!("v1,AAAA v2,x {SIGNATURE}")] {
            assert_eq!(key().verify(ID, &at, &signatures, BODY, AT + 299), Ok(()));
        }
    }

    #[test]
    fn any_other_id_time_body_or_key_is_refused() {
        let at = AT.to_string();
        let refused = Err(SignatureError::Mismatch);
        assert_eq!(key().verify("msg_other", &at, SIGNATURE, BODY, AT), refused);
        assert_eq!(key().verify(ID, &(AT + 1).to_string(), SIGNATURE, BODY, AT), refused);
        assert_eq!(key().verify(ID, &at, SIGNATURE, b"{}", AT), refused);
        assert_eq!(SigningKey::parse("another").unwrap().verify(ID, &at, SIGNATURE, BODY, AT), refused);
        for signatures in ["", "v1,", "v1,!!", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1a,AAAA"] {
            assert_eq!(key().verify(ID, &at, signatures, BODY, AT), refused, "{signatures:?}");
        }
    }

    #[test]
    fn old_and_future_messages_are_refused() {
        let at = AT.to_string();
        assert_eq!(key().verify(ID, &at, SIGNATURE, BODY, AT + 301), Err(SignatureError::Stale(301)));
        assert_eq!(key().verify(ID, &at, SIGNATURE, BODY, AT - 301), Err(SignatureError::Stale(-301)));
        for nonsense in ["", "soon", "1.5", "-9223372036854775809"] {
            assert_eq!(key().verify(ID, nonsense, SIGNATURE, BODY, AT), Err(SignatureError::Timestamp));
        }
        let (ends, now) = ([i64::MIN, i64::MAX], AT);
        for end in ends {
            assert!(key().verify(ID, &end.to_string(), SIGNATURE, BODY, now).is_err());
        }
    }

    #[test]
    fn a_secret_survives_being_shown_and_does_not_print_itself() {
        assert_eq!(key().to_text(), SECRET);
        assert!(!format!("{:?}", key()).contains("MfKQ"));
        assert_eq!(SigningKey::parse("whsec_not base64!").unwrap_err(), SecretError);
        assert_eq!(SigningKey::parse("").unwrap_err(), SecretError);
        assert_eq!(SigningKey::parse("whsec_").unwrap_err(), SecretError);
    }
}
