//! Jobs of which there may be only one.
//!
//! A unique job takes a slot, a row of `job_uniques` under `kind:key`, in the transaction that enqueues it. Whoever wants
//! the same slot meanwhile waits for that transaction to end, and has the slot if it rolled back. The slot is given up in
//! the statement by which the job leaves the states it is unique in, by whatever path. One whose job became a dead letter
//! is free: work that died once must not stop what comes after it. A person who retries it gives it its slot again, if nobody has it;
//! who has it can be told, and the retry forced, beside it and without a slot.

use std::time::Duration;

use uuid::Uuid;

/// Longest key, in bytes: an index entry has its bounds.
pub const MAX_KEY: usize = 500;

/// What else may not be there for a job to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    pub(crate) key: String,
    pub(crate) scope: Scope,
    pub(crate) within: Option<Duration>,
}

/// How long the state of its job keeps a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Waiting,
    Live,
    Window,
}

impl Scope {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Window => "window",
        }
    }
}

impl Unique {
    /// None of its kind and key may wait for its first attempt. One that has begun does not count: it may have read what
    /// has changed since.
    pub fn while_waiting(key: impl Into<String>) -> Self {
        Self { key: key.into(), scope: Scope::Waiting, within: None }
    }

    /// None of its kind and key may be live: scheduled, queued (again, too) or running.
    pub fn while_live(key: impl Into<String>) -> Self {
        Self { key: key.into(), scope: Scope::Live, within: None }
    }

    /// None of its kind and key may have been enqueued in this time, whatever became of it.
    pub fn within(key: impl Into<String>, window: Duration) -> Self {
        Self { key: key.into(), scope: Scope::Window, within: Some(window) }
    }

    /// In addition, none may have been enqueued in this time.
    #[must_use]
    pub fn and_within(self, window: Duration) -> Self {
        Self { within: Some(window), ..self }
    }
}

/// What became of a job that was to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is, under this id.
    Inserted(Uuid),
    /// This one has its unique slot, so it was not.
    Existing(Uuid),
}

impl Enqueued {
    /// The job that does the work, the new one or the other.
    pub const fn id(self) -> Uuid {
        match self {
            Self::Inserted(id) | Self::Existing(id) => id,
        }
    }

    /// Whether it is the new one.
    pub const fn is_new(self) -> bool {
        matches!(self, Self::Inserted(_))
    }
}
