use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;

/// `RabbitMQ`, the lane of events. Without a URL events ride on Postgres.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `amqp://user:password@host:port/vhost` or `amqps://…`; `None` for no broker.
    pub url: Option<SecretString>,
    /// Messages in hand, unacknowledged, per pipeline; also the largest batch.
    pub prefetch: u16,
    /// How long the broker may be away before the relay turns to the Postgres lane.
    pub down_after: Duration,
    /// The durable topic exchange that events are published to.
    pub exchange: String,
}

impl BrokerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("broker");
        // AMQP's short string, less what RabbitMQ keeps for itself.
        let exchange = |text: &str| {
            let legal =
                text.len() <= 200 && !text.starts_with("amq.") && text.chars().all(|c| c.is_ascii_graphic());
            legal.then(|| text.to_owned())
        };
        Self {
            url: section.optional_secret_url("url", &["amqp", "amqps"]),
            prefetch: section.number("prefetch", 1..=10_000),
            down_after: section.duration("down_after", "100ms"..="5m"),
            exchange: section.parsed(
                "exchange",
                "the name of an exchange, not starting with \"amq.\"",
                exchange,
            ),
        }
    }
}
