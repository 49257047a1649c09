//! When a schedule fires.

use std::{str::FromStr as _, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// A schedule's times.
#[derive(Debug, Clone)]
pub enum Spec {
    /// A fixed pause between times, counted from the epoch, so that all replicas agree on the times.
    Every(Duration),
    /// Cron fields in a time zone.
    Cron(Box<Cron>, Tz),
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither `every <duration>` nor cron fields.
    #[error("{spec:?} is neither `every 30s` (s, m, h, d) nor five or six cron fields: {why}")]
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

impl Spec {
    /// Reads `every 30s`, or cron fields in `time_zone`.
    pub fn parse(spec: &str, time_zone: &str) -> Result<Self, SpecError> {
        let unreadable = |why: &str| SpecError::Unreadable { spec: spec.to_owned(), why: why.to_owned() };
        if let Some(pause) = spec.trim().strip_prefix("every ") {
            let pause = pause.trim();
            let unit_at = pause.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| unreadable("no unit"))?;
            let (number, unit) = pause.split_at(unit_at);
            let number: u64 = number.parse().map_err(|_| unreadable("no number"))?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return Err(unreadable("the unit is none of s, m, h, d")),
            };
            let total = number.checked_mul(seconds).filter(|t| (1..=31_536_000).contains(t));
            return total
                .map(|t| Self::Every(Duration::from_secs(t)))
                .ok_or_else(|| unreadable("a pause is between 1 s and 365 d"));
        }
        let zone = Tz::from_str(time_zone).map_err(|_| SpecError::TimeZone(time_zone.to_owned()))?;
        let cron = Cron::from_str(spec).map_err(|e| unreadable(&e.to_string()))?;
        Ok(Self::Cron(Box::new(cron), zone))
    }

    /// The first time after `after`.
    pub fn next(&self, after: DateTime<Utc>) -> Result<DateTime<Utc>, SpecError> {
        match self {
            Self::Every(pause) => {
                let pause = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX).max(1);
                let times = after.timestamp().div_euclid(pause) + 1;
                times
                    .checked_mul(pause)
                    .and_then(|t| DateTime::from_timestamp(t, 0))
                    .ok_or_else(|| SpecError::Never(format!("every {pause}s")))
            }
            Self::Cron(cron, zone) => cron
                .find_next_occurrence(&after.with_timezone(zone), false)
                .map(|t| t.with_timezone(&Utc))
                .map_err(|_| SpecError::Never(cron.pattern.to_string())),
        }
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
        if let Self::Every(pause) = self {
            let span =
                TimeDelta::from_std(pause.saturating_mul(u32::try_from(limit).unwrap_or(u32::MAX) + 1));
            if let Ok(span) = span {
                from = from.max(until - span);
            }
        }
        let mut times = std::collections::VecDeque::with_capacity(limit + 1);
        let mut steps = 0_u32;
        let mut at = self.next(from)?;
        while at <= until && steps < 100_000 {
            times.push_back(at);
            if times.len() > limit {
                times.pop_front();
            }
            at = self.next(at)?;
            steps += 1;
        }
        Ok(times.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_pause_gives_the_same_times_to_everybody() {
        let spec = Spec::parse("every 30s", "UTC").unwrap();
        assert_eq!(spec.next(at("2026-01-01T00:00:00Z")).unwrap(), at("2026-01-01T00:00:30Z"));
        assert_eq!(spec.next(at("2026-01-01T00:00:29.9Z")).unwrap(), at("2026-01-01T00:00:30Z"));
    }

    #[test]
    fn cron_follows_the_clock_of_its_zone_over_a_change_to_summer_time() {
        let spec = Spec::parse("30 1 * * *", "Europe/London").unwrap();
        // 29 March 2026, 01:00 GMT is 02:00 BST: half past one does not exist that night.
        let before = at("2026-03-28T12:00:00Z");
        let first = spec.next(before).unwrap();
        assert!(first > at("2026-03-28T23:59:59Z") && first <= at("2026-03-30T00:30:00Z"), "{first}");
        let winter = spec.next(at("2026-01-10T12:00:00Z")).unwrap();
        assert_eq!(winter, at("2026-01-11T01:30:00Z"));
        let summer = spec.next(at("2026-07-10T12:00:00Z")).unwrap();
        assert_eq!(summer, at("2026-07-11T00:30:00Z"));
    }

    #[test]
    fn missed_times_are_the_newest_and_in_order() {
        let spec = Spec::parse("every 1m", "UTC").unwrap();
        let times = spec.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T02:00:00Z"), 3).unwrap();
        assert_eq!(
            times,
            [at("2026-01-01T01:58:00Z"), at("2026-01-01T01:59:00Z"), at("2026-01-01T02:00:00Z")]
        );
        assert!(spec.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"), 3).unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for spec in ["every", "every 0s", "every 5w", "every -1s", "61 * * * *", "hello", ""] {
            assert!(Spec::parse(spec, "UTC").is_err(), "{spec}");
        }
        assert_eq!(
            Spec::parse("0 0 * * *", "Mars/Olympus").unwrap_err(),
            SpecError::TimeZone("Mars/Olympus".into())
        );
    }
}
