//! Counts attempts to log in, per account and per client address, in this process. The database counts as well (see
//! `users.failed_logins`), so that replicas agree on an account under attack; this is what stops guessing at addresses
//! that have no account, and one address that tries many accounts.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Keys remembered at most before those that no longer count are dropped: 100,000 take about 10 MB.
const SWEEP_AT: usize = 100_000;

/// A token bucket per key (as GCRA: one instant per key, when its bucket will be full again).
pub struct LoginLimiter {
    per_minute: u32,
    full_at: Mutex<HashMap<String, Instant>>,
}

/// An attempt that was counted. A success gives its tokens back: only failures use a bucket up, so an office behind one
/// address does not lock itself out by working.
#[derive(Debug)]
#[must_use = "a success must be given back"]
pub struct Attempt {
    keys: Vec<String>,
}

impl LoginLimiter {
    /// `per_minute` failures per key and minute, and as many at once.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1), full_at: Mutex::new(HashMap::new()) }
    }

    fn interval(&self) -> Duration {
        Duration::from_mins(1) / self.per_minute
    }

    /// Counts an attempt against every key, or says how long to wait.
    pub fn attempt(&self, keys: Vec<String>) -> Result<Attempt, Duration> {
        let now = Instant::now();
        let interval = self.interval();
        let window = Duration::from_mins(1);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() > SWEEP_AT {
            full_at.retain(|_, at| *at > now);
        }
        for key in &keys {
            let next = full_at.get(key).map_or(now, |at| (*at).max(now)) + interval;
            let wait = next.saturating_duration_since(now + window);
            if !wait.is_zero() {
                return Err(wait);
            }
        }
        for key in &keys {
            let at = full_at.entry(key.clone()).or_insert(now);
            *at = (*at).max(now) + interval;
        }
        Ok(Attempt { keys })
    }

    /// The attempt succeeded: it does not count.
    pub fn succeeded(&self, attempt: Attempt) {
        let interval = self.interval();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        for key in attempt.keys {
            if let Some(at) = full_at.get_mut(&key)
                && let Some(earlier) = at.checked_sub(interval)
            {
                *at = earlier;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn failures_use_the_bucket_up_and_successes_do_not() {
        let limiter = LoginLimiter::new(3);
        let key = || vec!["account:a".to_owned()];
        for _ in 0..10 {
            let attempt = limiter.attempt(key()).unwrap();
            limiter.succeeded(attempt);
        }
        for _ in 0..3 {
            let _failed = limiter.attempt(key()).unwrap();
        }
        let wait = limiter.attempt(key()).unwrap_err();
        assert!(wait <= Duration::from_secs(20), "{wait:?}");
        assert!(limiter.attempt(vec!["account:b".to_owned()]).is_ok());
    }
}
