use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{error::BoxDynError, task::Task};
use tower::Service;

use super::{Future, Shared};
use crate::{
    context::JobContext,
    contract::{JobResult, Outcome},
    postgres::{Claimed, fetch::Fetched},
};

/// Gives a job to its handler.
#[derive(Clone)]
pub struct RunJob(Arc<Shared>);

impl RunJob {
    /// With the handlers of the registry.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl Service<Task<Fetched>> for RunJob {
    type Response = JobResult;
    type Error = BoxDynError;
    type Future = Future<JobResult>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Fetched>) -> Self::Future {
        let Fetched { job, cancel, .. } = task.args;
        let shared = Arc::clone(&self.0);
        // All of it when it is polled: the deadline says where its lines go.
        Box::pin(async move {
            let Some(entry) = shared.registry.get(&job.kind).filter(|entry| job.version <= entry.version)
            else {
                return Ok(Ok(not_ours(&job)));
            };
            let context = JobContext::new(&job, &shared.pool, shared.registry.clock(), cancel);
            Ok(entry.run(job.payload, context).await)
        })
    }
}

/// During a deploy a newer worker will take it; 5 s doubling to 20 s, without end, since only people can tell that no
/// worker ever will.
fn not_ours(job: &Claimed) -> Outcome {
    // No longer: while old and new workers run side by side, an old one may well be the next to look.
    let doublings = job.snoozes.clamp(0, 2).unsigned_abs();
    Outcome::Snooze {
        after: Duration::from_secs(5 << doublings),
        reason: format!("this worker does not know kind {} in version {}", job.kind, job.version),
    }
}
