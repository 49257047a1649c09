use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use apalis_core::{error::BoxDynError, task::Task};
use metrics::{Counter, Gauge, Histogram};
use tower::{Layer, Service};

use super::{Ended, Future, Shared};
use crate::postgres::{Claimed, Settled, fetch::Fetched};
use crate::trace;

/// Span and metrics of each run.
#[derive(Clone)]
pub struct ObserveLayer(Arc<Observed>);

struct Observed {
    queue: String,
    shared: Arc<Shared>,
    running: Gauge,
    claim_lost: Counter,
    // Looked up by kind: to name a metric with its labels costs more than to count.
    kinds: Mutex<HashMap<String, Arc<Kind>>>,
}

struct Kind {
    started: Counter,
    duration: Histogram,
    wait: Histogram,
    finished: [(&'static str, Counter); OUTCOMES.len()],
}

const OUTCOMES: [&str; 7] = ["done", "retried", "snoozed", "cancelled", "discarded", "dead", "interrupted"];

impl ObserveLayer {
    /// For the jobs of a queue.
    pub fn new(queue: &str, shared: &Arc<Shared>) -> Self {
        Self(Arc::new(Observed {
            queue: queue.to_owned(),
            shared: Arc::clone(shared),
            running: metrics::gauge!("waybill_jobs_running", "queue" => queue.to_owned()),
            claim_lost: metrics::counter!("waybill_jobs_claim_lost_total", "queue" => queue.to_owned()),
            kinds: Mutex::default(),
        }))
    }
}

impl Observed {
    fn kind(&self, kind: &str) -> Arc<Kind> {
        // Kinds we do not know share a label, so that whoever writes jobs cannot make metrics without end.
        let kind = if self.shared.registry.get(kind).is_some() { kind } else { "unknown" };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get(kind) {
            return Arc::clone(known);
        }
        let labels = [("queue", self.queue.clone()), ("kind", kind.to_owned())];
        let counters = OUTCOMES.map(|outcome| {
            let mut labels = labels.to_vec();
            labels.push(("outcome", outcome.to_owned()));
            (outcome, metrics::counter!("waybill_jobs_finished_total", &labels))
        });
        let new = Arc::new(Kind {
            started: metrics::counter!("waybill_jobs_started_total", &labels),
            duration: metrics::histogram!("waybill_job_duration_seconds", &labels),
            wait: metrics::histogram!("waybill_job_wait_seconds", &labels),
            finished: counters,
        });
        kinds.insert(kind.to_owned(), Arc::clone(&new));
        new
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, observed: Arc::clone(&self.0) }
    }
}

/// See [`ObserveLayer`].
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    observed: Arc<Observed>,
}

/// Takes the job off the gauge however its future ends.
struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl<S> Service<Task<Fetched>> for Observe<S>
where
    S: Service<Task<Fetched>, Response = Ended, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Future<()>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Fetched>) -> Self::Future {
        let observed = Arc::clone(&self.observed);
        let job = &task.args.job;
        let kind = observed.kind(&job.kind);
        kind.started.increment(1);
        kind.wait.record((job.claimed_at - job.run_at).to_std().unwrap_or_default());
        observed.running.increment(1);
        let running = Running(observed.running.clone());
        let span = span(job, &observed.queue);
        let context = trace::join(&span, job.traceparent.as_deref());
        let run = self.inner.call(task);
        let observe = async move {
            let _running = running;
            let ended = run.await?;
            kind.duration.record(ended.ran);
            if let Some((_, counter)) = kind.finished.iter().find(|(outcome, _)| *outcome == ended.outcome) {
                counter.increment(1);
            }
            if ended.settled == Settled::ClaimLost {
                observed.claim_lost.increment(1);
            }
            log(&ended);
            Ok(())
        };
        Box::pin(trace::within(context, span, observe))
    }
}

fn span(job: &Claimed, queue: &str) -> tracing::Span {
    let span = tracing::info_span!(
        "job",
        id = %job.id,
        kind = job.kind,
        queue,
        attempt = job.attempt,
        correlation_id = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if let Some(correlation_id) = job.correlation_id {
        span.record("correlation_id", tracing::field::display(correlation_id));
    }
    span
}

fn log(ended: &Ended) {
    let Ended { outcome, error, ran, settled } = ended;
    let error = error.as_deref();
    match *outcome {
        _ if *settled == Settled::ClaimLost => {
            tracing::warn!(outcome, ?ran, error, "another worker has the job; this run does not count");
        }
        "dead" => tracing::error!(?ran, error, "job became a dead letter"),
        "retried" => tracing::warn!(?ran, error, "job failed and will be tried again"),
        "interrupted" => tracing::warn!(?ran, error, "job interrupted and put back"),
        outcome => tracing::debug!(outcome, ?ran, error, "job ended"),
    }
}
