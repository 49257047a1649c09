use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::reader::Reader;

/// Where money moves.
#[derive(Debug, Clone)]
pub struct PaymentsConfig {
    /// The gateway that new payments go to.
    pub gateway: Gateway,
    /// The sandbox gateway.
    pub sandbox: SandboxConfig,
}

/// A payment gateway by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// The gateway to test against, which moves no money.
    Sandbox,
}

/// How to reach and believe the sandbox gateway, and when to stop asking it.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Base of its HTTP API.
    pub url: Url,
    /// Bearer key for its HTTP API.
    pub api_key: SecretString,
    /// Key that signs the webhooks it sends us.
    pub webhook_secret: SecretString,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Failures in a row that open the circuit breaker.
    pub breaker_failures: u32,
    /// How long an open breaker refuses before it lets one call try.
    pub breaker_open_for: Duration,
}

impl PaymentsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let gateway = reader.section("payments").choice("gateway", &[("sandbox", Gateway::Sandbox)]);
        let mut section = reader.section("payments.sandbox");
        let sandbox = SandboxConfig {
            url: section.url("url", &["http", "https"]),
            api_key: section.secret("api_key", 1),
            webhook_secret: section.secret("webhook_secret", 16),
            timeout: section.duration("timeout", "100ms"..="2m"),
            breaker_failures: section.number("breaker_failures", 1..=1_000),
            breaker_open_for: section.duration("breaker_open_for", "100ms"..="1h"),
        };
        Self { gateway, sandbox }
    }
}
