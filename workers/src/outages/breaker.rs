//! A circuit breaker: after some failures in a row nobody calls for a while, then one call tries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When to open, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BreakerSettings {
    /// Failures in a row.
    pub failures: u32,
    /// Rest before a call may try.
    pub open_for: Duration,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failures: u32,
    },
    /// Since when the database says so too, if it does.
    Open {
        until: Instant,
        recorded: Option<Instant>,
    },
    Probing,
}

/// Leave to make one call. Dropped without a word, as when the caller is cancelled, it counts as a failed probe, or not
/// at all if it was none.
#[derive(Debug)]
#[must_use = "tell how the call went"]
pub struct Permit {
    breaker: Breaker,
    probe: bool,
    told: bool,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: Arc::new(Mutex::new(State::Closed { failures: 0 })) }
    }

    /// Leave to call, or how long to wait before asking again.
    pub fn admit(&self) -> Result<Permit, Duration> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Result<Permit, Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, .. } => {
                let left = until.saturating_duration_since(now);
                if !left.is_zero() {
                    return Err(left);
                }
                *state = State::Probing;
                true
            }
            // The probe takes at most one timeout; nobody knows how long that still is.
            State::Probing => return Err(self.settings.open_for.min(Duration::from_secs(1))),
        };
        Ok(Permit { breaker: self.clone(), probe, told: false })
    }

    /// Leave to make the one call that tries, whatever this breaker thinks: the database has chosen who tries.
    pub fn probe(&self) -> Permit {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Probing;
        Permit { breaker: self.clone(), probe: true, told: false }
    }

    /// The database has what this breaker has found: from now on its word counts.
    pub fn recorded(&self) {
        self.recorded_at(Instant::now());
    }

    fn recorded_at(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open { recorded, .. } = &mut *state {
            recorded.get_or_insert(now);
        }
    }

    /// The database was asked at `asked`, and says that all is well: another worker's call was answered, or an operator says
    /// so. Believed if it has been told of our failures before it was asked.
    pub fn all_is_well(&self, asked: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open { recorded: Some(recorded), .. } = *state
            && recorded < asked
        {
            *state = State::Closed { failures: 0 };
        }
    }

    /// Whether calls are refused.
    pub fn is_open(&self) -> bool {
        !matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Closed { .. })
    }

    fn heard(&self, probe: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if probe {
            *state = State::Closed { failures: self.settings.failures.saturating_sub(1) };
        }
    }

    /// Whether this opened it.
    fn tell(&self, probe: bool, failed: bool, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = State::Open { until: now + self.settings.open_for, recorded: None };
        *state = match (*state, failed) {
            // A call that began before the breaker opened says nothing about now.
            (State::Open { .. } | State::Probing, _) if !probe => return false,
            (_, false) => State::Closed { failures: 0 },
            (State::Closed { failures }, true) if failures + 1 < self.settings.failures => {
                State::Closed { failures: failures + 1 }
            }
            (_, true) => open,
        };
        matches!(*state, State::Open { .. })
    }
}

impl Permit {
    /// There was an answer, whatever it said.
    pub fn succeeded(self) {
        self.tell(false, Instant::now());
    }

    /// There was none. Whether that opened the breaker.
    pub fn failed(self) -> bool {
        self.tell(true, Instant::now())
    }

    /// A question was answered, which says that somebody is there, and not that they do their work: it neither counts nor takes
    /// back what was counted. After a rest, the next failure begins another.
    pub fn heard(mut self) {
        self.told = true;
        self.breaker.heard(self.probe);
    }

    fn tell(mut self, failed: bool, now: Instant) -> bool {
        self.told = true;
        self.breaker.tell(self.probe, failed, now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.told {
            self.breaker.tell(true, true, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REST: Duration = Duration::from_secs(10);

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings { failures: 2, open_for: REST })
    }

    fn call(breaker: &Breaker, now: Instant, failed: bool) {
        breaker.admit_at(now).unwrap().tell(failed, now);
    }

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_try_after_the_rest() {
        let (breaker, now) = (breaker(), Instant::now());
        call(&breaker, now, true);
        call(&breaker, now, false);
        call(&breaker, now, true);
        assert!(!breaker.is_open(), "a success in between starts the count anew");
        call(&breaker, now, true);
        assert_eq!(breaker.admit_at(now).unwrap_err(), REST);

        let later = now + REST;
        let probe = breaker.admit_at(later).unwrap();
        assert!(breaker.admit_at(later).is_err(), "one probe at a time");
        probe.tell(true, later);
        assert_eq!(breaker.admit_at(later).unwrap_err(), REST);

        call(&breaker, later + REST, false);
        assert!(!breaker.is_open());
        call(&breaker, later + REST, true);
        assert!(!breaker.is_open(), "the count starts anew");
    }

    #[test]
    fn a_probe_that_is_dropped_does_not_stop_the_next() {
        let (breaker, now) = (breaker(), Instant::now());
        call(&breaker, now, true);
        call(&breaker, now, true);
        drop(breaker.admit_at(now + REST).unwrap());
        assert!(breaker.is_open());
        call(&breaker, now + 3 * REST, false);
        assert!(!breaker.is_open());
    }

    #[test]
    fn the_word_of_the_database_counts_once_it_has_been_told() {
        let (breaker, now) = (breaker(), Instant::now());
        call(&breaker, now, true);
        assert!(breaker.admit_at(now).unwrap().tell(true, now), "this one opens it");
        let second = Duration::from_secs(1);
        breaker.all_is_well(now + second);
        assert!(breaker.is_open(), "the database does not know yet");
        breaker.recorded_at(now + second);
        breaker.all_is_well(now);
        assert!(breaker.is_open(), "asked before it knew");
        breaker.all_is_well(now + 2 * second);
        assert!(!breaker.is_open());
        call(&breaker, now, true);
        assert!(!breaker.is_open(), "the count starts anew");
    }

    #[test]
    fn an_answer_to_a_question_neither_counts_nor_takes_back() {
        let (breaker, now) = (breaker(), Instant::now());
        call(&breaker, now, true);
        breaker.admit_at(now).unwrap().heard();
        assert!(!breaker.is_open());
        call(&breaker, now, true);
        assert!(breaker.is_open());
        breaker.admit_at(now + REST).unwrap().heard();
        assert!(!breaker.is_open());
        call(&breaker, now + REST, true);
        assert!(breaker.is_open(), "the next failure is enough");
    }

    #[test]
    fn who_the_database_has_chosen_may_try_at_once() {
        let (breaker, now) = (breaker(), Instant::now());
        call(&breaker, now, true);
        call(&breaker, now, true);
        breaker.probe().tell(false, now);
        assert!(!breaker.is_open());
    }

    #[test]
    fn calls_from_before_do_not_close_it() {
        let (breaker, now) = (breaker(), Instant::now());
        let early = breaker.admit_at(now).unwrap();
        call(&breaker, now, true);
        call(&breaker, now, true);
        early.tell(false, now);
        assert!(breaker.is_open());
    }
}
