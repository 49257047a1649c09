//! The trace that joins a request, the jobs it causes, their attempts, messages and calls to the outside.
//!
//! A request or an attempt of a job opens a span, lets it [`join`] its trace and runs [`within`] it; whatever is enqueued or
//! emitted there carries the trace on, in the form of W3C's Trace Context (<https://www.w3.org/TR/trace-context/>). The ids are those of
//! OpenTelemetry when a collector is configured, and our own otherwise, so the logs can be joined by `trace_id` either way.

use std::{fmt, future::Future, str::FromStr};

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Links of a span at most, as `OpenTelemetry` has it.
const MAX_LINKS: usize = 128;

/// The header that carries a [`TraceContext`].
pub const HEADER: &str = "traceparent";

/// A place in a trace: the span that causes what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// Not a traceparent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent as in W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>")]
pub struct NotATraceparent;

impl TraceContext {
    /// A new trace.
    fn root() -> Self {
        // Zero means "invalid" to others, and comes up once in 2^64.
        Self { trace: rand::random::<u128>().max(1), span: rand::random::<u64>().max(1), sampled: false }
    }

    /// A new span of the same trace.
    fn child(self) -> Self {
        Self { span: rand::random::<u64>().max(1), ..self }
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    fn remote(self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, span) = (TraceId::from(self.trace), SpanId::from(self.span));
        SpanContext::new(trace, span, flags, true, TraceState::NONE)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    /// Versions after `00` may append fields, which are ignored; `ff` is forbidden.
    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            parts
                .next()
                .filter(|part| part.len() == digits)
                .filter(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        };
        let (version, trace, span, flags) = (part(2), part(32), part(16), part(2));
        let (Some(version), Some(trace), Some(span), Some(flags)) = (version, trace, span, flags) else {
            return Err(NotATraceparent);
        };
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(NotATraceparent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NotATraceparent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NotATraceparent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NotATraceparent)?;
        if trace == 0 || span == 0 {
            return Err(NotATraceparent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// Where this task is in its trace; `None` outside of any.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// [`current`] as the header `traceparent`.
pub fn traceparent() -> Option<String> {
    current().map(|context| context.to_string())
}

/// Makes `span` part of the trace that `parent` (a `traceparent`) belongs to, or the first of a new one, and records the
/// trace's id in its field `trace_id`, if it has one.
pub fn join(span: &Span, parent: Option<&str>) -> TraceContext {
    let parent: Option<TraceContext> = parent.and_then(|text| text.parse().ok());
    if let Some(parent) = parent {
        let remote = opentelemetry::Context::new().with_remote_span_context(parent.remote());
        // Refused only when the span has begun to be recorded, or nothing is.
        let _ = span.set_parent(remote);
    }
    let context =
        recorded(span).unwrap_or_else(|| parent.map_or_else(TraceContext::root, TraceContext::child));
    if !span.is_disabled() {
        span.record("trace_id", context.trace_id());
    }
    context
}

/// The ids that a collector gets of `span`, if there is one.
fn recorded(span: &Span) -> Option<TraceContext> {
    let recorded = span.context().span().span_context().clone();
    recorded.is_valid().then(|| TraceContext {
        trace: u128::from_be_bytes(recorded.trace_id().to_bytes()),
        span: u64::from_be_bytes(recorded.span_id().to_bytes()),
        sampled: recorded.is_sampled(),
    })
}

/// Says that `span` handles what these (`traceparent`s) caused: a batch belongs to no trace, but is seen from each. The first
/// 128, which is as many as a span keeps.
pub fn link<'a>(span: &Span, causes: impl Iterator<Item = &'a str>) {
    for cause in causes.filter_map(|text| text.parse::<TraceContext>().ok()).take(MAX_LINKS) {
        span.add_link(cause.remote());
    }
}

/// Runs `work`, such as a call to the outside, as a step of what this task does: in `span`, whose ids the call carries on.
pub async fn step<F: Future>(span: Span, work: F) -> F::Output {
    match recorded(&span).or_else(current) {
        Some(context) => within(context, span, work).await,
        None => work.instrument(span).await,
    }
}

/// Runs `work` in `span` at `context`: what it enqueues, emits or calls carries the trace on.
// No async function: that would keep room for `work` twice.
pub fn within<F: Future>(context: TraceContext, span: Span, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, work.instrument(span))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_and_writes_what_the_standard_shows() {
        let context: TraceContext = PARENT.parse().unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let later = PARENT.replacen("00", "01", 1) + "-more";
        assert_eq!(later.parse::<TraceContext>().unwrap(), context);
    }

    #[test]
    fn refuses_what_is_none() {
        let refused = [
            String::new(),
            PARENT.to_uppercase(),
            PARENT.replacen("00", "ff", 1),
            format!("{PARENT}-more"),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            PARENT.replace("00f067aa0ba902b7", "+0f067aa0ba902b7"),
            PARENT[..50].to_owned(),
        ];
        for text in refused {
            assert_eq!(text.parse::<TraceContext>(), Err(NotATraceparent), "{text}");
        }
    }

    #[tokio::test]
    async fn a_trace_goes_on_through_spans_and_ends_with_them() {
        assert_eq!(current(), None);
        let span = tracing::info_span!("request");
        let context = join(&span, Some(PARENT));
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_ne!(context.to_string(), PARENT, "it is a span of its own");
        let inside = within(context, span, async { current() }).await;
        assert_eq!(inside, Some(context));
        assert_eq!(current(), None);
        let other = join(&tracing::info_span!("request"), Some("nonsense"));
        assert_ne!(other.trace_id(), context.trace_id());
    }
}
