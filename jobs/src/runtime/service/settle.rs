//! From the handler's answer to the job's fate.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{
    super::verdict::{Attempt, judge},
    deadline::Handled,
    observe::Rest,
};
use crate::{
    contract::Policy,
    postgres::{Claimed, Resolution, Settled, Tid, touched},
};

/// How a run of a job ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `done`, `retried`, `snoozed`, `cancelled`, `discarded`, `dead` or `interrupted`.
    pub outcome: &'static str,
    /// What went wrong, if anything did.
    pub error: Option<String>,
    /// How long the handler took.
    pub ran: Duration,
    /// The flow that the job is part of.
    pub flow: Option<Uuid>,
    /// Whether it counted.
    pub settled: Settled,
}

/// What of a job its end is made of.
pub(super) struct Ends {
    attempt: Attempt,
    place: Tid,
    flow: Option<Uuid>,
}

impl Ends {
    /// Of a job that is about to run.
    pub fn of(job: &Claimed, policy: Policy) -> Self {
        let attempt = Attempt { number: job.attempt, max: job.max_attempts, policy };
        Self { attempt, place: job.place, flow: job.flow_id }
    }
}

/// Runs the handler, and gives what its answer means to the completer, with all that must wait for the end to be durable:
/// only then is the place free. The task that ran it need not wait.
pub(super) async fn run(handled: Handled, ends: Ends, rest: Rest) {
    let Ends { attempt, place, flow } = ends;
    let shared = &rest.lane.shared;
    let started = Instant::now();
    let (result, queues) = touched::collect(handled).await;
    let ran = started.elapsed();
    for queue in &queues {
        shared.notifier.hint(queue);
    }
    let (outcome, resolution) = judge(attempt, result);
    let error = resolution.as_ref().and_then(error_of);
    let ended = move |settled| Ended { outcome, error, ran, flow, settled };
    let Some(resolution) = resolution else {
        return rest.over(&ended(Settled::Kept));
    };
    let (completer, id, claim) = (shared.completer.clone(), rest.hand.id, rest.hand.claim);
    let then = Box::new(move |settled| rest.over(&ended(settled)));
    completer.settle_then(id, claim, place, resolution, then);
}

fn error_of(resolution: &Resolution) -> Option<String> {
    match resolution {
        Resolution::Back { entry: Some(entry), .. } | Resolution::Dead { entry, .. } => {
            Some(entry.error.clone())
        }
        _ => None,
    }
}
