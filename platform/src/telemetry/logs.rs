//! Log lines on standard error: for people, or one JSON object each.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Json, JsonFields, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::traces;
use crate::config::{LogConfig, LogFormat, TelemetryConfig};

/// Starts logging for `service` (the name in every JSON line and in [`crate::service::name`]) and makes panics log lines.
///
/// The first call in a process wins, so tests may call it as often as they like.
pub fn init(config: &LogConfig, telemetry: &TelemetryConfig, service: &'static str) {
    crate::service::set_name(service);
    // The configuration has checked the directives; `info` only stands in for one made by hand.
    let filter = EnvFilter::builder().parse(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match config.format {
        LogFormat::Pretty => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            layer.with_ansi(terminal).with_target(true).boxed()
        }
        LogFormat::Json => {
            layer.fmt_fields(JsonFields::new()).event_format(WithService { inner: json(), service }).boxed()
        }
    };
    // Only our own spans: those of the libraries are theirs to look at.
    let ours = Targets::new().with_target("waybill", LevelFilter::INFO);
    let sent = traces::tracer(telemetry, service)
        .map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours));
    if tracing_subscriber::registry().with(layer.with_filter(filter)).with(sent).try_init().is_ok() {
        log_panics();
    }
}

fn json() -> tracing_subscriber::fmt::format::Format<Json> {
    tracing_subscriber::fmt::format().json().flatten_event(true).with_current_span(true).with_span_list(false)
}

/// Puts the service's name first into each JSON line: the formatter has no place for a constant field.
struct WithService<F> {
    inner: F,
    service: &'static str,
}

impl<S, N, F> FormatEvent<S, N> for WithService<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"service\":\"{}\",{rest}", self.service),
            None => writer.write_str(&line),
        }
    }
}

/// A panic becomes one log line with its place, instead of several lines that a log collector cannot join.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a payload that is no text");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => Some(backtrace.to_string()),
            _ => None,
        };
        metrics::counter!("waybill_panics_total").increment(1);
        tracing::error!(panic = message, location, thread, backtrace, "panic");
    }));
}
