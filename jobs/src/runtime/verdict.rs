//! From what a handler answered to what becomes of the job.

use std::{any::Any, time::Duration};

use crate::{
    contract::{Failure, JobResult, Outcome, Policy},
    postgres::{
        Resolution,
        complete::{End, Entry},
    },
};

/// Why a handler has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// It panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It took longer than its policy allows.
    #[error("timed out after {limit:?}{}", words(.said.as_ref()))]
    TimedOut {
        /// As its policy allows.
        limit: Duration,
        /// Its own words, if it ended when it was asked to.
        said: Option<String>,
    },
    /// Somebody no longer wants the job.
    #[error("cancelled while it ran{}", words(.said.as_ref()))]
    Cancelled {
        /// Its own words, if it ended when it was asked to.
        said: Option<String>,
    },
    /// The worker stopped before it was done.
    #[error("interrupted: the worker stopped{}", words(.said.as_ref()))]
    Interrupted {
        /// Its own words, if it ended when it was asked to.
        said: Option<String>,
    },
}

fn words(said: Option<&String>) -> String {
    said.map(|words| format!(": {words}")).unwrap_or_default()
}

impl Broken {
    /// What a panic said.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "no message".to_owned()))
    }
}

/// The attempt that ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub number: i16,
    pub max: i16,
    pub policy: Policy,
}

/// What becomes of the job, and the outcome's name for metrics; no resolution if the handler has recorded it itself.
pub(super) fn judge(
    attempt: Attempt,
    result: Result<JobResult, Broken>,
) -> (&'static str, Option<Resolution>) {
    let resolution = match result {
        Ok(Ok(Outcome::Finished(finished))) => return (finished.0, None),
        Ok(Ok(Outcome::Done(result))) => return ("done", Some(Resolution::Over(End::Done(result)))),
        Ok(Ok(Outcome::Cancel(reason))) => {
            return ("cancelled", Some(Resolution::Over(End::Cancelled(Entry::new("cancelled", reason)))));
        }
        Ok(Ok(Outcome::Discard(reason))) => {
            return ("discarded", Some(Resolution::Over(End::Discarded(Entry::new("discarded", reason)))));
        }
        Ok(Ok(Outcome::Snooze { after, reason })) => {
            let entry = Some(Entry::new("snoozed", reason));
            return ("snoozed", Some(Resolution::Back { delay: after, refund: true, snooze: true, entry }));
        }
        Ok(Ok(Outcome::RetryIn { after, reason })) => again(attempt, "retry", reason, after),
        Ok(Err(failure)) => after_failure(attempt.number, attempt.max, &attempt.policy, "failed", failure),
        Err(broken @ Broken::Cancelled { .. }) => {
            let entry = Entry::new("cancelled", broken.to_string());
            return ("cancelled", Some(Resolution::Over(End::Cancelled(entry))));
        }
        Err(broken @ Broken::Interrupted { .. }) => {
            let entry = Some(Entry::new("interrupted", broken.to_string()));
            let back = Resolution::Back { delay: Duration::ZERO, refund: true, snooze: false, entry };
            return ("interrupted", Some(back));
        }
        Err(broken) => {
            let outcome = if matches!(broken, Broken::Panicked(_)) { "panicked" } else { "timed_out" };
            let failure = Failure::retryable(broken.to_string());
            after_failure(attempt.number, attempt.max, &attempt.policy, outcome, failure)
        }
    };
    let outcome = if matches!(resolution, Resolution::Dead { .. }) { "dead" } else { "retried" };
    (outcome, Some(resolution))
}

/// What becomes of a job whose attempt `number` of `max` failed: another one after the policy's delay, or the dead letters.
/// `outcome` is what its history says.
pub fn after_failure(
    number: i16,
    max: i16,
    policy: &Policy,
    outcome: &'static str,
    failure: Failure,
) -> Resolution {
    if failure.retryable {
        let delay = policy.delay(number, rand::random());
        again(Attempt { number, max, policy: *policy }, outcome, failure.message, delay)
    } else {
        Resolution::Dead { entry: Entry::new(outcome, failure.message), reason: "permanent failure" }
    }
}

fn again(attempt: Attempt, outcome: &'static str, error: String, delay: Duration) -> Resolution {
    let entry = Entry::new(outcome, error);
    if attempt.number >= attempt.max {
        Resolution::Dead { entry, reason: "attempts used up" }
    } else {
        Resolution::Back { delay, refund: false, snooze: false, entry: Some(entry) }
    }
}
