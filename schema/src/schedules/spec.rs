//! When a schedule fires.

use std::{collections::VecDeque, str::FromStr as _, time::Duration};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// A schedule's times.
#[derive(Debug, Clone)]
pub enum Spec {
    /// A fixed pause between times, counted from the epoch, so that all replicas agree on the times.
    Every(Duration),
    /// Cron fields in a time zone.
    Cron(Box<Cron>, Tz),
    /// One time only.
    At(DateTime<Utc>),
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// None of the three forms.
    #[error(
        "{spec:?} is neither `every 30s` (s, m, h, d), nor `at 2026-12-24T18:00:00Z`, nor five or six cron fields: {why}"
    )]
    Unreadable {
        /// What was given.
        spec: String,
        /// What is wrong with it.
        why: String,
    },
    /// The time zone is not one of IANA's.
    #[error("{0:?} is not an IANA time zone, such as Europe/London")]
    TimeZone(String),
    /// The fields match no time that will ever come.
    #[error("{0:?} never fires")]
    Never(String),
}

/// Steps in looking for missed times: a day of seconds. A schedule that was away for longer forgets older ones.
const STEPS: usize = 100_000;

impl Spec {
    /// Reads `every 30s`, `at <RFC 3339>`, or cron fields in `time_zone`.
    pub fn parse(spec: &str, time_zone: &str) -> Result<Self, SpecError> {
        let unreadable = |why: &str| SpecError::Unreadable { spec: spec.to_owned(), why: why.to_owned() };
        // Also where it is not used: a schedule that changes its form later must not meet a zone nobody checked.
        let zone = Tz::from_str(time_zone).map_err(|_| SpecError::TimeZone(time_zone.to_owned()))?;
        let text = spec.trim();
        if let Some(time) = text.strip_prefix("at ") {
            let time = DateTime::parse_from_rfc3339(time.trim()).map_err(|e| unreadable(&e.to_string()))?;
            // What the database keeps.
            return Ok(Self::At(time.with_timezone(&Utc).trunc_subsecs(6)));
        }
        if let Some(pause) = text.strip_prefix("every ") {
            return pause_of(pause.trim()).map(Self::Every).map_err(unreadable);
        }
        let cron = Cron::from_str(text).map_err(|e| unreadable(&e.to_string()))?;
        Ok(Self::Cron(Box::new(cron), zone))
    }

    /// The first time after `after`; none if a one-off time is past.
    pub fn next(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, SpecError> {
        match self {
            Self::Every(pause) => {
                let pause = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX).max(1);
                let times = after.timestamp().div_euclid(pause) + 1;
                times
                    .checked_mul(pause)
                    .and_then(|t| DateTime::from_timestamp(t, 0))
                    .map(Some)
                    .ok_or_else(|| SpecError::Never(format!("every {pause}s")))
            }
            Self::Cron(cron, zone) => cron
                .find_next_occurrence(&after.with_timezone(zone), false)
                .map(|t| Some(t.with_timezone(&Utc)))
                .map_err(|_| SpecError::Never(cron.pattern.to_string())),
            Self::At(time) => Ok(Some(*time).filter(|time| *time > after)),
        }
    }

    /// The next `count` times after `after`, oldest first; fewer if there are no more.
    pub fn upcoming(&self, after: DateTime<Utc>, count: usize) -> Result<Vec<DateTime<Utc>>, SpecError> {
        let mut times = Vec::with_capacity(count);
        let mut at = after;
        while times.len() < count {
            let Some(next) = self.next(at)? else { break };
            times.push(next);
            at = next;
        }
        Ok(times)
    }

    /// The times in (`after`, `until`], the newest `limit` of them, oldest first.
    pub fn between(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<DateTime<Utc>>, SpecError> {
        // A scheduler that was away for a year must not walk through a year of seconds.
        let mut from = after;
        match self {
            Self::Every(pause) => {
                let span = pause.saturating_mul(u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(1));
                if let Ok(span) = TimeDelta::from_std(span) {
                    from = from.max(until - span);
                }
            }
            Self::Cron(cron, zone) => {
                // Back from the end, and then forwards: both ways through a clock that goes back give the same times only
                // when each is asked for the one after the other.
                let mut back = until.with_timezone(zone);
                for step in 0..=limit {
                    match cron.find_previous_occurrence(&back, step == 0) {
                        Ok(earlier) if earlier.with_timezone(&Utc) > after => back = earlier,
                        _ => {
                            back = after.with_timezone(zone);
                            break;
                        }
                    }
                }
                from = from.max(back.with_timezone(&Utc) - TimeDelta::seconds(1));
            }
            Self::At(_) => {}
        }
        let mut times = VecDeque::with_capacity(limit + 1);
        let mut next = self.next(from)?;
        for _ in 0..STEPS {
            let Some(at) = next.filter(|at| *at <= until) else { break };
            times.push_back(at);
            if times.len() > limit {
                times.pop_front();
            }
            next = self.next(at)?;
        }
        Ok(times.into())
    }
}

fn pause_of(pause: &str) -> Result<Duration, &'static str> {
    let unit_at = pause.find(|c: char| !c.is_ascii_digit()).ok_or("no unit")?;
    let (number, unit) = pause.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| "no number")?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("the unit is none of s, m, h, d"),
    };
    number
        .checked_mul(seconds)
        .filter(|total| (1..=31_536_000).contains(total))
        .map(Duration::from_secs)
        .ok_or("a pause is between 1 s and 365 d")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "spec_tests.rs"]
mod tests;
