//! Times as operators write them.

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};

/// A time (RFC 3339), or a span back from now (`90s`, `15m`, `2h`, `3d`), as the API takes it.
pub fn instant(text: &str, now: DateTime<Utc>) -> anyhow::Result<String> {
    let at = match DateTime::parse_from_rfc3339(text) {
        Ok(at) => at.with_timezone(&Utc),
        Err(_) => {
            let back = waybill_platform::config::duration::parse(text).with_context(|| {
                format!("{text:?} is neither a time such as 2026-12-24T18:00:00Z nor a span such as 15m")
            })?;
            now.checked_sub_signed(chrono::TimeDelta::from_std(back)?).context("that is too long ago")?
        }
    };
    Ok(at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// `100/60s` or `100/60s/20`: jobs, time, burst.
pub fn rate(text: &str) -> anyhow::Result<serde_json::Value> {
    let mut parts = text.split('/');
    let wrong = || format!("{text:?} is no rate such as 100/60s, or 100/60s/20 with a burst");
    let jobs: u32 = parts.next().and_then(|part| part.trim().parse().ok()).with_context(wrong)?;
    let period = parts.next().and_then(waybill_platform::config::duration::parse).with_context(wrong)?;
    let burst: Option<u32> = match parts.next() {
        Some(part) => Some(part.trim().parse().ok().with_context(wrong)?),
        None => None,
    };
    anyhow::ensure!(parts.next().is_none() && !period.is_zero() && jobs > 0, wrong());
    Ok(serde_json::json!({ "jobs": jobs, "per_seconds": period.as_secs_f64(), "burst": burst }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_read() {
        let now: DateTime<Utc> = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(instant("2026-01-01T01:00:00+01:00", now).unwrap(), "2026-01-01T00:00:00.000000Z");
        assert_eq!(instant("1d", now).unwrap(), "2026-01-01T00:00:00.000000Z");
        assert!(instant("yesterday", now).is_err());
    }

    #[test]
    fn rates_are_read() {
        assert_eq!(rate("100/60s").unwrap()["per_seconds"], 60.0);
        assert_eq!(rate("5/500ms/2").unwrap()["burst"], 2);
        for wrong in ["", "5", "5/", "5/1s/x", "0/1s", "5/0s", "5/1s/1/1"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
