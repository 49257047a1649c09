//! Spans, sent to a collector by OTLP when one is configured.

use std::sync::OnceLock;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider, Tracer},
};

use crate::config::TelemetryConfig;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The tracer of this process; `None` if nothing is to be sent, or nothing can be.
///
/// Spans are sent in batches by a thread of their own, and dropped when 2,048 wait: a collector that is away costs spans,
/// never requests.
pub(super) fn tracer(config: &TelemetryConfig, service: &'static str) -> Option<Tracer> {
    let endpoint = config.otlp_endpoint.as_ref()?;
    let url = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url).build();
    let exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            // Logging is not up yet.
            eprintln!("no traces are sent: {error}");
            return None;
        }
    };
    let share = Sampler::TraceIdRatioBased(f64::from(config.sample_percent) / 100.0);
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(resource)
        .build();
    global::set_tracer_provider(provider.clone());
    let tracer = provider.tracer("waybill");
    PROVIDER.set(provider).ok()?;
    Some(tracer)
}

/// Sends the spans that still wait; the last thing a process does. Takes five seconds at most.
pub fn flush() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, "the last spans could not be sent");
    }
}
