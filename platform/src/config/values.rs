//! From a raw value to a typed one. A parser that refuses says nothing: the expectation stated by the reader says it all.

use std::{ops::RangeInclusive, time::Duration};

use toml::Value;
use url::Url;

use super::{duration, layers::Raw};

pub struct Refused;

pub type Parsed<T> = Result<T, Refused>;

#[allow(clippy::expect_used, reason = "a constant, read by a test")]
pub fn placeholder_url() -> Url {
    Url::parse("http://unset.invalid/").expect("a constant URL")
}

pub fn url_expectation(schemes: &[&str]) -> String {
    format!(
        "a URL that starts with {}",
        schemes.iter().map(|s| format!("{s}://")).collect::<Vec<_>>().join(" or ")
    )
}

pub fn text(raw: Raw<'_>) -> Parsed<String> {
    raw.as_text().filter(|text| !text.trim().is_empty()).map(str::to_owned).ok_or(Refused)
}

pub fn integer<T: TryFrom<i64>>(raw: Raw<'_>) -> Parsed<T> {
    let number = match raw {
        Raw::Value(Value::Integer(number)) => *number,
        Raw::Text(text) => text.trim().replace('_', "").parse().map_err(|_| Refused)?,
        Raw::Value(_) => return Err(Refused),
    };
    T::try_from(number).map_err(|_| Refused)
}

pub fn one_duration(raw: Raw<'_>) -> Parsed<Duration> {
    duration::parse(&text(raw)?).ok_or(Refused)
}

pub fn parse_url(raw: Raw<'_>, schemes: &[&str]) -> Parsed<Url> {
    let url = Url::parse(&text(raw)?).map_err(|_| Refused)?;
    if schemes.contains(&url.scheme()) && url.has_host() { Ok(url) } else { Err(Refused) }
}

/// The texts of a TOML array, or of a variable's `a,b` or `["a", "b"]`.
pub fn list(raw: Raw<'_>) -> Parsed<Vec<String>> {
    let texts =
        |array: &[Value]| array.iter().map(|value| text(Raw::Value(value))).collect::<Parsed<Vec<_>>>();
    match raw {
        Raw::Value(Value::Array(array)) => texts(array),
        Raw::Value(_) => Err(Refused),
        Raw::Text(given) if given.trim_start().starts_with('[') => {
            let table: toml::Table = format!("list = {given}").parse().map_err(|_| Refused)?;
            table.get("list").and_then(Value::as_array).ok_or(Refused).and_then(|array| texts(array))
        }
        Raw::Text(given) => {
            Ok(given.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect())
        }
    }
}

pub fn within<T: PartialOrd>(value: T, bounds: &RangeInclusive<T>) -> Parsed<T> {
    if bounds.contains(&value) { Ok(value) } else { Err(Refused) }
}

/// Names of queues and pipelines: they become parts of metric labels, variables and broker queues.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 40
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
