//! Span, metrics and log line of a run.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Span;

use super::{
    Lane, deadline,
    kind::{Kind, Running},
    settle::{self, Ended, Ends},
};
use crate::{
    postgres::{
        Claimed, Settled,
        fetch::{Fetched, Slot},
        in_hand::InHand,
        session::Session,
    },
    trace,
};

/// Runs a job, from the first count to the last.
pub(super) fn run(
    lane: &Arc<Lane>,
    session: &Arc<Session>,
    fetched: Fetched,
    tracked: TaskTrackerToken,
) -> impl Future<Output = ()> + Send + use<> {
    let Fetched { job, hand, slot } = fetched;
    let kind = lane.kinds.of(&job.kind);
    let span = span(&job, &lane.queue);
    let context = trace::join(&span, job.traceparent.as_deref());
    let running = kind.begins(&job);
    let ends = Ends::of(&job, kind.policy());
    let (lane, session) = (Arc::clone(lane), Arc::clone(session));
    let handled =
        deadline::run(job, Arc::clone(&lane), Arc::clone(&kind), Arc::clone(&session), Arc::clone(&hand));
    let rest = Rest { kind, running, span: span.clone(), lane, session, hand, slot, tracked };
    trace::within(context, span, settle::run(handled, ends, rest))
}

/// What is to be done, and let go, when the end of a run is durable.
pub(super) struct Rest {
    pub lane: Arc<Lane>,
    pub hand: Arc<InHand>,
    kind: Arc<Kind>,
    session: Arc<Session>,
    running: Running,
    span: Span,
    slot: Slot,
    tracked: TaskTrackerToken,
}

impl Rest {
    /// The run is over, and that is durable or does not count.
    pub fn over(self, ended: &Ended) {
        let Self { kind, lane, session, hand, running, span, slot, tracked } = self;
        session.release([&*hand]);
        drop(slot);
        if let Some(flow) = ended.flow {
            lane.shared.settler.ended(flow);
        }
        kind.ended(ended);
        drop(running);
        span.in_scope(|| log(ended));
        // The last: a worker that stops has waited for all of the above then.
        drop(tracked);
    }
}

fn span(job: &Claimed, queue: &str) -> Span {
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
    let Ended { outcome, error, ran, settled, .. } = ended;
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
