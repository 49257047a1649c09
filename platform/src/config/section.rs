//! Typed reading of settings: each read states the type and the bounds, and collects what is wrong instead of
//! stopping at it. What could not be read gets a placeholder, which nobody sees: a configuration with a problem is
//! refused whole.

mod secret;

use std::{collections::BTreeMap, fmt::Display, net::SocketAddr, ops::RangeInclusive, time::Duration};

use toml::Value;
use url::Url;

use super::{
    duration,
    layers::{Origin, Raw},
    reader::Reader,
    values::{
        Parsed, Refused, integer, is_name, list, one_duration, parse_url, placeholder_url, text,
        url_expectation, within,
    },
};

/// One section of the configuration being read.
pub struct Section<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    name: &'static str,
}

impl<'r, 'a> Section<'r, 'a> {
    pub fn new(reader: &'r mut Reader<'a>, name: &'static str) -> Self {
        Self { reader, name }
    }

    pub fn text(&mut self, key: &str) -> String {
        self.required(key, "a text that is not empty", text).unwrap_or_default()
    }

    pub fn optional_text(&mut self, key: &str) -> Option<String> {
        self.optional(key, "a text that is not empty", text)
    }

    pub fn duration(&mut self, key: &str, bounds: RangeInclusive<&str>) -> Duration {
        let (low, high) = (*bounds.start(), *bounds.end());
        let expected = format!("a duration such as \"15s\", from {low} to {high}");
        let range = duration::parse(low).unwrap_or_default()..=duration::parse(high).unwrap_or(Duration::MAX);
        self.required(key, &expected, |raw| within(one_duration(raw)?, &range)).unwrap_or_default()
    }

