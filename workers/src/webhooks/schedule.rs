//! When a failed delivery is tried again.

use std::time::Duration;

/// The longest wait that a receiver may ask for.
const LONGEST_WISH: Duration = Duration::from_hours(24);

/// The pause after failed attempt `attempt` (from 1), or none if it was the last: the schedule's entry stretched by up
/// to a fifth (`jitter` from 0 to 1), so that receivers which failed together are not called together again; or what the
/// receiver asked for, if that is longer.
pub fn pause(schedule: &[Duration], attempt: i16, jitter: f64, wish: Option<Duration>) -> Option<Duration> {
    let place = usize::try_from(attempt.max(1) - 1).ok()?;
    let planned = schedule.get(place)?.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
    Some(wish.map_or(planned, |wish| wish.min(LONGEST_WISH).max(planned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: [Duration; 3] = [Duration::from_secs(5), Duration::from_mins(5), Duration::from_mins(30)];

    #[test]
    fn each_failure_has_its_pause_and_the_last_has_none() {
        let pauses: Vec<_> = (1..=4).map(|attempt| pause(&SCHEDULE, attempt, 0.0, None)).collect();
        assert_eq!(pauses, [Some(SCHEDULE[0]), Some(SCHEDULE[1]), Some(SCHEDULE[2]), None]);
        assert_eq!(pause(&[], 1, 0.5, None), None);
        assert_eq!(pause(&SCHEDULE, i16::MAX, 0.5, None), None);
    }

    #[test]
    fn jitter_only_stretches_and_never_beyond_a_fifth() {
        assert_eq!(pause(&SCHEDULE, 2, 1.0, None), Some(Duration::from_mins(6)));
        assert_eq!(pause(&SCHEDULE, 2, 7.0, None), Some(Duration::from_mins(6)));
        assert_eq!(pause(&SCHEDULE, 2, -7.0, None), Some(Duration::from_mins(5)));
    }

    #[test]
    fn a_receivers_wish_counts_if_it_is_longer_up_to_a_day() {
        let wish = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pause(&SCHEDULE, 1, 0.0, wish(60)), wish(60));
        assert_eq!(pause(&SCHEDULE, 1, 0.0, wish(1)), wish(5));
        assert_eq!(pause(&SCHEDULE, 1, 0.0, wish(u64::MAX)), wish(86_400));
        assert_eq!(pause(&SCHEDULE, 4, 0.0, wish(60)), None, "a wish gives no further attempt");
    }
}
