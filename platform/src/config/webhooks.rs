use std::time::Duration;

use super::reader::Reader;

/// A delivery's job has ten attempts.
const MOST_PAUSES: usize = 9;

/// Outgoing webhooks, as Standard Webhooks describes them.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// Whether receivers may live on private, loopback or link-local addresses.
    pub allow_private_addresses: bool,
    /// Whether receivers must be `https://`.
    pub require_https: bool,
    /// Longest wait for a receiver's answer.
    pub timeout: Duration,
    /// Pauses between attempts: the first is after the first failure. The attempts end with the list.
    pub schedule: Vec<Duration>,
    /// How long every attempt may fail before an endpoint is disabled; zero for never.
    pub disable_after: Duration,
    /// Deliveries under way at a time to one receiver.
    pub max_per_endpoint: u16,
}

impl WebhooksConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("webhooks");
        let config = Self {
            allow_private_addresses: section.boolean("allow_private_addresses"),
            require_https: section.boolean("require_https"),
            timeout: section.duration("timeout", "100ms"..="1m"),
            schedule: section.durations("schedule", "0s"..="7d"),
            disable_after: section.duration("disable_after", "0s"..="365d"),
            max_per_endpoint: section.number("max_per_endpoint", 1..=1_000),
        };
        if reader.usable(&["webhooks.schedule"]) && config.schedule.len() > MOST_PAUSES {
            reader.problem("webhooks.schedule", format!("must have at most {MOST_PAUSES} pauses"));
        }
        config
    }
}
