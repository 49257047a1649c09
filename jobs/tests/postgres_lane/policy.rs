use std::time::Duration;

use proptest::prelude::*;
use waybill_jobs::Policy;

fn policy() -> impl Strategy<Value = Policy> {
    (1..=i16::MAX, 0..=3_600_000_u64, 0..=86_400_000_u64).prop_map(|(max_attempts, backoff, cap)| Policy {
        max_attempts,
        backoff: Duration::from_millis(backoff),
        backoff_cap: Duration::from_millis(cap),
        timeout: Duration::from_mins(1),
    })
}

proptest! {
    #[test]
    fn a_delay_stays_within_a_quarter_of_its_base(policy in policy(), attempt in any::<i16>(), jitter in 0.0..=1.0) {
        let base = policy.delay(attempt, 0.5);
        let delay = policy.delay(attempt, jitter);
        prop_assert!(delay >= base.mul_f64(0.749) && delay <= base.mul_f64(1.251));
        prop_assert!(delay <= policy.backoff_cap.mul_f64(1.25) + Duration::from_nanos(1));
    }

    #[test]
    fn delays_never_shrink_from_one_attempt_to_the_next(policy in policy(), attempt in 1..i16::MAX) {
        prop_assert!(policy.delay(attempt + 1, 0.5) >= policy.delay(attempt, 0.5));
    }

    #[test]
    fn jitter_out_of_range_counts_as_its_nearest_bound(policy in policy(), attempt in any::<i16>(), jitter in any::<f64>()) {
        let delay = policy.delay(attempt, jitter);
        let bounds = policy.delay(attempt, 0.0)..=policy.delay(attempt, 1.0);
        prop_assert!(jitter.is_nan() || bounds.contains(&delay));
    }
}

#[test]
fn the_delay_doubles_up_to_its_cap() {
    let seconds: Vec<_> = (1..=12).map(|attempt| Policy::DEFAULT.delay(attempt, 0.5).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
}
