//! Standard Webhooks signatures, as a receiver checks them.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// How far the sender's clock may be off, in seconds.
const TOLERANCE: i64 = 300;

/// What a receiver was given when it registered.
#[derive(Debug, Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Self> {
        let encoded = text.strip_prefix("whsec_").context("a webhook secret begins with whsec_")?;
        Ok(Self(STANDARD.decode(encoded).context("a webhook secret is base64")?))
    }

    /// Checks the three headers against the body as it arrived. `now` is Unix time in seconds.
    pub fn verify(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: i64) -> Result<()> {
        let sent: i64 = timestamp.parse().context("webhook-timestamp is no number")?;
        ensure!((now - sent).abs() <= TOLERANCE, "webhook-timestamp is {} s off", now - sent);
        // Several may be given while a secret is being replaced; one that fits is enough.
        for signature in signatures.split_whitespace() {
            let Some(encoded) = signature.strip_prefix("v1,") else { continue };
            let Ok(given) = STANDARD.decode(encoded) else { continue };
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)?;
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            if mac.verify_slice(&given).is_ok() {
                return Ok(());
            }
        }
        bail!("no signature fits")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Secret;

    /// The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const NOW: i64 = 1_614_265_335;

    #[test]
    fn the_published_example_is_accepted() {
        let secret = Secret::parse(SECRET).unwrap();
        secret.verify(ID, TIMESTAMP, SIGNATURE, BODY, NOW).unwrap();
        secret.verify(ID, TIMESTAMP, &format!("v1,AAAA {SIGNATURE}"), BODY, NOW).unwrap();
    }

    #[test]
    fn anything_changed_is_refused() {
        let secret = Secret::parse(SECRET).unwrap();
        assert!(secret.verify("msg_2", TIMESTAMP, SIGNATURE, BODY, NOW).is_err());
        assert!(secret.verify(ID, "1614265331", SIGNATURE, BODY, NOW).is_err());
        assert!(secret.verify(ID, TIMESTAMP, SIGNATURE, b"{}", NOW).is_err());
        assert!(secret.verify(ID, TIMESTAMP, "v2,AAAA", BODY, NOW).is_err());
        assert!(secret.verify(ID, TIMESTAMP, SIGNATURE, BODY, NOW + 1_000).is_err());
    }
}
