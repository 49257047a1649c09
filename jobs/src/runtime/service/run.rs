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
    contract::{Finished, JobResult, Outcome},
    postgres::{Claimed, fetch::Fetched, unknown::set_aside},
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
                return Ok(Ok(not_ours(&job, &shared).await));
            };
            let context = JobContext::new(&job, &shared.pool, shared.registry.clock(), cancel);
            Ok(entry.run(job.payload, context).await)
        })
    }
}

/// How long a job is left alone that this worker does not know and could not put aside.
const LATER: Duration = Duration::from_secs(5);

/// A job that nobody knew when it was claimed: it waits, without end, for a worker that does, since only people can tell that
/// none ever will come.
async fn not_ours(job: &Claimed, shared: &Shared) -> Outcome {
    let reason = format!("this worker does not know kind {} in version {}", job.kind, job.version);
    let aside = match shared.pool.get().await {
        Ok(mut conn) => set_aside(&mut conn, job, &reason).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a job that is not known here is looked at again in a while");
            false
        }),
        Err(_) => false,
    };
    // Not so if it was to end anyway; what is recorded for the snooze sees to that.
    if aside { Outcome::Finished(Finished("snoozed")) } else { Outcome::Snooze { after: LATER, reason } }
}
