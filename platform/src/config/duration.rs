//! Durations as people write them: `250ms`, `15s`, `5m`, `1h30m`, `30d`.

use std::{fmt::Write, time::Duration};

/// Unit names with their length in milliseconds, longest first for [`format`].
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses one or more `<whole number><unit>` parts, units `d h m s ms`, or a bare `0`.
///
/// `None` for anything else: a bare number has no unit, and guessing one has brought down better systems.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(Duration::from_millis(millis))
}

/// The shortest text that [`parse`] reads back, to the millisecond.
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if millis >= factor {
            let _ = write!(text, "{}{unit}", millis / factor);
            millis %= factor;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in
            [("250ms", 250), ("15s", 15_000), ("1h30m", 5_400_000), ("30d", 2_592_000_000), ("0", 0)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1m 30s"), Some(Duration::from_secs(90)));
    }

    #[test]
    fn refuses_what_it_would_have_to_guess() {
        for text in
            ["", "15", "s", "-5s", "1.5s", "5 s", "5w", "99999999999999999999s", "300000000000d", "5s,"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["250ms", "15s", "1h30m", "30d", "1d1h1m1s1ms", "0s"] {
            assert_eq!(parse(text).map(format).as_deref(), Some(text));
        }
    }
}
