use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use apalis_core::{error::BoxDynError, task::Task};
use tower::{Layer, Service};

use super::{
    super::verdict::{Attempt, judge},
    Future, Shared,
};
use crate::{
    contract::{JobResult, Policy},
    postgres::{Resolution, Settled, fetch::Fetched, touched},
};

/// How a run of a job ended.
#[derive(Debug)]
pub struct Ended {
    /// `done`, `retried`, `snoozed`, `cancelled`, `discarded`, `dead` or `interrupted`.
    pub outcome: &'static str,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// How long the handler took.
    pub ran: Duration,
    /// Whether it counted.
    pub settled: Settled,
}

/// Turns the handler's answer into the job's fate, and waits until that is durable: only then is the place free.
#[derive(Clone)]
pub struct SettleLayer(Arc<Shared>);

impl SettleLayer {
    /// With the completer of the session.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl<S> Layer<S> for SettleLayer {
    type Service = Settle<S>;

    fn layer(&self, inner: S) -> Settle<S> {
        Settle { inner, shared: Arc::clone(&self.0) }
    }
}

/// See [`SettleLayer`].
#[derive(Clone)]
pub struct Settle<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Task<Fetched>> for Settle<S>
where
    S: Service<Task<Fetched>, Response = JobResult, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = Ended;
    type Error = BoxDynError;
    type Future = Future<Ended>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut task: Task<Fetched>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let place = task.args.slot.take();
        let session = Arc::clone(&task.args.session);
        let job = &task.args.job;
        let (id, claim, row, flow) = (job.id, job.claim, job.place, job.flow_id);
        let policy = shared.registry.get(&job.kind).map_or(Policy::DEFAULT, |entry| entry.policy);
        let attempt = Attempt { number: job.attempt, max: job.max_attempts, policy };
        let run = self.inner.call(task);
        Box::pin(async move {
            let started = Instant::now();
            let (result, queues) = touched::collect(run).await;
            let ran = started.elapsed();
            for queue in &queues {
                shared.notifier.hint(queue);
            }
            let (outcome, resolution) = judge(attempt, result);
            let error = resolution.as_ref().and_then(error_of);
            let settled = match resolution {
                Some(resolution) => shared.completer.settle(id, claim, row, resolution).await,
                None => Settled::Kept,
            };
            session.release(id, claim);
            drop(place);
            if let Some(flow) = flow {
                shared.settler.ended(flow);
            }
            Ok(Ended { outcome, error, ran, settled })
        })
    }
}

fn error_of(resolution: &Resolution) -> Option<String> {
    match resolution {
        Resolution::Back { entry: Some(entry), .. } | Resolution::Dead { entry, .. } => {
            Some(entry.error.clone())
        }
        _ => None,
    }
}
