//! Which code runs which kind.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use crate::{
    clock::Clock,
    context::JobContext,
    contract::{Failure, Job, JobResult, Policy},
    control::{Declared, Limits},
    payload::Payload,
    seal::{self, Unread},
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
type Run = Arc<dyn Fn(Payload, JobContext) -> BoxFuture + Send + Sync>;

/// A registered kind.
#[derive(Clone)]
pub struct Entry {
    /// The kind.
    pub kind: &'static str,
    /// The highest payload version this binary reads.
    pub version: i16,
    /// Its queue.
    pub queue: &'static str,
    /// Its policy.
    pub policy: Policy,
    /// What outside must be up for it.
    pub needs: &'static [&'static str],
    run: Run,
    undo: Option<Run>,
}

impl Entry {
    /// Decodes the payload and runs the handler, or the compensation if that is what the run is for. A payload that cannot
    /// be read is a permanent failure, and so is a compensation that nobody registered.
    pub fn run(&self, payload: Payload, context: JobContext) -> BoxFuture {
        if !context.undo {
            return (self.run)(payload, context);
        }
        match &self.undo {
            Some(undo) => undo(payload, context),
            None => Box::pin(std::future::ready(Err(Failure::permanent(format!(
                "this worker knows no compensation of {}",
                context.kind
            ))))),
        }
    }
}

/// Every kind a worker can run.
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
    limits: BTreeMap<String, Limits>,
    clock: Clock,
}

impl Registry {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; the last registration of a kind counts.
    #[must_use]
    pub fn job<J: Job>(self, handler: impl Handler<J>) -> Self {
        self.add::<J>(runs(handler), None)
    }

    /// Adds a kind with what undoes it, for kinds with [`Job::COMPENSATES`]: run, by the same policy, when a job that has
    /// begun is cancelled. `undo` must cope with a job that has done all, part or nothing of its work; it ends well with
    /// any outcome but a failure, a retry or a snooze, and the job is `cancelled` then.
    #[must_use]
    pub fn job_with_compensation<J: Job>(self, run: impl Handler<J>, undo: impl Handler<J>) -> Self {
        self.add::<J>(runs(run), Some(runs(undo)))
    }

    /// What its handlers read the time from: the system's, unless a test says otherwise.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// See [`with_clock`](Self::with_clock).
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn add<J: Job>(mut self, run: Run, undo: Option<Run>) -> Self {
        let entry = Entry {
            kind: J::KIND,
            version: J::VERSION,
            queue: J::QUEUE,
            policy: J::POLICY,
            needs: J::NEEDS,
            run,
            undo,
        };
        self.entries.insert(J::KIND, entry);
        self
    }

    /// Limits a queue over all workers, unless an operator has set other limits.
    #[must_use]
    pub fn limit(mut self, queue: &str, limits: Limits) -> Self {
        self.limits.insert(queue.to_owned(), limits);
        self
    }

    /// What a worker with this registry writes down when it starts.
    pub fn declared(&self) -> Declared {
        Declared {
            kinds: self.entries.iter().map(|(kind, entry)| (*kind, entry.version)).collect(),
            needs: self
                .entries
                .iter()
                .flat_map(|(kind, entry)| entry.needs.iter().map(|needed| (*kind, *needed)))
                .collect(),
            limits: self.limits.iter().map(|(queue, limits)| (queue.clone(), *limits)).collect(),
        }
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

fn runs<J: Job>(handler: impl Handler<J>) -> Run {
    let handler = Arc::new(handler);
    Arc::new(move |payload, context| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let logs = context.logs.clone();
            let result = match seal::opened::<J>(&payload, context.snoozes) {
                Ok(job) => handler.run(job, context).await,
                Err(Unread::Aside(outcome)) => Ok(outcome),
                Err(Unread::Failed(failure)) => Err(failure),
            };
            logs.flush().await;
            result
        })
    })
}
