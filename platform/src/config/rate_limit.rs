use super::reader::Reader;

/// How many requests one client may make.
#[derive(Debug, Clone)]
pub struct RateLimitConfig {
    /// Whether requests are counted at all.
    pub enabled: bool,
    /// Requests per minute and client, in the long run.
    pub requests_per_minute: u32,
    /// Requests that a client may make at once after a pause.
    pub burst: u32,
    /// Reverse proxies in front of the API: the client is that many entries from the end of `X-Forwarded-For`;
    /// with 0 the header is not believed and the client is the peer.
    pub trusted_proxies: u16,
}

impl RateLimitConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("rate_limit");
        Self {
            enabled: section.boolean("enabled"),
            requests_per_minute: section.number("requests_per_minute", 1..=100_000_000),
            burst: section.number("burst", 1..=10_000_000),
            trusted_proxies: section.number("trusted_proxies", 0..=16),
        }
    }
}
