use super::reader::Reader;

/// How and what to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`, as `info,lapin=warn`.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Coloured on a terminal, for people.
    Pretty,
    /// One JSON object per line.
    Json,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("log");
        let valid = |text: &str| {
            let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
            parsed.is_ok().then(|| text.to_owned())
        };
        Self {
            format: section.choice("format", &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)]),
            filter: section.parsed("filter", "log directives such as \"info,lapin=warn\"", valid),
        }
    }
}
