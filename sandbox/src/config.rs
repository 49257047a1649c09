//! What a gateway is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::webhooks::{Settings, Target, TargetError, WebhookSecret};

/// The address listened on unless told otherwise: loopback only, as the control endpoints ask for no key.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);

/// The API key unless told otherwise.
pub const DEFAULT_API_KEY: &str = "sk_sandbox";

/// The settings of a gateway. [`Config::default`] listens on a free loopback port, keeps everything in memory and sends
/// no webhooks.
#[derive(Clone)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What clients send as `Authorization: Bearer`.
    pub api_key: String,
    /// The URL that events go to by POST; `None` sends none.
    pub webhook_url: Option<String>,
    /// What events are signed with: `whsec_` and base64, or a plain text. Needed with `webhook_url`.
    pub webhook_secret: Option<String>,
    /// Tries per event, at least 1.
    pub webhook_attempts: u32,
    /// Deliveries at a time, 1 to 1000.
    pub webhook_concurrency: usize,
    /// Events that may wait; more are counted as overflowed and not sent.
    pub webhook_queue: usize,
    /// A file that remembers every operation over a restart; `None` forgets.
    pub journal: Option<PathBuf>,
    /// Sync the journal to disk before answering. Without it a crash of the machine (not of the gateway) may forget.
    pub journal_fsync: bool,
    /// Makes the dice of faults with a `probability` fall the same way each time.
    pub fault_seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(DEFAULT_LISTEN.ip(), 0),
            api_key: DEFAULT_API_KEY.to_owned(),
            webhook_url: None,
            webhook_secret: None,
            webhook_attempts: 8,
            webhook_concurrency: 32,
            webhook_queue: 16_384,
            journal: None,
            journal_fsync: false,
            fault_seed: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the keys nor the URL, which may carry one.
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("webhooks", &self.webhook_url.is_some())
            .field("journal", &self.journal)
            .field("journal_fsync", &self.journal_fsync)
            .finish_non_exhaustive()
    }
}

/// Everything that is wrong with a [`Config`], not only the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is not usable: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            lanes: self.webhook_concurrency,
            queue: self.webhook_queue,
            attempts: self.webhook_attempts,
        }
    }

    /// Checks everything, and makes the webhook target if there is one.
    pub(crate) fn check(&self) -> Result<Option<Target>, ConfigError> {
        let mut wrong = Vec::new();
        if self.api_key.is_empty() || !self.api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
            wrong.push("api-key must be visible ASCII without spaces".to_owned());
        }
        if self.webhook_attempts == 0 {
            wrong.push("webhook-attempts must be at least 1".to_owned());
        }
        if !(1..=1_000).contains(&self.webhook_concurrency) {
            wrong.push("webhook-concurrency must be 1 to 1000".to_owned());
        }
        if !(1..=1_000_000).contains(&self.webhook_queue) {
            wrong.push("webhook-queue must be 1 to 1000000".to_owned());
        }
        if self.journal_fsync && self.journal.is_none() {
            wrong.push("journal-fsync needs journal".to_owned());
        }
        let secret = self.webhook_secret.as_deref().map(str::parse::<WebhookSecret>).transpose();
        let secret = secret.unwrap_or_else(|error| {
            wrong.push(format!("webhook-secret: {error}"));
            None
        });
        let target = match (&self.webhook_url, secret) {
            (None, _) => None,
            (Some(url), Some(secret)) => match Target::new(url, secret) {
                Ok(target) => Some(target),
                Err(error @ (TargetError::Url | TargetError::Client(_))) => {
                    wrong.push(format!("webhook-url {error}"));
                    None
                }
            },
            (Some(_), None) => {
                if self.webhook_secret.is_none() {
                    wrong.push("webhook-url needs webhook-secret".to_owned());
                }
                None
            }
        };
        if wrong.is_empty() { Ok(target) } else { Err(ConfigError(wrong)) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_every_problem_at_once() {
        let config = Config {
            api_key: "two words".into(),
            webhook_secret: Some("secret".into()),
            webhook_url: Some("http://127.0.0.1:1/".into()),
            webhook_attempts: 0,
            webhook_concurrency: 0,
            webhook_queue: 0,
            journal_fsync: true,
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().0.len(), 6);
        let config = Config { webhook_url: Some("http://127.0.0.1:1/".into()), ..Config::default() };
        assert_eq!(config.check().unwrap_err().0, ["webhook-url needs webhook-secret"]);
        assert!(Config::default().check().unwrap().is_none());
    }

    #[test]
    fn prints_no_key() {
        let config = Config { api_key: "sk_very_secret".into(), ..Config::default() };
        assert!(!format!("{config:?}").contains("secret"));
    }
}
