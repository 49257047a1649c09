//! What a job is, and how it may end.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use crate::unique::Unique;

/// A kind of job: its arguments, and everything about it that does not change from one to the next.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The permanent name, `area.verb`. It is in the database and in other versions' binaries: to rename a kind, register
    /// both names for one deploy.
    const KIND: &'static str;
    /// The queue, one of [`crate::queues`].
    const QUEUE: &'static str;
    /// Raised when the arguments change in a way an older worker cannot read; it then leaves the job to a newer one.
    const VERSION: i16 = 1;
    /// Attempts, backoff and timeout.
    const POLICY: Policy = Policy::DEFAULT;
    /// Whether the kind's handler can undo what a job of it did; cancelling one that has begun then runs that.
    const COMPENSATES: bool = false;
    /// Whether the user it works for may cancel it.
    const OWNER_CANCELS: bool = false;
    /// Whether its jobs carry an order, which goes on without them: as long as the order is pending, ending the job ends nothing.
    const CARRIES_ORDER: bool = false;
    /// What outside must be up for each of its jobs, by name. While one is down (see [`crate::control`]) they wait unclaimed. A
    /// kind that needs it at some steps only says so when it gets there: [`crate::JobContext::wait_for`].
    const NEEDS: &'static [&'static str] = &[];
    /// Whether the arguments are sealed wherever they are stored; see [`crate::seal`].
    const SEALED: bool = false;

    /// The aggregate (order, import, ...) whose trail this job belongs to.
    fn correlation_id(&self) -> Option<Uuid> {
        None
    }

    /// Jobs of one key run one at a time, in the order they were enqueued: whatever their kinds and queues are, so begin the key
    /// with what it is of (`order:<id>`). The order is that of their ids, and the first of them holds the others back for as
    /// long as it lives: also while it is scheduled for later (a delay, a retry, a snooze), its kind or queue is paused, or what it
    /// needs is down. A dead one holds nobody back; retried, it is in front again by its old id.
    fn partition_key(&self) -> Option<String> {
        None
    }

    /// What the queue's limits per key count by: a merchant, a host.
    fn limit_key(&self) -> Option<String> {
        None
    }

    /// Whether there may be another like it: enqueueing one that may not be answers with the one that is there.
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// The person whose data the arguments carry: the job is found by it when that person is erased.
    fn subject_id(&self) -> Option<Uuid> {
        None
    }
}

/// How a kind is tried, and tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Attempts before the job becomes a dead letter, the first included.
    pub max_attempts: i16,
    /// Delay before the second attempt.
    pub backoff: Duration,
    /// The delay doubles with each attempt up to this.
    pub backoff_cap: Duration,
    /// An attempt that takes longer is cancelled and counts as failed.
    pub timeout: Duration,
}

impl Policy {
    /// Ten attempts, 1 s doubling to 10 min, 60 s each: about half an hour of trying.
    pub const DEFAULT: Self = Self {
        max_attempts: 10,
        backoff: Duration::from_secs(1),
        backoff_cap: Duration::from_mins(10),
        timeout: Duration::from_mins(1),
    };

    /// The delay after failed attempt `attempt` (1-based): `backoff * 2^(attempt - 1)`, capped, then scaled by `jitter`
    /// (0 to 1) into the range 75% to 125%, so that jobs that failed together do not come back together.
    pub fn delay(&self, attempt: i16, jitter: f64) -> Duration {
        let doublings = u32::from(attempt.max(1).unsigned_abs() - 1).min(31);
        let base = self.backoff.saturating_mul(1_u32 << doublings).min(self.backoff_cap);
        base.mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// How a run of a job ended, short of failing.
#[derive(Debug)]
pub enum Outcome {
    /// Done, with a result its owner may read.
    Done(Option<Value>),
    /// Already recorded, by [`crate::JobContext::finish`] in the handler's own transaction or by
    /// [`crate::JobContext::wait_for`].
    Finished(Finished),
    /// Try again after a delay of the handler's choosing; spends an attempt.
    RetryIn {
        /// Delay before the next attempt.
        after: Duration,
        /// For the history.
        reason: String,
    },
    /// Not yet: come back later without spending an attempt.
    Snooze {
        /// Delay.
        after: Duration,
        /// For the history.
        reason: String,
    },
    /// Somebody no longer wants it.
    Cancel(String),
    /// It makes no sense any more; nobody needs to look.
    Discard(String),
}

impl Outcome {
    /// Done without a result.
    pub const fn done() -> Self {
        Self::Done(None)
    }
}

/// Proof that the end of the attempt is recorded already: the job's completion, by [`crate::JobContext::finish`], or that it
/// is held, by [`crate::JobContext::wait_for`]. It carries the outcome's name for metrics.
#[derive(Debug)]
pub struct Finished(pub(crate) &'static str);

/// A failed attempt. Anything that is an error becomes one with `?`; it is retried by the kind's policy.
#[derive(Debug)]
pub struct Failure {
    /// The error and its sources, for the history. No secrets, no personal data.
    pub message: String,
    /// Whether another attempt can help. If not, the job becomes a dead letter at once.
    pub retryable: bool,
}

impl Failure {
    /// A failure that another attempt may cure.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: true }
    }

    /// A failure that no attempt will cure: a dead letter at once.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }
}

// Failure is no std error itself, so that this blanket does not overlap with `From<T> for T`.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::retryable(message)
    }
}

/// What a handler answers.
pub type JobResult = Result<Outcome, Failure>;