    pub fn durations(&mut self, key: &str, bounds: RangeInclusive<&str>) -> Vec<Duration> {
        let (low, high) = (*bounds.start(), *bounds.end());
        let expected =
            format!("a list of durations such as [\"5s\", \"5m\"], each from {low} to {high}, at least one");
        let range = duration::parse(low).unwrap_or_default()..=duration::parse(high).unwrap_or(Duration::MAX);
        let parse = |raw: Raw<'_>| {
            let items = list(raw)?;
            let parsed: Parsed<Vec<_>> =
                items.iter().map(|item| within(duration::parse(item).ok_or(Refused)?, &range)).collect();
            parsed.and_then(|all| if all.is_empty() { Err(Refused) } else { Ok(all) })
        };
        self.required(key, &expected, parse).unwrap_or_default()
    }

    pub fn number<T>(&mut self, key: &str, bounds: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Copy + Display,
    {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.required(key, &expected, |raw| within(integer(raw)?, &bounds)).unwrap_or(*bounds.start())
    }

    pub fn boolean(&mut self, key: &str) -> bool {
        let parse = |raw: Raw<'_>| match raw {
            Raw::Value(Value::Boolean(value)) => Ok(*value),
            Raw::Text("true" | "1" | "yes" | "on") => Ok(true),
            Raw::Text("false" | "0" | "no" | "off") => Ok(false),
            _ => Err(Refused),
        };
        self.required(key, "true or false", parse).unwrap_or_default()
    }

    pub fn address(&mut self, key: &str) -> SocketAddr {
        let parse = |raw: Raw<'_>| text(raw)?.parse().map_err(|_| Refused);
        self.required(key, "an address and port such as \"127.0.0.1:8080\" (port 0 takes a free one)", parse)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn url(&mut self, key: &str, schemes: &[&str]) -> Url {
        self.required(key, &url_expectation(schemes), |raw| parse_url(raw, schemes))
            .unwrap_or_else(placeholder_url)
    }

    pub fn optional_url(&mut self, key: &str, schemes: &[&str]) -> Option<Url> {
        self.optional(key, &url_expectation(schemes), |raw| parse_url(raw, schemes))
    }

    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let parse = |raw: Raw<'_>| {
            let given = text(raw)?;
            choices.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or(Refused)
        };
        self.required(key, &format!("one of: {}", names.join(", ")), parse).unwrap_or(choices[0].1)
    }

    /// A text that `check` accepts; `expected` says what that is.
    pub fn parsed<T: Default>(&mut self, key: &str, expected: &str, check: impl Fn(&str) -> Option<T>) -> T {
        self.required(key, expected, |raw| check(&text(raw)?).ok_or(Refused)).unwrap_or_default()
    }

    /// A list of names or texts; in a variable separated by commas, `[]` for none.
    pub fn texts(&mut self, key: &str, expected: &str, check: impl Fn(&str) -> bool) -> Vec<String> {
        let parse = |raw: Raw<'_>| {
            let items = list(raw)?;
            if items.iter().all(|item| check(item)) { Ok(items) } else { Err(Refused) }
        };
        self.required(key, expected, parse).unwrap_or_default()
    }

    /// A table of names with a number each. Entries of a stronger source replace single entries of a weaker one; a
    /// text `a=1,b=2` replaces the table whole.
    pub fn table(&mut self, key: &str, bounds: RangeInclusive<u16>) -> BTreeMap<String, u16> {
        let path = self.path(key);
        self.reader.known.insert(path.clone());
        self.reader.tables.insert(path.clone());
        let expected = format!(
            "names with a whole number from {} to {} each, as \"name=1,other=2\"",
            bounds.start(),
            bounds.end()
        );
        let layers = self.reader.layers;
        let mut entries = BTreeMap::new();
        let mut origin = Origin::Defaults;
        let mut wrong = Vec::new();
        let mut add =
            |entries: &mut BTreeMap<String, u16>, name: &str, raw: Raw<'_>, from: &Origin| match integer(raw)
                .and_then(|number| within(number, &bounds))
            {
                Ok(number) if is_name(name) => {
                    entries.insert(name.to_owned(), number);
                }
                _ => wrong.push(format!("{name} = {}, in {from}", raw.shown())),
            };
        for (raw, from) in layers.all(&path).into_iter().rev() {
            match (raw, raw.as_text()) {
                (_, Some("")) => continue,
                (Raw::Value(Value::Table(given)), _) => {
                    given.iter().for_each(|(name, value)| add(&mut entries, name, Raw::Value(value), &from));
                }
                (_, Some(given)) => {
                    entries.clear();
                    for part in given.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                        let (name, number) = part.split_once('=').unwrap_or((part, ""));
                        add(&mut entries, name.trim(), Raw::Text(number.trim()), &from);
                    }
                }
                // A name that no entry can have, so that the value is reported.
                _ => add(&mut entries, "", raw, &from),
            }
            origin = from;
        }
        for (name, given, from) in layers.entries(&path) {
            origin = Origin::Variable(from.to_owned());
            add(&mut entries, name, Raw::Text(given), &origin);
        }
        for found in wrong {
            self.reader.problem(&path, format!("expected {expected}; found {found}"));
        }
        let shown: Vec<String> = entries.iter().map(|(name, number)| format!("{name}={number}")).collect();
        self.reader.note(&path, Some(shown.join(",")), origin);
        entries
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn required<T>(&mut self, key: &str, expected: &str, parse: impl Fn(Raw<'_>) -> Parsed<T>) -> Option<T> {
        let path = self.path(key);
        self.reader.known.insert(path.clone());
        // An empty variable is as good as none: launchers pass `NAME=` for what they do not set.
        let found = self.reader.layers.all(&path).into_iter().find(|(raw, _)| !matches!(raw, Raw::Text("")));
        if let Some((raw, origin)) = found {
            return self.parse(&path, raw, origin, expected, parse);
        }
        self.missing(key, expected);
        None
    }

    fn optional<T>(&mut self, key: &str, expected: &str, parse: impl Fn(Raw<'_>) -> Parsed<T>) -> Option<T> {
        let path = self.path(key);
        self.reader.known.insert(path.clone());
        match self.reader.layers.all(&path).into_iter().next() {
            // An empty variable takes an optional setting back.
            Some((Raw::Text(""), origin)) => self.reader.note(&path, None, origin),
            Some((raw, origin)) => return self.parse(&path, raw, origin, expected, parse),
            None => self.reader.note(&path, None, Origin::Defaults),
        }
        None
    }

    fn parse<T>(
        &mut self,
        path: &str,
        raw: Raw<'_>,
        origin: Origin,
        expected: &str,
        parse: impl Fn(Raw<'_>) -> Parsed<T>,
    ) -> Option<T> {
        let shown = raw.shown();
        let Ok(value) = parse(raw) else {
            self.reader.problem(path, format!("expected {expected}; {origin} gives {shown:?}"));
            return None;
        };
        self.reader.note(path, Some(shown), origin);
        Some(value)
    }

    pub(super) fn missing(&mut self, key: &str, expected: &str) {
        let path = self.path(key);
        self.reader.problem(&path, format!("is not set and has no default; expected {expected}"));
    }
}
