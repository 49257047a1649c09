use std::{net::SocketAddr, time::Duration};

use url::Url;

use super::reader::Reader;

/// The HTTP API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Address and port to serve; port 0 takes a free one and announces it.
    pub listen: SocketAddr,
    /// How clients reach the API: the base of every absolute link in answers and mails.
    pub public_url: Url,
    /// Largest body of a request in bytes, uploads apart.
    pub body_limit_bytes: usize,
    /// Largest uploaded file in bytes.
    pub upload_limit_bytes: u64,
    /// Longest time for one request, streams and uploads apart.
    pub request_timeout: Duration,
    /// Origins (`https://shop.example`) that browsers may call from; `*` for any.
    pub allowed_origins: Vec<String>,
    /// Attempts to log in per minute, per account and per client address.
    pub login_attempts_per_minute: u32,
}

impl ApiConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("api");
        let origin = |text: &str| {
            text == "*"
                || Url::parse(text)
                    .is_ok_and(|url| url.origin().ascii_serialization() == text.trim_end_matches('/'))
        };
        Self {
            listen: section.address("listen"),
            public_url: section.url("public_url", &["http", "https"]),
            body_limit_bytes: section.number("body_limit_bytes", 1_024..=104_857_600),
            upload_limit_bytes: section.number("upload_limit_bytes", 1_024..=1_099_511_627_776),
            request_timeout: section.duration("request_timeout", "100ms"..="5m"),
            allowed_origins: section.texts(
                "allowed_origins",
                "a list of origins such as [\"https://shop.example\"], or [\"*\"]",
                origin,
            ),
            login_attempts_per_minute: section.number("login_attempts_per_minute", 1..=1_000_000),
        }
    }
}
