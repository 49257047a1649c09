//! Batches of events as an apalis backend.
//!
//! A source task makes the batches, from messages or from jobs, and lives through every loss of broker and database. The
//! backend therefore never answers with an error, which would end the worker.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::Task,
    worker::context::WorkerContext,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::layer::util::Identity;

/// A backend that yields what its source task sends.
pub(crate) struct Feed<T> {
    batches: mpsc::Receiver<T>,
    source: AbortOnDropHandle<()>,
    stop: CancellationToken,
}

impl<T: Send + 'static> Feed<T> {
    /// Starts the source. It ends when `stop` is cancelled, after it has put back what was not taken.
    pub(crate) fn start<S, F>(stop: CancellationToken, source: S) -> Self
    where
        S: FnOnce(mpsc::Sender<T>, CancellationToken) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        // One batch is collected while another is handled.
        let (sender, batches) = mpsc::channel(1);
        let task: JoinHandle<()> = tokio::spawn(source(sender, stop.clone()));
        Self { batches, source: AbortOnDropHandle::new(task), stop }
    }
}

impl<T: Send + 'static> Backend for Feed<T> {
    type Task = Task<T>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<T>, Infallible>>> {
        Poll::Ready(ready!(self.batches.poll_recv(cx)).map(|batch| Ok(Task::new(batch))))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.stop.cancel();
        self.batches.close();
        // Batches that nobody has taken put themselves back when they are dropped.
        while let Poll::Ready(Some(batch)) = self.batches.poll_recv(cx) {
            drop(batch);
        }
        // An error is a panic of the source, or its end by a deadline: it is over either way.
        Pin::new(&mut self.source).poll(cx).map(|_| Ok(()))
    }
}

impl<T> BackendConfig for Feed<T> {
    type Args = T;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &Self::Config {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        Identity::new()
    }
}
