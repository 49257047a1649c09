//! The time as handlers see it: the system's, or in a test one that stands still.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, Utc};

/// Where a handler reads the time, by [`JobContext::now`](crate::JobContext::now), so that its test may say what time it is.
#[derive(Debug, Clone, Default)]
pub struct Clock(
    /// Microseconds since 1970 of a clock that stands still.
    Option<Arc<AtomicI64>>,
);

impl Clock {
    /// The system's.
    pub const fn system() -> Self {
        Self(None)
    }

    /// One that stands still at `time`, to the microsecond, and is moved by `testing::advance`. Its clones are the
    /// same clock.
    ///
    /// # Panics
    /// If `time` is not ahead: the database compares with its own clock when a job is enqueued, and what is to run later by a
    /// clock that is behind would run at once.
    #[cfg(feature = "testing")]
    pub fn frozen_at(time: DateTime<Utc>) -> Self {
        assert!(time > Utc::now(), "a frozen clock must be ahead of the database's, so {time} is too early");
        Self(Some(Arc::new(AtomicI64::new(time.timestamp_micros()))))
    }

    /// What it shows.
    pub fn now(&self) -> DateTime<Utc> {
        let frozen = self.0.as_ref().map(|micros| micros.load(Ordering::SeqCst));
        frozen.and_then(DateTime::from_timestamp_micros).unwrap_or_else(Utc::now)
    }

    /// Whether it stands still.
    #[cfg(feature = "testing")]
    pub(crate) fn is_frozen(&self) -> bool {
        self.0.is_some()
    }

    /// Moves one that stands still.
    #[cfg(feature = "testing")]
    pub(crate) fn forward(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        if let Some(micros) = &self.0 {
            micros.fetch_add(by, Ordering::SeqCst);
        }
    }
}
