//! What no single setting can tell: pairs that contradict each other, and what production must not run with.

use secrecy::ExposeSecret;
use url::Url;

use super::{Config, Environment, FilesLocation, Gateway, MailTransport, reader::Reader};

/// How the secrets in the defaults file begin, so that they can be told from real ones.
pub const DEVELOPMENT_SECRET: &str = "development-only-";

pub fn across_sections(config: &Config, reader: &mut Reader<'_>) {
    if !reader.usable(&["environment"]) {
        return;
    }
    match config.environment {
        Environment::Production => production(config, reader),
        Environment::Development => development(config, reader),
    }
    let pool = ["database.pool_max", "worker.queues"];
    // A handler holds a connection for a fraction of its time; with fewer than one for 16 handlers they wait in line.
    if reader.usable(&pool) && config.worker.concurrency() > config.database.pool_max.saturating_mul(16) {
        let (jobs, connections) = (config.worker.concurrency(), config.database.pool_max);
        reader.warnings.push(format!(
            "worker.queues run {jobs} jobs at a time over database.pool_max = {connections} connections: they will wait for them"
        ));
    }
    let stored = ["api.body_limit_bytes", "api.upload_limit_bytes"];
    if reader.usable(&stored) && config.api.body_limit_bytes as u64 > config.api.upload_limit_bytes {
        reader.problem(stored[1], "must not be smaller than api.body_limit_bytes");
    }
    let limit = ["rate_limit.burst", "rate_limit.requests_per_minute"];
    if reader.usable(&limit) && config.rate_limit.burst > config.rate_limit.requests_per_minute {
        reader.warnings.push("rate_limit.burst is larger than rate_limit.requests_per_minute".to_owned());
    }
}

fn production(config: &Config, reader: &mut Reader<'_>) {
    let secrets = [
        ("auth.jwt_secret", &config.auth.jwt_secret),
        ("secrets.encryption_key", &config.secrets.encryption_key),
        ("payments.sandbox.api_key", &config.payments.sandbox.api_key),
        ("payments.sandbox.webhook_secret", &config.payments.sandbox.webhook_secret),
    ];
    for (path, secret) in secrets {
        if reader.usable(&[path]) && secret.expose_secret().starts_with(DEVELOPMENT_SECRET) {
            reader.problem(path, "is the published development secret: set your own in production");
        }
    }
    let refused = [
        (
            "webhooks.allow_private_addresses",
            config.webhooks.allow_private_addresses,
            "must be false in production",
        ),
        ("webhooks.require_https", !config.webhooks.require_https, "must be true in production"),
        (
            "api.public_url",
            reader.usable(&["api.public_url"]) && is_local(&config.api.public_url),
            "must be the address that clients use in production, not this host's own",
        ),
    ];
    for (path, wrong, message) in refused {
        if wrong && reader.usable(&[path]) {
            reader.problem(path, message);
        }
    }
    let risky = [
        (
            config.payments.gateway == Gateway::Sandbox,
            "payments.gateway is \"sandbox\" in production: no money moves",
        ),
        (
            config.mail.transport == MailTransport::File,
            "mail.transport is \"file\" in production: no mail is sent",
        ),
        (
            matches!(config.files.location, FilesLocation::Folder(_)),
            "files.url is a folder in production: every api and worker must share it",
        ),
        (
            config.api.public_url.scheme() == "http",
            "api.public_url is http in production: tokens travel in the clear",
        ),
        (
            config.api.allowed_origins.iter().any(|origin| origin == "*"),
            "api.allowed_origins is \"*\" in production",
        ),
        (!config.rate_limit.enabled, "rate_limit.enabled is false in production"),
        (config.broker.url.is_none(), "broker.url is not set: events ride on Postgres"),
    ];
    reader.warnings.extend(risky.iter().filter(|(risk, _)| *risk).map(|(_, warning)| (*warning).to_owned()));
}

fn development(config: &Config, reader: &mut Reader<'_>) {
    let development_secret = config.auth.jwt_secret.expose_secret().starts_with(DEVELOPMENT_SECRET);
    if development_secret && !config.api.listen.ip().is_loopback() {
        reader.warnings.push(
            "auth.jwt_secret is the published development secret and api.listen is reachable from other hosts".to_owned(),
        );
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => true,
    }
}
