use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{error::BoxDynError, task::Task};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::{super::verdict::Broken, Future, Shared};
use crate::{
    contract::{JobResult, Policy},
    logs::Logs,
    postgres::{fetch::Fetched, session::Session},
};

/// Ends handlers that run too long, or longer than their worker.
#[derive(Clone)]
pub struct DeadlineLayer(Arc<Shared>);

impl DeadlineLayer {
    /// With the timeouts of the kinds' policies.
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner, shared: Arc::clone(&self.0) }
    }
}

/// See [`DeadlineLayer`].
#[derive(Clone)]
pub struct Deadline<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Task<Fetched>> for Deadline<S>
where
    S: Service<Task<Fetched>, Response = JobResult, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = JobResult;
    type Error = BoxDynError;
    type Future = Future<JobResult>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Fetched>) -> Self::Future {
        let policy =
            self.shared.registry.get(&task.args.job.kind).map_or(Policy::DEFAULT, |entry| entry.policy);
        let (cancel, session) = (task.args.cancel.clone(), Arc::clone(&task.args.session));
        let (id, claim) = (task.args.job.id, task.args.job.claim);
        let grace = self.shared.cancel_grace;
        let logs = Logs::new(id, task.args.job.attempt, claim, &self.shared.pool);
        let run = self.inner.call(task);
        Box::pin(async move {
            let asked = || session.is_asked(id, claim);
            if cancel.is_cancelled() && asked() {
                return Err(Broken::Cancelled { said: None }.into());
            }
            let result = bounded(logs.of(run), policy.timeout, grace, &cancel, &session, asked).await;
            // A handler that was dropped, or that panicked, has written no last lines itself.
            logs.end().await;
            result
        })
    }
}

async fn bounded(
    run: impl std::future::Future<Output = Result<JobResult, BoxDynError>>,
    limit: Duration,
    grace: Duration,
    cancel: &CancellationToken,
    session: &Session,
    asked: impl Fn() -> bool,
) -> Result<JobResult, BoxDynError> {
    let mut run = pin!(run);
    let since = Instant::now();
    tokio::select! {
        // The handler first: most end at once, and then neither timer nor listener is ever registered.
        biased;
        result = &mut run => return ended(result, cancel, &asked),
        () = cancel.cancelled() => {
            // Asked because its job is not wanted, it has the grace; because the worker stops, what is left of its time.
            let rest = if asked() { grace } else { limit.saturating_sub(since.elapsed()) };
            tokio::select! {
                biased;
                result = &mut run => return ended(result, cancel, &asked),
                () = session.abandon().cancelled() => return Err(stopped(asked())),
                () = sleep(rest) => if asked() { return Err(stopped(true)) },
            }
        }
        () = session.abandon().cancelled() => return Err(stopped(asked())),
        () = sleep(limit) => {}
    }
    cancel.cancel();
    tokio::select! {
        biased;
        result = &mut run => translated(result, |said| Broken::TimedOut { limit, said }),
        () = session.abandon().cancelled() => Err(Broken::Interrupted { said: None }.into()),
        () = sleep(grace) => Err(Broken::TimedOut { limit, said: None }.into()),
    }
}

fn stopped(asked: bool) -> BoxDynError {
    let broken = if asked { Broken::Cancelled { said: None } } else { Broken::Interrupted { said: None } };
    broken.into()
}

fn ended(
    result: Result<JobResult, BoxDynError>,
    cancel: &CancellationToken,
    asked: impl Fn() -> bool,
) -> Result<JobResult, BoxDynError> {
    if !cancel.is_cancelled() {
        return result;
    }
    if asked() {
        return translated(result, |said| Broken::Cancelled { said });
    }
    translated(result, |said| Broken::Interrupted { said })
}

/// A handler that fails after it was asked to stop failed because of that. One that has an answer all the same is done.
fn translated(
    result: Result<JobResult, BoxDynError>,
    broken: impl FnOnce(Option<String>) -> Broken,
) -> Result<JobResult, BoxDynError> {
    match result {
        Ok(Ok(outcome)) => Ok(Ok(outcome)),
        Ok(Err(failure)) if !failure.retryable => Ok(Err(failure)),
        Ok(Err(failure)) => Err(broken(Some(failure.message)).into()),
        Err(error) => Err(error),
    }
}
