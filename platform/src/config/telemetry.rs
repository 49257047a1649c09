use url::Url;

use super::reader::Reader;

/// Traces, sent by OTLP.
#[derive(Debug, Clone, Default)]
pub struct TelemetryConfig {
    /// Base URL of a collector that takes OTLP over HTTP; `None` sends nothing.
    pub otlp_endpoint: Option<Url>,
    /// Of every hundred traces that begin here, how many are sent. What a caller began follows the caller's choice.
    pub sample_percent: u8,
}

impl TelemetryConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("telemetry");
        Self {
            otlp_endpoint: section.optional_url("otlp_endpoint", &["http", "https"]),
            sample_percent: section.number("sample_percent", 0..=100),
        }
    }
}
