//! Running a consumer as an apalis worker.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use apalis::{
    layers::{WorkerBuilderExt as _, catch_panic::CatchPanicLayer},
    prelude::*,
};
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;

/// Pause before a worker that has ended by itself, which only a defect can cause, is started again.
const RESTART: Duration = Duration::from_secs(1);

/// A defect of ours: the pipelines' own panics are caught around their code. The batch comes again.
#[derive(Debug, thiserror::Error)]
#[error("the consumer panicked")]
struct Panicked;

impl Panicked {
    #[allow(clippy::borrowed_box)] // The signature apalis asks for.
    fn new(_: &Box<dyn Any + Send>) -> Self {
        tracing::error!("a consumer of events panicked");
        Self
    }
}

/// Runs batches of `feed` one after another until `stop`, then finishes the one in hand.
///
/// No timeout layer: the limits are inside, around the pipeline's own code, where a failure can be held against an event.
/// Outside of it there is only waiting for the database, which is not to be cut short.
pub(crate) async fn drive<T, M, H, F>(name: String, mut feed: M, handler: H, stop: CancellationToken)
where
    T: Send + 'static,
    M: FnMut(CancellationToken) -> Feed<T>,
    H: Fn(T) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    while !stop.is_cancelled() {
        let handler = handler.clone();
        let worker = WorkerBuilder::new(name.as_str())
            .backend(feed(stop.child_token()))
            .concurrency(1)
            .layer(CatchPanicLayer::<_, Panicked>::with_panic_handler(Panicked::new))
            .build(move |batch: T| handler(batch));
        let stopped = stop.clone();
        let signal = async move {
            stopped.cancelled().await;
            Ok::<(), WorkerError>(())
        };
        match AssertUnwindSafe(worker.run_until(signal)).catch_unwind().await {
            Ok(Ok(())) if stop.is_cancelled() => {}
            Ok(ended) => tracing::error!(worker = name, ?ended, "consumer ended, starting it again"),
            Err(_) => tracing::error!(worker = name, "consumer panicked, starting it again"),
        }
        if !stop.is_cancelled() {
            tokio::time::sleep(RESTART).await;
        }
    }
}
