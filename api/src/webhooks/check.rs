//! What an endpoint may be. The worker checks addresses again, resolved, before every delivery.

use std::net::IpAddr;

use url::{Host, Url};
use waybill_jobs::events::TOPICS;
use waybill_platform::config::WebhooksConfig;

use crate::error::FieldErrors;

/// Characters of a URL at most.
const MAX_URL: usize = 2_000;

/// A URL that events may be posted to.
pub fn url(text: &str, config: &WebhooksConfig, errors: &mut FieldErrors) -> String {
    let mut refuse = |message: &str| {
        errors.add("url", "invalid", message);
        String::new()
    };
    let text = text.trim();
    if text.len() > MAX_URL {
        return refuse("is too long");
    }
    let Ok(url) = Url::parse(text) else { return refuse("must be an absolute URL") };
    match url.scheme() {
        "https" => {}
        "http" if !config.require_https => {}
        "http" => return refuse("must be https"),
        _ => return refuse("must be https or http"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("must not hold a user name or password: they would end up in logs");
    }
    let private = match url.host() {
        None => return refuse("must name a host"),
        Some(Host::Domain(name)) => {
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => is_private(ip.into()),
        Some(Host::Ipv6(ip)) => is_private(ip.into()),
    };
    if private && !config.allow_private_addresses {
        return refuse("must not be a private address");
    }
    url.into()
}

/// Addresses that are plainly not of the open Internet, to tell early.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

/// Known topics, each once, sorted.
pub fn topics(topics: Vec<String>, errors: &mut FieldErrors) -> Vec<String> {
    for (i, topic) in topics.iter().enumerate() {
        if !TOPICS.contains(&topic.as_str()) {
            let known = TOPICS.join(", ");
            errors.add(format!("event_types[{i}]"), "unknown", format!("must be one of: {known}"));
        }
    }
    let mut topics = topics;
    topics.sort_unstable();
    topics.dedup();
    topics
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refused(text: &str, https: bool, private: bool) -> bool {
        let config = WebhooksConfig {
            allow_private_addresses: private,
            require_https: https,
            timeout: Duration::from_secs(5),
            schedule: vec![],
            disable_after: Duration::ZERO,
            max_per_endpoint: 8,
        };
        let mut errors = FieldErrors::new();
        url(text, &config, &mut errors);
        !errors.is_empty()
    }

    #[test]
    fn only_public_https_without_credentials() {
        for bad in [
            "http://example.com/",
            "ftp://example.com/",
            "javascript:alert(1)",
            "example.com",
            "https://user@example.com/",
            "https://:pw@example.com/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest",
            "https://localhost/",
            "https://a.LOCALHOST/",
            "",
        ] {
            assert!(refused(bad, true, false), "{bad}");
        }
        assert!(!refused("https://example.com/hook?a=b", true, false));
        assert!(!refused("http://127.0.0.1:9000/hook", false, true));
        assert!(refused("gopher://127.0.0.1/", false, true));
    }

    #[test]
    fn topics_are_known_ones() {
        let mut errors = FieldErrors::new();
        let kept =
            topics(vec!["order.placed".into(), "order.confirmed".into(), "order.placed".into()], &mut errors);
        assert!(errors.is_empty());
        assert_eq!(kept, ["order.confirmed", "order.placed"]);
        topics(vec!["order.exploded".into()], &mut errors);
        assert!(!errors.is_empty());
    }
}
