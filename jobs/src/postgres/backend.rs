//! A queue as apalis sees it.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::Task,
    worker::context::WorkerContext,
};
use tower::layer::util::Identity;
use uuid::Uuid;

use super::{
    completer::{Completer, Resolution},
    fetch::{Batch, Jobs},
    session::Session,
    tid::Tid,
};

/// The claims of one queue as an apalis backend: a task of apalis is the jobs of a claim, so that what it costs (a future, its
/// extensions, a context) is paid once for all of them.
///
/// It never fails, since an error would end the apalis worker and drop its running handlers, and it ends only when the
/// session stops: what was claimed and not started is then handed back.
#[derive(Clone)]
pub struct QueueBackend {
    queue: Arc<str>,
    // Shared with the backend of a restarted apalis worker.
    jobs: Arc<Mutex<Jobs>>,
    session: Arc<Session>,
    completer: Completer,
}

impl QueueBackend {
    /// The backend of a queue that a [`super::fetch::Fetcher`] serves.
    pub fn new(queue: &str, jobs: Jobs, session: Arc<Session>, completer: Completer) -> Self {
        Self { queue: queue.into(), jobs: Arc::new(Mutex::new(jobs)), session, completer }
    }

    fn poll_jobs(&self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let next = jobs.poll_recv(cx);
        match next {
            Poll::Ready(Some(batch)) if self.session.stop().is_cancelled() => {
                self.hand_back(batch);
                while let Ok(batch) = jobs.try_recv() {
                    self.hand_back(batch);
                }
                // The fetcher may still be sending; its end of the channel closes with it.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            next => next,
        }
    }

    fn hand_back(&self, batch: Batch) {
        for fetched in batch.jobs {
            let (hand, session) = (fetched.hand, Arc::clone(&batch.session));
            let (id, claim) = (hand.id, hand.claim);
            let then = Box::new(move |_| session.release([&*hand]));
            self.completer.settle_then(id, claim, Tid::UNKNOWN, Resolution::HAND_BACK, then);
        }
    }
}

impl fmt::Debug for QueueBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBackend").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Backend for QueueBackend {
    type Task = Task<Batch>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        match self.poll_jobs(cx) {
            Poll::Ready(Some(batch)) => Poll::Ready(Some(Ok(Task::new(batch)))),
            Poll::Ready(None) => {
                // Without this the worker would wait, after its last job, for somebody to stop it.
                let _ = worker.stop();
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for QueueBackend {
    type Args = Batch;
    type Id = Uuid;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
