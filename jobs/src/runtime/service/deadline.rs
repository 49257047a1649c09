//! Ends handlers that run too long, or longer than their worker.

use std::{
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::FutureExt as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{super::verdict::Broken, Lane, Shared, kind::Kind};
use crate::{
    context::JobContext,
    contract::{Finished, JobResult, Outcome},
    logs::Logs,
    postgres::{
        Claimed,
        in_hand::{Asked, InHand},
        session::Session,
        unknown::set_aside,
    },
};

/// How long a job is left alone that this worker does not know and could not put aside.
const LATER: Duration = Duration::from_secs(5);

/// A run up to its answer. A box, since what is around it would otherwise keep room for all of it more than once.
pub(super) type Handled = Pin<Box<dyn Future<Output = Result<JobResult, Broken>> + Send>>;

/// Gives a job to its handler, which has its policy's time.
pub(super) fn run(
    job: Claimed,
    lane: Arc<Lane>,
    kind: Arc<Kind>,
    session: Arc<Session>,
    hand: Arc<InHand>,
) -> Handled {
    Box::pin(async move {
        if hand.asked.is_asked() {
            return Err(Broken::Cancelled { said: None });
        }
        if session.is_abandoned() {
            // It is handed back, and perhaps somebody else's by now.
            return Err(Broken::Interrupted { said: None });
        }
        let shared = &lane.shared;
        let (policy, grace) = (kind.policy(), shared.cancel_grace);
        // After the timeout it has the grace, and as much again for a machine that is busy.
        let most = policy.timeout.saturating_add(2 * grace);
        if let Some(due) = std::time::Instant::now().checked_add(most) {
            hand.begun(kind.name, due);
        }
        let Some(entry) = kind.entry.as_ref().filter(|entry| job.version <= entry.version) else {
            let outcome = Box::pin(not_ours(&job, shared)).await;
            hand.ended();
            return Ok(Ok(outcome));
        };
        let logs = Logs::new(job.id, job.attempt, job.claim, &shared.pool);
        let run = {
            let (clock, cancel) = (shared.registry.clock(), hand.cancel.clone());
            let (context, payload) = JobContext::of(job, &shared.pool, clock, cancel, logs.clone());
            caught(entry.run(payload, context))
        };
        let signals = Signals { cancel: &hand.cancel, asked: &hand.asked, abandon: session.abandon() };
        let result = bounded(run, policy.timeout, grace, signals).await;
        // A handler that was dropped, or that panicked, has written no last lines itself.
        logs.end().await;
        hand.ended();
        result
    })
}

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

/// A handler whose panic is an answer.
pub(in crate::runtime) async fn caught(run: impl Future<Output = JobResult>) -> Result<JobResult, Broken> {
    AssertUnwindSafe(run).catch_unwind().await.map_err(|panic| Broken::panicked(&*panic))
}

/// What may end a run from outside.
#[derive(Clone, Copy)]
pub(in crate::runtime) struct Signals<'a> {
    /// The handler's token, whatever cancelled it.
    pub cancel: &'a CancellationToken,
    /// The job is not wanted any more.
    pub asked: &'a Asked,
    /// The worker's time is over.
    pub abandon: &'a CancellationToken,
}

/// A run, ended when it must be.
pub(in crate::runtime) async fn bounded(
    run: impl Future<Output = Result<JobResult, Broken>>,
    limit: Duration,
    grace: Duration,
    signals: Signals<'_>,
) -> Result<JobResult, Broken> {
    let Signals { cancel, asked, abandon } = signals;
    let mut run = pin!(run);
    // Most end at once, and then neither timer nor listener is ever made.
    if let Poll::Ready(result) = futures::poll!(&mut run) {
        return ended(result, signals);
    }
    let since = Instant::now();
    tokio::select! {
        biased;
        result = &mut run => return ended(result, signals),
        () = cancel.cancelled() => {
            // Because the worker stops, or has not been heard of for a moment, it has what is left of its time; until somebody
            // says that its job is not wanted, which may be what it was cancelled for.
            tokio::select! {
                biased;
                result = &mut run => return ended(result, signals),
                () = abandon.cancelled() => return Err(stopped(signals)),
                () = asked.asked() => {}
                () = sleep(limit.saturating_sub(since.elapsed())) => {}
            }
        }
        () = abandon.cancelled() => return Err(stopped(signals)),
        () = sleep(limit) => {}
    }
    if asked.is_asked() {
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
        () = abandon.cancelled() => Err(Broken::Interrupted { said: None }),
        () = sleep(grace) => Err(Broken::TimedOut { limit, said: None }),
    }
}

fn stopped(signals: Signals<'_>) -> Broken {
    if signals.asked.is_asked() {
        Broken::Cancelled { said: None }
    } else {
        Broken::Interrupted { said: None }
    }
}

fn ended(result: Result<JobResult, Broken>, signals: Signals<'_>) -> Result<JobResult, Broken> {
    if !signals.cancel.is_cancelled() {
        return result;
    }
    if signals.asked.is_asked() {
        return translated(result, |said| Broken::Cancelled { said });
    }
    translated(result, |said| Broken::Interrupted { said })
}

/// A handler that fails after it was asked to stop failed because of that. One that has an answer all the same is done.
fn translated(
    result: Result<JobResult, Broken>,
    broken: impl FnOnce(Option<String>) -> Broken,
) -> Result<JobResult, Broken> {
    match result {
        Ok(Ok(outcome)) => Ok(Ok(outcome)),
        Ok(Err(failure)) if !failure.retryable => Ok(Err(failure)),
        Ok(Err(failure)) => Err(broken(Some(failure.message))),
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
        let hand = hold(&session, id, 1);
        session.cancel_handlers();
        assert!(hand.cancel.is_cancelled() && !hand.asked.is_asked());
        let signals = Signals { cancel: &hand.cancel, asked: &hand.asked, abandon: session.abandon() };
        let (limit, grace) = (Duration::from_hours(1), Duration::from_millis(10));
        let mut run = pin!(bounded(std::future::pending(), limit, grace, signals));
        assert!(timeout(Duration::from_millis(50), &mut run).await.is_err(), "it has the rest of its time");
        session.ask(&[id]);
        let error = timeout(Duration::from_secs(10), run).await.unwrap().unwrap_err();
        assert_eq!(error, Broken::Cancelled { said: None });
    }
}
