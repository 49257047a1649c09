//! Which code runs which kind.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use serde_json::Value;

use crate::{
    context::JobContext,
    contract::{Failure, Job, JobResult, Policy},
};

/// Runs jobs of one kind. Implemented for every `Fn(J, JobContext) -> impl Future<Output = JobResult>`.
pub trait Handler<J: Job>: Send + Sync + 'static {
    /// Runs one attempt.
    fn run(&self, job: J, context: JobContext) -> impl Future<Output = JobResult> + Send;
}

impl<J, F, Fut> Handler<J> for F
where
    J: Job,
    F: Fn(J, JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = JobResult> + Send,
{
    fn run(&self, job: J, context: JobContext) -> impl Future<Output = JobResult> + Send {
        self(job, context)
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = JobResult> + Send>>;
type Run = Arc<dyn Fn(Value, JobContext) -> BoxFuture + Send + Sync>;

/// A registered kind.
#[derive(Clone)]
pub struct Entry {
    /// The highest payload version this binary reads.
    pub version: i16,
    /// Its queue.
    pub queue: &'static str,
    /// Its policy.
    pub policy: Policy,
    run: Run,
}

impl Entry {
    /// Decodes the payload and runs the handler; a payload that cannot be read is a permanent failure.
    pub fn run(&self, payload: Value, context: JobContext) -> BoxFuture {
        (self.run)(payload, context)
    }
}

/// Every kind a worker can run.
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
}

impl Registry {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; the last registration of a kind counts.
    #[must_use]
    pub fn job<J: Job>(mut self, handler: impl Handler<J>) -> Self {
        let handler = Arc::new(handler);
        let run: Run = Arc::new(move |payload, context| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                match serde_json::from_value::<J>(payload) {
                    Ok(job) => handler.run(job, context).await,
                    Err(e) => Err(Failure::permanent(format!("payload of {} cannot be read: {e}", J::KIND))),
                }
            })
        });
        self.entries.insert(J::KIND, Entry { version: J::VERSION, queue: J::QUEUE, policy: J::POLICY, run });
        self
    }

    /// The entry of a kind.
    pub fn get(&self, kind: &str) -> Option<&Entry> {
        self.entries.get(kind)
    }

    /// Every kind's name, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.keys().copied()
    }

    /// The queues of all kinds, sorted, each once.
    pub fn queues(&self) -> Vec<&'static str> {
        let mut queues: Vec<_> = self.entries.values().map(|e| e.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        queues
    }
}
