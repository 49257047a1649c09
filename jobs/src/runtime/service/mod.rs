//! What a job passes through between its claim and the end of its row.
//!
//! `apalis' worker -> RunClaim -> (a task for each job) observe -> settle -> deadline -> handler -> completer`
//!
//! The steps are functions and no layers of a tower: each layer was a boxed future and a copy of all that is inside of it, and
//! every job of 60,000 a second paid for all of them.

mod deadline;
mod kind;
mod observe;
mod settle;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::task::Task;
use tokio_util::task::TaskTracker;
use tower::Service;
use waybill_schema::Pool;

#[cfg(feature = "testing")]
pub(super) use deadline::{Signals, bounded, caught};
use kind::Kinds;

use crate::{
    flows::Settler,
    postgres::{Completer, Notifier, fetch::Batch},
    registry::Registry,
};

/// What the queues of a session share.
pub struct Shared {
    /// Which code runs which kind.
    pub registry: Arc<Registry>,
    /// Connections for the handlers.
    pub pool: Pool,
    /// Makes outcomes durable.
    pub completer: Completer,
    /// Tells of queues with new work.
    pub notifier: Notifier,
    /// Looks after flows whose jobs have ended.
    pub settler: Settler,
    /// How long a handler has to end by itself once its token is cancelled.
    pub cancel_grace: Duration,
}

/// Runs the jobs of a claim, each in a task of its own, and ends when the last one's end is durable.
#[derive(Clone)]
pub struct RunClaim(Arc<Lane>);

/// What the jobs of a queue share.
struct Lane {
    queue: String,
    shared: Arc<Shared>,
    kinds: Kinds,
}

impl RunClaim {
    /// For the claims of a queue.
    pub fn new(queue: &str, shared: &Arc<Shared>) -> Self {
        let kinds = Kinds::new(queue, &shared.registry);
        Self(Arc::new(Lane { queue: queue.to_owned(), shared: Arc::clone(shared), kinds }))
    }
}

impl Service<Task<Batch>> for RunClaim {
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Batch>) -> Self::Future {
        let lane = Arc::clone(&self.0);
        Box::pin(async move {
            let Batch { jobs, session } = task.args;
            let running = TaskTracker::new();
            for fetched in jobs {
                tokio::spawn(observe::run(&lane, &session, fetched, running.token()));
            }
            running.close();
            running.wait().await;
            Ok(())
        })
    }
}
