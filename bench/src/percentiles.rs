//! Percentiles of measured times.

use std::time::Duration;

use serde_json::{Value, json};

/// The middle and the slow end of some times, in milliseconds with two decimals; null for none.
pub fn of(times: &mut [Duration]) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let last = times.len().checked_sub(1)?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = (share * last as f64).round() as usize;
        times.get(index).map(|t| (t.as_secs_f64() * 100_000.0).round() / 100.0)
    };
    json!({ "p50": at(0.50), "p95": at(0.95), "p99": at(0.99), "max": at(1.0) })
}
