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
    postgres::fetch::Fetched,
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
        let (kind, policy) = self
            .shared
            .registry
            .get(&task.args.job.kind)
            .map_or(("unknown", Policy::DEFAULT), |entry| (entry.kind, entry.policy));
        let (cancel, session) = (task.args.cancel.clone(), Arc::clone(&task.args.session));
        let (id, claim) = (task.args.job.id, task.args.job.claim);
        let grace = self.shared.cancel_grace;
        let logs = Logs::new(id, task.args.job.attempt, claim, &self.shared.pool);
        let run = self.inner.call(task);
        Box::pin(async move {
            let asked = session.asked(id, claim);
            if asked.is_cancelled() {
                return Err(Broken::Cancelled { said: None }.into());
            }
            // After the timeout it has the grace, and as much again for a machine that is busy.
            let most = policy.timeout.saturating_add(2 * grace);
            if let Some(due) = std::time::Instant::now().checked_add(most) {
                session.begun(id, claim, kind, due);
            }
            let signals = Signals { cancel: &cancel, asked: &asked, abandon: session.abandon() };
            let result = bounded(logs.of(run), policy.timeout, grace, signals).await;
            // A handler that was dropped, or that panicked, has written no last lines itself.
            logs.end().await;
            session.ended(id, claim);
            result
        })
    }
}

/// What may end a run from outside.
#[derive(Clone, Copy)]
pub(in crate::runtime) struct Signals<'a> {
    /// The handler's token, whatever cancelled it.
    pub cancel: &'a CancellationToken,
    /// The job is not wanted any more.
    pub asked: &'a CancellationToken,
    /// The worker's time is over.
    pub abandon: &'a CancellationToken,
}

/// A run, ended when it must be.
pub(in crate::runtime) async fn bounded(
    run: impl std::future::Future<Output = Result<JobResult, BoxDynError>>,
    limit: Duration,
    grace: Duration,
    signals: Signals<'_>,
) -> Result<JobResult, BoxDynError> {
    let Signals { cancel, asked, abandon } = signals;
    let mut run = pin!(run);
    let since = Instant::now();
    tokio::select! {
        // The handler first: most end at once, and then neither timer nor listener is ever registered.
        biased;
        result = &mut run => return ended(result, signals),
        () = cancel.cancelled() => {
            // Because the worker stops, or has not been heard of for a moment, it has what is left of its time; until somebody
            // says that its job is not wanted, which may be what it was cancelled for.
            tokio::select! {
                biased;
                result = &mut run => return ended(result, signals),
                () = abandon.cancelled() => return Err(stopped(signals)),
                () = asked.cancelled() => {}
                () = sleep(limit.saturating_sub(since.elapsed())) => {}
            }
        }
        () = abandon.cancelled() => return Err(stopped(signals)),
        () = sleep(limit) => {}
    }
    if asked.is_cancelled() {
        return tokio::select! {
            biased;
            result = &mut run => ended(result, signals),
            () = abandon.cancelled() => Err(stopped(signals)),
            () = sleep(grace) => Err(stopped(signals)),
        };
    }
    cancel.cancel();
    tokio::select! {
        biased;
        result = &mut run => translated(result, |said| Broken::TimedOut { limit, said }),
        () = abandon.cancelled() => Err(Broken::Interrupted { said: None }.into()),
        () = sleep(grace) => Err(Broken::TimedOut { limit, said: None }.into()),
    }
}

fn stopped(signals: Signals<'_>) -> BoxDynError {
    let asked = signals.asked.is_cancelled();
    let broken = if asked { Broken::Cancelled { said: None } } else { Broken::Interrupted { said: None } };
    broken.into()
}

fn ended(result: Result<JobResult, BoxDynError>, signals: Signals<'_>) -> Result<JobResult, BoxDynError> {
    if !signals.cancel.is_cancelled() {
        return result;
    }
    if signals.asked.is_cancelled() {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::postgres::session::{Session, tests::hold};

    /// A heartbeat that was away for longer than its grace asks every handler to stop, and this one does not care. A wish to
    /// cancel its job that comes afterwards counts all the same.
    #[tokio::test]
    async fn a_wish_to_cancel_ends_a_handler_that_was_asked_to_stop_before() {
        let (session, id) = (Session::new(tokio::sync::watch::Sender::default()), waybill_schema::new_id());
        let cancel = hold(&session, id, 1);
        let asked = session.asked(id, 1);
        session.cancel_handlers();
        assert!(cancel.is_cancelled() && !asked.is_cancelled());
        let signals = Signals { cancel: &cancel, asked: &asked, abandon: session.abandon() };
        let (limit, grace) = (Duration::from_hours(1), Duration::from_millis(10));
        let mut run = pin!(bounded(std::future::pending(), limit, grace, signals));
        assert!(timeout(Duration::from_millis(50), &mut run).await.is_err(), "it has the rest of its time");
        session.ask(&[id]);
        let error = timeout(Duration::from_secs(10), run).await.unwrap().unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Broken::Cancelled { said: None }));
    }
}
