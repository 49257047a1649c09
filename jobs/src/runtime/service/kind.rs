//! The kinds of a queue's jobs: who runs them, and what is counted of them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use metrics::{Counter, Gauge, Histogram};

use super::settle::Ended;
use crate::{
    contract::Policy,
    postgres::{Claimed, Settled},
    registry::{Entry, Registry},
};

const OUTCOMES: [&str; 7] = ["done", "retried", "snoozed", "cancelled", "discarded", "dead", "interrupted"];

/// All kinds that a worker knows, and one for those it does not.
pub(super) struct Kinds {
    queue: String,
    known: HashMap<&'static str, Known>,
    unknown: Known,
}

struct Known {
    entry: Option<Entry>,
    // When the first one runs: a worker knows dozens of kinds, and a queue has jobs of a few.
    kind: OnceLock<Arc<Kind>>,
}

impl Kinds {
    /// Those of the registry.
    pub fn new(queue: &str, registry: &Registry) -> Self {
        let known = |entry| Known { entry, kind: OnceLock::new() };
        Self {
            queue: queue.to_owned(),
            known: registry.kinds().map(|kind| (kind, known(registry.get(kind).cloned()))).collect(),
            unknown: known(None),
        }
    }

    /// The kind of that name. Those that nobody here knows share one, so that whoever writes jobs cannot make metrics without
    /// end.
    pub fn of(&self, kind: &str) -> Arc<Kind> {
        let known = self.known.get(kind).unwrap_or(&self.unknown);
        Arc::clone(known.kind.get_or_init(|| Arc::new(Kind::new(&self.queue, known.entry.clone()))))
    }
}

/// A kind.
pub(super) struct Kind {
    /// As metrics call it.
    pub name: &'static str,
    /// Who runs it, if anybody here does.
    pub entry: Option<Entry>,
    started: Counter,
    duration: Histogram,
    wait: Histogram,
    finished: [(&'static str, Counter); OUTCOMES.len()],
    running: Gauge,
    claim_lost: Counter,
}

impl Kind {
    fn new(queue: &str, entry: Option<Entry>) -> Self {
        let name = entry.as_ref().map_or("unknown", |entry| entry.kind);
        let of_queue = [("queue", queue.to_owned())];
        let labels = [("queue", queue.to_owned()), ("kind", name.to_owned())];
        let finished = OUTCOMES.map(|outcome| {
            let mut labels = labels.to_vec();
            labels.push(("outcome", outcome.to_owned()));
            (outcome, metrics::counter!("waybill_jobs_finished_total", &labels))
        });
        Self {
            name,
            entry,
            started: metrics::counter!("waybill_jobs_started_total", &labels),
            duration: metrics::histogram!("waybill_job_duration_seconds", &labels),
            wait: metrics::histogram!("waybill_job_wait_seconds", &labels),
            finished,
            running: metrics::gauge!("waybill_jobs_running", &of_queue),
            claim_lost: metrics::counter!("waybill_jobs_claim_lost_total", &of_queue),
        }
    }

    /// How its jobs are retried, and how long they may take.
    pub fn policy(&self) -> Policy {
        self.entry.as_ref().map_or(Policy::DEFAULT, |entry| entry.policy)
    }

    /// Counts a run that begins; it is over when the answer is dropped.
    pub fn begins(&self, job: &Claimed) -> Running {
        self.started.increment(1);
        self.wait.record((job.claimed_at - job.run_at).to_std().unwrap_or_default());
        self.running.increment(1);
        Running(self.running.clone())
    }

    /// Counts one that has ended.
    pub fn ended(&self, ended: &Ended) {
        self.duration.record(ended.ran);
        if let Some((_, counter)) = self.finished.iter().find(|(outcome, _)| *outcome == ended.outcome) {
            counter.increment(1);
        }
        if ended.settled == Settled::ClaimLost {
            self.claim_lost.increment(1);
        }
    }
}

/// Takes the job off the gauge however its run ends.
pub(super) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
